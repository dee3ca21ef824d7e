"""`play`: answers from the tape, at once or on time; what it has not got it says loudly; the command around it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM, Signals
from typing import Any

import pytest

from openai_replay.model import End, OnExhausted
from openai_replay.playback.pace import INSTANT, ORIGINAL, Pace, parse_pace
from openai_replay.playback.scheduler import Next, Pause, Playback, Scheduler
from openai_replay.server.http import kernel_timestamps
from tests.support.proxy import (
    CHAT,
    PATIENCE_S,
    Connection,
    Ended,
    Heard,
    ask,
    cassette,
    command,
    interactions,
    invoke,
    item,
    playing,
    run,
)

# ------------------------------------------------------------------------------------------------ law 2: on time

FRAMES = [(200, "data: 0\n\n"), (260, "data: 1\n\n"), (260, "data: 2\n\n"), (600, "data: 3\n\n"), (640, "data: 4\n\n")]


def stream(path: Path, head_ms: int, frames: Sequence[tuple[int, str]], end_ms: int, end: End = End.COMPLETE) -> Path:
    """A cassette with one stream, as `record` writes it."""
    body = "".join(data for _, data in frames)
    wire = " ".join(f"{at_ms}+{len(data)}" for at_ms, data in frames)
    text = item("BODY", headers=(("content-type", "text/event-stream"),)).replace("'BODY'", json.dumps(body))
    return cassette(path, f"{text}    wire:\n      head: {head_ms}\n      frames: {wire}\n      end: {end_ms} {end}\n")


@pytest.mark.parametrize(
    ("pace", "due_ms"),
    [
        # head, five frames, end
        ("instant", [0, 0, 0, 0, 0, 0, 0]),
        ("original", [150, 200, 260, 260, 600, 640, 700]),
        ("2x", [75, 100, 130, 130, 300, 320, 350]),
        ("0.5x", [300, 400, 520, 520, 1200, 1280, 1400]),
        ("original,max-gap=100ms", [100, 150, 210, 210, 310, 350, 410]),
        ("2x,max-gap=50ms", [50, 75, 105, 105, 155, 175, 205]),
    ],
)
async def test_the_schedule(tmp_path: Path, pace: str, due_ms: list[int]) -> None:
    tape = stream(tmp_path / "tape.yaml", 150, FRAMES, 700)
    async with playing(tape, pace=parse_pace(pace)) as player:
        heard = await player.ask("POST", CHAT, "hello")
    assert heard.cuts == [data.encode() for _, data in FRAMES]
    came_ms = [1000 * at for at in (heard.head_at, *(piece.at for piece in heard.pieces), heard.end_at)]
    for arrived, due in zip(came_ms, due_ms, strict=True):
        assert arrived >= due - 2, f"too early: {came_ms}"  # 2 ms: both clocks are read a moment before or after
        assert arrived <= due + 1000, f"very late: {came_ms}"
    assert came_ms == sorted(came_ms)


async def test_frames_of_one_instant_come_in_one_write(tmp_path: Path) -> None:
    tape = stream(tmp_path / "tape.yaml", 150, FRAMES, 700)
    async with playing(tape, pace=Pace(10.0)) as player:
        heard = await player.ask("POST", CHAT, "hello")
    assert heard.pieces[1].at == heard.pieces[2].at


async def test_a_request_counts_from_when_it_came_and_not_from_when_it_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand that connect at once are not accepted at once: what is due when one is read comes together."""
    tape = stream(tmp_path / "tape.yaml", 0, [(30_000, "data: 1\n\n"), (60_000, "data: 2\n\n")], 60_000)
    monkeypatch.setattr(kernel_timestamps.KernelTimestamps, "received_at", lambda *wrap: time.monotonic() - 60.0)
    async with playing(tape, pace=ORIGINAL) as player, asyncio.timeout(PATIENCE_S):
        heard = await player.ask("POST", CHAT, "hello")
    assert heard.cuts == [b"data: 1\n\n", b"data: 2\n\n"]


@pytest.mark.parametrize("pace", [INSTANT, ORIGINAL])
async def test_answers_on_one_connection_come_one_after_the_other_and_once(tmp_path: Path, pace: Pace) -> None:
    tape = stream(tmp_path / "tape.yaml", 10, [(20, "data: 1\n\n"), (30, "data: 2\n\n")], 40)
    async with playing(tape, pace=pace) as player, Connection(player.origin) as client:
        for _ in range(3):
            heard = await client.ask("POST", CHAT, "hello")
            assert (heard.cuts, heard.ended) == ([b"data: 1\n\n", b"data: 2\n\n"], Ended.COMPLETE)
        client.send("POST", CHAT, "hello", [("Connection", "close")])
        assert (await client.rest()).cuts == [b"data: 1\n\n", b"data: 2\n\n"]
        await client.closed()
        assert client.unread == b""
        assert player.outcomes == ["played"] * 4


