"""Reads cassettes of Ruby's VCR and of its port to R: `http_interactions`, YAML or JSON.

A body is `string` with its original `encoding`, `base64_string`, or `raw_gzip` (R, since 2.0).
Sources: lib/vcr/structs.rb of vcr; R/http_interactions.R and R/body.R of R's vcr.
"""

from __future__ import annotations

from typing import Any

from openai_replay.model import Interaction
from openai_replay.tools.importers.builder import (
    ImportResult,
    NoteRepair,
    SkipEntry,
    build_all,
    build_headers,
    build_request,
    build_response,
    decode_base64,
    to_bytes,
)
from openai_replay.tools.importers.source import decompress


def recognizes(value: Any) -> bool:
    """Return True if `value` is such a cassette."""
    return isinstance(value, dict) and isinstance(value.get("http_interactions"), list)


def read(value: Any) -> ImportResult:
    """Return the interactions of a cassette. Times are not kept."""
    return build_all(value["http_interactions"], _interaction)


def _interaction(item: dict[str, Any], note_repair: NoteRepair) -> Interaction:
    request, response = item["request"], item["response"]
    status = response["status"]
    code, reason = (status["code"], status.get("message")) if isinstance(status, dict) else (status, None)
    return Interaction(
        build_request(
            request["method"], request["uri"], build_headers(request.get("headers")), _body(request.get("body"))
        ),
        build_response(code, reason, build_headers(response.get("headers")), _body(response.get("body")), note_repair),
    )


def _body(body: Any) -> bytes:
    if not isinstance(body, dict):
        return to_bytes(body)
    if body.get("file") in (True, "yes", "true", "TRUE"):
        raise SkipEntry(f"has a body in another file, {body.get('string')}.")
    if body.get("raw_gzip"):
        return decompress(decode_base64(body["raw_gzip"]), "The body")
    if body.get("base64_string"):
        return decode_base64(body["base64_string"])
    text = body.get("string")
    encoding = str(body.get("encoding") or "UTF-8").upper()
    if isinstance(text, str) and encoding not in ("ASCII-8BIT", "BINARY", "UTF-8", "US-ASCII"):
        try:
            return text.encode(encoding)
        except (LookupError, UnicodeEncodeError):
            pass  # VCR leaves it in UTF-8 as well
    return to_bytes(text)
