"""Server-sent events, read from bytes that are already there (WHATWG HTML, 9.2.6 "Interpreting an event stream").

Lines end in LF, CRLF or CR; a blank line ends an event. OpenAI sends LF, but CRLF from `/v1/audio/...`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

# Atomic groups: without them a lone CRLF backtracks into CR + LF and looks like a blank line.
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE_END = re.compile(r"\r\n|\n|\r")

# The event after which SDKs stop reading, long before the connection says that the body is over (openai/_streaming.py).
_LAST = re.compile(rb"(?:^|[\r\n])(?:data: ?\[DONE\]|event: ?(?:done|response\.(?:completed|failed|incomplete))[\r\n])")


class Event(NamedTuple):
    """One event: its type (`message` where none is given) and its data, lines joined by LF."""

    type: str
    data: str


def spans(body: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of every event in `body`, its blank line included; what follows the last blank line is the last
    span.
    """
    start = 0
    for match in _BLANK_LINE.finditer(body):
        yield start, match.end()
        start = match.end()
    if start < len(body):
        yield start, len(body)


def events(body: bytes) -> Iterator[Event]:
    """The events of `body` that carry data, an unfinished last one too. Bytes that are no UTF-8 are replaced, as
    browsers do.
    """
    body = body.removeprefix(b"\xef\xbb\xbf")
    for start, end in spans(body):
        kind, data = "message", []
        for line in _LINE_END.split(body[start:end].decode("utf-8", "replace")):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                data.append(value)
            elif field == "event":
                kind = value
        if data:
            yield Event(kind, "\n".join(data))


def recut(times: list[int], body: bytes, media: str) -> list[tuple[int, bytes]]:
    """Cut a `body` that was edited anew, at the recorded `times`: a stream at its events, anything else not at all.

    As many events as times: one each. Otherwise an event takes the time of the frame at the same share of the way.
    """
    if not body:
        return []
    if media != "text/event-stream" or not times:
        return [(times[-1] if times else 0, body)]
    cuts = list(spans(body))
    return [(times[number * len(times) // len(cuts)], body[start:end]) for number, (start, end) in enumerate(cuts)]


def whole(text: bytes) -> int:
    """How much of `text` is whole events: where its last blank line ends, 0 where it has none."""
    if text.endswith((b"\n\n", b"\r\n\r\n")):  # as frames do
        return len(text)
    end = 0
    for match in _BLANK_LINE.finditer(text):
        end = match.end()
    return end


def ends_stream(frame: bytes) -> bool:
    """Whether `frame` holds the event after which clients stop reading (`[DONE]`, `response.completed`, `event:
    done`).
    """
    if b"[DONE]" not in frame:
        # The expression is tried at every byte; a word that each such event has is found in a tenth of the time.
        if b"event:" not in frame:
            return False
        if not (b"done" in frame or b"completed" in frame or b"failed" in frame or b"incomplete" in frame):
            return False
    return _LAST.search(frame) is not None
