"""The servers that ours is compared with, each as bare as it can be: `python references.py NAME PORT [uvloop]`.

handler  an aiohttp.web handler that reads the body and answers a constant
stream   aiohttp's web.Server, writing the same 100 frames, encoded beforehand, in one write
hello    an aiohttp.web hello world
relay    an aiohttp server and client that pass a stream through
raw      an asyncio protocol that looks for the end of a request and answers a constant: the ceiling of the client
sleep    paced frames by a loop's own timers, a timer a stream
timerfd  paced frames by one heap and one timerfd, written by callbacks, without a task a stream
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import os
import sys
import time
from collections.abc import Callable
from typing import cast

import aiohttp
from aiohttp import web

JSON = b'{"id":"chatcmpl-1","object":"chat.completion","choices":[{"message":{"content":"' + b"a" * 800 + b'"}}]}'
FRAMES = 100
FRAME = b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"' + b"tok " * 55 + b'"}}]}\n\n'
CHUNK = b"%x\r\n%b\r\n" % (len(FRAME), FRAME)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAM = HEAD + CHUNK * FRAMES + b"0\r\n\r\n"
EVERY_S = 0.02


class Written(web.StreamResponse):
    """An answer that has been written already."""

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing to do."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing to do."""

    @property
    def keep_alive(self) -> bool:
        """The client may ask again."""
        return True


async def constant(request: web.BaseRequest) -> web.Response:
    """Read the body, answer a constant."""
    await request.read()
    return web.Response(body=JSON, content_type="application/json")


async def stream(request: web.BaseRequest) -> web.StreamResponse:
    """All frames in one write."""
    await request.read()
    await request.writer.write(STREAM)
    return Written()


async def sleeping(request: web.BaseRequest) -> web.StreamResponse:
    """A frame every 20 ms, by the loop's timers, on an absolute schedule."""
    start = time.monotonic()
    await request.read()
    await request.writer.write(HEAD)
    for number in range(FRAMES):
        if (wait := start + number * EVERY_S - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        await request.writer.write(CHUNK if number < FRAMES - 1 else CHUNK + b"0\r\n\r\n")
    return Written()


class Wheel:
    """One heap of callbacks, one timerfd."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None)
        self._fd = self._libc.timerfd_create(1, os.O_NONBLOCK)
        self._value = (ctypes.c_long * 4)()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._set: float | None = None
        asyncio.get_running_loop().add_reader(self._fd, self._go_off)

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call `call` then."""
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, call))
        if self._set is None or when < self._set:
            self._arm(when)

    def _arm(self, when: float) -> None:
        self._set = when
        self._value[2], self._value[3] = divmod(int(when * 1e9), 1_000_000_000)
        self._libc.timerfd_settime(self._fd, 1, self._value, None)

    def _go_off(self) -> None:
        os.read(self._fd, 8)
        self._set = None
        now = time.monotonic()
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2]()
        if self._heap:
            self._arm(self._heap[0][0])


class Raw(asyncio.Protocol):
    """HTTP as far as the load client speaks it: one request, one answer; `paced` by a wheel or at once."""

    def __init__(self, answer: bytes, wheel: Wheel | None = None) -> None:
        self._answer = answer
        self._wheel = wheel
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            return
        self._buffer = b""
        if self._wheel is None:
            self._transport.write(self._answer)
            return
        self._transport.write(HEAD)
        self._start, self._sent = time.monotonic(), 0
        self._next()

    def _next(self) -> None:
        assert self._wheel is not None
        self._sent += 1
        last = self._sent == FRAMES
        self._transport.write(CHUNK + b"0\r\n\r\n" if last else CHUNK)
        if not last:
            self._wheel.at(self._start + self._sent * EVERY_S, self._next)


def json_answer() -> bytes:
    """The constant as HTTP."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(JSON), JSON)


async def serve(name: str, port: int) -> None:
    """Serve for ever."""
    loop = asyncio.get_running_loop()
    if name in ("raw", "timerfd"):
        wheel = Wheel() if name == "timerfd" else None
        await loop.create_server(lambda: Raw(json_answer(), wheel), "127.0.0.1", port, backlog=4096)
        await asyncio.Event().wait()
    if name in ("handler", "hello"):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", constant)
        runner: web.AppRunner | web.ServerRunner = web.AppRunner(app, access_log=None)
    elif name == "relay":
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        upstream = sys.argv[-1]

        async def relay(request: web.BaseRequest) -> web.StreamResponse:
            body = await request.read()
            async with session.request(request.method, upstream + request.raw_path, data=body) as answer:
                response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
                await response.prepare(request)
                async for piece, _ in answer.content.iter_chunks():
                    await response.write(piece)
            return response

        runner = web.ServerRunner(web.Server(relay, access_log=None))
    else:
        handle = {"stream": stream, "sleep": sleeping}[name]
        runner = web.ServerRunner(web.Server(handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    if "uvloop" in sys.argv:
        import uvloop

        uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
    else:
        asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
