"""When what is read came: the system notes it for every packet (Linux, socket(7): SO_TIMESTAMP), and tells who asks.

A loop that has been at work for milliseconds reads late what came meanwhile. Of a thousand requests that come at once
the last is read a tenth of a second after it came, and its schedule would begin with that.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import time
from contextlib import suppress
from typing import Protocol

_LINUX = sys.platform.startswith("linux")
#: SO_TIMESTAMPNS (asm/socket.h), which Python does not name: a `struct timespec` comes with what is read.
_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("ll")
_NOTE_BYTES = 64
#: Seconds after which rather the clock has been put forward than a request has waited.
_AT_MOST_S = 60.0
_READ_AT_ONCE = 1 << 18


def note(listening: socket.socket) -> None:
    """Have the system note when something comes on what `listening` accepts."""
    if _LINUX:
        with suppress(OSError):  # a system that is like Linux, but for this
            listening.setsockopt(socket.SOL_SOCKET, _TIMESTAMPNS, 1)


def waited_s(transport: asyncio.BaseTransport) -> float:
    """Seconds that what is read next from `transport` has waited; 0.0 where nobody has noted it."""
    connection = transport.get_extra_info("socket")
    number = -1 if connection is None else connection.fileno()
    if number < 0:  # it is closed
        return 0.0
    there = socket.socket(connection.family, socket.SOCK_STREAM, 0, number)
    try:
        _, notes, _, _ = there.recvmsg(1, _NOTE_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:  # it has been reset
        return 0.0
    finally:
        there.detach()  # it is not ours to close
    for level, kind, said in notes:
        if (level, kind) == (socket.SOL_SOCKET, _TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack_from(said)
            waited: float = time.time() - seconds - nanoseconds / 1e9
            return waited if 0 <= waited <= _AT_MOST_S else 0.0
    return 0.0


class Reading(Protocol):
    """Who reads, and is told when that came."""

    came: float | None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""

    def eof_received(self) -> bool | None:
        """See `asyncio.Protocol`."""

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""


class Noted(asyncio.BufferedProtocol):
    """A protocol for `reading` that sets its `came`, in seconds of `time.monotonic()`, before it is given what came.

    asyncio asks a protocol of this kind for a buffer when there is something to be read, and before it is.
    """

    _buffer = bytearray(_READ_AT_ONCE if _LINUX else 0)  # of all: what is read into it goes on at once
    _view = memoryview(_buffer)

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._transport: asyncio.BaseTransport | None = None
        self.connection_lost = reading.connection_lost  # type: ignore[method-assign]  # directly
        self.eof_received = reading.eof_received  # type: ignore[method-assign]
        self.pause_writing = reading.pause_writing  # type: ignore[method-assign]
        self.resume_writing = reading.resume_writing  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol`."""
        self._transport = transport
        self._reading.connection_made(transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        """See `asyncio.BufferedProtocol`."""
        assert self._transport is not None, "nothing comes on what is no connection yet"
        self._reading.came = time.monotonic() - waited_s(self._transport)
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._reading.data_received(bytes(self._view[:nbytes]))
