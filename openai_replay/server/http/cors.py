"""Permission for pages of other origins (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from openai_replay.model import Head, Headers, header
from openai_replay.server.http.hosts import is_loopback

#: Seconds for which a browser may cache the response to a preflight request.
_MAX_AGE_S = "600"


def is_allowed(origin: str, allowed: Collection[str]) -> bool:
    """Return True if pages of `origin` may send requests: `allowed` ones may, and those of this machine."""
    try:
        return origin in allowed or is_loopback(urlsplit(origin).hostname or "")
    except ValueError:
        return False


def is_preflight(method: str, headers: Headers) -> bool:
    """Return True if a browser asks with this request whether it may send the real one."""
    return method == "OPTIONS" and bool(header(headers, "origin") and header(headers, "access-control-request-method"))


def preflight_response(headers: Headers) -> Head:
    """Return the response to a preflight request, which allows all that it asks for."""
    permissions = [
        ("Access-Control-Allow-Methods", header(headers, "access-control-request-method")),
        ("Access-Control-Max-Age", _MAX_AGE_S),
    ]
    if names := header(headers, "access-control-request-headers"):
        permissions.append(("Access-Control-Allow-Headers", names))
    if header(headers, "access-control-request-private-network"):  # from a public page to a loopback address
        permissions.append(("Access-Control-Allow-Private-Network", "true"))
    return Head(204, "No Content", tuple(permissions))


def with_permission(head: Head, origin: str) -> Head:
    """Return `head` with the permission for pages of `origin` to read the response, and for no others."""
    headers = tuple(pair for pair in head.headers if not pair[0].lower().startswith("access-control-allow-origin"))
    permission = (("Access-Control-Allow-Origin", origin), ("Access-Control-Expose-Headers", "*"), ("Vary", "Origin"))
    return Head(head.status, head.reason, headers + permission, head.length)
