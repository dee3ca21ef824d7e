"""The main job end to end, without a network: `make demo`.

A shipped cassette plays the part of the API at its original pace. The official `openai` client streams from it
directly, then through `openai-replay record`, then from the recording. What is compared is what came over the wire.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp
from openai import OpenAI

from openai_replay.cassette.cassette import Cassette
from openai_replay.config.rules import Rules
from openai_replay.model import Response

SHIPPED = Path(__file__).parent.parent / "cassettes" / "chat-stream.yaml"
QUESTION = "Why would anybody record an API? Two sentences."


class Leg(NamedTuple):
    """One way to get the same answer, and how far it was from the shipped recording."""

    name: str
    bytes_equal: bool
    cuts_equal: bool
    worst_ms: float
    ttft_ms: float


@contextmanager
def proxy(*arguments: str) -> Iterator[str]:
    """Run `openai-replay ARGUMENTS` for the length of a block; gives its base URL. Then print what it said."""
    with tempfile.TemporaryDirectory() as folder, open(Path(folder, "said"), "w+", encoding="utf-8") as said:
        ready = Path(folder, "url")
        command = [sys.executable, "-m", "openai_replay", *arguments, "--port", "0", "--ready-file", str(ready)]
        print("$ openai-replay", *arguments)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        try:
            deadline = time.monotonic() + 20
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("the proxy did not start")
                time.sleep(0.01)
            yield ready.read_text().strip()
        finally:
            process.terminate()
            process.wait(30)
            said.seek(0)
            print(said.read())


def stream(base_url: str, show: bool = True) -> float:
    """Ask with the official client and print as it streams. Returns the time to the first token in ms."""
    client = OpenAI(base_url=base_url, api_key="sk-demo", max_retries=0)
    started = time.perf_counter()
    first = 0.0
    for chunk in client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": QUESTION}], stream=True
    ):
        first = first or (time.perf_counter() - started) * 1000
        if show:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
    if show:
        print("\n")
    return first


async def wire(base_url: str, body: bytes) -> tuple[list[bytes], list[float]]:
    """What comes over the wire for the same question: HTTP chunks as they are cut, and when, in ms."""
    async with aiohttp.ClientSession() as session:
        started = time.perf_counter()
        async with session.post(f"{base_url}/chat/completions", data=body) as answer:
            chunks, times = [], []
            async for data, _ in answer.content.iter_chunks():
                if data:
                    chunks.append(data)
                    times.append((time.perf_counter() - started) * 1000)
    return chunks, times


def compare(name: str, shipped: Response, chunks: list[bytes], times: list[float], ttft_ms: float) -> Leg:
    """Hold what came against the shipped recording."""
    cuts = [frame.data for frame in shipped.frames]
    worst = max(abs(at - frame.at_ms) for at, frame in zip(times, shipped.frames, strict=False))
    return Leg(name, b"".join(chunks) == shipped.body, chunks == cuts, worst, ttft_ms)


def main() -> int:
    """Run the three legs and print the table. 0 if bytes and cuts are equal in each."""
    rules = Rules()
    shipped = Cassette.for_play([SHIPPED], rules.key).recordings[0].interaction
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder, "recorded.yaml")
        os.environ["NO_PROXY"] = "127.0.0.1"
        with proxy("play", os.path.relpath(SHIPPED), "--pace", "original", "-q") as upstream:
            print("# the openai client, streaming directly from the simulated API:\n")
            stream(upstream, show=False)  # a client's first request takes longer: that is not what is measured
            direct = stream(upstream)
            seen = asyncio.run(wire(upstream, shipped.request.body))
            legs = [compare("direct", shipped.response, *seen, direct)]
            with proxy("record", str(recording), "--upstream", upstream) as base_url:
                print("# the same, while openai-replay records:\n")
                ttft = stream(base_url)
        recorded = Cassette.for_play([recording], rules.key).recordings[0].interaction.response
        frames = [frame.data for frame in recorded.frames]
        legs.append(compare("recorded", shipped.response, frames, [frame.at_ms for frame in recorded.frames], ttft))
        with proxy("play", str(recording), "--pace", "original") as base_url:
            print("# and played back from the recording, no API behind it:\n")
            ttft = stream(base_url)
            seen = asyncio.run(wire(base_url, shipped.request.body))
        legs.append(compare("played", recorded, *seen, ttft))
    print(f"\n{'':10}{'bytes':>8}{'cuts':>8}{'worst timing error':>22}{'time to first token':>22}")
    for leg in legs:
        equal = ["equal" if one else "DIFFER" for one in (leg.bytes_equal, leg.cuts_equal)]
        print(f"{leg.name:10}{equal[0]:>8}{equal[1]:>8}{leg.worst_ms:>19.1f} ms{leg.ttft_ms:>19.1f} ms")
    print(
        f"\n{len(shipped.response.frames)} frames, {len(shipped.response.body)} bytes; time to the head as recorded: ",
        end="",
    )
    print(f"{shipped.response.head_ms} ms")
    return 0 if all(leg.bytes_equal and leg.cuts_equal for leg in legs) else 1


if __name__ == "__main__":
    raise SystemExit(main())