async def test_errors_do_not_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sleep here lasts 20 ms too long; on a schedule of its own, the next one is so much shorter."""
    frames = [(100 + 50 * number, f"data: {number}\n\n") for number in range(15)]
    tape = stream(tmp_path / "tape.yaml", 100, frames, 800)
    sleeps: list[float] = []
    run = Scheduler.run

    def later(due: float) -> float:
        sleeps.append(max(0.0, due - time.monotonic()))
        return due + 0.02

    class Oversleeping:
        def __init__(self, playback: Playback) -> None:
            self._playback = playback

        def write_due(self) -> Next:
            step = self._playback.write_due()
            return later(step) if isinstance(step, float) else step

    async def run_late(scheduler: Scheduler, playback: Playback, due: float) -> Pause:
        return await run(scheduler, Oversleeping(playback), later(due))

    async with playing(tape, pace=ORIGINAL) as player:
        monkeypatch.setattr(Scheduler, "run", run_late)
        await player.ask("POST", CHAT, "hello")
        monkeypatch.undo()
    assert len(sleeps) > 5
    assert sum(sleeps) + 0.02 * (len(sleeps) - 1) <= 0.8 + 0.01


@pytest.mark.parametrize(("end", "ended"), [(End.TRUNCATED, Ended.EARLY), (End.RESET, Ended.RESET)])
async def test_a_cut_comes_at_its_byte_and_at_its_time(tmp_path: Path, end: End, ended: Ended) -> None:
    tape = stream(tmp_path / "tape.yaml", 50, [(100, "data: 1\n\n"), (150, "data: 2")], 400, end)
    async with playing(tape, pace=ORIGINAL) as player:
        heard = await player.ask("POST", CHAT, "hello")
    assert (heard.cuts, heard.ended) == ([b"data: 1\n\n", b"data: 2"], ended)
    assert heard.end_at >= 0.398


async def test_a_reset_waits_for_a_slow_reader(tmp_path: Path) -> None:
    """A reset throws away what has not arrived: it comes when the last byte before it has."""
    size = 2 << 20
    tape = stream(tmp_path / "tape.yaml", 0, [(0, "x" * size)], 0, End.RESET)
    async with playing(tape) as player, Connection(player.origin, receive_buffer=1 << 15) as client:
        client.send("POST", CHAT, "hello")
        await client.head()
        remaining = asyncio.create_task(client.rest())
        while not remaining.done():  # a look now and then
            client.transport.pause_reading()
            await asyncio.sleep(0.08)
            client.transport.resume_reading()
            await asyncio.sleep(0.002)
        heard = await remaining
    assert (len(heard.body), heard.ended) == (size, Ended.RESET)


async def test_a_client_that_leaves_is_no_trouble(tmp_path: Path) -> None:
    tape = stream(tmp_path / "tape.yaml", 0, [(10 * n, f"data: {n}\n\n") for n in range(100)], 1000)
    async with playing(tape, pace=ORIGINAL) as player:
        async with Connection(player.origin) as client:
            client.send("POST", CHAT, "hello")
            await client.head()
            await client.piece()
        async with asyncio.timeout(PATIENCE_S):
            while not player.journal:
                await asyncio.sleep(0.01)
        assert player.outcomes == ["played"]
        assert (await player.ask("POST", CHAT, "hello")).ended == Ended.COMPLETE


async def test_streams_run_side_by_side(tmp_path: Path) -> None:
    tape = stream(tmp_path / "tape.yaml", 100, FRAMES, 700)
    async with playing(tape, pace=ORIGINAL) as player:
        answers = await asyncio.gather(*(player.ask("POST", CHAT, "hello") for _ in range(20)))
    assert {entry.body for entry in answers} == {b"".join(data.encode() for _, data in FRAMES)}
    assert max(entry.end_at for entry in answers) < 5, "not one after the other"


async def test_http_1_0(tmp_path: Path) -> None:
    tape = stream(tmp_path / "tape.yaml", 0, FRAMES, 0)
    async with playing(tape) as player, Connection(player.origin) as client:
        client.write(b'POST /v1/chat/completions HTTP/1.0\r\nContent-Length: 7\r\n\r\n"hello"', "POST")
        heard = await client.rest()
    assert (heard.framing, heard.ended) == ("close", Ended.COMPLETE)
    assert heard.body == b"".join(data.encode() for _, data in FRAMES)


# ------------------------------------------------------------------------------------------------ order


def said(heard: Heard) -> Any:
    return heard.json["said"] if heard.status == 200 else heard.status


SAME = [item(f'{{"said": {number}}}') for number in range(3)]


@pytest.mark.parametrize(
    ("rule", "answers"),
    [
        (OnExhausted.ERROR, [0, 1, 2, 424, 424]),
        (OnExhausted.REPEAT, [0, 1, 2, 2, 2]),
        (OnExhausted.CYCLE, [0, 1, 2, 0, 1]),
    ],
)
async def test_identical_requests_in_recorded_order(tmp_path: Path, rule: OnExhausted, answers: list[int]) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME)
    async with playing(tape, on_exhausted=rule) as player:
        assert [said(await player.ask("POST", CHAT, "hello")) for _ in answers] == answers
        await player.ask("POST", "/@/rewind")
        assert [said(await player.ask("POST", CHAT, "hello")) for _ in answers] == answers


async def test_an_exhausted_queue_says_so(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", SAME[0])
    async with command("play", tape, "--on-exhausted", "error") as process:
        assert said(await process.ask("POST", CHAT, "hello")) == 0
        missed = await process.ask("POST", CHAT, "hello")
        assert (
            "#1 is the same request, but every recording of it has been played already."
            in missed.json["error"]["message"]
        )
        assert await process.stop() == 1


@pytest.mark.parametrize("rule", ["error", "repeat", "cycle"])
async def test_the_option_on_exhausted(tmp_path: Path, rule: str) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME[:2])
    async with command("play", tape, "--on-exhausted", rule) as process:
        answers = [said(await process.ask("POST", CHAT, "hello")) for _ in range(3)]
    assert answers == [0, 1, {"error": 424, "repeat": 1, "cycle": 0}[rule]]


async def test_several_cassettes_and_folders_are_one_tape(tmp_path: Path) -> None:
    (tmp_path / "many" / "deep").mkdir(parents=True)
    entry = cassette(tmp_path / "one.yaml", item('{"said": 1}'))
    cassette(tmp_path / "many" / "b.yml", item('{"said": 3}'))
    cassette(tmp_path / "many" / "a.yaml", item('{"said": 2}'), item('{"said": "other"}', prompt="other"))
    cassette(tmp_path / "many" / "deep" / "c.yaml", item('{"said": 4}'))
    (tmp_path / "many" / "notes.txt").write_text("not a cassette")
    async with playing(entry, tmp_path / "many", on_exhausted=OnExhausted.ERROR) as player:
        answers = [said(await player.ask("POST", CHAT, "hello")) for _ in range(5)]
        assert answers == [1, 2, 3, 4, 424]
        assert said(await player.ask("POST", CHAT, "other")) == "other"
        assert [first.recording for first in player.journal if first.recording] == [1, 2, 4, 5, 3]


# ------------------------------------------------------------------------------------------------ law 8: misses


def chat(text: str, **options: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **options}


def asked(value: Any) -> str:
    return item('{"said": 0}').replace("'\"hello\"'", f"'{json.dumps(value)}'")


async def test_the_shape_of_a_miss(tmp_path: Path) -> None:
    cassette(tmp_path / "tape.yaml", asked(chat("x", n=2)), asked(chat("Say hello")))
    async with command("play", "tape.yaml", cwd=tmp_path) as process:
        missed = await process.ask("POST", CHAT, chat("Say hi"))
        assert missed.status == 424
        assert missed.reason == "Failed Dependency"
        assert sorted(missed.headers) == [
            ("Content-Length", str(len(missed.body))),
            ("Content-Type", "application/json"),
            ("x-openai-replay-error", "cassette_miss"),
            ("x-should-retry", "false"),
        ]
        assert missed.json == {
            "error": {
                "type": "openai_replay",
                "code": "cassette_miss",
                "param": None,
                "reason": "no_match",
                "message": (
                    "No recording matches POST /v1/chat/completions in tape.yaml (mode none).\n"
                    "The closest recording is #2. It differs in:\n"
                    "  messages[0].content: recorded 'Say hello'  now 'Say hi'\n"
                    "The next closest is #1. It differs in messages[0].content, n\n"
                    "To record it, run:  openai-replay record tape.yaml -- <your command>\n"
                    "To ignore it, set:  --ignore /messages/0/content"
                ),
            }
        }
        assert "MISS" in process.stderr
        assert "messages[0].content: recorded 'Say hello'  now 'Say hi'" in process.stderr
        assert await process.stop() == 1
        assert "1 missed" in process.stderr


@pytest.mark.parametrize(
    ("target", "body", "message"),
    [
        (CHAT, chat("Say hello", n=2), "n: recorded absent  now 2"),
        (CHAT, {"model": "gpt-4o-mini"}, "messages: recorded [{role: 'user', content: 'Say hello'}]  now absent"),
        (CHAT, b"not json", "body: recorded is json  now is bytes"),
        (CHAT + "?api-version=1", chat("Say hello"), "query: recorded ''  now 'api-version=1'"),
        (
            "/v1/responses",
            chat("Say hello"),
            "It has no recording of that method and path, only POST /v1/chat/completions (1)",
        ),
    ],
    ids=["another key", "a key less", "another kind", "query", "path"],
)
async def test_a_miss_names_the_difference(tmp_path: Path, target: str, body: Any, message: str) -> None:
    tape = cassette(tmp_path / "tape.yaml", asked(chat("Say hello")))
    async with playing(tape) as player:
        missed = await player.ask("POST", target, body)
        assert missed.status == 424
        assert message in missed.json["error"]["message"]


async def test_the_closest_is_not_one_that_is_wholly_unlike(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", item('{"said": 1}', prompt="unlike"), asked(chat("Say hello")))
    async with playing(tape) as player:
        missed = await player.ask("POST", CHAT, chat("Say hi"))
        assert "The closest recording is #2" in missed.json["error"]["message"]


async def test_a_miss_of_another_method(tmp_path: Path) -> None:
    async with playing(cassette(tmp_path / "tape.yaml", asked(chat("x")))) as player:
        head = await player.ask("HEAD", CHAT)
        assert (head.status, head.body, head.ended) == (424, b"", Ended.COMPLETE)
        assert "no recording of that method and path" in (await player.ask("GET", CHAT)).json["error"]["message"]


async def test_a_miss_tells_no_secret(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", asked(chat("x")))
    key = "sk-proj-0123456789abcdefghijklmnop"
    async with command("play", tape) as process:
        missed = await process.ask(
            "POST", f"{CHAT}?api-key={key}", chat(f"it is {key}"), [("Authorization", f"Bearer {key}")]
        )
        journal = await process.ask("GET", "/@/journal")
        assert key.encode() not in missed.body + journal.body + process.stderr.encode()
        assert missed.status == 424


SDK = """
import openai
client = openai.OpenAI(max_retries=2)
try:
    client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Say hi"}])
