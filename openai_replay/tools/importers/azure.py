"""Reads session records of Azure's test proxy and of the .NET test framework: `Entries`.

JSON bodies are values, other text is a list of its lines, the rest is base64. In a multipart body, a line of base64
begins with `b64:`. Times are not kept. Source: tools/test-proxy/.../Common/RecordEntry.cs of azure-sdk-tools.
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
    decode_base64,
    to_json,
)


def recognizes(value: Any) -> bool:
    """Return True if `value` is such a record."""
    return isinstance(value, dict) and isinstance(value.get("Entries"), list)


def read(value: Any) -> ImportResult:
    """Return the interactions of a record."""
    return build_all(value["Entries"], _interaction)


def _interaction(entry: dict[str, Any], note_repair: NoteRepair) -> Interaction:
    request_headers, response_headers = build_headers(entry["RequestHeaders"]), build_headers(entry["ResponseHeaders"])
    body = _body(entry.get("ResponseBody"), response_headers)
    if isinstance(entry.get("ResponseBody"), dict):
        note_repair("wrote parsed JSON as text again")
    return Interaction(
        build_request(
            entry["RequestMethod"],
            entry["RequestUri"],
            request_headers,
            _body(entry.get("RequestBody"), request_headers),
        ),
        build_response(entry["StatusCode"], None, response_headers, body, note_repair),
    )


_TEXTUAL = re.compile(r"text/|application/(?:[\w.+-]+\+)?(?:json|xml)|.*urlencoded|multipart/")


def _body(value: Any, pairs: Headers) -> bytes:
    if value is None or value == []:
        return b""
    if isinstance(value, list):
        return b"".join(_line(line) for line in value)
    if not isinstance(value, str):
        return to_json(value)
    if _TEXTUAL.match(media_type(pairs)):
        charset = re.search(r"charset=\"?([\w-]+)", header(pairs, "content-type"))
        return value.encode(charset[1] if charset else "utf-8")
    return decode_base64(value)


def _line(text: Any) -> bytes:
    if not isinstance(text, str):
        raise ValueError("a line of a body is not text")
    return decode_base64(text[4:]) if text.startswith("b64:") else text.encode()
