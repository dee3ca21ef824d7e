"""Requests, responses and streams with keys, and their bodies after redaction."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from openai_replay.model import Frame, Head, Headers, Request, Response
from openai_replay.redaction.redactor import Redactor
from tests.matching.test_matcher import JSON
from tests.text.test_json_codec import leaves

URI = "https://api.openai.com/v1/responses"
SSE: Headers = (("content-type", "text/event-stream"),)
PLAIN = Redactor()

KEYS = {
    "sk": "sk-" + "aB3dE6gH" * 6,
    "sk-proj": "sk-proj-" + "Ab_9-Z" * 26,
    "sk-svcacct": "sk-svcacct-" + "q_W-1" * 30,
    "sk-admin": "sk-admin-" + "zY8x" * 20,
    "ek": "ek_" + "68af29c1" * 4,
    "sess": "sess-" + "Q1w2E3r4" * 5,
}


def redact_request_body(body: str | bytes, headers: Headers = JSON, rules: Redactor = PLAIN) -> bytes:
    body = body.encode() if isinstance(body, str) else body
    return rules.redact_request(Request("POST", URI, headers, body)).body


def response_of(*frames: bytes, headers: Headers = JSON) -> Response:
    return Response(Head(200, "OK", headers), 5, tuple(Frame(10 + i, data) for i, data in enumerate(frames)), 99)


def redact_response_body(body: str | bytes, headers: Headers = JSON, rules: Redactor = PLAIN) -> bytes:
    return rules.redact_response(response_of(body.encode() if isinstance(body, str) else body, headers=headers)).body


def mask_key(body: bytes, key: str) -> bytes:
    return body.replace(key.encode(), b"REDACTED".ljust(len(key), b"*"))


def chat(text: str, index: int = 0) -> Any:
    return {"id": "chatcmpl-1", "created": 1, "choices": [{"index": index, "delta": {"content": text}}]}


def call(text: str, index: int = 0) -> Any:
    return {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": index, "function": {"arguments": text}}]}}]}


def responses(text: str, index: int = 0) -> Any:
    item = {"item_id": f"msg_{index}", "output_index": index, "content_index": 0}
    return {"type": "response.output_text.delta", "sequence_number": id(text) % 9, "delta": text, **item}


def both(text: str, index: int = 0) -> Any:
    """Return an event with two choices, the other one first."""
    return {"choices": [{"index": 1 - index, "delta": {"content": "~"}}, *chat(text, index)["choices"]]}


def assistants(text: str, index: int = 0) -> Any:
    return {"object": "thread.message.delta", "delta": {"content": [{"index": index, "text": {"value": text}}]}}


def stream(*events: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"


def read_texts(body: bytes, make_event: Callable[[str, int], Any]) -> dict[Any, str]:
    """Return the text of each channel of a stream by its index."""
    (path,) = (path for path, text in leaves(make_event("\0", 0)) if text == "\0")
    texts_by_index: dict[Any, str] = {}
    for data in re.findall(rb"data: (\{.*)", body):
        value = json.loads(data)
        indexes = re.findall(r"'(?:index|output_index)': (\d)", str(value))
        for part in path:
            value = value[part]
        texts_by_index["".join(indexes)] = texts_by_index.get("".join(indexes), "") + value
    return texts_by_index


def arguments(text: str, index: int = 0) -> Any:
    return {"type": "response.function_call_arguments.delta", "output_index": index, "delta": text}


EVENTS = [chat, call, responses, arguments, assistants]
