"""The arrival of requests, by the time stamps that the Linux kernel puts on packets (socket(7): SO_TIMESTAMP).

An event loop that was busy for milliseconds reads late what arrived meanwhile. Of a thousand requests that arrive at
once, the last is read a tenth of a second after its arrival, and its schedule would start that much later.

All of it lies behind `KernelTimestamps.received_at`, which must never return an instant before the arrival of the last
byte: frames would leave early (promise 2).
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress

_LINUX = sys.platform.startswith("linux")
#: SO_TIMESTAMPNS (asm/socket.h), for which Python has no name: each read gets a `struct timespec` as control data.
_TIMESTAMPNS = 35
#: `struct cmsghdr` with its timespec, and the index of `msg_controllen` in a `struct msghdr`, counted in words.
_CONTROL, _CONTROL_LENGTH = struct.Struct("Niill"), 5
#: With MSG_TRUNC, TCP copies nothing and returns the number of bytes (tcp(7)).
_PEEK = socket.MSG_PEEK | socket.MSG_TRUNC | socket.MSG_DONTWAIT
#: Nanoseconds. A request that seems to have waited longer has not: the system's clock has been set forward.
_LONGEST_WAIT_NS = 60_000_000_000
_BUFFER_BYTES = 1 << 18


def enable(listening: socket.socket) -> None:
    """Have the kernel put time stamps on what arrives at connections that `listening` accepts.

    It reads the clock for each packet then, which takes nanoseconds. Whether a session is paced is known later.
    """
    if _LINUX:
        with suppress(OSError):  # a system that is like Linux, but for this
            listening.setsockopt(socket.SOL_SOCKET, _TIMESTAMPNS, 1)


class KernelTimestamps:
    """The time stamps of what the connections of one event loop read. Raises OSError or AttributeError if the C
    library has no `recvmsg`.

    It peeks with recvmsg(2) at all bytes that a connection has, and leaves them there: the last one counts. Python's
    own `recvmsg` takes three times as long, and needs a socket object that must not close what it does not own.
    """

    def __init__(self, recvmsg: Callable[[int, int, int], int] | None = None) -> None:
        self.buffer = bytearray(_BUFFER_BYTES)  # of all connections: each read is passed on before the next one
        self._view = memoryview(self.buffer)
        self._recvmsg = recvmsg or c_recvmsg()
        self._control = ctypes.create_string_buffer(64)
        self._iovec = (ctypes.c_size_t * 2)(0, _BUFFER_BYTES)
        # struct msghdr: a name and its length, buffers and their number, control data and its length, flags.
        buffers, control = ctypes.addressof(self._iovec), ctypes.addressof(self._control)
        self._message = (ctypes.c_size_t * 7)(0, 0, buffers, 1, control, 0, 0)
        self._address = ctypes.addressof(self._message)
        self._peeked_bytes = -1  # -1: they have no time stamp
        self._arrived_at = 0.0
        self._received_at: float | None = None

    def received_at(self) -> float:
        """Return when the last byte of the current read arrived, in seconds of `time.monotonic()`, or a moment later.

        Returns the current time if the kernel does not know, and outside of `pass_on`.
        """
        return time.monotonic() if self._received_at is None else self._received_at

    def peek(self, transport: asyncio.BaseTransport) -> None:
        """Note how many bytes `transport` is about to read, and when the last of them arrived."""
        self._peeked_bytes = -1
        connection = transport.get_extra_info("socket")
        if connection is None:
            return
        self._message[_CONTROL_LENGTH] = len(self._control)
        byte_count = self._recvmsg(connection.fileno(), self._address, _PEEK)
        if byte_count <= 0 or self._message[_CONTROL_LENGTH] < _CONTROL.size:
            return
        _, level, kind, seconds, nanoseconds = _CONTROL.unpack_from(self._control)
        if (level, kind) != (socket.SOL_SOCKET, _TIMESTAMPNS):
            return
        # In this order: time that passes between the two clocks puts the arrival off. After `monotonic`, as in a system
        # call before `time_ns`, it would count as waiting, and frames would leave early.
        waited_ns = time.time_ns() - (seconds * 1_000_000_000 + nanoseconds)
        monotonic_s = time.monotonic()
        if 0 <= waited_ns <= _LONGEST_WAIT_NS:
            self._peeked_bytes, self._arrived_at = byte_count, monotonic_s - waited_ns / 1e9

    def pass_on(self, byte_count: int, receive: Callable[[bytes], None]) -> None:
        """Call `receive` with the `byte_count` bytes in `buffer`; `received_at` tells when they arrived meanwhile."""
        # Bytes that arrived after the peek have been read with the others, and their time stamp is not known.
        self._received_at = self._arrived_at if byte_count <= self._peeked_bytes else None
        try:
            receive(bytes(self._view[:byte_count]))
        finally:
            self._received_at = None


def c_recvmsg() -> Callable[[int, int, int], int]:
    """Return recvmsg(2). Raises OSError or AttributeError if the C library has none."""
    function = ctypes.CDLL(None).recvmsg
    function.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
    recvmsg: Callable[[int, int, int], int] = function
    return recvmsg


def kernel_timestamps() -> KernelTimestamps | None:
    """Return those of the running event loop, or None if the system has none."""
    if _LINUX:
        with suppress(OSError, AttributeError):  # a C library without `recvmsg`
            return KernelTimestamps()
    return None


class TimestampedProtocol(asyncio.BufferedProtocol):
    """A protocol in front of `protocol`, for which `timestamps` are noted before each read.

    asyncio asks a protocol of this kind for a buffer when there is something to read, and before it reads.
    """

    def __init__(self, protocol: asyncio.Protocol, timestamps: KernelTimestamps) -> None:
        self._protocol = protocol
        self._timestamps = timestamps
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pass on the call (`asyncio.BaseProtocol`)."""
        self._transport = transport
        self._protocol.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on the call (`asyncio.BaseProtocol`)."""
        self._transport = None
        self._protocol.connection_lost(exc)

    def eof_received(self) -> bool | None:
        """Pass on the call (`asyncio.BufferedProtocol`)."""
        return self._protocol.eof_received()

    def pause_writing(self) -> None:
        """Pass on the call (`asyncio.BaseProtocol`)."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass on the call (`asyncio.BaseProtocol`)."""
        self._protocol.resume_writing()

    def get_buffer(self, sizehint: int) -> bytearray:
        """Return the buffer for the next read (`asyncio.BufferedProtocol`)."""
        assert self._transport is not None, "nothing arrives before the connection is made"
        self._timestamps.peek(self._transport)
        return self._timestamps.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on the bytes that were read (`asyncio.BufferedProtocol`)."""
        self._timestamps.pass_on(nbytes, self._protocol.data_received)
