"""Reads a response alone: a raw event stream (`.sse`), its events as JSON lines, or a JSON body.

The user supplies its request; the URL may be left out if the response says what it is.
"""

from __future__ import annotations

import re
from typing import Any

from openai_replay.errors import ImportFormatError
from openai_replay.model import Interaction
from openai_replay.text import json_codec
from openai_replay.tools.importers.builder import (
    ImportResult,
    NoteRepair,
    build_all,
    build_request,
    build_response,
    guess_url,
    to_json,
)
from openai_replay.tools.importers.source import SuppliedRequest, TextFile

_JSON = (("content-type", "application/json"),)
_STREAM = (("content-type", "text/event-stream; charset=utf-8"),)


def recognizes(value: Any, supplied: SuppliedRequest | None) -> bool:
    """Return True if `value` can be a response: a stream, JSON lines, or a JSON object of the API.

    With a supplied request, any JSON object will do.
    """
    if isinstance(value, TextFile):
        return not value.is_prose
    return isinstance(value, dict) and ("object" in value or "error" in value or supplied is not None)


def describe_unknown(value: Any) -> str:
    """Return the reason why `value` is of no known format."""
    if isinstance(value, dict):
        names = [key for key in list(value)[:5] if isinstance(key, str) and _SHORT_WORD.fullmatch(key)]
        return f"The format is unknown: a mapping{' of ' if names else ''}{', '.join(names)}."
    if isinstance(value, list):
        return "The format is unknown: a list whose entries are not requests with responses."
    return "The format is unknown: plain text."


_SHORT_WORD = re.compile(r"[A-Za-z_]{1,20}")  # a longer one may be a secret key


def read(value: Any, supplied: SuppliedRequest | None) -> ImportResult:
    """Return the one interaction, with the supplied request."""
    if supplied is None or supplied.body is None:
        raise ImportFormatError("The file is a response without its request. Give the request with --request FILE.")
    return build_all([value], lambda entry, note_repair: _interaction(entry, supplied, note_repair))


def _interaction(value: Any, supplied: SuppliedRequest, note_repair: NoteRepair) -> Interaction:
    pairs, body = (_STREAM, _stream(value, note_repair)) if isinstance(value, TextFile) else (_JSON, to_json(value))
    url = supplied.url or guess_url(body)
    if url is None:
        raise ImportFormatError("The response does not tell the URL of its request. Give it with --url URL.")
    status = 400 if isinstance(value, dict) and value.get("error") and "object" not in value else 200
    return Interaction(
        build_request(supplied.method, url, _JSON if supplied.body else (), supplied.body or b""),
        build_response(status, None, pairs, body, note_repair),
    )


def _stream(text: TextFile, note_repair: NoteRepair) -> bytes:
    """Return the stream as it is; JSON lines as the API would send them."""
    if not text.lstrip().startswith("{"):
        return text.encode()
    events: list[bytes] = []
    chunks = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() in ("", "[DONE]"):
            continue
        try:
            event = json_codec.loads(line.encode())
        except ValueError:
            raise ImportFormatError(f"Line {number} is not JSON. It may be cut off.") from None
        if not isinstance(event, dict):
            raise ImportFormatError(f"Line {number} is not an event.")
        chunks = chunks or str(event.get("object")) in ("chat.completion.chunk", "text_completion")
        kind = event.get("type")
        events.append(
            (f"event: {kind}\n" if isinstance(kind, str) else "").encode() + b"data: " + line.strip().encode()
        )
    note_repair("built a stream from JSON lines, as the API sends them")
    return b"".join(event + b"\n\n" for event in [*events, *([b"data: [DONE]"] if chunks else [])])
