"""Reads recordings of nock (`nock.recorder`, `nockBack`): a JSON list of definitions.

JSON bodies are values, binary ones hex; a body with a content-encoding is a list of the chunks that the client read.
Times are not kept. Source: lib/recorder.js and lib/common.js of nock.
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
    """Return True if `value` is such a list."""
    return (
        isinstance(value, list)
        and bool(value)
        and isinstance(value[0], dict)
        and "scope" in value[0]
        and "path" in value[0]
    )


def read(value: Any) -> ImportResult:
    """Return the interactions of a recording."""
    return build_all(value, _interaction)


def _interaction(item: dict[str, Any], note_repair: NoteRepair) -> Interaction:
    origin = re.sub(r"(?<=^https:)(//[^/]*):443$|(?<=^http:)(//[^/]*):80$", r"\1\2", str(item["scope"]).rstrip("/"))
    request_body = item.get("body")
    body = to_bytes(request_body) if request_body is None or isinstance(request_body, str) else to_json(request_body)
    pairs = build_headers(item.get("reqheaders"))
    if isinstance(request_body, (dict, list)) and not header(pairs, "content-type"):
        pairs += (("content-type", "application/json"),)  # nock keeps no request headers unless it is told to
    response_headers = build_headers(item.get("rawHeaders") or item.get("headers"))
    return Interaction(
        build_request(item.get("method") or "GET", origin + str(item["path"]), pairs, body),
        build_response(
            item.get("status") or 200, None, response_headers, _body(item, response_headers, note_repair), note_repair
        ),
    )


_HEX = re.compile(r"(?:[0-9a-f]{2})+")
_TEXTUAL = re.compile(r"text/|json|xml|javascript|urlencoded")


def _body(item: dict[str, Any], pairs: Headers, note_repair: NoteRepair) -> bytes | list[bytes]:
    body = item.get("response")
    if isinstance(body, list) and header(pairs, "content-encoding") and all(isinstance(chunk, str) for chunk in body):
        return [decode_hex(chunk) for chunk in body]
    if isinstance(body, str):
        # Before nock 9, only the content type tells that a text is hex.
        is_hex = item.get("responseIsBinary") or (
            "responseIsBinary" not in item
            and not _TEXTUAL.search(media_type(pairs) or "text/")
            and _HEX.fullmatch(body)
        )
        return decode_hex(body) if is_hex else to_bytes(body)
    if body is None:
        return b""
    note_repair("wrote parsed JSON as text again")
    return to_json(body)
