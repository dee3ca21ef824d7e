"""What one more recording costs as the cassette grows: `make bench`. Simulated API, recorder and clients on loopback.

50 clients stream at once through `openai-replay record`, every answer a recording. What is compared are rounds into a
cassette of 10 interactions and rounds into one of 10,000, alternately, so that a noisy machine slows both: the time of
a round, the processor time of the recorder, and how long the end of an answer takes (law 4: the file has it first).
Exit code 1 if the larger costs more than 1.5 times the smaller.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

import aiohttp

CLIENTS, ANSWERS, ROUNDS = 50, 4, 5
SIZES = (10, 10_000)
MOST = 1.5
UPSTREAM = """
import asyncio, sys
from pathlib import Path
from tests.support.upstream import Upstream, sse
async def main():
    frames = [b'data: {"choices":[{"delta":{"content":"token %d"}}]}\\n\\n' % n for n in range(20)]
    async with Upstream(lambda request: sse(*frames, every=0.002, ttft=0.002)) as up:
        Path(sys.argv[1]).write_text(up.url)
        await asyncio.Event().wait()
asyncio.run(main())
"""
_numbers = count()


class Round(NamedTuple):
    """One round: seconds, seconds of the recorder's processor, and ms from the last event to the end (median)."""

    seconds: float
    processor: float
    end_ms: float


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


async def one(session: aiohttp.ClientSession, url: str, answers: int) -> list[float]:
    """A client's answers, one after the other; ms between the last two things that came of each."""
    waits = []
    for _ in range(answers):
        async with session.post(f"{url}/chat/completions", json={"number": next(_numbers)}) as answer:
            last = now = time.perf_counter()
            async for _ in answer.content.iter_any():
                last, now = now, time.perf_counter()
            waits.append((time.perf_counter() - last) * 1000)
    return waits


def processor(tape: Path) -> float:
    """Seconds of processor time of the recorder of `tape` (Linux; elsewhere 0)."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            if str(tape).encode() in (status.parent / "cmdline").read_bytes():
                fields = status.read_text().rpartition(")")[2].split()
                return (int(fields[11]) + int(fields[12])) / 100
        except OSError:
            continue
    return 0.0


async def a_round(url: str, tape: Path, answers: int) -> Round:
    """50 clients at once, so many answers each."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        start, worked = time.perf_counter(), processor(tape)
        waits = await asyncio.gather(*(one(session, url, answers) for _ in range(CLIENTS)))
        seconds, worked = time.perf_counter() - start, processor(tape) - worked
    return Round(seconds, worked, statistics.median(wait for of_one in waits for wait in of_one))


def grown(tape: Path, size: int) -> None:
    """A cassette with `size` interactions like those that are recorded."""
    from openai_replay.cassette.cassette import Cassette
    from openai_replay.config.rules import Rules
    from openai_replay.model import Frame, Head, Interaction, Request, Response

    writer = Cassette.for_record(tape, Rules().key)
    frames = tuple(Frame(n, b'data: {"choices":[{"delta":{"content":"token %d"}}]}\n\n' % n) for n in range(20))
    head = Head(200, "OK", (("content-type", "text/event-stream"),))
    for number in range(size):
        request = Request("POST", "https://h/v1/chat/completions", (), b'{"before": %d}' % number)
        writer.append(Interaction(request, Response(head, 1, frames, 20)))


def recorder(stack: ExitStack, tape: Path, size: int, upstream: str) -> tuple[str, Path]:
    """A recorder to a cassette of `size` interactions: its base URL, and the cassette."""
    grown(tape, size)
    ready = tape.with_suffix(".ready")
    record = [sys.executable, "-m", "openai_replay", "record", str(tape), "--upstream", upstream]
    return stack.enter_context(process(*record, "--port", "0", "--ready-file", str(ready), "-q", ready=ready)), tape


def main() -> int:
    """Measure and print; 1 if the larger one costs too much."""
    rounds: dict[int, list[Round]] = {size: [] for size in SIZES}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ready = folder / "upstream"
        upstream = stack.enter_context(process(sys.executable, "-c", UPSTREAM, str(ready), ready=ready))
        urls = []
        for number in range(ROUNDS):  # a new recorder each time: else the small cassette would not stay small
            urls.append((SIZES[0], *recorder(stack, folder / f"small-{number}.yaml", SIZES[0], upstream)))
        large = (SIZES[1], *recorder(stack, folder / "large.yaml", SIZES[1], upstream))
        for number, small in enumerate(urls):
            for size, url, tape in (small, large) if number % 2 else (large, small):
                asyncio.run(a_round(url, tape, 1))  # warm
                rounds[size].append(asyncio.run(a_round(url, tape, ANSWERS)))
    print(f"{CLIENTS} streams at once, {CLIENTS * ANSWERS} recordings a round, {ROUNDS} rounds each; medians")
    medians = {
        size: Round(*(statistics.median(column) for column in zip(*rounds[size], strict=True))) for size in SIZES
    }
    for size, (seconds, worked, end_ms) in medians.items():
        per = CLIENTS * ANSWERS
        print(
            f"{size:>6} in the cassette: {seconds / per * 1000:6.2f} ms and {worked / per * 1000:6.2f} ms of processor "
            f"a recording, its end after {end_ms:6.1f} ms"
        )
    ratios = [large / small if small else 1.0 for small, large in zip(*medians.values(), strict=True)]
    print("ratios: " + ", ".join(f"{ratio:.2f}" for ratio in ratios) + f" (at most {MOST})")
    return 1 if max(ratios[:2]) > MOST else 0


if __name__ == "__main__":
    sys.exit(main())
