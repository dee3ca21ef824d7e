"""The bytes of an answer are written here, so that each is the one that was recorded.

`aiohttp.web.Response` would add `Date`, `Server` and a content type; heads are written as they are.
Framing is our own too: chunked where the upstream's length was not declared, every frame a chunk of its own, all that
is due at one instant in one write.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

from aiohttp.http import HttpVersion11, RawRequestMessage

from openai_replay.journal import log as logs
from openai_replay.journal.log import log
from openai_replay.model import End, Head, Response
from openai_replay.proxy.client import write_batches
from openai_replay.redaction.redactor import Redactor
from openai_replay.server.http import cors, tcp
from openai_replay.text.http_headers import head_bytes

#: Seconds between the arrival of the last byte at the client's machine and the break of the connection: a client that
#: is told of the break may throw away what it has not read yet.
_BREAK_AFTER_S = 0.05
#: Seconds after which a client that does not read is told of the break all the same.
_BREAK_AT_LAST_S = 60.0


class Wire(Protocol):
    """The connection that an answer goes out on."""

    transport: asyncio.Transport | None
    received_at: Callable[[], float]  # when the current read arrived, in seconds of `time.monotonic()`

    def write(self, data: bytes) -> bool:
        """Write `data`. Whether the client keeps up. Raises ConnectionError once it has left."""

    async def drained(self) -> None:
        """Wait until the client has taken most of what was written. Raises ConnectionError once it has left."""


class ResponseWriter:
    """The answer to one request, of which `message` is the head; None where it could not be read."""

    __slots__ = (
        "_chunked", "_empty", "_message", "_modern", "_wire", "alive", "last", "origin", "redactor", "started", "write",
    )  # fmt: skip

    def __init__(self, wire: Wire, message: RawRequestMessage | None = None) -> None:
        self._wire = wire
        self.write = wire.write  # directly: a call in between costs a twentieth of what a frame does
        self.origin = ""  # of the page that asks, where it may read
        self.redactor: Redactor | None = None  # for the log, where heads are to be shown
        self.last = False  # whether the connection ends with this answer
        self.alive = False  # whether another request may follow; known when the head is written
        self.started = False  # whether an answer has been begun: it can only break off
        self._message = message
        self._modern = message is None or message.version >= HttpVersion11
        self._chunked = False
        self._empty = False

    async def send(self, *, head: Head | None = None, frames: Sequence[bytes] = (), end: End | None = None) -> None:
        """See `ResponseSink`."""
        if head is not None:
            self.start(head)
        for one in write_batches(head, frames, end):
            if not self.write(self.encode(*one)):
                await self.drain()
        if end is not None:
            await self.close(end)

    def start(self, head: Head) -> Hashable:
        """See `ResponseSink`."""
        self.started = True
        if self.redactor is not None:
            clean = self.redactor.response(Response(head, 0, (), 0)).head
            log.debug("%s", logs.head(f"< {clean.status} {clean.reason}", clean.headers))
        message, length, status = self._message, head.length, head.status
        self._empty = empty = status in (204, 304) or status < 200 or (message is not None and message.method == "HEAD")
        self._chunked = length is None and self._modern and not empty
        framed = length is not None or self._chunked or empty
        self.alive = framed and not self.last and message is not None and not message.should_close
        return self._chunked, empty, self.alive, self._modern, self.origin

    def encode(self, head: Head | None, frames: Sequence[bytes], end: End | None) -> bytes:
        """See `ResponseSink`."""
        out: list[bytes] = []
        if head is not None:
            out.append(self._head(cors.permitted(head, self.origin) if self.origin else head))
        for frame in frames if not self._empty else ():
            if frame:  # an empty chunk would be the end
                out += (b"%x\r\n" % len(frame), frame, b"\r\n") if self._chunked else (frame,)
        if end is End.COMPLETE and self._chunked:
            out.append(b"0\r\n\r\n")
        return out[0] if len(out) == 1 else b"".join(out)

    async def drain(self) -> None:
        """See `ResponseSink`."""
        await self._wire.drained()

    async def close(self, end: End) -> None:
        """See `ResponseSink`."""
        if end is not End.COMPLETE:
            self.alive = False
            if end is End.RESET:
                await _break(self._wire.transport)

    def _head(self, head: Head) -> bytes:
        lines = [f"HTTP/1.1 {head.status} {head.reason}", *(f"{name}: {value}" for name, value in head.headers)]
        if head.length is not None and head.status != 204:
            lines.append(f"Content-Length: {head.length}")
        elif self._chunked:
            lines.append("Transfer-Encoding: chunked")
        if not self.alive:
            lines.append("Connection: close")
        elif not self._modern:
            lines.append("Connection: keep-alive")
        return head_bytes(lines)  # a cassette is a file that anybody may have edited


async def _break(transport: asyncio.Transport | None) -> None:
    """Reset the connection, once what was written has had the time to arrive."""
    if transport is None:
        return
    give_up = time.monotonic() + _BREAK_AT_LAST_S
    while not transport.is_closing() and tcp.is_unread(transport) and time.monotonic() < give_up:
        await asyncio.sleep(0.005)
    await asyncio.sleep(_BREAK_AFTER_S)
    tcp.reset(transport)
