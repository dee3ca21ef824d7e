"""The bytes of an answer are written here, so that each is the one that was recorded.

`aiohttp.web.Response` would add `Date`, `Server` and a content type; heads are written as they are.
Framing is our own too: chunked where the upstream's length was not declared, every frame a chunk of its own, all that
is due at one instant in one write.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Hashable, Sequence

from aiohttp import HttpVersion11, web

from openai_replay import cors, logs
from openai_replay.headers import head_bytes
from openai_replay.logs import log
from openai_replay.model import End, Head, Response
from openai_replay.secrets.redaction import Redactor

#: Seconds between the arrival of the last byte at the client's machine and the break of the connection: a client that
#: is told of the break may throw away what it has not read yet.
_BREAK_AFTER_S = 0.05
#: Seconds after which a client that does not read is told of the break all the same.
_BREAK_AT_LAST_S = 60.0
#: Bytes after which a write is not put off for more: what a slow client has not read yet is not held twice.
_WRITTEN_AT_ONCE = 1 << 18
#: In so many ways one thing is kept encoded: pages may have very many origins (`localhost`, any port).
_MOST_WAYS = 8


class Verbatim(web.StreamResponse):
    """An answer that is written exactly as it was recorded. aiohttp's connection loop asks it for little: `prepare`
    and `write_eof` when the handler returns, and whether the connection lives on.
    """

    def __init__(self, request: web.BaseRequest) -> None:
        # Not super().__init__(): a quarter of what an answer costs would go into headers and cookies of its own.
        self._request = request
        self.origin = ""  # of the page that asks, where it may read
        self.redactor: Redactor | None = None  # for the log, where heads are to be shown
        self.last = False  # whether the connection ends with this answer
        self._modern = request.version >= HttpVersion11
        self._chunked_body = False
        self.alive = False
        self.started = False
        self._empty = False

    @property
    def keep_alive(self) -> bool:
        """Whether the client may send another request on this connection."""
        return self.alive

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing is left to do when aiohttp asks."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to do when aiohttp asks."""

    async def send(
        self,
        *,
        head: Head | None = None,
        frames: Sequence[bytes] = (),
        end: End | None = None,
        encoded: dict[Hashable, bytes] | None = None,
    ) -> None:
        """Write what is due now, in one write unless it is very much. Raises ConnectionError when the client has left.

        See `engine.Client`.
        """
        if head is not None:
            if self.redactor is not None:
                clean = self.redactor.response(Response(head, 0, (), 0)).head
                log.debug("%s", logs.head(f"< {clean.status} {clean.reason}", clean.headers))
            self._frame(head)
        # All that the bytes depend on beside what is sent.
        how = self._chunked_body, self._empty, self.alive, self._modern, self.origin
        if encoded is not None and (known := encoded.get(how)) is not None:
            await self._write(known)
        else:
            await self._encode(head, frames, end, how, {} if encoded is None else encoded)
        if end is not None and end is not End.COMPLETE:
            self.alive = False
            if end is End.RESET:
                await _break(self._request.transport)

    async def _encode(
        self,
        head: Head | None,
        frames: Sequence[bytes],
        end: End | None,
        how: Hashable,
        encoded: dict[Hashable, bytes],
    ) -> None:
        out: list[bytes] = []
        if head is not None:
            out.append(self._head(cors.permitted(head, self.origin) if self.origin else head))
        size, written = 0, False
        for frame in frames if not self._empty else ():
            if frame:  # an empty chunk would be the end
                out += (b"%x\r\n" % len(frame), frame, b"\r\n") if self._chunked_body else (frame,)
                size += len(frame)
            if size >= _WRITTEN_AT_ONCE:
                await self._write(b"".join(out))
                out, size, written = [], 0, True
        if end is End.COMPLETE and self._chunked_body:
            out.append(b"0\r\n\r\n")
        last = b"".join(out)
        if not written and len(encoded) < _MOST_WAYS:
            encoded[how] = last
        if last:
            await self._write(last)

    async def _write(self, data: bytes) -> None:
        self.started = True
        request = self._request
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has left")
        transport.write(data)
        writer = request.writer
        writer.output_size += len(data)  # an answer has been begun
        if request.protocol.writing_paused:
            await writer.drain()

    def _frame(self, head: Head) -> None:
        """Decide how the body is framed, and whether the connection lives on."""
        request = self._request
        self._empty = empty = request.method == "HEAD" or head.status in (204, 304) or head.status < 200
        self._chunked_body = head.length is None and self._modern and not empty
        framed = head.length is not None or self._chunked_body or empty
        self.alive = request.keep_alive and framed and not self.last

    def _head(self, head: Head) -> bytes:
        lines = [f"HTTP/1.1 {head.status} {head.reason}", *(f"{name}: {value}" for name, value in head.headers)]
        if head.length is not None and head.status != 204:
            lines.append(f"Content-Length: {head.length}")
        elif self._chunked_body:
            lines.append("Transfer-Encoding: chunked")
        if not self.alive:
            lines.append("Connection: close")
        elif not self._modern:
            lines.append("Connection: keep-alive")
        return head_bytes(lines)  # a cassette is a file that anybody may have edited


async def _break(transport: asyncio.Transport | None) -> None:
    """Reset the connection, once what was written has had the time to arrive (RST by SO_LINGER 0)."""
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    give_up = asyncio.get_running_loop().time() + _BREAK_AT_LAST_S
    while (transport.get_write_buffer_size() or _unread(connection)) and not transport.is_closing():
        if asyncio.get_running_loop().time() > give_up:
            break
        await asyncio.sleep(0.005)
    await asyncio.sleep(_BREAK_AFTER_S)
    if connection is not None and not transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _unread(connection: socket.socket | None) -> bool:
    """Whether the system still holds bytes that the client's has not confirmed (Linux; elsewhere nobody can tell)."""
    if connection is None or not sys.platform.startswith("linux"):
        return False
    waiting = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4)
    return waiting != b"\0" * 4
