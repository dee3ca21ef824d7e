"""The schema of one item of a cassette, and the interaction that it describes.

Scalars are strings as they were written. If vcrpy's own loader has read them (`reader`), they may be numbers, bytes,
tuples or files.

The schema is written by hand and not with pydantic: importing pydantic and building the models took a fifth of the
time to start, nothing else in playback needs it, and it did not read items faster.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from openai_replay.model import End, Frame, Head, Headers, Interaction, Request, Response, header, media_type
from openai_replay.text import sse
from openai_replay.text.content_encoding import drop_false_encoding
from openai_replay.text.http_headers import filter_headers

T = TypeVar("T")

#: Maximum milliseconds of a response: a day. Playing at the original pace must not sleep for years.
MAX_TIME_MS = 86_400_000
_FRAME = re.compile(r"(\d{1,12})\+(\d{1,12})", re.ASCII)
#: All frames of nearly all items in one match, each less than a day by its digits: that saves a twentieth of reading.
_USUAL_FRAMES = re.compile(r"(?:\d{1,7}\+\d{1,12}(?: |\Z))*+", re.ASCII)
_END = re.compile(rf"(\d{{1,12}}) ({'|'.join(End)})", re.ASCII)
#: In the notation of YAML 1.1, JSON and people: `200`, `1_000`, `200.0`. A million digits would take minutes.
_WHOLE_NUMBER = re.compile(r"\s*([+-]?\d(?:_?\d){0,40})(?:\.0+)?\s*", re.ASCII)


class EditedBody(NamedTuple):
    """An edited item: its frames do not add up to its body.

    They add up to `recorded` bytes, and the body has `body` bytes. `line` is the line of the frames (from 1), `start`
    and `stop` are their position in the text in characters, and `frames` are the correct ones.
    """

    line: int
    number: int
    recorded: int
    body: int
    start: int
    stop: int
    frames: tuple[Frame, ...]

    @property
    def problem(self) -> str:
        """The problem in words, for messages."""
        return f"interaction {self.number}: the frames sum up to {self.recorded} bytes, the body has {self.body}"


class SchemaError(ValueError):
    """An error in an item. `path` are the keys that lead to it; none for the item as a whole."""

    def __init__(self, problem: str, *path: str) -> None:
        super().__init__(f"{'.'.join(path)}: {problem}" if path else problem)
        self.problem = problem
        self.path = path


class Item(NamedTuple):
    """A parsed item.

    `summed` is the sum of its frames in bytes, if that is not the size of the body. `is_timed` is True if it has a
    `wire`. `headers` are all headers of its response, also those that are not played.
    """

    interaction: Interaction
    summed: int | None
    is_timed: bool
    headers: Headers


def read(raw: Any) -> Item:
    """Parse an item. Unknown keys are ignored, except in `wire`. Raises SchemaError."""
    item = _mapping(raw)
    request = _field(item, "request", _request)
    return _field(item, "response", lambda value: _item(request, value))


def _field(mapping: dict[Any, Any], name: str, reader: Callable[[Any], T]) -> T:
    """Parse the field `name` with `reader`. Its ValueError becomes a SchemaError with the path."""
    if name not in mapping:
        raise SchemaError("is missing", name)
    try:
        return reader(mapping[name])
    except SchemaError as error:
        raise SchemaError(error.problem, name, *error.path) from None
    except ValueError as error:
        raise SchemaError(str(error), name) from None


def _optional(mapping: dict[Any, Any], name: str, reader: Callable[[Any], T], default: T) -> T:
    """Parse the field `name`, or return `default` if it is missing or null."""
    return default if mapping.get(name) is None else _field(mapping, name, reader)


def _request(value: Any) -> Request:
    fields = _mapping(value)
    method, uri = _field(fields, "method", _text), _field(fields, "uri", _uri)
    return Request(
        method, uri, _optional(fields, "headers", _headers, ()), _optional(fields, "body", _request_body, b"")
    )


def _item(request: Request, value: Any) -> Item:
    fields = _mapping(value)
    if "status_code" in fields and "status" not in fields:  # as vcrpy 2 to 5 wrote responses of httpx
        status, reason = _field(fields, "status_code", _status), ""
        body = _optional(fields, "content", _octets, b"")
    else:
        status, reason = _field(fields, "status", _status_line)
        body = _optional(fields, "body", _body, b"")
    headers: Headers = _optional(fields, "headers", _headers, ())
    head = Head(status, reason, filter_headers(headers, keep_all=True))
    if fields.get("wire") is not None:
        response, summed = _field(fields, "wire", lambda value: _timed_response(request, head, body, value))
        return Item(Interaction(request, response), summed, True, headers)
    # A plain vcrpy cassette: one frame at 0.
    framed = header(headers, "transfer-encoding")
    head = Head(status, reason, drop_false_encoding(head.headers, body), None if framed else len(body))
    response = Response(head, 0, (Frame(0, body),) if body else (), 0)
    return Item(Interaction(request, response), None, False, headers)


def _timed_response(request: Request, head: Head, body: bytes, value: Any) -> tuple[Response, int | None]:
    """Return the response with the times in `value`, its `wire`, and the sum of its frames if that is not the size of
    the body.
    """
    wire = _mapping(value)
    head_ms = _field(wire, "head", lambda value: _number(value, 0, MAX_TIME_MS))
    length = _optional(wire, "length", lambda value: _number(value, 0, 10**15 - 1), None)
    assumed = _field(wire, "assumed", _text) if "assumed" in wire else ""
    (times, sizes), (end_ms, end) = _field(wire, "frames", _frame_list), _field(wire, "end", _end)
    if len(assumed) > 100:
        raise SchemaError("is longer than 100 characters", "assumed")
    for key in wire.keys() - {"head", "length", "assumed", "frames", "end"}:
        raise SchemaError("is no key of `wire`", str(key))
    if (summed := sum(sizes)) == len(body):
        frames = [Frame(at, body[to - size : to]) for at, size, to in zip(times, sizes, accumulate(sizes), strict=True)]
    else:
        frames = [Frame(*cut) for cut in sse.recut(times, body, media_type(head.headers))]
    # A status without a body may declare any length (RFC 9112 6.3).
    if length is not None and request.method != "HEAD" and head.status not in (101, 204, 304):
        # The body may be edited or cut off. Bytes after the declared length would be read as another response.
        length = len(body) if end is End.COMPLETE else max(length, len(body))
    head = Head(head.status, head.reason, head.headers, length)
    return Response(head, head_ms, tuple(frames), end_ms, end, assumed), None if summed == len(body) else summed


def _mapping(value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise SchemaError("is not a mapping")
    return value


def _number(value: Any, minimum: int, maximum: int) -> int:
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, str) and (match := _WHOLE_NUMBER.fullmatch(value)):
        value = int(match[1])
    if not isinstance(value, (int, float)) or not minimum <= value <= maximum or value != int(value):
        raise ValueError(f"is not a whole number from {minimum} to {maximum}")
    return int(value)


def _text(value: Any) -> str:
    if not isinstance(value, (str, bytes)):
        raise ValueError("is not text")
    return value if isinstance(value, str) and value.isascii() else _octets(value).decode()


def _octets(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise ValueError("is neither text nor bytes")
    try:
        return value.encode()
    except UnicodeEncodeError:  # Python's reader accepts an escaped one
        raise ValueError("half of a character (a lone surrogate) is not text: store such bytes as !!binary") from None


def _uri(value: Any) -> str:
    urlsplit(uri := _text(value))  # raises ValueError
    return uri


def _request_body(value: Any) -> bytes:
    if isinstance(value, BytesIO):
        return value.getvalue()
    if hasattr(value, "__next__"):  # an iterator that vcrpy restored; one over bytes yields numbers
        return b"".join(bytes([part]) if isinstance(part, int) else _octets(part) for part in value)
    return _body(value) if isinstance(value, dict) else _octets(value)  # some serializers of vcrpy write `string` here


def _body(value: Any) -> bytes:
    return _optional(_mapping(value), "string", _octets, b"")


def _headers(value: Any) -> Headers:
    """Parse headers. Old files have single values, tuples and bytes."""
    pairs = _mapping(value or {}).items()
    listed = {_header(name): value if isinstance(value, (list, tuple)) else (value,) for name, value in pairs}
    return tuple((name, _header(value)) for name, values in listed.items() for value in values)


def _header(value: Any) -> str:
    """Parse the name or the value of a header."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, (dict, list, tuple, set)):  # not `str(value)`: aliases can make it endless
        raise ValueError("a header's value is text, or a list of texts")
    return "" if value is None else str(value)


