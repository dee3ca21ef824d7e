"""The state of a TCP connection in the system: unconfirmed output, and resets."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
import termios

_LINUX = sys.platform.startswith("linux")


def has_unconfirmed_output(transport: asyncio.WriteTransport) -> bool:
    """Return True if the client's system has not confirmed all bytes yet. Only Linux knows about those that have left
    this process.
    """
    if transport.get_write_buffer_size():
        return True
    connection = transport.get_extra_info("socket")
    if connection is None or not _LINUX:
        return False
    unconfirmed = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4)
    return unconfirmed != b"\0" * 4


def reset(transport: asyncio.WriteTransport) -> None:
    """Reset the connection (RST, by SO_LINGER 0)."""
    connection = transport.get_extra_info("socket")
    if connection is not None and not transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
