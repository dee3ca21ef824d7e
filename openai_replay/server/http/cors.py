"""What a browser wants to hear before a page may talk to another origin
(https://fetch.spec.whatwg.org/#http-cors-protocol).
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from openai_replay.model import Head, Headers, header
from openai_replay.server.http.hosts import is_loopback

#: Seconds a browser may remember the answer to a preflight.
_REMEMBERED_S = "600"


def allows(origin: str, more: Collection[str]) -> bool:
    """Whether a page from `origin` may ask: one from this machine, or one of `more`."""
    try:
        return origin in more or is_loopback(urlsplit(origin).hostname or "")
    except ValueError:
        return False


def is_preflight(method: str, headers: Headers) -> bool:
    """Whether this is the question a browser asks before the real request."""
    return method == "OPTIONS" and bool(header(headers, "origin") and header(headers, "access-control-request-method"))


def preflight(headers: Headers) -> Head:
    """The answer to a preflight: what was asked for is allowed."""
    answer = [
        ("Access-Control-Allow-Methods", header(headers, "access-control-request-method")),
        ("Access-Control-Max-Age", _REMEMBERED_S),
    ]
    if wanted := header(headers, "access-control-request-headers"):
        answer.append(("Access-Control-Allow-Headers", wanted))
    if header(headers, "access-control-request-private-network"):  # a public page that asks a loopback address
        answer.append(("Access-Control-Allow-Private-Network", "true"))
    return Head(204, "No Content", tuple(answer))


def permitted(head: Head, origin: str) -> Head:
    """`head` with the permission for `origin`; what it said of other origins goes."""
    others = tuple(one for one in head.headers if not one[0].lower().startswith("access-control-allow-origin"))
    mine = (("Access-Control-Allow-Origin", origin), ("Access-Control-Expose-Headers", "*"), ("Vary", "Origin"))
    return Head(head.status, head.reason, others + mine, head.length)
