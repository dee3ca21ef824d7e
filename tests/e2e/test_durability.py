"""Law 4: by the time a client has seen the end of an answer, `kill -9` cannot lose it; and no file loads with a wrong
body.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

import pytest
import yaml

from openai_replay.cassette.cassette import Cassette
from openai_replay.config.rules import Rules
from openai_replay.model import End, Frame, Head, Interaction, Request, Response
from tests.support.proxy import (
    CHAT,
    OPENAI_REPLAY,
    Connection,
    Ended,
    Heard,
    Over,
    Process,
    ask,
    cassette,
    command,
    interactions,
    invoke,
    item,
    playing,
    recording,
)
from tests.support.upstream import Chunk, Received, Send, Sleep, Step, Upstream, head, plain, sse
from tests.support.upstream import End as LastChunk

#: Rounds of `kill -9`; `make soak` does more of them.
ROUNDS = int(os.environ.get("OPENAI_REPLAY_KILL_ROUNDS", "8"))
ROUNDS_A_FILE = 20
#: Streams that are recorded when it comes.
CLIENTS = 50 if "OPENAI_REPLAY_KILL_ROUNDS" in os.environ else 8

# ------------------------------------------------------------------------------------------------ kill -9


def chunks_for(requests: str) -> list[bytes]:
    """Return the stream of the simulated upstream for this request: frames of many sizes, all different."""
    choice = random.Random(requests)
    count = choice.choice([1, 2, 5, 20])
    size = choice.choice([10, 200, 1000, 4000])
    events = [f"data: {requests} {number} 🌍 {'x' * choice.randrange(size)}\n\n".encode() for number in range(count)]
    return [*events, b"data: [DONE]\n\n"]


def endless(request: Received) -> list[Step]:
    return sse(*map(Chunk, chunks_for(request.json())), interval=0.001, ttft=0.002)


async def keep_asking(process: Process, name: str, observed: dict[str, bytes], to_the_end: bool) -> None:
    """Ask one thing after the other until the proxy is gone; note in `seen` every answer whose end has come.

    Not `to_the_end`: do as SDKs do, and leave at `[DONE]`.
    """
    number = 0
    try:
        while True:
            number += 1
            requests = f"{name}-{number}"
            async with Connection(process.origin) as client:
                client.send("POST", CHAT, requests)
                await client.head()
                while (piece := await client.piece()) is not None:
                    if not to_the_end and b"[DONE]" in piece:
                        break
                else:
                    if client.heard.ended is not Ended.COMPLETE:
                        return
                observed[requests] = client.heard.body
    except (Over, ConnectionError):
        return


def parsed(data: bytes, loader: type = yaml.CSafeLoader) -> Any:
    """Return `data` as a loader without knowledge of this program reads it."""
    return yaml.load(data, loader)  # noqa: S506 - both loaders in use here are safe ones


def loads_everywhere(tape: Path) -> None:
    """The file is whole for every loader, or for none: a NUL is no YAML."""
    data = tape.read_bytes()
    if not data:
        return  # killed between making the file and writing to it
    if b"\0" in data:
        with pytest.raises(yaml.YAMLError):
            parsed(data)
        return
    for interaction in parsed(data)["interactions"]:
        body = interaction["response"]["body"]["string"]
        assert body.encode() == b"".join(chunks_for(json.loads(interaction["request"]["body"])))
        assert interaction["response"]["wire"]["end"].endswith("complete")


async def killed(process: Process, options: str, chance: random.Random) -> None:
    """End it: by `kill -9`, or by a storm of SIGTERM, of which the second ends it at once."""
    if options == "kill -9":
        process.signal(SIGKILL)
    else:
        for _ in range(chance.choice([1, 1, 2, 5])):
            process.signal(SIGTERM)
            await asyncio.sleep(chance.uniform(0.0, 0.05))
    await process.ended()


@pytest.mark.parametrize("options", ["kill -9", pytest.param("SIGTERM storm", marks=pytest.mark.slow)])
@pytest.mark.parametrize("seed", range(-(-ROUNDS // ROUNDS_A_FILE)))
async def test_nothing_that_a_client_has_seen_the_end_of_is_lost(
    tmp_path: Path, seed: int, options: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tape = tmp_path / "tape.yaml"
    chance = random.Random(seed)
    rounds = min(ROUNDS_A_FILE, ROUNDS - seed * ROUNDS_A_FILE)
    observed: dict[str, bytes] = {}
    torn = 0
    async with Upstream(endless) as up:
        for number in range(rounds):
            async with command("record", tape, "--upstream", up.url, "-q") as process:
                clients = [
                    asyncio.create_task(keep_asking(process, f"{number}-{client}", observed, bool(client % 2)))
                    for client in range(CLIENTS)
                ]
                await asyncio.sleep(chance.uniform(0.02, 0.4))
                await killed(process, options, chance)
                await asyncio.gather(*clients)
            if tape.exists():
                torn += b"\0" in tape.read_bytes()
                loads_everywhere(tape)
    assert observed
    async with command("record", tape, "--upstream", "http://127.0.0.1:1/v1") as process:  # repairs it, and no more
        assert await process.stop() == 0
    on_tape = {json.loads(interaction.request.body): interaction.response for interaction in interactions(tape)}
    for requests, body in observed.items():
        assert requests in on_tape, f"{requests} was answered to the end and is lost"
        assert on_tape[requests].body == body
    for requests, response in on_tape.items():
        assert response.body == b"".join(chunks_for(requests))
        assert response.end is End.COMPLETE
    with capsys.disabled():
        print(
            f" [{rounds} times {options}, {len(observed)} ends seen, {len(on_tape)} on the tape, {torn} torn]", end=""
        )


COMPLETED = b'event: response.completed\ndata: {"output": "' + b"x" * 5000 + b'"}\n\n'


@pytest.mark.parametrize(
    "last",
    [
        [b"data: [DONE]\n\n"],
        [b"event: done\ndata: [DONE]\n\n"],
        [COMPLETED],
        [COMPLETED[:3000], COMPLETED[3000:]],
        [COMPLETED[:9], COMPLETED[9:]],
        [b"data: [DO", b"NE]\n\n"],
        [b"data: [DONE]\n\n", b"\n"],
    ],
    ids=["chat", "assistants", "responses", "in two reads", "its name in two reads", "[DONE] in two reads", "more"],
)
async def test_the_last_event_comes_when_the_tape_has_it(tmp_path: Path, last: list[bytes]) -> None:
    """SDKs stop reading there. The upstream ends a moment later, as it does; whoever has the event has the tape."""
    tape = tmp_path / "tape.yaml"
    complete = b"data: 1\n\n" + b"".join(last).rstrip()
    steps: list[Step] = [Chunk(b"data: 1\n\n"), *map(Chunk, last), Sleep(0.01), LastChunk()]
    async with Upstream() as up, recording(up.url, tape) as proxy:
        headers = [("content-type", "text/event-stream"), ("transfer-encoding", "chunked")]
        up.script("POST", CHAT, [Send(head(200, "OK", headers)), *steps])
        for number in range(1, 6):
            async with Connection(proxy.origin) as client:
                client.send("POST", CHAT, {})
                heard = await client.head()
                while len(heard.body) < len(complete):
                    assert await client.piece() is not None
                assert heard.body.startswith(complete)
                assert len(read_whole(tape)) == number


async def test_the_end_of_a_body_with_a_length_comes_when_the_tape_has_it(tmp_path: Path) -> None:
    tape = tmp_path / "tape.yaml"
    async with Upstream() as up, recording(up.url, tape) as proxy:
        up.script("POST", CHAT, plain(b'{"a": 1}'))
        for number in range(1, 6):
            await proxy.ask("POST", CHAT, {})
            assert len(read_whole(tape)) == number


async def test_the_end_of_a_body_with_a_length_that_comes_in_pieces(tmp_path: Path) -> None:
    tape = tmp_path / "tape.yaml"
    async with Upstream() as up, recording(up.url, tape) as proxy:
        pieces: list[Step] = [Send(b'{"a"'), Sleep(0.01), Send(b": 1"), Sleep(0.01), Send(b"}")]
        up.script("POST", CHAT, [Send(head(200, "OK", [("content-length", "8")])), *pieces])
        for number in range(1, 6):
            async with Connection(proxy.origin) as client:
                client.send("POST", CHAT, {})
                heard = await client.head()
                while len(heard.body) < 8:
                    assert await client.piece() is not None
                assert len(read_whole(tape)) == number


async def test_recordings_that_follow_each_other_go_through_a_power_cut_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice a second at most; what comes last does not wait for that."""
    synced: list[int] = []  # how many there were
    monkeypatch.setattr(Cassette, "sync", lambda cassette: synced.append(cassette.added))
    started = time.monotonic()
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml") as proxy:
        up.script("POST", CHAT, plain(b"{}"))
        for _ in range(30):
            await proxy.ask("POST", CHAT, {})
        took_s = time.monotonic() - started
    assert synced[-1] == 30
    assert len(synced) <= 2 + took_s / 0.5


