"""The simulated upstream: a raw asyncio HTTP/1.1 server where every byte, chunk, pause and ending is decided here.

An answer is a list of steps, performed in order and logged with the time of each write:

    async with Upstream() as up:
        up.script("POST", "/v1/chat/completions", sse(b"data: 1\\n\\n", b"data: 2\\n\\n"))
        up.script("GET", "/v1/models", [Send(head(200, "OK", [("content-length", "5")]) + b"he"), Sleep(0.1), Reset()])
        ...                      # talk to up.url
        up.requests, up.sent     # what came in; what the last answer wrote, and when

A path without a script is answered by the simulated API of `tests.support.fake_openai`.
By hand: `python -m tests.support.upstream`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

Headers = Iterable[tuple[str, str]]

SSE_HEADERS = (("content-type", "text/event-stream; charset=utf-8"),)

# Request heads longer than this are refused; request bodies have no limit and are read in pieces of this size.
READ_SIZE = 1 << 20


@dataclass(frozen=True, slots=True)
class Send:
    """Write these bytes as they are, in one write, and wait until the kernel has all of them."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Repeat:
    """Write these bytes so many times, one write each: a body of any size, and no memory for it."""

    data: bytes
    times: int


class Chunk(tuple[bytes, ...]):
    """`Chunk(b"a", b"b")`: one HTTP chunk for each part, all in one write, so several chunks share a TCP segment."""

    __slots__ = ()

    def __new__(cls, *parts: bytes) -> Chunk:
        return super().__new__(cls, parts)


@dataclass(frozen=True, slots=True)
class End:
    """The terminal chunk of a chunked body."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Move the answer's schedule on by `seconds`, then wait for it.

    The schedule starts when the request has been read, and is absolute: errors of single sleeps do not add up.
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class Hold:
    """Wait until the test sets `event`; the schedule of later sleeps starts anew there."""

    event: asyncio.Event


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection in good order (FIN), complete answer or not."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Break the connection (RST). A reset discards what the peer has not read, so first give it `grace` seconds."""

    grace: float = 0.05


Step = Send | Repeat | Chunk | End | Sleep | Hold | Close | Reset


class Received(NamedTuple):
    """A request as it arrived: raw target, header names as they were sent, body without its transfer coding."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    at: float  # time.monotonic() when the last byte of the request had been read

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def header(self, name: str) -> str | None:
        """The first value of header `name` (any case), or None."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Sent(NamedTuple):
    """One write: the `time.monotonic()` just before it, and the bytes on the wire, chunk framing included."""

    at: float
    data: bytes


def head(status: int = 200, reason: str = "OK", headers: Headers = ()) -> bytes:
    """A response head, the empty line included."""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def plain(
    body: bytes, *, status: int = 200, reason: str = "OK", headers: Headers = (("content-type", "application/json"),)
) -> list[Step]:
    """The steps of a complete answer with a content-length, head and body in one write."""
    return [Send(head(status, reason, [*headers, ("content-length", str(len(body)))]) + body)]


def sse(
    *chunks: bytes | Chunk, interval: float = 0.01, ttft: float = 0.05, headers: Headers = SSE_HEADERS
) -> list[Step]:
    """The steps of a complete event stream.

    The head and the first chunk come `ttft` seconds after the request, the other chunks `every` seconds apart, the
    terminal chunk right after the last one. Bytes are one HTTP chunk; a `Chunk` is several in one write.
    """
    steps: list[Step] = [Sleep(ttft), Send(head(200, "OK", [*headers, ("transfer-encoding", "chunked")]))]
    for number, chunk in enumerate(chunks):
        if number:
            steps.append(Sleep(interval))
        steps.append(chunk if isinstance(chunk, Chunk) else Chunk(chunk))
    return [*steps, End()]