except openai.OpenAIError as error:
    print(type(error).__name__, error.status_code, error.code, "The closest recording is #1" in str(error))
"""


async def test_the_sdk_makes_one_attempt(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", asked(chat("Say hello")))
    result = await run("play", tape, "--", sys.executable, "-c", SDK)
    assert result.stdout == "APIStatusError 424 cassette_miss True\n"
    assert result.stderr.count("MISS") == 1
    assert "1 missed" in result.stderr
    assert result.code == 1, "the child has swallowed the error and ended with 0"


# ------------------------------------------------------------------------------------------------ options


async def test_ignore(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", asked(chat("Say hello", user="ada")))
    async with command("play", tape, "--ignore", "/user", "--ignore", "/messages/*/content") as process:
        assert said(await process.ask("POST", CHAT, chat("Say hi", user="bob"))) == 0
        assert (await process.ask("POST", CHAT, chat("Say hi", n=2))).status == 424


async def test_strict(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME[:2], asked(chat("Say hello")))
    async with command("play", tape, "--strict") as process:
        await process.ask("POST", CHAT, "hello")
        await process.ask("POST", CHAT, "hello")
        await process.ask("POST", CHAT, "hello")
        assert await process.stop() == 1
        assert f"1 not played:\n  #3 POST {CHAT}  {tape}" in process.stderr
    async with command("play", tape, "--strict") as process:
        for body in ("hello", "hello", chat("Say hello")):
            await process.ask("POST", CHAT, body)
        assert await process.stop() == 0
    async with command("play", tape) as process:
        assert await process.stop() == 0


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ([], ["20", "20123"]),
        (["--retry-after", "keep"], ["20", "20123"]),
        (["--retry-after", "0"], ["0", "0"]),
        (["--retry-after", "0.25"], ["0.25", "250"]),
    ],
    ids=["default", "keep", "0", "0.25"],
)
async def test_retry_after(tmp_path: Path, option: list[str], values: list[str]) -> None:
    headers = (("content-type", "application/json"), ("Retry-After", "20"), ("retry-after-ms", "20123"))
    tape = cassette(tmp_path / "tape.yaml", item("{}", status=429, headers=headers), item('{"said": 1}', prompt="x"))
    async with command("play", tape, *option) as process:
        heard = await process.ask("POST", CHAT, "hello")
        assert [heard.header("retry-after"), heard.header("retry-after-ms")] == values
        assert (await process.ask("POST", CHAT, "x")).header("retry-after") is None, "none is made up"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "Missing argument"),
        (
            ["{tape}", "--pace", "fast"],
            2,
            "Error: --pace: 'fast' is not a pace.\nWrite instant, original, a speed",
        ),
        (["{tape}", "--pace", "0x"], 2, "'0x' is not a pace"),
        (["{tape}", "--pace", "original,max-gap=5"], 2, "'5' is not a duration"),
        (["{tape}", "--on-exhausted", "explode"], 2, "explode"),
        (["{tape}", "--retry-after", "soon"], 2, "--retry-after: 'soon' is neither `keep` nor a number"),
        (["{tape}", "--port", "70000"], 2, "--port"),
        (["{tape}", "--upstream", "http://x/v1"], 2, "--upstream"),
        (["{tape}", "--host", "203.0.113.1", "--allow-remote", "--port", "0"], 3, "Could not listen on 203.0.113.1:0"),
        (["{tape}", "--port", "0", "--ready-file", "{tape}/x"], 3, "Could not write"),
        (["{tape}", "--", "/no/such/program"], 3, "Could not run '/no/such/program': No such file or directory"),
    ],
)
def test_usage(tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME)
    result = invoke("play", *(entry.format(tape=tape) for entry in arguments))
    assert result.code == code, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr


# ------------------------------------------------------------------------------------------------ broken cassettes

GOOD = "version: 1\ninteractions:\n" + SAME[0]


def wire(frames: str, end: str) -> bytes:
    return f"    wire: {{head: 0, frames: {frames}, end: {end}}}\n".encode()


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        (None, None, "does not exist"),
        (b"", None, "is empty"),
        (b"\n  \n", None, "is empty"),
        (b"just words\n", 1, "is not a cassette: it has no `interactions`"),
        (b"# nothing\nversion: 1\n", 2, "is not a cassette: it has no `interactions`"),
        (b"version: 1\ninteractions: 7\n", 2, "`interactions` is not a list"),
        (GOOD.replace("version: 1", "version: 2").encode(), 1, "has version 2, and this program reads version 1"),
        (GOOD.replace("    body: {string:", "   - body: {string:").encode(), 13, "is not YAML: "),
        (GOOD.encode() + b"<<<<<<< HEAD\n", 14, "is not YAML: "),
        (GOOD.replace("said", "s\x01d").encode(), 13, "is not YAML: "),
        (GOOD.replace("said", "s\udce9d").encode("utf-8", "surrogateescape"), 13, "is not UTF-8 text"),
        (GOOD.replace("200", "!!python/object:os.system 200").encode(), 10, "has a tag that cassettes must not have"),
        (GOOD.replace("200", "!mine 200").encode(), 10, "has a tag that cassettes must not have"),
        (GOOD.replace("{code: 200", "{code: fine").encode(), 10, "interaction 1: response.status.code: "),
        (GOOD.replace("    method: POST\n", "").encode(), 4, "interaction 1: request.method: "),
        (GOOD.encode() + wire("1-2", "1 complete"), 14, "interaction 1: response.wire.frames: "),
        (GOOD.encode() + wire("0+11", "1 exploded"), 14, "interaction 1: response.wire.end: "),
        (b"- request: {}\n  response: {}\n", 1, "is from vcrpy before 1.0"),
        (GOOD.replace("- req", "# 1  POST /v1/x  200  5 ms\n- req").encode(), 4, "interaction 1 is torn: it has no"),
        (GOOD[:-20].encode(), 14, "is not YAML: "),
    ],
    ids=[
        "missing", "empty", "blank", "words", "no interactions", "no list", "version 2", "not YAML", "merge conflict",
        "control character", "not UTF-8", "python tag", "unknown tag", "no number", "no method", "frames", "end",
        "vcrpy 0", "torn", "cut off",
    ],
)  # fmt: skip
def test_a_cassette_that_does_not_load(tmp_path: Path, text: bytes | None, line: int | None, expected: str) -> None:
    tape = tmp_path / "tape.yaml"
    if text is not None:
        tape.write_bytes(text)
    result = invoke("play", tape, "--port", "0")
    location = f"{tape}:{line}" if line else f"{tape}"
    assert result.stderr.startswith(f"Error: {location}: {expected}")
    assert len(result.stderr.splitlines()) <= 2
    assert (result.code, result.stdout) == (3, "")
    assert (tape.read_bytes() if tape.exists() else None) == text
    if text is not None and text.strip():  # to record into it is no better
        second_run = invoke("record", tape, "--port", "0")
        assert (second_run.code, second_run.stderr) == (3, result.stderr)
        assert tape.read_bytes() == text


@pytest.mark.parametrize("text", [None, b"", b"version: 1\n"], ids=["missing", "empty", "not a cassette"])
def test_what_is_wrong_comes_with_a_hint(tmp_path: Path, text: bytes | None) -> None:
    tape = tmp_path / "tape.yaml"
    if text is not None:
        tape.write_bytes(text)
    result = invoke("play", tape, "--port", "0")
    assert re.search(r"\n\S.+", result.stderr)


def test_a_folder_without_cassettes(tmp_path: Path) -> None:
    result = invoke("play", tmp_path, "--port", "0")
    assert result.code == 3
    assert result.stderr.startswith(f"Error: {tmp_path}: has no cassettes.\n")


async def test_an_edited_body_is_cut_anew_with_a_warning(tmp_path: Path) -> None:
    tape = stream(tmp_path / "tape.yaml", 0, FRAMES, 700)
    text = tape.read_text().replace("data: 1", "data: longer than before")
    tape.write_text(text)
    async with command("play", tape) as process:
        assert re.search(
            rf"Warning: {tape}:\d+: interaction 1: the frames sum up to 45 bytes, the body has 62", process.stderr
        )
        heard = await process.ask("POST", CHAT, "hello")
    assert heard.cuts == [
        b"data: 0\n\n",
        b"data: longer than before\n\n",
        b"data: 2\n\n",
        b"data: 3\n\n",
        b"data: 4\n\n",
    ]
    assert tape.read_text() == text


# ------------------------------------------------------------------------------------------------ no requests

GET = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        GET + b"User-Agent: a\r\nUser-Agent: b\r\n\r\n",
        GET + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        GET + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        GET + b"Content-Length: -3\r\n\r\nabc",
        GET + b"no colon\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET http://127.0.0.1/v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        b"POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    ],
    ids=[
        "two User-Agents", "two Content-Lengths", "two framings", "a negative length", "no colon", "TLS", "nonsense",
        "a proxy request", "an asterisk", "no chunk size", "a wrong chunk size",
    ],
)  # fmt: skip
async def test_a_request_that_is_none(tmp_path: Path, sent: bytes) -> None:
    async with playing(cassette(tmp_path / "tape.yaml", *SAME)) as player:
        async with Connection(player.origin) as client:
            client.write(sent)
            heard = await client.rest()
            assert heard.status == 400
            assert heard.header("content-type") == "application/json"
            assert heard.ended == Ended.COMPLETE
            error = heard.json["error"]
            assert (error["type"], error["code"], error["param"]) == ("openai_replay", "bad_request", None)
            assert error["message"]
            assert "Traceback" not in error["message"]
            assert "<" not in error["message"]
        assert said(await player.ask("POST", CHAT, "hello")) == 0, "the server goes on"


async def test_a_request_that_breaks_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with playing(cassette(tmp_path / "tape.yaml", *SAME)) as player:
        for sent in (
            b"POST /v1/chat",
            GET + b"Content-Length: 10\r\n\r\n123",
            GET + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        ):
            async with Connection(player.origin) as client:
                client.write(sent)
                await asyncio.sleep(0.02)
        assert said(await player.ask("POST", CHAT, "hello")) == 0
        assert player.outcomes == ["played"], "what was not asked to the end is not missed"
    assert "Traceback" not in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ the control API


async def test_health_journal_and_rewind(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME, asked(chat("Say hello")))
    async with command("play", tape, "--on-exhausted", "error") as process:
        health = (await process.ask("GET", "/@/health")).json
        assert (health["status"], health["mode"], health["recordings"]) == ("ok", "none", 4)
        await process.ask("POST", CHAT, "hello")
        await process.ask("POST", CHAT, "unknown")
        journal = (await process.ask("GET", "/@/journal?x=1")).json
        assert (journal["played"], journal["missed"], journal["recorded"], journal["unplayed"]) == (1, 1, 0, 3)
        played, missed = journal["exchanges"]
        assert (played["outcome"], played["method"], played["path"]) == ("played", "POST", CHAT)
        assert (played["status"], played["frames"], played["recording"], played["end"]) == (200, 1, 1, "complete")
        assert (missed["outcome"], missed["status"], missed["recording"]) == ("missed", 424, None)
        assert missed["error"].startswith("No recording matches POST /v1/chat/completions")
        assert (await process.ask("POST", "/@/rewind")).status == 200
        assert (await process.ask("GET", "/@/journal")).json["unplayed"] == 4
        assert said(await process.ask("POST", CHAT, "hello")) == 0
        assert await process.stop() == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/@/", 404),
        ("GET", "/@/nothing", 404),
        ("POST", "/@/health", 405),
        ("GET", "/@/rewind", 405),
        ("DELETE", "/@/journal", 405),
    ],
)
async def test_what_the_control_api_has_not(tmp_path: Path, method: str, path: str, status: int) -> None:
    async with playing(cassette(tmp_path / "tape.yaml", *SAME)) as player:
        heard = await player.ask(method, path)
        assert player.outcomes == []
    assert heard.status == status
    assert heard.header("x-should-retry") == "false"
    assert (heard.json["error"]["type"], heard.json["error"]["code"]) == ("openai_replay", "not_found")


async def test_the_control_api_is_for_this_machine_only(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; it only asks which address would be used
        except OSError:
            pytest.skip("this machine has only loopback addresses")
        address = probe.getsockname()[0]
    if address.startswith("127."):
        pytest.skip("this machine has only loopback addresses")
    async with command("play", tape, "--host", "0.0.0.0", "--allow-remote") as process:
        port = process.origin.rpartition(":")[2]
        outside, inside = f"http://{address}:{port}", f"http://127.0.0.1:{port}"
        assert said(await ask(outside, "POST", CHAT, "hello")) == 0
        assert (await ask(inside, "GET", "/@/health")).status == 200
        refused = await ask(outside, "GET", "/@/health")
        assert refused.status in (403, 404)
        assert refused.json["error"]["type"] == "openai_replay"


# ------------------------------------------------------------------------------------------------ the command

CHILD = """
import json, os, sys, urllib.request
keys = ("OPENAI_BASE_URL", "OPENAI_API_KEY", "NO_PROXY", "no_proxy")
print(json.dumps({key: os.environ.get(key) for key in keys}))
url, headers = os.environ["OPENAI_BASE_URL"] + "/chat/completions", {"Content-Type": "application/json"}
request = urllib.request.Request(url, b'"hello"', headers)
print(urllib.request.urlopen(request).read().decode())
"""


async def test_the_child_command(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME)
    env = {"HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1"}
    result = await run("play", tape, "--", sys.executable, "-c", CHILD, env=env)
    assert result.code == 0, result.stderr
    environment, answer = map(json.loads, result.stdout.splitlines())
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", environment["OPENAI_BASE_URL"])
    assert environment["OPENAI_API_KEY"]
    assert environment["NO_PROXY"] == environment["no_proxy"] == "127.0.0.1,localhost,::1"
    assert answer == {"said": 0}


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("pass", 0),
        ("import sys; sys.exit(7)", 7),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 128 + SIGKILL),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 128 + SIGTERM),
    ],
    ids=["0", "7", "SIGKILL", "SIGTERM"],
)
async def test_the_childs_exit_code_is_ours(tmp_path: Path, program: str, code: int) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME)
    assert (await run("play", tape, "--", sys.executable, "-c", program)).code == code


MISSES = """
import os, sys, urllib.error, urllib.request
try:
    urllib.request.urlopen(os.environ["OPENAI_BASE_URL"] + "/nothing")
