"""What one item of a cassette has to look like, and the interaction it says.

Text enters here. Scalars come as the strings they were written as; what vcrpy's own loader has read (see `format`)
may come as numbers, bytes, tuples or files.

It is read by hand, and pydantic stands only where else text enters: to import it and build models of an item took a
fifth of the time to start, nothing else that plays needs it, and it read an item no faster.
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
from openai_replay.text.http_headers import kept, true_encoding

T = TypeVar("T")

#: Milliseconds that an answer may take: a day. What is played at the original pace must not sleep for years.
MAX_TIME_MS = 86_400_000
_FRAME = re.compile(r"(\d{1,12})\+(\d{1,12})", re.ASCII)
#: All frames of nearly every item at once, each within a day by its digits: a twentieth of reading a stream.
_USUAL_FRAMES = re.compile(r"(?:\d{1,7}\+\d{1,12}(?: |\Z))*+", re.ASCII)
_END = re.compile(rf"(\d{{1,12}}) ({'|'.join(End)})", re.ASCII)
#: As YAML 1.1, JSON and people write it: `200`, `1_000`, `200.0`. To read one of a million digits would take minutes.
_WHOLE_NUMBER = re.compile(r"\s*([+-]?\d(?:_?\d){0,40})(?:\.0+)?\s*", re.ASCII)


class Edited(NamedTuple):
    """An item whose frames do not sum up to its body: somebody edited the text.

    `recorded` bytes is what they sum up to, `body` bytes is what there is. `line` is that of the frames, from 1;
    `start` and `stop` say where they stand in the text, in characters, and `frames` are what should stand there.
    """

    line: int
    number: int
    recorded: int
    body: int
    start: int
    stop: int
    frames: tuple[Frame, ...]

    @property
    def what(self) -> str:
        """What is wrong with it, for messages."""
        return f"interaction {self.number}: the frames sum up to {self.recorded} bytes, the body has {self.body}"


class Invalid(ValueError):
    """What is wrong with an item; `place` is the keys that lead there, none where it is the item as a whole."""

    def __init__(self, what: str, *place: str) -> None:
        super().__init__(f"{'.'.join(place)}: {what}" if place else what)
        self.what = what
        self.place = place


class Item(NamedTuple):
    """An item as values.

    `summed` is what its frames sum up to, in bytes, where that is not its body. `is_timed`: it has a `wire`. `headers`
    are all of its answer's, also those that an answer is played without.
    """

    interaction: Interaction
    summed: int | None
    is_timed: bool
    headers: Headers


def read(raw: Any) -> Item:
    """What a loader has made of an item, as values. Unknown keys are passed over, but in `wire`. Raises Invalid."""
    item = _mapping(raw)
    request = _field(item, "request", _request)
    return _field(item, "response", lambda value: _answered(request, value))


def _field(mapping: dict[Any, Any], name: str, reader: Callable[[Any], T]) -> T:
    """What `reader` makes of the field `name`. A ValueError of its becomes an Invalid, with the place."""
    if name not in mapping:
        raise Invalid("is missing", name)
    try:
        return reader(mapping[name])
    except Invalid as error:
        raise Invalid(error.what, name, *error.place) from None
    except ValueError as error:
        raise Invalid(str(error), name) from None


def _optional(mapping: dict[Any, Any], name: str, reader: Callable[[Any], T], default: T) -> T:
    """`default` where there is no field `name`, or null."""
    return default if mapping.get(name) is None else _field(mapping, name, reader)


def _request(value: Any) -> Request:
    asked = _mapping(value)
    method, uri = _field(asked, "method", _text), _field(asked, "uri", _uri)
    return Request(method, uri, _optional(asked, "headers", _headers, ()), _optional(asked, "body", _request_body, b""))


def _answered(request: Request, value: Any) -> Item:
    answer = _mapping(value)
    if "status_code" in answer and "status" not in answer:  # vcrpy 2 to 5 wrote answers of httpx so
        status, reason = _field(answer, "status_code", _status), ""
        body = _optional(answer, "content", _octets, b"")
    else:
        status, reason = _field(answer, "status", _status_line)
        body = _optional(answer, "body", _body, b"")
    headers: Headers = _optional(answer, "headers", _headers, ())
    head = Head(status, reason, kept(headers, keep_all=True))
    if answer.get("wire") is not None:
        response, summed = _field(answer, "wire", lambda value: _timed(request, head, body, value))
        return Item(Interaction(request, response), summed, True, headers)
    # A plain vcrpy cassette: one frame at 0.
    framed = header(headers, "transfer-encoding")
    head = Head(status, reason, true_encoding(head.headers, body), None if framed else len(body))
    response = Response(head, 0, (Frame(0, body),) if body else (), 0)
    return Item(Interaction(request, response), None, False, headers)


def _timed(request: Request, head: Head, body: bytes, value: Any) -> tuple[Response, int | None]:
    """The answer of `head` and `body` as `value`, its `wire`, tells, and what its frames sum up to where that is not
    its body.
    """
    wire = _mapping(value)
    head_ms = _field(wire, "head", lambda value: _number(value, 0, MAX_TIME_MS))
    length = _optional(wire, "length", lambda value: _number(value, 0, 10**15 - 1), None)
    assumed = _field(wire, "assumed", _text) if "assumed" in wire else ""
    (times, sizes), (end_ms, end) = _field(wire, "frames", _cuts), _field(wire, "end", _end)
    if len(assumed) > 100:
        raise Invalid("is longer than 100 characters", "assumed")
    for key in wire.keys() - {"head", "length", "assumed", "frames", "end"}:
        raise Invalid("is no key of `wire`", str(key))
    if (summed := sum(sizes)) == len(body):
        frames = [Frame(at, body[to - size : to]) for at, size, to in zip(times, sizes, accumulate(sizes), strict=True)]
    else:
        frames = [Frame(*cut) for cut in sse.recut(times, body, media_type(head.headers))]
    # A status without a body may declare any length (RFC 9112 6.3).
    if length is not None and request.method != "HEAD" and head.status not in (101, 204, 304):
        # Of an edited body; what is cut may lack bytes, and what follows a length would be taken for an answer.
        length = len(body) if end is End.COMPLETE else max(length, len(body))
    head = Head(head.status, head.reason, head.headers, length)
    return Response(head, head_ms, tuple(frames), end_ms, end, assumed), None if summed == len(body) else summed


def _mapping(value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise Invalid("is not a mapping")
    return value


def _number(value: Any, least: int, most: int) -> int:
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, str) and (said := _WHOLE_NUMBER.fullmatch(value)):
        value = int(said[1])
    if not isinstance(value, (int, float)) or not least <= value <= most or value != int(value):
        raise ValueError(f"is not a whole number from {least} to {most}")
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
    except UnicodeEncodeError:  # Python's reader lets one through that stands behind a backslash
        raise ValueError("half of a character (a lone surrogate) is no text: store such bytes as !!binary") from None


def _uri(value: Any) -> str:
    urlsplit(uri := _text(value))  # raises ValueError
    return uri


def _request_body(value: Any) -> bytes:
    if isinstance(value, BytesIO):
        return value.getvalue()
    if hasattr(value, "__next__"):  # an iterator, as vcrpy restores one; that of bytes yields numbers
        return b"".join(bytes([part]) if isinstance(part, int) else _octets(part) for part in value)
    return _body(value) if isinstance(value, dict) else _octets(value)  # some serializers of vcrpy write `string` here


def _body(value: Any) -> bytes:
    return _optional(_mapping(value), "string", _octets, b"")


def _headers(value: Any) -> Headers:
    """One value alone, a tuple and bytes are met in old files."""
    pairs = _mapping(value or {}).items()
    listed = {_header(name): one if isinstance(one, (list, tuple)) else (one,) for name, one in pairs}
    return tuple((name, _header(one)) for name, values in listed.items() for one in values)


def _header(value: Any) -> str:
    """A header's name or value."""
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
    """After another `1xx` than 101 a client waits for the answer itself (RFC 9110 15.2)."""
    status = _number(value, 100, 999)
    if status < 200 and status != 101:
        raise ValueError(f"{status} is not the status of an answer, but of one that is still to come")
    return status


def _cuts(value: Any) -> tuple[list[int], list[int]]:
    """When each frame came, in milliseconds, and how many bytes each is."""
    said = "" if value is None else _text(value)
    if not _USUAL_FRAMES.fullmatch(said):
        for word in said.split():
            if not (frame := _FRAME.fullmatch(word)):
                raise ValueError(f"{word[:40]!r} is not a frame: write MILLISECONDS+BYTES, such as 340+253")
            _within_a_day(frame[1])
    numbers = [*map(int, said.replace("+", " ").split())]
    return numbers[::2], numbers[1::2]


def _end(value: Any) -> tuple[int, End]:
    if not (end := _END.fullmatch(said := _text(value))):
        raise ValueError(f"{said[:40]!r} is not an end: write MILLISECONDS and one of {', '.join(End)}")
    return _within_a_day(end[1]), End(end[2])


def _within_a_day(ms: str) -> int:
    if int(ms) > MAX_TIME_MS:
        raise ValueError(f"{ms} ms is more than a day: no answer takes so long")
    return int(ms)
