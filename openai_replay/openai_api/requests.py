"""Requests, parsed: the model, the messages, and the other parameters."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from openai_replay.model import Request, header, media_type
from openai_replay.openai_api.responses import Json, Kind, Message, Part, parse_item, parse_message
from openai_replay.text import json_codec, multipart

#: Azure names the model in the path.
_DEPLOYMENT = re.compile(r"/deployments/([^/]+)/")


class ParsedRequest(NamedTuple):
    """A parsed request. `parameters` are the ones that are neither model nor messages, by name."""

    model: str
    messages: list[Message]
    parameters: Json


def parse_request(request: Request) -> ParsedRequest:
    """Parse `request`, of any endpoint. A body that cannot be parsed becomes a note among the messages."""
    fields = _fields(request)
    model_field = fields.pop("model", None)
    model = model_field if isinstance(model_field, str) else ""
    if not model and (match := _DEPLOYMENT.search(request.path)):
        model = match[1]
    messages = []
    if isinstance(instructions := fields.get("instructions"), str):
        messages.append(_text_message(instructions, "instructions"))
        del fields["instructions"]
    for name in ("messages", "additional_messages", "input", "prompt"):
        if name in fields:
            messages += _parse_messages(fields.pop(name), name)
    if not fields and not messages and request.body and not model:
        messages.append(Message([Part(Kind.NOTE, _size(request.body, media_type(request.headers)))]))
    return ParsedRequest(model, messages, fields)


def _fields(request: Request) -> Json:
    """Return the parameters of JSON or of a form by name. A file becomes a note of its size."""
    media = media_type(request.headers)
    if media == "multipart/form-data":
        parts = (
            multipart.parse_parts(request.body, multipart.parse_boundary(header(request.headers, "content-type"))) or ()
        )
        return {part.name: _part(part) for part in parts}
    try:
        value = json_codec.shallow(request.body)
    except ValueError:
        return {}
    return dict(value) if isinstance(value, dict) else {"body": value}


def _part(part: multipart.Part) -> str:
    if not part.filename:
        try:
            return bytes(part.content).decode()
        except UnicodeDecodeError:
            pass
    description = _size(bytes(part.content), part.content_type)
    return f"{part.filename} ({description})" if part.filename else description


def _size(body: bytes, media: str) -> str:
    return f"{len(body)} bytes of {media}" if media else f"{len(body)} bytes"


def _parse_messages(value: Any, name: str) -> list[Message]:
    if isinstance(value, str):
        return [_text_message(value, "user" if name in ("input", "messages") else name)]
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        return [_text_message(json_codec.canonical(value).decode(), name)]
    return [_parse_message(entry) for entry in value]


def _parse_message(value: Json) -> Message:
    """Parse a message of a chat, or an input item of a response."""
    kind = value.get("type")
    if isinstance(kind, str) and kind != "message" and "role" not in value:
        output = value.get("output")
        parts = [Part(Kind.TEXT, output)] if isinstance(output, str) else parse_item(value)
        call_id = value.get("call_id")
        return Message(parts or [Part(Kind.NOTE, kind)], f"{kind} {call_id}" if isinstance(call_id, str) else kind)
    parsed = parse_message(value)
    call = value.get("tool_call_id")
    return parsed._replace(role=f"{parsed.role} {call}") if isinstance(call, str) else parsed


def _text_message(text: str, role: str) -> Message:
    return Message([Part(Kind.TEXT, text)], role)