except urllib.error.HTTPError as error:
    assert error.code == 424
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize(("custom", "code"), [(0, 1), (7, 7)])
async def test_misses_that_the_child_swallowed(tmp_path: Path, custom: int, code: int) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME)
    result = await run("play", tape, "--", sys.executable, "-c", MISSES, str(custom))
    assert result.code == code
    assert "1 missed" in result.stderr


async def test_strict_with_a_child(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME)
    result = await run("play", tape, "--strict", "--", sys.executable, "-c", CHILD)
    assert result.code == 1
    assert "2 not played:" in result.stderr


@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
async def test_a_signal_reaches_the_child(tmp_path: Path, number: Signals) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME)
    program = "import signal, sys, time; print('started', file=sys.stderr, flush=True); time.sleep(60)"
    async with command("play", tape, "--", sys.executable, "-c", program) as process:
        await process.says("started")
        assert await process.stop(number) == 128 + number


@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
async def test_a_signal_lets_finish_what_is_under_way(tmp_path: Path, number: Signals) -> None:
    tape = stream(tmp_path / "tape.yaml", 0, FRAMES, 700)
    async with command("play", tape, "--pace", "original") as process, Connection(process.origin) as client:
        client.send("POST", CHAT, "hello")
        await client.head()
        await client.piece()
        process.signal(number)
        heard = await client.rest()
        assert (len(heard.pieces), heard.ended) == (len(FRAMES), Ended.COMPLETE)
        assert await process.ended() == 0


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    tape = stream(tmp_path / "tape.yaml", 0, [(0, "data: 1\n\n"), (60_000, "data: 2\n\n")], 60_000)
    async with command("play", tape, "--pace", "original") as process, Connection(process.origin) as client:
        client.send("POST", CHAT, "hello")
        await client.head()
        await client.piece()
        process.signal(SIGTERM)
        await asyncio.sleep(0.3)
        assert process.popen.poll() is None
        assert await process.stop(SIGTERM) == -SIGTERM


