"""When what is read came: the system notes it for every packet (Linux, socket(7): SO_TIMESTAMP), and tells who asks.

A loop that has been at work for milliseconds reads late what came meanwhile. Of a thousand requests that come at once
the last is read a tenth of a second after it came, and its schedule would begin with that.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
import sys
import time
from contextlib import suppress
from typing import Protocol

_LINUX = sys.platform.startswith("linux")
#: SO_TIMESTAMPNS (asm/socket.h), which Python does not name: a `struct timespec` comes with what is read.
_TIMESTAMPNS = 35
#: `struct cmsghdr`, and that behind it; where the length of all notes stands in a `struct msghdr`, in words.
_NOTE, _NOTE_SIZE = struct.Struct("Niill"), 5
#: TCP copies nothing with MSG_TRUNC (tcp(7)).
_LOOK = socket.MSG_PEEK | socket.MSG_TRUNC | socket.MSG_DONTWAIT
#: Seconds after which rather the clock has been put forward than a request has waited.
_AT_MOST_S = 60.0
_READ_AT_ONCE = 1 << 18


def note(listening: socket.socket) -> None:
    """Have the system note when something comes on what `listening` accepts. (It looks at the clock for every packet
    then, which takes nanoseconds; whether a session is played by the clock is known later.)
    """
    if _LINUX:
        with suppress(OSError):  # a system that is like Linux, but for this
            listening.setsockopt(socket.SOL_SOCKET, _TIMESTAMPNS, 1)


class Arrivals:
    """When things came on the connections of one event loop.

    By recvmsg(2) of all that is there, which stays and is not copied: what came last decides. Python's own takes
    three times as long, for a socket object that must not close what is not its own.
    """

    def __init__(self) -> None:
        self.buffer = bytearray(_READ_AT_ONCE)  # of all connections: what is read into it goes on at once
        self.read = memoryview(self.buffer)
        self._recvmsg = ctypes.CDLL(None).recvmsg
        self._recvmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
        self._note = ctypes.create_string_buffer(64)
        self._piece = (ctypes.c_size_t * 2)(0, _READ_AT_ONCE)
        # struct msghdr: a name and its length, pieces and their number, notes and their length, flags.
        pieces, notes = ctypes.addressof(self._piece), ctypes.addressof(self._note)
        self._message = (ctypes.c_size_t * 7)(0, 0, pieces, 1, notes, 0, 0)
        self._address = ctypes.addressof(self._message)

    def waited_s(self, transport: asyncio.BaseTransport) -> float:
        """Seconds that what is read next from `transport` has waited; 0.0 where nobody has noted it."""
        connection = transport.get_extra_info("socket")
        came = None if connection is None else self._came(connection.fileno())
        waited = 0.0 if came is None else time.time() - came
        return waited if 0 <= waited <= _AT_MOST_S else 0.0

    def _came(self, number: int) -> float | None:
        """When what can be read next from the file `number` came, in seconds of `time.time()`."""
        self._message[_NOTE_SIZE] = len(self._note)
        if self._recvmsg(number, self._address, _LOOK) <= 0:
            return None
        if self._message[_NOTE_SIZE] < _NOTE.size:
            return None
        _, level, kind, seconds, nanoseconds = _NOTE.unpack_from(self._note)
        return seconds + nanoseconds / 1e9 if (level, kind) == (socket.SOL_SOCKET, _TIMESTAMPNS) else None


def arrivals() -> Arrivals | None:
    """Those of the running event loop; None where nobody can tell."""
    if _LINUX:
        with suppress(OSError, AttributeError):  # as `clock.best_timer`
            return Arrivals()
    return None


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

    def __init__(self, reading: Reading, arrivals: Arrivals) -> None:
        self._reading = reading
        self._arrivals = arrivals
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol`."""
        self._transport = transport
        self._reading.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        self._transport = None
        self._reading.connection_lost(exc)

    def eof_received(self) -> bool | None:
        """See `asyncio.BufferedProtocol`."""
        return self._reading.eof_received()

    def pause_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        self._reading.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        self._reading.resume_writing()

    def get_buffer(self, sizehint: int) -> bytearray:
        """See `asyncio.BufferedProtocol`."""
        assert self._transport is not None, "nothing comes on what is no connection yet"
        self._reading.came = time.monotonic() - self._arrivals.waited_s(self._transport)
        return self._arrivals.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._reading.data_received(bytes(self._arrivals.read[:nbytes]))