class Upstream:
    """A server on a free port of 127.0.0.1, to be used as an async context manager.

    `api` answers requests whose path has no script; the default is `tests.support.fake_openai.FakeOpenAI()`.
    """

    def __init__(self, api: Callable[[Received], Sequence[Step]] | None = None, *, port: int = 0) -> None:
        if api is None:
            from tests.support.fake_openai import FakeOpenAI  # imports this module

            api = FakeOpenAI()
        self.requests: list[Received] = []
        self.answers: list[list[Sent]] = []  # answers[i] belongs to requests[i]
        self.abandoned: list[Received] = []  # requests whose sender left while the answer was being written
        self.connections = 0
        self._api = api
        self._port = port
        self._scripts: dict[tuple[str, str], deque[Sequence[Step]]] = {}
        self._early: set[tuple[str, str]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """The base URL for an OpenAI client."""
        return f"{self.origin}/v1"

    @property
    def sent(self) -> list[Sent]:
        """The writes of the answer that was begun last."""
        return self.answers[-1] if self.answers else []

    def script(self, method: str, path: str, steps: Sequence[Step], *, early: bool = False) -> None:
        """Queue an answer for `method` and `path` (without query).

        Answers are used in the order they were queued. The last one in the queue is not used up: it stays for ever.
        `early`: it is given once the head of the request is there, and the body is never read.
        """
        if early:
            self._early.add((method, path))
        self._scripts.setdefault((method, path), deque()).append(list(steps))

    async def __aenter__(self) -> Upstream:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, limit=READ_SIZE)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _steps(self, request: Received) -> Sequence[Step]:
        queue = self._scripts.get((request.method, request.path))
        if not queue:
            return self._api(request)
        return queue.popleft() if len(queue) > 1 else queue[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        writer.transport.set_write_buffer_limits(high=0)  # drain() then waits until the kernel has everything
        try:
            while request := await _read_request(reader, writer, self._early):
                self.requests.append(request)
                sent: list[Sent] = []
                self.answers.append(sent)
                try:
                    stays = await _perform(self._steps(request), writer, sent, start=request.at)
                except ConnectionError:
                    self.abandoned.append(request)
                    break
                if not stays or (request.header("connection") or "").lower() == "close":
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the peer left in the middle of a request
        except asyncio.CancelledError:
            writer.transport.abort()  # the server stops; what is unsent would keep the connection open
        finally:
            writer.close()


async def _perform(steps: Sequence[Step], writer: asyncio.StreamWriter, sent: list[Sent], start: float) -> bool:
    """Perform the steps, log the writes; True if the connection can be used again."""
    due = start
    for step in steps:
        match step:
            case Sleep(seconds):
                due += seconds
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                continue
            case Hold(event):
                await event.wait()
                due = time.monotonic()
                continue
            case Close():
                return False
            case Reset(grace):
                await asyncio.sleep(grace)
                linger_zero = struct.pack("ii", 1, 0)  # close() then sends RST instead of FIN
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_zero)
                writer.transport.abort()
                return False
            case Repeat(data, times):
                for _ in range(times):  # not logged: there may be very many
                    writer.write(data)
                    await writer.drain()
                continue
            case Send(data):
                pass
            case Chunk():
                data = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in step)
            case End():
                data = b"0\r\n\r\n"
        sent.append(Sent(time.monotonic(), data))
        writer.write(data)
        await writer.drain()
    return True


async def _read_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, early: Container[tuple[str, str]]
) -> Received | None:
    """The next request, or None when the peer has closed the connection between two requests.

    Of one that is answered `early` (method and path), only the head is read.
    """
    try:
        block = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    first, *lines = block.decode("latin-1").split("\r\n")[:-2]
    method, target, _version = first.split(" ")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    if (method, target.partition("?")[0]) in early:
        return Received(method, target, headers, b"", time.monotonic())
    fields = {name.lower(): value.lower() for name, value in headers}
    if fields.get("expect") == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
    pieces: list[bytes] = []
    if "chunked" in fields.get("transfer-encoding", ""):
        while size := int((await reader.readuntil(b"\n")).partition(b";")[0], 16):
            await _read_into(pieces, reader, size)
            await reader.readexactly(2)
        while (await reader.readuntil(b"\n")).strip():
            pass  # trailers
    else:
        await _read_into(pieces, reader, int(fields.get("content-length", 0)))
    return Received(method, target, headers, b"".join(pieces), time.monotonic())


async def _read_into(pieces: list[bytes], reader: asyncio.StreamReader, size: int) -> None:
    """Read exactly `size` bytes in pieces, joined once by the caller: the cost of a large body stays linear."""
    while size:
        piece = await reader.read(min(size, READ_SIZE))
        if not piece:
            raise asyncio.IncompleteReadError(b"", size)
        pieces.append(piece)
        size -= len(piece)


@contextlib.contextmanager
def running_upstream(api: Callable[[Received], Sequence[Step]] | None = None, *, port: int = 0) -> Iterator[Upstream]:
    """An `Upstream` on a loop in a thread of its own, for synchronous tests and client subprocesses.

    `script()` and the lists may be used from the test's thread; `Hold` may not (its event belongs to the loop).
    """
    upstream = Upstream(api, port=port)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="simulated-upstream", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(upstream.__aenter__(), loop).result(timeout=10)
        try:
            yield upstream
        finally:
            asyncio.run_coroutine_threadsafe(upstream.__aexit__(), loop).result(timeout=10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the simulated API until interrupted; the base URL is the only line on stdout."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.upstream", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free port")
    parser.add_argument("--ready-file", type=Path, help="write the base URL here when the server listens")
    options = parser.parse_args(arguments)

    async def serve() -> None:
        async with Upstream(port=options.port) as upstream:
            if options.ready_file:
                unfinished = options.ready_file.with_name(options.ready_file.name + ".tmp")
                unfinished.write_text(upstream.url + "\n")
                os.replace(unfinished, options.ready_file)
            print(upstream.url, flush=True)
            await asyncio.Event().wait()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve())


if __name__ == "__main__":
    # Run main() of the importable module, not of __main__: fake_openai imports the step classes from there.
    from tests.support.upstream import main as importable_main

    importable_main()