async def test_stdout_carries_exactly_the_base_url(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME)
    for quiet in ([], ["--quiet"]):
        async with command("play", tape, *quiet) as process:
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", process.base_url)
            await process.ask("POST", CHAT, "hello")
            assert await process.stop() == 0
            assert process.stdout == process.base_url + "\n"
            if quiet:
                assert process.stderr == ""
            else:
                assert re.search(r"^play    POST /v1/chat/completions  200  1 frame  \d+ ms", process.stderr, re.M)
                assert "0 recorded, 1 played" in process.stderr


async def test_quiet_still_tells_of_misses(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME)
    async with command("play", tape, "-q") as process:
        await process.ask("POST", CHAT, "unknown")
        assert await process.stop() == 1
        assert "MISS" in process.stderr


async def test_the_ready_file(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME)
    ready = tmp_path / "ready"
    async with command("play", tape, "--ready-file", ready, ready=False) as process:
        async with asyncio.timeout(PATIENCE_S):
            while not ready.exists():
                await asyncio.sleep(0.01)
        text = ready.read_text()
        assert said(await ask(text.strip().removesuffix("/v1"), "POST", CHAT, "hello")) == 0
        assert await process.stop() == 0
        assert text == process.stdout
    assert not ready.exists()
    assert os.listdir(tmp_path) == ["tape.yaml"]


