"""Transcripts of responses: JSON or an assembled stream, its messages, and a preview in one line."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

from openai_replay.model import Response, media_type
from openai_replay.openai_api.responses import Kind, Message, Part, parse_messages
from openai_replay.openai_api.stream_assembler import Assembly
from openai_replay.text import json_codec, sse
from openai_replay.text.content_encoding import decode_body

STREAM = "text/event-stream"
#: Characters of a preview.
_PREVIEW_CHARACTERS = 200
#: Bytes of a body that are read for a preview.
_PREVIEW_BYTES = 1 << 16
#: Events in the first batch of a preview. Each further batch is twice as large.
_FIRST_BATCH = 8


@dataclass(frozen=True, slots=True)
class ParsedResponse:
    """A complete response. `value` is its JSON or its assembled stream, or None for other media types.

    `body` is uncompressed. `ended` is False for a stream without its last event.
    """

    media: str
    body: bytes
    value: Any
    events: list[sse.Event]
    ended: bool
    messages: list[Message]

    @property
    def is_stream(self) -> bool:
        """True for server-sent events."""
        return self.media == STREAM


def parse_response(response: Response) -> ParsedResponse:
    """Read all of `response`."""
    headers, body = decode_body(response.head.headers, response.body)
    media = media_type(headers)
    if media == STREAM:
        events = list(sse.events(body))
        assembly = Assembly()
        for event in events:
            assembly.add(event)
        return ParsedResponse(
            media, body, assembly.value or None, events, assembly.ended, parse_messages(assembly.value)
        )
    value = _loads(body) if is_json(media) else None
    return ParsedResponse(
        media, body, value, [], True, parse_messages(value) if value is not None else _other_messages(media, body)
    )


def is_json(media: str) -> bool:
    """Return True for media types of JSON."""
    return media == "application/json" or media.endswith("+json")


def preview(response: Response) -> str:
    """Return the first text of `response` with collapsed white space. Empty if it has no readable text.

    For comments and progress lines only.
    """
    media = media_type(response.head.headers)
    body = response.body
    if media == STREAM:
        return _preview_stream(body)
    value = _loads(body) if is_json(media) else None
    return summarize(
        parse_messages(value) if value is not None else _other_messages(media, body[:_PREVIEW_BYTES], len(body))
    )


def summarize(messages: list[Message], notes: bool = True) -> str:
    """Return the first message and an error in one line. If both are empty, return the `notes` instead."""
    text = messages[0].text if messages else ""
    text += "".join(part.text for message in messages for part in message.parts if part.kind is Kind.ERROR)
    if not text and notes:
        text = ", ".join(part.text for message in messages[:1] for part in message.parts if part.kind is Kind.NOTE)
    # Two halves of a character may come in two deltas. A half alone cannot be written anywhere.
    text = text[: _PREVIEW_CHARACTERS * 4].encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return " ".join(text[:_PREVIEW_CHARACTERS].split())


def _preview_stream(body: bytes) -> str:
    assembly = Assembly()
    events = sse.events(body[:_PREVIEW_BYTES])
    batch_size = _FIRST_BATCH
    while batch := list(islice(events, batch_size)):
        for event in batch:
            assembly.add(event)
        parsed = parse_messages(assembly.value)
        if parsed and len(parsed[0].text) >= _PREVIEW_CHARACTERS:
            break
        batch_size *= 2
    # The length of audio is known only at the end.
    return summarize(parse_messages(assembly.value), notes=len(body) <= _PREVIEW_BYTES)


def _other_messages(media: str, body: bytes, size: int | None = None) -> list[Message]:
    """Return the message of a body that is neither JSON nor a stream."""
    if not body or not media or is_json(media):
        return []
    if media.startswith("text/"):
        return [Message([Part(Kind.TEXT, body.decode("utf-8", "ignore"))])]
    return [Message([Part(Kind.NOTE, f"{size or len(body)} bytes of {media}")])]


def _loads(text: bytes) -> Any:
    try:
        return json_codec.shallow(text)
    except ValueError:
        return None