def _status_line(value: Any) -> tuple[int, str]:
    status = _mapping(value)
    return _field(status, "code", _status), _optional(status, "message", _text, "")


def _status(value: Any) -> int:
    """Parse a status. After any `1xx` but 101, a client waits for the response itself (RFC 9110 15.2)."""
    status = _number(value, 100, 999)
    if status < 200 and status != 101:
        raise ValueError(f"{status} is not a final status")
    return status


def _frame_list(value: Any) -> tuple[list[int], list[int]]:
    """Return the time of each frame in milliseconds, and its size in bytes."""
    text = "" if value is None else _text(value)
    if not _USUAL_FRAMES.fullmatch(text):
        for word in text.split():
            if not (frame := _FRAME.fullmatch(word)):
                raise ValueError(f"{word[:40]!r} is not a frame: write MILLISECONDS+BYTES, such as 340+253")
            _within_a_day(frame[1])
    numbers = [*map(int, text.replace("+", " ").split())]
    return numbers[::2], numbers[1::2]


def _end(value: Any) -> tuple[int, End]:
    if not (end := _END.fullmatch(text := _text(value))):
        raise ValueError(f"{text[:40]!r} is not an end: write MILLISECONDS and one of {', '.join(End)}")
    return _within_a_day(end[1]), End(end[2])


def _within_a_day(ms: str) -> int:
    if int(ms) > MAX_TIME_MS:
        raise ValueError(f"{ms} ms is more than a day")
    return int(ms)