def read_whole(tape: Path) -> list[Interaction]:
    return interactions(tape) if tape.exists() else []


# ------------------------------------------------------------------------------------------------ torn

RULES = Rules()


def interaction(requests: str, body: bytes) -> Interaction:
    request = Request(
        "POST", f"https://api.openai.com{CHAT}", (("content-type", "application/json"),), requests.encode()
    )
    headers = (("content-type", "text/plain"),)
    return Interaction(request, Response(Head(200, "OK", headers), 1, (Frame(2, body),), 3))


def killed_after(writes: int, tape: Path, body: bytes) -> None:
    """In a process of its own: append to `tape`, and be killed after so many writes."""
    child = os.fork()
    if not child:
        try:
            real, remaining = os.pwrite, writes

            def counted(fd: int, data: bytes, position: int) -> int:
                nonlocal remaining
                if not remaining:
                    os.kill(os.getpid(), SIGKILL)
                remaining -= 1
                return real(fd, data, position)

            os.pwrite = counted  # type: ignore[assignment]
            Cassette.for_record(tape, RULES.key).append(interaction('"torn"', body))
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == SIGKILL


OLD = "version: 1\ninteractions:\n" + item('{"said": 1}')


@pytest.mark.parametrize(
    "before",
    [None, OLD, OLD.rstrip("\n"), OLD + "# by hand\n", OLD + "#" * (4096 - len(OLD.encode()) - 1) + "\n"],
    ids=["new", "one item", "no line feed at the end", "a comment at the end", "a page exactly"],
)
@pytest.mark.parametrize(("size", "writes"), [(10_000, 1), (3_000_000, 1), (3_000_000, 3)])
async def test_a_writer_that_was_killed_in_the_middle(
    tmp_path: Path, before: str | None, size: int, writes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    tape = tmp_path / "tape.yaml"
    if before is not None:
        tape.write_text(before)
    lacking = before is not None and not before.endswith("\n")  # it is added first, by a write of its own
    killed_after(writes + lacking, tape, b"line of text\n" * (size // 13))

    data = tape.read_bytes()
    assert b"\0" in data, "it was killed in time"
    for loader in (yaml.SafeLoader, yaml.CSafeLoader):
        with pytest.raises(yaml.YAMLError):
            parsed(data, loader)

    if before is not None:
        async with playing(tape) as player:  # leaves it out, and leaves it alone
            assert (await player.ask("POST", CHAT, "hello")).json == {"said": 1}
            assert (await player.ask("POST", CHAT, "torn")).status == 424
        warning = f"Warning: {tape}: a recorder was killed while it added the last recording, which is left out"
        assert warning in capsys.readouterr().err
        assert tape.read_bytes() == data

    async with Upstream() as up, recording(up.url, tape) as proxy:  # repairs it
        assert (tape.read_text() if tape.exists() else "") == (before or "") + "\n" * lacking
        up.script("POST", CHAT, plain(b'{"said": 2}'))
        assert (await proxy.ask("POST", CHAT, "new")).json == {"said": 2}
    assert tape.read_text().startswith(before or "version: 1\n")
    assert [json.loads(interaction.request.body) for interaction in interactions(tape)] == [
        *(["hello"] if before else []),
        "new",
    ]


async def test_another_recorder_takes_away_what_one_left_torn(tmp_path: Path) -> None:
    """It is running while the other one is killed: it must neither append behind the gap nor count what is torn."""
    tape = cassette(tmp_path / "tape.yaml", item('{"said": 1}'))
    running = Cassette.for_record(tape, RULES.key)
    killed_after(1, tape, b"line of text\n" * 1000)
    running.append(interaction('"new"', b"text\n"))
    assert [json.loads(interaction.request.body) for interaction in interactions(tape)] == ["hello", "new"]
    assert "# 2  POST" in tape.read_text()


@pytest.mark.parametrize("keep", range(0, 100, 7), ids=lambda percent: f"{percent} %")
def test_a_file_that_was_cut_off_elsewhere(tmp_path: Path, keep: int) -> None:
    """By a full disk while copying, by a crashed editor: it is refused with its line, or it loads what it has whole."""
    tape = tmp_path / "tape.yaml"
    writer = Cassette.for_record(tape, RULES.key)
    writer.append(interaction('"one"', b"first\n"))
    complete = len(tape.read_text())
    writer.append(interaction('"two"', b"second\nand more\n"))
    text = tape.read_text()
    cut = text[: complete + (len(text) - complete) * keep // 100]
    tape.write_text(cut)
    result = invoke("lint", tape)
    if result.code:
        assert str(tape) in result.stdout + result.stderr
    else:
        assert [interaction.response.body for interaction in interactions(tape)] == [b"first\n"]


# ------------------------------------------------------------------------------------------------ several writers


async def test_two_processes_record_into_one_cassette(tmp_path: Path) -> None:
    tape = tmp_path / "tape.yaml"
    entry = 40

    async def ask_many(process: Process, name: str) -> list[Heard]:
        requests = [f"{name}-{number}" for number in range(entry)]
        return await asyncio.gather(*(ask(process.origin, "POST", CHAT, entry) for entry in requests))

    async with (
        Upstream(endless) as up,
        command("record", tape, "--upstream", up.url) as first,
        command("record", tape, "--upstream", up.url) as second,
    ):
        for answers in await asyncio.gather(ask_many(first, "one"), ask_many(second, "other")):
            assert all(answer.ended is Ended.COMPLETE for answer in answers)
        assert [await first.stop(), await second.stop()] == [0, 0]
    on_tape = {json.loads(value.request.body): value.response.body for value in interactions(tape)}
    assert len(on_tape) == 2 * entry
    for requests, body in on_tape.items():
        assert body == b"".join(chunks_for(requests))
    numbers = [int(line.split()[1]) for line in tape.read_text("utf-8").splitlines() if line.startswith("# ")]
    assert numbers == list(range(1, 2 * entry + 1))


async def test_a_player_reads_while_a_recorder_writes(tmp_path: Path) -> None:
    tape = tmp_path / "tape.yaml"
    async with Upstream(endless) as up, command("record", tape, "--upstream", up.url) as process:
        await process.ask("POST", CHAT, "first")
        task = asyncio.gather(*(ask(process.origin, "POST", CHAT, f"x-{number}") for number in range(60)))
        for _ in range(20):
            async with playing(tape) as player:
                assert (await player.ask("POST", CHAT, "first")).body == b"".join(chunks_for("first"))
        await task


# ------------------------------------------------------------------------------------------------ the disk is full


@pytest.mark.parametrize("existing", [True, False])
async def test_a_full_disk(tmp_path: Path, existing: bool) -> None:
    tape = tmp_path / "tape.yaml"
    if existing:
        cassette(tape, item('{"said": 1}'))
    before = tape.read_bytes() if existing else None
    body = b"0123456789abcdef" * 20_000
    limited = (
        "bash",
        "-c",
        'ulimit -f 64 && exec "$@"',
        "bash",
        *OPENAI_REPLAY,
    )  # 64 KiB, or 32 where blocks are of 512
    async with Upstream() as up:
        up.script("POST", "/v1/large", plain(body, headers=[("content-type", "text/plain")]))
        up.script("POST", "/v1/small", plain(b"{}"))
        async with command("record", tape, "--upstream", up.url, "-q", program=limited) as process:
            heard = await process.ask("POST", "/v1/large", {})
            assert (heard.body, heard.ended) == (body, Ended.COMPLETE), "the client gets its answer all the same"
            assert (tape.read_bytes() if tape.exists() else None) == before
            assert "LOST" in process.stderr
            assert f"NOT RECORDED: {tape}: could not add a recording: File too large" in process.stderr
            journal = (await process.ask("GET", "/@/journal")).json
            assert (journal["lost"], journal["recorded"]) == (1, 0)
            assert (await process.ask("POST", "/v1/small", {})).body == b"{}"
            assert await process.stop() == 1
            assert "1 lost" in process.stderr, "even where it is told to be quiet"
    assert [interaction.request.path for interaction in interactions(tape)] == [
        *([CHAT] if existing else []),
        "/v1/small",
    ]


# ------------------------------------------------------------------------------------------------ cost


@contextmanager
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], tuple[int, int]]]:
    """Bytes written and read by os functions inside the block."""
    totals = [0, 0]
    pwrite, pread, read = os.pwrite, os.pread, os.read

    def count_pwrite(fd: int, data: bytes, position: int) -> int:
        totals[0] += len(data)
        return pwrite(fd, data, position)

    def count_pread(fd: int, size: int, position: int) -> bytes:
        totals[1] += size
        return pread(fd, size, position)

    def count_read(fd: int, size: int) -> bytes:
        totals[1] += size
        return read(fd, size)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", count_pwrite)
        patch.setattr(os, "pread", count_pread)
        patch.setattr(os, "read", count_read)
        patch.setattr("builtins.open", None)
        yield lambda: (totals[0], totals[1])


def test_one_more_recording_costs_the_same_however_long_the_cassette_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = tmp_path / "tape.yaml"
    writer = Cassette.for_record(tape, RULES.key)
    costs = []
    for number in range(1000, 3000):
        size = tape.stat().st_size if tape.exists() else 0
        with counting(monkeypatch) as counted:
            writer.append(interaction(f'"{number}"', b"x" * 500 + b"\n"))
        written, read = counted()
        assert written == tape.stat().st_size - size, "what is added, once"
        costs.append((written, read))
    assert max(costs[1:]) == max(costs[-10:])
    assert max(costs)[0] < 1200
    assert max(read for _, read in costs) < 100
    assert len(interactions(tape)) == 2000
