"""Parsing of server-sent events from a complete body (WHATWG HTML, 9.2.6 "Interpreting an event stream").

A line ends in LF, CRLF or CR, and a blank line ends an event. OpenAI sends LF, but CRLF from `/v1/audio/...`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

# Atomic groups: without them a single CRLF backtracks into CR and LF, and looks like a blank line.
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE_END = re.compile(r"\r\n|\n|\r")

# The event after which SDKs stop reading, long before the body ends on the connection (openai/_streaming.py).
_LAST = re.compile(rb"(?:^|[\r\n])(?:data: ?\[DONE\]|event: ?(?:done|response\.(?:completed|failed|incomplete))[\r\n])")


#: Bytes at the start of a line that tell whether it is the line of a last event.
_LINE_START_BYTES = 64


class Event(NamedTuple):
    """An event: its type, by default `message`, and its data, lines joined by LF."""

    type: str
    data: str


def spans(body: bytes) -> Iterator[tuple[int, int]]:
    """Yield start and end of each event in `body`, in bytes, with its blank line.

    The rest after the last blank line is the last span.
    """
    start = 0
    for match in _BLANK_LINE.finditer(body):
        yield start, match.end()
        start = match.end()
    if start < len(body):
        yield start, len(body)


def events(body: bytes) -> Iterator[Event]:
    """Yield the events of `body` that have data, also an unfinished last one.

    Invalid UTF-8 is replaced, as browsers do.
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
    """Return an edited `body` as (time, data) of its frames, with the recorded `times` in milliseconds.

    Each event of a stream becomes a frame, and any other body is one frame. If the number of events has changed, an
    event takes the time of the frame at the same share of the stream.
    """
    if not body:
        return []
    if media != "text/event-stream" or not times:
        return [(times[-1] if times else 0, body)]
    cuts = list(spans(body))
    return [(times[number * len(times) // len(cuts)], body[start:end]) for number, (start, end) in enumerate(cuts)]


class LastEventFinder:
    """Finds the event after which SDKs stop reading (`[DONE]`, `response.completed`, `event: done`) in a live stream.

    It reads each byte once, and keeps only the start of the last line of an unfinished event: an event of megabytes,
    such as an image, takes no longer per byte than a short one.
    """

    def __init__(self) -> None:
        self._carry = b"\n"  # the line end before the unfinished line, and the start of that line
        self._in_last_event = False

    def feed(self, data: bytes) -> bool:
        """Return True if `data`, the next bytes of the stream, completes such an event."""
        text = self._carry + data
        self._carry = _unfinished_line(text)
        position, completes = 0, False
        while True:  # `data` may hold several
            if not self._in_last_event:
                if not _may_hold_last_event(text) or (match := _LAST.search(text, position)) is None:
                    return completes
                self._in_last_event, position = True, match.end() - 1
            if (blank_line := _BLANK_LINE.search(text, position)) is None:
                return completes
            self._in_last_event, position, completes = False, blank_line.end() - 1, True


def _unfinished_line(text: bytes) -> bytes:
    """Return the last line end in `text` and the start of the line after it."""
    end = max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
    start = end - 2 if text[end - 2 : end] == b"\r\n" else max(0, end - 1)
    return text[start : end + _LINE_START_BYTES]


def _may_hold_last_event(text: bytes) -> bool:
    """Return False if `text` surely has no last event. The words are found in a tenth of the time of the pattern."""
    if b"[DONE]" in text:
        return True
    return b"event:" in text and (b"done" in text or b"completed" in text or b"failed" in text or b"incomplete" in text)
