"""The main job end to end, without a network: `make demo`.

A shipped cassette plays the part of the API. The official `openai` client streams one answer from it three times:
directly, through `openai-replay record`, and from the new recording. Each time the client notes every chunk that comes
over the wire, and when, on its own clock; the table at the end compares them with the frames that were recorded.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx2
from openai import OpenAI

from openai_replay.cassette import reader
from openai_replay.model import Response

SHIPPED = Path(__file__).parents[1] / "cassettes" / "chat-stream.yaml"
QUESTION = "Why would anybody record an API? Two sentences."


class Chunk(NamedTuple):
    """One HTTP chunk as the client got it, and when: ms since it began to send the request."""

    at_ms: float
    data: bytes


class Listening(httpx2.HTTPTransport):
    """The client's own transport, which also notes each chunk of the response."""

    def __init__(self) -> None:
        super().__init__()
        self.chunks: list[Chunk] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send `request`, and note what comes back."""
        start = time.monotonic()
        response = super().handle_request(request)
        assert isinstance(response.stream, httpx2.SyncByteStream)
        response.stream = Noted(response.stream, self.chunks, start)
        return response


class Noted(httpx2.SyncByteStream):
    """A response body that notes its chunks while it is read."""

    def __init__(self, stream: httpx2.SyncByteStream, chunks: list[Chunk], start: float) -> None:
        self.stream, self.chunks, self.start = stream, chunks, start

    def __iter__(self) -> Iterator[bytes]:
        for data in self.stream:
            self.chunks.append(Chunk((time.monotonic() - self.start) * 1000, data))
            yield data

    def close(self) -> None:
        """Close the connection."""
        self.stream.close()


class Leg(NamedTuple):
    """One way to get the answer, and how far it was from the recording."""

    name: str
    bytes_equal: bool
    cuts_equal: bool
    errors_ms: list[float]
    first_ms: float


@contextmanager
def proxy(*arguments: str) -> Iterator[str]:
    """Run `openai-replay ARGUMENTS` for the length of a block and give its base URL; then print its log."""
    with tempfile.TemporaryDirectory() as folder, open(Path(folder, "log"), "w+", encoding="utf-8") as log:
        ready = Path(folder, "url")
        command = [sys.executable, "-m", "openai_replay", *arguments, "--port", "0", "--ready-file", str(ready)]
        print("$ openai-replay", *arguments, flush=True)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
        try:
            deadline = time.monotonic() + 20
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise SystemExit(f"The proxy did not start.\n{log.read()}")
                time.sleep(0.01)
            yield ready.read_text().strip()
        finally:
            process.terminate()
            process.wait(30)
            log.seek(0)
            print(log.read().rstrip(), end="\n\n")


def ask(base_url: str) -> list[Chunk]:
    """Ask with the official client and print the answer as it streams. Returns the chunks of the wire."""
    wire = Listening()
    with OpenAI(
        base_url=base_url, api_key="sk-demo", max_retries=0, http_client=httpx2.Client(transport=wire)
    ) as client:
        messages = [{"role": "user", "content": QUESTION}]
        for event in client.chat.completions.create(model="gpt-4o-mini", messages=messages, stream=True):  # type: ignore[call-overload]
            print(event.choices[0].delta.content or "", end="", flush=True)
    print("\n")
    return wire.chunks


def read(cassette: Path) -> Response:
    """Return the first response on `cassette`."""
    return reader.load(cassette.read_text("utf-8"), cassette).interactions[0].response


def compare(name: str, recorded: Response, chunks: list[Chunk]) -> Leg:
    """Compare the chunks that a client got with the recorded frames."""
    data = [chunk.data for chunk in chunks]
    pairs = list(zip(chunks, recorded.frames, strict=False))
    errors_ms = [chunk.at_ms - frame.at_ms for chunk, frame in pairs]
    return Leg(
        name,
        b"".join(data) == recorded.body,
        data == [frame.data for frame in recorded.frames],
        errors_ms,
        chunks[0].at_ms,
    )


def main() -> int:
    """Run the three legs and print the table. Return 0 if bytes and cuts are equal in each."""
    shipped = read(SHIPPED)
    os.environ["NO_PROXY"] = "127.0.0.1"
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder, "demo.yaml")
        print("1. A shipped cassette plays the part of the API, at its recorded pace. A client asks it directly:\n")
        with proxy("play", os.path.relpath(SHIPPED), "--pace", "original", "--quiet") as upstream:
            legs = [compare("direct", shipped, ask(upstream))]
            print("2. The same question, through the recorder:\n")
            with proxy("record", str(recording), "--upstream", upstream) as base_url:
                legs.append(compare("while recording", shipped, ask(base_url)))
        print("3. The same question, played from the new cassette. No API is there any more:\n")
        with proxy("play", str(recording), "--pace", "original") as base_url:
            legs.append(compare("played", read(recording), ask(base_url)))
    print("As the client saw it, beside what was recorded:\n")
    print(f"{'':16}{'bytes':>8}{'cuts':>8}{'timing error: median':>24}{'worst':>12}{'first token':>14}")
    for leg in legs:
        words = ["equal" if equal else "DIFFER" for equal in (leg.bytes_equal, leg.cuts_equal)]
        worst, median = max(leg.errors_ms, key=abs), statistics.median(leg.errors_ms)
        print(f"{leg.name:16}{words[0]:>8}{words[1]:>8}{median:>+21.1f} ms{worst:>+9.1f} ms{leg.first_ms:>11.0f} ms")
    print(
        f"\n{len(shipped.frames)} frames and {len(shipped.body)} bytes in {shipped.end_ms} ms; "
        f"recorded first token: {shipped.frames[0].at_ms} ms."
    )
    return 0 if all(leg.bytes_equal and leg.cuts_equal for leg in legs) else 1


if __name__ == "__main__":
    raise SystemExit(main())
