"""The other end of a connection: whether its client has only closed its sending side, or has left altogether.

Both look the same on the wire, a FIN. If the client is on this machine, Linux knows which process holds its socket
(sock_diag(7)): a socket that its process has closed belongs to no file any more, and its inode is 0.
"""

from __future__ import annotations

import socket
import struct
import sys
from contextlib import suppress

#: `NETLINK_SOCK_DIAG`, and the type of its one request, `SOCK_DIAG_BY_FAMILY` (linux/sock_diag.h).
_NETLINK_SOCK_DIAG, _BY_FAMILY, _NLM_F_REQUEST = 4, 20, 1
#: `struct nlmsghdr`: length, type, flags, sequence number, port.
_HEADER = struct.Struct("=LHHLL")
#: `struct inet_diag_req_v2` (linux/inet_diag.h): family, protocol, extensions, padding, states, then the socket's ports
#: in network order, its addresses, its interface and a cookie.
_REQUEST = struct.Struct("=BBBxL2s2s16s16sLLL")
_ALL_STATES, _NO_COOKIE = 0xFFFFFFFF, 0xFFFFFFFF
#: `struct inet_diag_msg`: the inode is the last of its 72 bytes.
_INODE = struct.Struct("=68xL")


def has_left(connection: socket.socket) -> bool:
    """Return False if the client of `connection` is sure to be there still: a process on this machine that has its
    socket open. Return True if it has left, or if that cannot be known: few clients close only one side.
    """
    if not sys.platform.startswith("linux"):
        return True
    with suppress(OSError, struct.error, ValueError):
        return _inode(connection.family, connection.getpeername(), connection.getsockname()) == 0
    return True


def _inode(family: int, address: tuple[str, int], peer: tuple[str, int]) -> int:
    """Return the inode of the TCP socket at `address` that is connected to `peer`; 0 without a process.

    Raises OSError if this machine has no such socket.
    """
    addresses = [socket.inet_pton(family, end[0].partition("%")[0]).ljust(16, b"\0") for end in (address, peer)]
    ports = [end[1].to_bytes(2, "big") for end in (address, peer)]
    request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _ALL_STATES, *ports, *addresses, 0, _NO_COOKIE, _NO_COOKIE)
    header = _HEADER.pack(_HEADER.size + len(request), _BY_FAMILY, _NLM_F_REQUEST, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as diagnostics:
        diagnostics.setblocking(False)
        diagnostics.send(header + request)
        reply = diagnostics.recv(4096)  # the kernel answers before `send` returns
    if _HEADER.unpack_from(reply)[1] != _BY_FAMILY:
        raise OSError("no such socket")
    inode: int = _INODE.unpack_from(reply, _HEADER.size)[0]
    return inode
