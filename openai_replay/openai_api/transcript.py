"""An answer read: as JSON, a stream put together, and what it says, in a line or in full."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

from openai_replay.model import Response, media_type
from openai_replay.openai_api.responses import Kind, Message, Part, messages
from openai_replay.openai_api.stream_assembler import Assembly
from openai_replay.text import json_codec, sse
from openai_replay.text.http_headers import decoded

STREAM = "text/event-stream"
#: Characters of an answer that are worth reading for a summary.
_ENOUGH = 200
#: Bytes of a body that are read for it.
_READ = 1 << 16
#: Events after which a summary looks whether it has enough, and after twice as many again.
_A_FEW = 8


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `value` is the JSON answer, or what the stream's events come to, None where it is neither;
    `body` the bytes it was read from, without compression. `ended`: no event after which a stream is over is missing.
    """

    media: str
    body: bytes
    value: Any
    events: list[sse.Event]
    ended: bool
    messages: list[Message]

    @property
    def is_stream(self) -> bool:
        """Whether it came as server-sent events."""
        return self.media == STREAM


def answer(response: Response) -> Answer:
    """Read all of `response`."""
    headers, body = decoded(response.head.headers, response.body)
    media = media_type(headers)
    if media == STREAM:
        events = list(sse.events(body))
        assembly = Assembly()
        for event in events:
            assembly.add(event)
        return Answer(media, body, assembly.value or None, events, assembly.ended, messages(assembly.value))
    value = _loads(body) if is_json(media) else None
    return Answer(media, body, value, [], True, messages(value) if value is not None else _bare(media, body))


def is_json(media: str) -> bool:
    """Whether a media type is that of JSON."""
    return media == "application/json" or media.endswith("+json")


def said(response: Response) -> str:
    """The text of the answer's start, white space collapsed; empty where it says nothing a person could read.

    For comments and progress lines only.
    """
    media = media_type(response.head.headers)
    body = response.body
    if media == STREAM:
        return _stream(body)
    value = _loads(body) if is_json(media) else None
    return summary(messages(value) if value is not None else _bare(media, body[:_READ], len(body)))


def summary(found: list[Message], notes: bool = True) -> str:
    """What the first message says, and an error, in a line; where that is nothing, its `notes`."""
    text = found[0].text if found else ""
    text += "".join(part.text for one in found for part in one.parts if part.kind is Kind.ERROR)
    if not text and notes:
        text = ", ".join(part.text for one in found[:1] for part in one.parts if part.kind is Kind.NOTE)
    # Two halves of a character may come in two deltas. A half alone cannot be written anywhere.
    text = text[: _ENOUGH * 4].encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return " ".join(text[:_ENOUGH].split())


def _stream(body: bytes) -> str:
    assembly = Assembly()
    events = sse.events(body[:_READ])
    few = _A_FEW
    while batch := list(islice(events, few)):
        for event in batch:
            assembly.add(event)
        found = messages(assembly.value)
        if found and len(found[0].text) >= _ENOUGH:
            break
        few *= 2
    # How much sound there is shows at the end only.
    return summary(messages(assembly.value), notes=len(body) <= _READ)


def _bare(media: str, body: bytes, size: int | None = None) -> list[Message]:
    """What is neither JSON nor a stream."""
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
