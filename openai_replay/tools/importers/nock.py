"""Recordings of nock (`nock.recorder`, `nockBack`): a JSON list of definitions.

JSON bodies are values, binary ones hex; a body with a content-encoding is a list of the chunks that the client read.
It says nothing about time. Source: lib/recorder.js and lib/common.js of nock.
"""

from __future__ import annotations

import re
from typing import Any

from openai_replay.model import Headers, Interaction, header, media_type
from openai_replay.tools.importers.builder import (
    ImportResult,
    NoteRepair,
    build_all,
    build_headers,
    build_request,
    build_response,
    decode_hex,
    to_bytes,
    to_json,
)


def recognizes(value: Any) -> bool:
    """Whether `value` is such a list."""
    return (
        isinstance(value, list)
        and bool(value)
        and isinstance(value[0], dict)
        and "scope" in value[0]
        and "path" in value[0]
    )


def read(value: Any) -> ImportResult:
    """The interactions of a recording."""
    return build_all(value, _interaction)


def _interaction(item: dict[str, Any], repair: NoteRepair) -> Interaction:
    origin = re.sub(r"(?<=^https:)(//[^/]*):443$|(?<=^http:)(//[^/]*):80$", r"\1\2", str(item["scope"]).rstrip("/"))
    asked = item.get("body")
    body = to_bytes(asked) if asked is None or isinstance(asked, str) else to_json(asked)
    pairs = build_headers(item.get("reqheaders"))
    if isinstance(asked, (dict, list)) and not header(pairs, "content-type"):
        pairs += (("content-type", "application/json"),)  # nock keeps no request headers unless it is told to
    answered = build_headers(item.get("rawHeaders") or item.get("headers"))
    return Interaction(
        build_request(item.get("method") or "GET", origin + str(item["path"]), pairs, body),
        build_response(item.get("status") or 200, None, answered, _body(item, answered, repair), repair),
    )


_HEX = re.compile(r"(?:[0-9a-f]{2})+")
_TEXTUAL = re.compile(r"text/|json|xml|javascript|urlencoded")


def _body(item: dict[str, Any], pairs: Headers, repair: NoteRepair) -> bytes | list[bytes]:
    said = item.get("response")
    if isinstance(said, list) and header(pairs, "content-encoding") and all(isinstance(one, str) for one in said):
        return [decode_hex(one) for one in said]
    if isinstance(said, str):
        # Before nock 9 nothing says that a text is hex, but the type of what it is.
        is_hex = item.get("responseIsBinary") or (
            "responseIsBinary" not in item
            and not _TEXTUAL.search(media_type(pairs) or "text/")
            and _HEX.fullmatch(said)
        )
        return decode_hex(said) if is_hex else to_bytes(said)
    if said is None:
        return b""
    repair("JSON that was kept as values was written anew")
    return to_json(said)
