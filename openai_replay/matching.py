"""A request becomes a key: equal keys are the same request.

In the key: method, path, query in any order, and the body by what it means: JSON by value (numbers exactly: `1` is
not `1.0`), a form by its sorted pairs, multipart by its parts without the random boundary, anything else by its
bytes. Not in the key: the host, and headers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from openai_replay import jsontext, multipart
from openai_replay.jsontext import Pointer
from openai_replay.model import Request, header, media_type

#: Text of a multipart part up to this many bytes is shown as it is, anything longer by its digest.
_SHOWN_PART = 4096


class Meaning(NamedTuple):
    """What a request says, as far as it is compared: `query` are sorted pairs, `kind` and `body` what `meaning` gives,
    a body of kind `bytes` as its bytes.
    """

    method: str
    path: str
    query: list[list[str]]
    kind: str
    body: Any


@dataclass(frozen=True, slots=True)
class Matcher:
    """What decides whether two requests are the same. `ignore`: what is left out of their bodies."""

    ignore: tuple[Pointer, ...] = ()

    def meaning(self, request: Request) -> Meaning:
        """What of `request` is compared; `explaining` shows where two of them differ."""
        kind, body = meaning(request)
        if kind == "bytes":
            body = request.body
        for pointer in self.ignore:
            jsontext.drop(body, pointer)
        return Meaning(request.method.upper(), request.path, pairs(request.query), kind, body)

    def key(self, request: Request) -> bytes:
        """The key of `request`: 16 bytes, equal for requests that mean the same."""
        said = self.meaning(request)
        digest = hashlib.blake2b(digest_size=16)
        head = [said.method, said.path, *(part for pair in said.query for part in pair)]
        for part in (*(_bytes(text) for text in head), *_canonical(said, request.body)):
            # With its length, so that no two sequences of parts run together the same way.
            digest.update(b"%d:" % len(part))
            digest.update(part)
        return digest.digest()


def _canonical(said: Meaning, body: bytes) -> tuple[bytes, bytes]:
    if said.kind != "bytes":
        try:
            return said.kind.encode(), jsontext.canonical(said.body)
        except ValueError:  # nested too deeply
            pass
    return b"bytes", body


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
