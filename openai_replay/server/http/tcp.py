"""What the system knows of a TCP connection (Linux; elsewhere nobody can tell)."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
import termios

_LINUX = sys.platform.startswith("linux")


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
