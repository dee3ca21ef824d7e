"""What the system knows of a TCP connection (Linux; elsewhere nobody can tell)."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
import termios
import time
from contextlib import suppress

_LINUX = sys.platform.startswith("linux")
#: Where `tcpi_last_data_recv` stands in `struct tcp_info` (linux/tcp.h): milliseconds, counted in ticks.
_LAST_DATA = 52
_COARSE_CLOCK = 6  # CLOCK_MONOTONIC_COARSE, whose resolution is a tick


def waited_s(transport: asyncio.BaseTransport) -> float:
    """Seconds that what came last on `transport` has waited to be read, at the least."""
    if not _LINUX:
        return 0.0
    with suppress(OSError, AttributeError):
        connection = transport.get_extra_info("socket")
        said = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA + 4)
        since_ms: int = struct.unpack_from("I", said, _LAST_DATA)[0]
        return max(0.0, since_ms / 1000 - time.clock_getres(_COARSE_CLOCK))
    return 0.0


def is_unread(transport: asyncio.WriteTransport) -> bool:
    """Whether there are bytes still that the client's system has not confirmed."""
    if transport.get_write_buffer_size():
        return True
    connection = transport.get_extra_info("socket")
    if connection is None or not _LINUX:
        return False
    waiting = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4)
    return waiting != b"\0" * 4


def reset(transport: asyncio.WriteTransport) -> None:
    """Break the connection off (RST, by SO_LINGER 0)."""
    connection = transport.get_extra_info("socket")
    if connection is not None and not transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
