"""Headers: the ones that are stored and passed on, and the true content encoding."""

from __future__ import annotations

import re
import zlib
from collections.abc import Container, Iterable

from openai_replay.model import Headers, header

#: Hop-by-hop headers (RFC 9110 7.6.1), and framing that is made anew on every connection. Never stored, never passed
#: on.
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
#: What only says how the request came about or which edge of the CDN answered. Stored with `--keep-headers all` only.
NOISE = re.compile(
    r"accept-encoding|user-agent|x-stainless-.*|cf-.*|alt-svc|nel|report-to|strict-transport-security", re.IGNORECASE
)

#: Bytes a compressed body may unfold to. Past that it is a bomb, or nothing a person reviews: it stays as it came.
_MAX_DECODED_BYTES = 1 << 28
#: Compressed bytes that are looked at together.
_WINDOW = 1 << 12
#: A name is a token (RFC 9110 5.6.2). In a file that was edited it may be anything: a line break, a header.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
#: What no value may hold (RFC 9110 5.5): it would end the line, or the text.
_UNSAFE = re.compile(r"[\r\n\0]")

_MAGIC = {"gzip": b"\x1f\x8b", "x-gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}


def filter_headers(headers: Headers, keep_all: bool = False, extra_names: Container[str] = ()) -> Headers:
    """`headers` as they are stored: without hop-by-hop ones (those that `Connection` names, too), what has no name
    that can be sent, and, unless `everything`, noise; but what is `wanted` (lower case) is none.
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
    """The head of a message from its `lines`, the empty line at its end included; a line stays one, whatever it holds.

    Text is latin-1; a file that was written by hand may hold more, which goes out as UTF-8.
    """
    text = "".join(_UNSAFE.sub(" ", line) + "\r\n" for line in lines) + "\r\n"
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def drop_false_encoding(headers: Headers, body: bytes) -> Headers:
    """Drop a `content-encoding` that the body does not have: many recorders store it decoded under the header it came
    with.

    gzip and zstd show by their magic bytes; brotli and deflate have none, but compressed bytes are no UTF-8.
    """
    encoding = header(headers, "content-encoding").strip().lower()
    if not encoding or not body:
        return headers
    if encoding in _MAGIC:
        is_encoded = body.startswith(_MAGIC[encoding])
    else:
        try:
            body.decode()
            is_encoded = False
        except UnicodeDecodeError:
            is_encoded = True
    return headers if is_encoded else tuple(header for header in headers if header[0].lower() != "content-encoding")


def decode_body(headers: Headers, body: bytes) -> tuple[Headers, bytes]:
    """Headers and body without gzip or deflate; just as they came where it is neither, or is damaged."""
    encoding = header(headers, "content-encoding").strip().lower()
    if encoding not in ("gzip", "x-gzip", "deflate") or not body:
        return headers, body
    try:
        plain = _inflate(body)
    except zlib.error:
        return headers, body
    if plain is None:
        return headers, body
    return tuple((name, value) for name, value in headers if name.lower() != "content-encoding"), plain


def _inflate(body: bytes) -> bytes | None:
    """`body` unfolded; None where that is very much. Raises zlib.error."""
    pieces, size, offset = [], 0, 0
    decoder = zlib.decompressobj(wbits=47)  # the format is told by its magic bytes
    while offset < len(body):
        if decoder.eof:  # gzip may come in several members
            decoder = zlib.decompressobj(wbits=47)
        # A window at a time: what lies behind a member is copied, and there may be a million of them.
        window = body[offset : offset + _WINDOW]
        pieces.append(decoder.decompress(window, _MAX_DECODED_BYTES + 1 - size))
        size += len(pieces[-1])
        if size > _MAX_DECODED_BYTES:
            return None
        offset += len(window) - len(decoder.unused_data)
    return b"".join(pieces)