@pytest.mark.parametrize(
    ("environment", "pyproject", "arguments", "answers"),
    [
        ({}, "", [], [0, 1, 1]),
        ({}, 'on-exhausted = "cycle"', [], [0, 1, 0]),
        ({"OPENAI_REPLAY_ON_EXHAUSTED": "error"}, 'on-exhausted = "cycle"', [], [0, 1, 424]),
        ({"OPENAI_REPLAY_ON_EXHAUSTED": "error"}, 'on-exhausted = "cycle"', ["--on-exhausted", "repeat"], [0, 1, 1]),
    ],
    ids=["default", "pyproject", "environment", "flag"],
)
async def test_flag_before_environment_before_pyproject_before_default(
    tmp_path: Path, environment: dict[str, str], pyproject: str, arguments: list[str], answers: list[int]
) -> None:
    cassette(tmp_path / "tape.yaml", *SAME[:2])
    (tmp_path / "pyproject.toml").write_text(f"[tool.openai-replay]\n{pyproject}\n")
    async with command("play", "tape.yaml", *arguments, env=environment, cwd=tmp_path) as process:
        assert [said(await process.ask("POST", CHAT, "hello")) for _ in answers] == answers


async def test_a_tape_is_never_written_to(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME)
    before = (tape.read_bytes(), tape.stat().st_mtime_ns)
    tape.chmod(0o444)
    async with playing(tape) as player:
        await player.ask("POST", CHAT, "hello")
        await player.ask("POST", CHAT, "unknown")
        await player.ask("POST", "/@/rewind")
    assert (tape.read_bytes(), tape.stat().st_mtime_ns) == before
    assert len(interactions(tape)) == 3
    assert os.listdir(tmp_path) == ["tape.yaml"]


