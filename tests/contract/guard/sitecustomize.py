"""Nothing but loopback: in a Python with this folder on PYTHONPATH, to look up or connect to anything else fails.

What was tried is written to the file CONTRACT_WENT_OUT, a line each.
"""

import os
import socket
import sys
from typing import Any

_ASKS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "socket.sendto"}


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _ASKS:
        return
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        if not isinstance(address, tuple):  # a path: a socket of this machine
            return
        host = address[0]
    else:
        host = arguments[0]
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost", "::1", "0.0.0.0", "::") or name.startswith("127."):
        return
    with open(os.environ["CONTRACT_WENT_OUT"], "a", encoding="utf-8") as file:
        print(name, file=file)
    raise socket.gaierror(socket.EAI_NONAME, "the contract lets nothing out but to loopback")


sys.addaudithook(_refuse)
