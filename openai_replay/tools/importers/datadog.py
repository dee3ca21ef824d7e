"""Cassettes of DataDog's test agent: a JSON file an interaction, binary bodies behind `base64:`.

Headers are one value each, and it says nothing about time. Source: ddapm_test_agent/vcr_proxy.py of dd-apm-test-agent.
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
    """Whether `value` is one interaction, with a `url` and a status that is a mapping."""
    if not isinstance(value, dict):
        return False
    asked, answer = value.get("request"), value.get("response")
    return (
        isinstance(asked, dict)
        and "url" in asked
        and isinstance(answer, dict)
        and isinstance(answer.get("status"), dict)
    )


def read(value: Any) -> ImportResult:
    """The one interaction."""
    return build_all([value], _interaction)


def _interaction(item: dict[str, Any], repair: NoteRepair) -> Interaction:
    asked, answer = item["request"], item["response"]
    status = answer["status"]
    return Interaction(
        build_request(asked["method"], asked["url"], build_headers(asked.get("headers")), _body(asked.get("body"))),
        build_response(
            status["code"],
            status.get("message"),
            build_headers(answer.get("headers")),
            _body(answer.get("body")),
            repair,
        ),
    )


def _body(text: Any) -> bytes:
    if isinstance(text, str) and text.startswith("base64:"):
        return decode_base64(text.removeprefix("base64:"))
    return to_bytes(text)
