"""Playing: recordings are played at once or on time, in their order, with the chosen options."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from openai_replay.model import End, OnExhausted
from openai_replay.playback.pace import INSTANT, ORIGINAL, Pace, parse_pace
from openai_replay.playback.scheduler import Next, Pause, Playback, Scheduler
from openai_replay.server.http import kernel_timestamps
from tests.e2e.samples import FRAMES, SAME, asked, chat, said, stream
from tests.support.proxy import (
    CHAT,
    PATIENCE_S,
    Connection,
    Ended,
    cassette,
    command,
    invoke,
    item,
    playing,
)

# ------------------------------------------------------------------------------------------------ promise 2: on time


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
        ([], 2, "Error: The argument CASSETTE... is missing."),
        (
            ["{tape}", "--pace", "fast"],
            2,
            "Error: --pace: 'fast' is not a pace.\nWrite instant, original, or a speed",
        ),
        (["{tape}", "--pace", "0x"], 2, "'0x' is not a pace"),
        (["{tape}", "--pace", "original,max-gap=5"], 2, "'5' is not a duration"),
        (
            ["{tape}", "--on-exhausted", "explode"],
            2,
            "Error: --on-exhausted: 'explode' is not one of 'error', 'repeat'",
        ),
        (["{tape}", "--retry-after", "soon"], 2, "--retry-after: 'soon' is neither `keep` nor a number"),
        (["{tape}", "--port", "70000"], 2, "Error: --port: 70000 is not a number from 0 to 65535."),
        (["{tape}", "--upstream", "http://x/v1"], 2, "Error: --upstream is not an option."),
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
