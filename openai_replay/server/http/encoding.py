"""The bytes of responses on the wire: a pure function of the framing and of what is sent.

Heads are written as they are. (`aiohttp.web.Response` would add `Date`, `Server` and a content type.) A body without a
declared length is chunked, and each frame is a chunk of its own, as it was for the client that recorded it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from openai_replay.model import End, Head
from openai_replay.server.http import cors
from openai_replay.server.http.request import RequestHead
from openai_replay.text.http_headers import encode_head


class Framing(NamedTuple):
    """All that the bytes of a response depend on besides its head, frames and end. Encoded responses are cached by it.

    `cors_origin`: the origin of the page that may read the response, or empty.
    """

    chunked: bool
    no_body: bool
    keep_alive: bool
    http11: bool
    cors_origin: str = ""


def choose_framing(request: RequestHead | None, head: Head, *, close_after: bool, cors_origin: str = "") -> Framing:
    """Return the framing of a response to `request` that begins with `head` (RFC 9112 6.3).

    `request` is None if its head could not be read. `close_after`: no other request may follow.
    """
    http11 = request is None or request.http11
    no_body = head.status in (204, 304) or head.status < 200 or (request is not None and request.method == "HEAD")
    chunked = head.length is None and http11 and not no_body
    has_end = head.length is not None or chunked or no_body  # else the end of the connection is the end of the body
    keep_alive = has_end and not close_after and request is not None and request.keep_alive
    return Framing(chunked, no_body, keep_alive, http11, cors_origin)


def encode(framing: Framing, head: Head | None, frames: Sequence[bytes], end: End | None) -> bytes:
    """Return a part of a response as bytes: its head, if this is the first part, `frames`, and its end, if known."""
    parts: list[bytes] = []
    if head is not None:
        parts.append(_encode_head(framing, head))
    for frame in frames if not framing.no_body else ():
        if frame:  # an empty chunk would be the end
            parts += (b"%x\r\n" % len(frame), frame, b"\r\n") if framing.chunked else (frame,)
    if end is End.COMPLETE and framing.chunked:
        parts.append(b"0\r\n\r\n")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _encode_head(framing: Framing, head: Head) -> bytes:
    if framing.cors_origin:
        head = cors.with_permission(head, framing.cors_origin)
    lines = [f"HTTP/1.1 {head.status} {head.reason}", *(f"{name}: {value}" for name, value in head.headers)]
    if head.length is not None and head.status != 204:
        lines.append(f"Content-Length: {head.length}")
    elif framing.chunked:
        lines.append("Transfer-Encoding: chunked")
    if not framing.keep_alive:
        lines.append("Connection: close")
    elif not framing.http11:
        lines.append("Connection: keep-alive")
    return encode_head(lines)  # which keeps lines apart: anyone may have edited the cassette
