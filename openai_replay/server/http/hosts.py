"""What a host is called: which names mean this machine, and which host a request names."""

from __future__ import annotations

import ipaddress
import re

# RFC 9110 7.2: `Host = uri-host [ ":" port ]`. A list, a user, or a path in it is no host.
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:/?#@,\[\]]+)(?::[0-9]*)?", re.ASCII)
#: What containers call the machine they run on. `.internal` is nobody's domain (ICANN, 2024), so no page comes from it.
CONTAINER_HOSTS = frozenset({"host.docker.internal", "host.containers.internal"})


def named(value: str) -> str:
    """The name or address in a `Host` header: lower case, no port, no brackets, no dot at the end; empty if it is
    none.
    """
    match = _HOST.fullmatch(value.strip().lower())
    return match[1].strip("[]").removesuffix(".") if match else ""


def is_loopback(name: str) -> bool:
    """Whether `name`, a name or an address without a port, always means this machine (RFC 6761 6.3, RFC 4291 2.5.3)."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    return address is not None and address.is_loopback


def is_address(name: str) -> bool:
    """Whether `name` is an IP address."""
    return _address(name) is not None


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return None
    # An IPv4 client of a socket that serves both is ::ffff:127.0.0.1.
    return getattr(address, "ipv4_mapped", None) or address
