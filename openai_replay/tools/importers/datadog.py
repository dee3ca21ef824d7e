"""Reads cassettes of DataDog's test agent: one JSON file per interaction, binary bodies as `base64:...`.

A header has one value, and times are not kept. Source: ddapm_test_agent/vcr_proxy.py of dd-apm-test-agent.
"""

from __future__ import annotations

from typing import Any

from openai_replay.model import Interaction
from openai_replay.tools.importers.builder import (
    ImportResult,
    NoteRepair,
    build_all,
    build_headers,
    build_request,
    build_response,
    decode_base64,
    to_bytes,
)


def recognizes(value: Any) -> bool:
    """Return True if `value` is one interaction, with a `url` and a status that is a mapping."""
    if not isinstance(value, dict):
        return False
    request, response = value.get("request"), value.get("response")
    return (
        isinstance(request, dict)
        and "url" in request
        and isinstance(response, dict)
        and isinstance(response.get("status"), dict)
    )


def read(value: Any) -> ImportResult:
    """Return the one interaction."""
    return build_all([value], _interaction)


def _interaction(item: dict[str, Any], note_repair: NoteRepair) -> Interaction:
    request, response = item["request"], item["response"]
    status = response["status"]
    return Interaction(
        build_request(
            request["method"], request["url"], build_headers(request.get("headers")), _body(request.get("body"))
        ),
        build_response(
            status["code"],
            status.get("message"),
            build_headers(response.get("headers")),
            _body(response.get("body")),
            note_repair,
        ),
    )


def _body(text: Any) -> bytes:
    if isinstance(text, str) and text.startswith("base64:"):
        return decode_base64(text.removeprefix("base64:"))
    return to_bytes(text)
