"""Content encodings of bodies: decoding gzip and deflate, and dropping a `content-encoding` that is not true."""

from __future__ import annotations

import zlib

from openai_replay.model import Headers, header

#: Largest size that a compressed body is decoded to. A larger one is a bomb, or nothing that a person reviews.
MAX_DECODED_BYTES = 1 << 28
#: Compressed bytes that are decoded at a time.
_WINDOW = 1 << 12
_MAGIC = {"gzip": b"\x1f\x8b", "x-gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}


def drop_false_encoding(headers: Headers, body: bytes) -> Headers:
    """Return `headers` without a `content-encoding` that `body` does not have.

    Many recorders store a decoded body under its original headers. gzip and zstd are known by their magic bytes. Brotli
    and deflate have none, but compressed bytes are not UTF-8.
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


def decode_body(headers: Headers, body: bytes, max_bytes: int = MAX_DECODED_BYTES) -> tuple[Headers, bytes]:
    """Return `headers` and `body` with gzip or deflate decoded.

    Both are returned unchanged if the encoding is another one, the body is damaged, or more than `max_bytes` decoded.
    """
    encoding = header(headers, "content-encoding").strip().lower()
    if encoding not in ("gzip", "x-gzip", "deflate") or not body:
        return headers, body
    try:
        plain = _inflate(body, max_bytes)
    except zlib.error:
        return headers, body
    if plain is None:
        return headers, body
    return tuple((name, value) for name, value in headers if name.lower() != "content-encoding"), plain


def _inflate(body: bytes, max_bytes: int) -> bytes | None:
    """Return `body` decoded, or None if that is more than `max_bytes`. Raises zlib.error."""
    chunks, size, offset = [], 0, 0
    decoder = zlib.decompressobj(wbits=47)  # zlib finds the format by the magic bytes
    while offset < len(body):
        if decoder.eof:  # gzip may have several members (RFC 1952 2.2)
            decoder = zlib.decompressobj(wbits=47)
        # A window at a time: zlib copies everything after a member, and there may be a million members.
        window = body[offset : offset + _WINDOW]
        chunks.append(decoder.decompress(window, max_bytes + 1 - size))
        size += len(chunks[-1])
        if size > max_bytes:
            return None
        offset += len(window) - len(decoder.unused_data)
    return b"".join(chunks)
