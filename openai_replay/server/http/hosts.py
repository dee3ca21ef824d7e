"""Names of hosts: those that mean this machine, and the one in a `Host` header."""

from __future__ import annotations

import ipaddress
import re

# RFC 9110 7.2: `Host = uri-host [ ":" port ]`. A list, a user or a path is not a host.
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:/?#@,\[\]]+)(?::[0-9]*)?", re.ASCII)
#: Names by which containers know the machine they run on. No domain ends in `.internal` (ICANN, 2024), so no page
#: comes from one.
CONTAINER_HOSTS = frozenset({"host.docker.internal", "host.containers.internal"})


def host_name(value: str) -> str:
    """Return the name or address in the `Host` header `value`, or nothing if it is not valid.

    Lower case, without port, brackets and the final dot.
    """
    match = _HOST.fullmatch(value.strip().lower())
    return match[1].strip("[]").removesuffix(".") if match else ""


def is_loopback(name: str) -> bool:
    """Return True if `name`, a name or address without a port, always means this machine (RFC 6761 6.3, RFC 4291
    2.5.3).
    """
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _parse_address(name)
    return address is not None and address.is_loopback


def is_address(name: str) -> bool:
    """Return True if `name` is an IP address."""
    return _parse_address(name) is not None


def _parse_address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return None
    # A socket that serves both versions sees an IPv4 client as ::ffff:127.0.0.1.
    return getattr(address, "ipv4_mapped", None) or address
