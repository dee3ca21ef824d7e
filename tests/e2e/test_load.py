"""Many at once: no error, no frame lost, and nothing left behind. `make soak` does it in full size.

The load comes from a process of its own (`tests.support.load`), and so does the simulated upstream.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from openai_replay.cassette import reader, writer
from openai_replay.model import End, Frame, Head, Interaction, Mode, Request, Response
from openai_replay.playback.pace import ORIGINAL
from tests.support.load import events
from tests.support.proxy import (
    CHAT,
    PATIENCE_S,
    Connection,
    Process,
    Proxy,
    command,
    environment,
    interactions,
    playing,
    recording,
)
from tests.support.upstream import Received, Step, Upstream, sse

SOAK = bool(os.environ.get("OPENAI_REPLAY_SOAK"))
#: Streams at once, and for how long.
STREAMS, RECORDINGS, SECONDS = (1000, 200, 60.0) if SOAK else (100, 40, 2.0)


class Held(NamedTuple):
    """The resources of a process."""

    mib: float
    files: int
    threads: int


def held(pid: int) -> Held:
    status = Path(f"/proc/{pid}/status").read_text()
    sizes = {name: int(re.findall(rf"{name}:\s+(\d+)", status)[0]) for name in ("VmRSS", "Threads")}
    return Held(sizes["VmRSS"] / 1024, len(os.listdir(f"/proc/{pid}/fd")), sizes["Threads"])


async def settled(pid: int, files: int) -> Held:
    """Return the resources of an idle process, with at most `files`: they are closed a moment after the last byte."""
    deadline = time.monotonic() + PATIENCE_S
    while (usage := held(pid)).files > files and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    return usage


async def load(process: Process, count: int, seconds: float, kind: str) -> dict[str, int]:
    """The observations of many clients."""
    program = (sys.executable, "-m", "tests.support.load", process.origin, str(count), str(seconds), kind)
    root = Path(__file__).parents[2]
    child = await asyncio.create_subprocess_exec(*program, stdout=-1, env=environment(), cwd=root)
    stdout, _ = await child.communicate()
    assert child.returncode == 0
    outcomes: dict[str, int] = json.loads(stdout)
    return outcomes


def streamed(prompt: str) -> Interaction:
    """The recording of a stream that lasts a second."""
    request = Request("POST", f"https://api.openai.com{CHAT}", (("content-type", "application/json"),), b'"same"')
    frames = tuple(Frame(50 + 25 * number, data) for number, data in enumerate(events(prompt)))
    head = Head(200, "OK", (("content-type", "text/event-stream"),))
    return Interaction(request, Response(head, 40, frames, frames[-1].at_ms + 1))


def taped(path: Path) -> Path:
    """A cassette with one such recording."""
    path.write_text(writer.HEADER + "".join(writer.write_interaction(streamed("same"), 1)))
    assert reader.load(path.read_text(), path).interactions
    return path


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="what a process holds is read in /proc")


@needs_proc
@pytest.mark.slow
async def test_many_paced_streams_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with command("play", taped(tmp_path / "tape.yaml"), "--pace", "original", "-q") as process:
        await load(process, 10, 0.1, "same")
        before = held(process.pid)
        half = await load(process, STREAMS, SECONDS / 2, "same")
        middle = await settled(process.pid, before.files + 4)
        outcomes = await load(process, STREAMS, SECONDS / 2, "same")
        after = await settled(process.pid, before.files + 4)
        output = process.stderr
    with capsys.disabled():
        total = half["whole"] + outcomes["whole"]
        print(f" [{STREAMS} streams, {total} played: {before.mib:.0f}, {middle.mib:.0f}, {after.mib:.0f} MB]", end="")
    assert set(half) == set(outcomes) == {"whole"}, (half, outcomes)
    assert min(half["whole"], outcomes["whole"]) >= STREAMS
    nothing_is_left(before, middle, after)
    assert output == ""


@needs_proc
@pytest.mark.slow
async def test_many_recordings_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tape = tmp_path / "tape.yaml"
    async with upstream_process() as url, command("record", tape, "--upstream", url, "-q") as process:
        await load(process, 10, 0.1, "same")
        before = held(process.pid)
        outcomes = await load(process, RECORDINGS, SECONDS, "unlike")
        max_files = before.files + 4 + RECORDINGS  # connections to the upstream
        after = await settled(process.pid, max_files)
        assert await process.stop() == 0
        output = process.stderr
    recorded = [interaction for interaction in interactions(tape) if json.loads(interaction.request.body) != "same"]
    with capsys.disabled():
        print(f" [{RECORDINGS} at once, {len(recorded)} recorded: {before.mib:.0f}, {after.mib:.0f} MB]", end="")
    assert set(outcomes) == {"whole"}, outcomes
    assert len(recorded) == outcomes["whole"] >= RECORDINGS
    for interaction in recorded:
        assert [frame.data for frame in interaction.response.frames] == events(json.loads(interaction.request.body))
        assert interaction.response.end is End.COMPLETE
    assert after.files <= max_files
    assert after.threads <= before.threads + 32
    assert output == ""


def nothing_is_left(before: Held, middle: Held, after: Held) -> None:
    """Neither a file nor a thread; and memory does not grow with what has been played."""
    assert after.files <= before.files + 4, (before, after)
    assert after.threads <= before.threads + 32, "a pool of threads has an end"
    assert after.mib < middle.mib * 1.25 + 16, (before, middle, after)


@asynccontextmanager
async def upstream_process() -> AsyncIterator[str]:
    """The simulated upstream with `streams` in a process of its own; its base URL."""
    program = (
        "import asyncio\nfrom tests.e2e.test_load import streams\nfrom tests.support.upstream import Upstream\n"
        "async def main():\n    async with Upstream(streams) as up:\n"
        "        print(up.url, flush=True)\n        await asyncio.Event().wait()\n"
        "asyncio.run(main())"
    )
    root = Path(__file__).parents[2]
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=-1, env=environment(), cwd=root)
    try:
        assert child.stdout is not None
        yield (await child.stdout.readline()).decode().strip()
    finally:
        child.kill()
        await child.wait()


def streams(request: Received) -> list[Step]:
    """Return the response of the simulated upstream."""
    return sse(*events(request.json()), interval=0.005, ttft=0.01)


@pytest.mark.parametrize("mode", [Mode.NONE, Mode.ALL, Mode.OFF])
async def test_no_task_is_left_behind(tmp_path: Path, mode: Mode) -> None:
    """Neither by answers to the end nor by clients that left."""

    async def some(proxy: Proxy) -> None:
        async def one(number: int) -> None:
            async with Connection(proxy.origin) as client:
                client.send("POST", CHAT, "same")
                await client.head()
                if number % 2:
                    await client.rest()

        await asyncio.gather(*(one(number) for number in range(20)))

    async with Upstream(streams) as up:
        serve = (
            playing(taped(tmp_path / "tape.yaml"))
            if mode is Mode.NONE
            else recording(up.url, tmp_path / "new.yaml", mode=mode)
        )
        async with serve as proxy:
            before = len(asyncio.all_tasks())
            await some(proxy)
            async with asyncio.timeout(PATIENCE_S):
                while len(proxy.journal) < 20 or len(asyncio.all_tasks()) > before + up.connections:
                    await asyncio.sleep(0.02)


# ------------------------------------------------------------------------------------------------ clocks


@pytest.mark.parametrize("jump_s", [-86_400.0, 86_400.0, 1e9])
async def test_a_jump_of_the_clock_does_not_disturb_the_pace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    """The wall clock is set while a stream plays and while one is recorded: both go by a clock that nobody sets."""
    real_time, real_ns = time.time, time.time_ns
    jumped = False

    def jumping() -> float:
        return real_time() + (jump_s if jumped else 0.0)

    def jumping_ns() -> int:
        return real_ns() + (int(jump_s * 1e9) if jumped else 0)

    monkeypatch.setattr(time, "time", jumping)
    monkeypatch.setattr(time, "time_ns", jumping_ns)
    played = taped(tmp_path / "played.yaml")
    new = tmp_path / "new.yaml"
    async with (
        Upstream(streams) as up,
        playing(played, pace=ORIGINAL) as player,
        recording(up.url, new) as recorder,
    ):
        pair = asyncio.gather(player.ask("POST", CHAT, "same"), recorder.ask("POST", CHAT, "same"))
        await asyncio.sleep(0.1)
        jumped = True
        heard, live = await pair
    assert heard.cuts == live.cuts == events("same")
    due_ms = [frame.at_ms for frame in streamed("same").response.frames]
    came_ms = [1000 * piece.at for piece in heard.pieces]
    for arrival_ms, due in zip(came_ms, due_ms, strict=True):
        assert due - 2 <= arrival_ms < due + 5_000
    response = interactions(new)[0].response
    times = [response.head_ms, *(frame.at_ms for frame in response.frames), response.end_ms]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] < 20_000
