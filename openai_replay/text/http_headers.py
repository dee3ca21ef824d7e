"""HTTP headers: filtering the ones that are stored and forwarded, and encoding a head."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable

from openai_replay.model import Headers

#: Hop-by-hop headers (RFC 9110 7.6.1), and framing that each connection has its own of. Never stored or forwarded.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "host",
        "expect",
        "via",
    }
)
#: Headers about the client library or the CDN's edge server. Stored with `--keep-headers all` only.
NOISE = re.compile(
    r"accept-encoding|user-agent|x-stainless-.*|cf-.*|alt-svc|nel|report-to|strict-transport-security", re.IGNORECASE
)
#: A name is a token (RFC 9110 5.6.2). In an edited file it may be anything, such as a line break or a whole header.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
#: Characters that a value must not hold (RFC 9110 5.5): they would end the line, or the text.
_UNSAFE = re.compile(r"[\r\n\0]")


def filter_headers(headers: Headers, keep_all: bool = False, extra_names: Container[str] = ()) -> Headers:
    """Return the `headers` to store or forward.

    Dropped are hop-by-hop headers, also those that `Connection` names, and names that cannot be sent. Noise is dropped
    unless `keep_all`, except for `extra_names` (lower case).
    """
    connection_names = {
        token.strip().lower() for name, value in headers if name.lower() == "connection" for token in value.split(",")
    }
    return tuple(
        (name, value)
        for name, value in headers
        if _TOKEN.fullmatch(name)
        and name.lower() not in HOP_BY_HOP | connection_names
        and (keep_all or name.lower() in extra_names or not NOISE.fullmatch(name))
    )


def encode_head(lines: Iterable[str]) -> bytes:
    """Return the head of a message from its `lines`, with the empty line at its end. No line can become two.

    Text is latin-1. A file that was written by hand may hold other characters, and is then sent as UTF-8.
    """
    text = "".join(_UNSAFE.sub(" ", line) + "\r\n" for line in lines) + "\r\n"
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")
