"""What recording adds: `make bench`. A simulated API, the recorder and the client are a process each, on loopback.

Rounds alternate between asking the API directly and through `openai-replay record`; every request is another one, so
that all of them are recorded. Printed are the time to the response head and to the first frame, and how far each
frame was from the API's schedule (100 frames, 10 ms apart), as medians and 99th percentiles over all rounds.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

import aiohttp

FRAMES, EVERY_S, TTFT_S = 100, 0.01, 0.05
ROUNDS = 5
UPSTREAM = f"""
import asyncio, sys
from pathlib import Path
from tests.upstream import Upstream, sse
async def main():
    frames = [b'data: {{"choices":[{{"delta":{{"content":"token %d"}}}}]}}\\n\\n' % n for n in range({FRAMES})]
    async with Upstream(lambda request: sse(*frames, every={EVERY_S}, ttft={TTFT_S})) as up:
        Path(sys.argv[1]).write_text(up.url)
        await asyncio.Event().wait()
asyncio.run(main())
"""
_numbers = count()


class Seen(NamedTuple):
    """One answer: ms to its head, and to each of its frames."""

    head_ms: float
    frames_ms: list[float]


@contextmanager
def process(*command: str, ready: Path) -> Iterator[str]:
    """Run a command until it has written its URL to `ready`, and for the length of the block."""
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not (ready.exists() and ready.read_text().strip()):
            if running.poll() is not None:
                raise SystemExit(f"{command} ended with {running.returncode}")
            time.sleep(0.02)
        yield ready.read_text().strip()
    finally:
        running.terminate()
        running.wait(30)


async def ask(session: aiohttp.ClientSession, url: str) -> Seen:
    """One request, another one every time."""
    started = time.perf_counter()
    async with session.post(f"{url}/chat/completions", json={"n": next(_numbers)}) as answer:
        head_ms = (time.perf_counter() - started) * 1000
        frames_ms = []
        async for data, _ in answer.content.iter_chunks():
            if data:
                frames_ms.append((time.perf_counter() - started) * 1000)
    assert len(frames_ms) == FRAMES
    return Seen(head_ms, frames_ms)


def row(name: str, seen: list[Seen]) -> str:
    """Medians and 99th percentiles of a way, in ms."""
    due = [(TTFT_S + number * EVERY_S) * 1000 for number in range(FRAMES)]
    late = sorted(at - then for one in seen for at, then in zip(one.frames_ms, due, strict=True))
    head = statistics.median(one.head_ms for one in seen)
    first = statistics.median(one.frames_ms[0] for one in seen)
    return f"{name:24}{head:10.2f}{first:14.2f}{statistics.median(late):14.2f}{late[int(len(late) * 0.99)]:10.2f}"


async def main() -> None:
    """Measure with 1 and with 50 streams at once."""
    with tempfile.TemporaryDirectory() as folder:
        up, recorder, tape = Path(folder, "up"), Path(folder, "recorder"), Path(folder, "tape.yaml")
        command = (sys.executable, "-m", "openai_replay", "record", str(tape), "--port", "0", "-q")
        with (
            process(sys.executable, "-c", UPSTREAM, str(up), ready=up) as direct,
            process(*command, "--upstream", direct, "--ready-file", str(recorder), ready=recorder) as recorded,
        ):
            print(f"{'ms':24}{'head p50':>10}{'first p50':>14}{'frame p50':>14}{'p99':>10}")
            for streams in (1, 50):
                seen: dict[str, list[Seen]] = {"direct": [], "recorded": []}
                async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
                    for _ in range(ROUNDS + 1):  # the first round makes the connections
                        for name, url in (("direct", direct), ("recorded", recorded)):
                            seen[name] += await asyncio.gather(*(ask(session, url) for _ in range(streams)))
                for name, answers in seen.items():
                    print(row(f"{streams} streams, {name}", answers[streams:]))


if __name__ == "__main__":
    asyncio.run(main())
