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


#: Bytes at the start of a line that tell whether it is the line of a last event.
_LINE_START_BYTES = 64


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


class LastEventFinder:
    """Finds the event after which SDKs stop reading (`[DONE]`, `response.completed`, `event: done`) in a live stream.

    It looks at each byte once, and remembers no more of an unfinished event than the start of its last line: an event
    of megabytes, such as an image, costs no more per byte than a short one.
    """

    def __init__(self) -> None:
        self._carry = b"\n"  # the line end before the unfinished line, and the start of that line
        self._in_last_event = False

    def feed(self, data: bytes) -> bool:
        """Return True if `data`, the next bytes of the stream, completes such an event."""
        text = self._carry + data
        self._carry = _unfinished_line(text)
        position, completes = 0, False
        while True:  # one read may hold several
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