async def test_strict_counts_what_was_played_by_name(tmp_path: Path) -> None:
    """The tape of the whole folder does not count where its cassettes are played one by one; an ended session does."""
    cassette(tmp_path / "one.yaml", *SAME[:1])
    async with command("play", tmp_path, "--strict") as process:
        await process.ask("POST", f"/@one{CHAT}", "hello")
        assert await process.stop() == 0
    async with command("play", tmp_path, "--strict") as process:
        opened = await process.ask("POST", "/@/sessions", {"cassette": "one"})
        await process.ask("DELETE", f"/@/sessions/{opened.json['id']}", b"")
        assert await process.stop() == 1
        assert "1 not played" in process.stderr


async def test_a_session_that_is_not_there_is_a_miss(tmp_path: Path) -> None:
    cassette(tmp_path / "one.yaml", *SAME[:1])
    async with command("play", tmp_path) as process:
        heard = await process.ask("POST", f"/@typo{CHAT}", "hello")
        assert (heard.status, heard.header("x-should-retry")) == (424, "false")
        assert await process.stop() == 1
        assert "has no cassette 'typo'" in process.stderr


async def test_head_gets_no_body_of_ours(tmp_path: Path) -> None:
    async with playing(cassette(tmp_path / "tape.yaml", *SAME)) as player, Connection(player.origin) as client:
        missed = await client.ask("HEAD", "/v1/nope", b"")
        assert (missed.status, missed.body) == (424, b"")
        assert (await client.ask("POST", CHAT, "hello")).status == 200


async def test_a_double_slash_at_the_start(tmp_path: Path) -> None:
    azure = item('{"said": 1}').replace("https://api.openai.com/v1", "https://azure.example//openai/deployments/x")
    async with playing(cassette(tmp_path / "tape.yaml", azure)) as player:
        assert (await player.ask("POST", "//openai/deployments/x/chat/completions", "hello")).status == 200
