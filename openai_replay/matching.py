"""A request becomes a key: equal keys are the same request.

In the key: method, path, query in any order, and the body by what it means: JSON by value (numbers exactly: `1` is
not `1.0`), a form by its sorted pairs, multipart by its parts without the random boundary, anything else by its
bytes. Not in the key: the host, and headers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

from openai_replay import jsontext, multipart
from openai_replay.jsontext import Pointer
from openai_replay.model import Request, header, media_type

#: Text of a multipart part up to this many bytes is shown as it is, anything longer by its digest.
_SHOWN_PART = 4096


def key(request: Request, ignore: Sequence[Pointer] = ()) -> bytes:
    """The key of `request`: 16 bytes, equal for requests that mean the same but for what the pointers in `ignore`
    name.
    """
    digest = hashlib.blake2b(digest_size=16)
    head = [request.method.upper(), request.path, *(part for pair in pairs(request.query) for part in pair)]
    for part in (*(_bytes(text) for text in head), *_canonical_body(request, ignore)):
        # With its length, so that no two sequences of parts run together the same way.
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()


def _canonical_body(request: Request, ignore: Sequence[Pointer]) -> tuple[bytes, bytes | memoryview]:
    kind, value = meaning(request)
    if kind != "bytes":
        for pointer in ignore:
            jsontext.drop(value, pointer)
        try:
            return kind.encode(), jsontext.canonical(value)
        except ValueError:
            pass
    return b"bytes", request.body


def pairs(query: str) -> list[list[str]]:
    """Names and values of a query or a form, sorted. Escaped bytes that are no UTF-8 stay what they are."""
    found = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    return sorted([name, value] for name, value in found)


def meaning(request: Request) -> tuple[str, Any]:
    """What the body says, as (kind, value): `json`, `form` (list of pairs) and `multipart` (list of parts), else
    `bytes` and None.
    """
    body = request.body
    media = media_type(request.headers)
    if media == "multipart/form-data":
        found = multipart.parts(body, multipart.boundary(header(request.headers, "content-type")))
        if found is not None:
            return "multipart", [_part_value(part) for part in found]
    elif media == "application/x-www-form-urlencoded":
        return "form", pairs(body.decode("utf-8", "surrogateescape"))
    elif body:
        try:
            return "json", jsontext.exact(body)
        except ValueError:
            pass
    return "bytes", None


def _part_value(part: multipart.Part) -> dict[str, str]:
    said = {"name": part.name, "filename": part.filename, "content_type": part.content_type}
    if len(part.content) <= _SHOWN_PART:
        try:
            return said | {"content": bytes(part.content).decode()}
        except UnicodeDecodeError:
            pass
    digest = hashlib.blake2b(part.content, digest_size=16).hexdigest()
    return said | {"bytes": f"{len(part.content)}, blake2b {digest}"}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
