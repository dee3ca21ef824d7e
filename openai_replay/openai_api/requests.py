"""What a request asks: the model, the messages, and the rest of its parameters."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from openai_replay.model import Request, header, media_type
from openai_replay.openai_api.responses import Json, Kind, Message, Part, item, message
from openai_replay.text import json_codec, multipart

#: Azure names the model in the path.
_DEPLOYMENT = re.compile(r"/deployments/([^/]+)/")


class Asked(NamedTuple):
    """A request taken apart: `messages` by role, `rest` the parameters that are none, by name."""

    model: str
    messages: list[Message]
    rest: Json


def asked(request: Request) -> Asked:
    """Read `request`, of any endpoint; what cannot be read is said in the messages."""
    fields = _fields(request)
    found = fields.pop("model", None)
    model = found if isinstance(found, str) else ""
    if not model and (match := _DEPLOYMENT.search(request.path)):
        model = match[1]
    messages = []
    if isinstance(instructions := fields.get("instructions"), str):
        messages.append(_text(instructions, "instructions"))
        del fields["instructions"]
    for name in ("messages", "additional_messages", "input", "prompt"):
        if name in fields:
            messages += _messages(fields.pop(name), name)
    if not fields and not messages and request.body and not model:
        messages.append(Message([Part(Kind.NOTE, _size(request.body, media_type(request.headers)))]))
    return Asked(model, messages, fields)


def _fields(request: Request) -> Json:
    """The parameters by name, of JSON and of a form; files as a note of their size."""
    media = media_type(request.headers)
    if media == "multipart/form-data":
        parts = multipart.parts(request.body, multipart.boundary(header(request.headers, "content-type"))) or ()
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
    what = _size(bytes(part.content), part.content_type)
    return f"{part.filename} ({what})" if part.filename else what


def _size(body: bytes, media: str) -> str:
    return f"{len(body)} bytes of {media}" if media else f"{len(body)} bytes"


def _messages(value: Any, name: str) -> list[Message]:
    if isinstance(value, str):
        return [_text(value, "user" if name in ("input", "messages") else name)]
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        return [_text(json_codec.canonical(value).decode(), name)]
    return [_one(one) for one in value]


def _one(value: Json) -> Message:
    """A message of a chat, or an item of a response's input."""
    kind = value.get("type")
    if isinstance(kind, str) and kind != "message" and "role" not in value:
        said = value.get("output")
        parts = [Part(Kind.TEXT, said)] if isinstance(said, str) else item(value)
        named = value.get("call_id")
        return Message(parts or [Part(Kind.NOTE, kind)], f"{kind} {named}" if isinstance(named, str) else kind)
    found = message(value)
    call = value.get("tool_call_id")
    return found._replace(role=f"{found.role} {call}") if isinstance(call, str) else found


def _text(text: str, role: str) -> Message:
    return Message([Part(Kind.TEXT, text)], role)
