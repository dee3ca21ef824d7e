"""What one item of a cassette has to look like, and the interaction it says.

Text enters here, so pydantic stands here. Scalars come as the strings they were written as; what vcrpy's own loader
has read (see `format`) may come as numbers, bytes, tuples or files.
"""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from openai_replay.headers import kept, true_encoding
from openai_replay.model import End, Frame, Head, Headers, Interaction, Request, Response, header, media_type
from openai_replay.texts import sse

#: Milliseconds that an answer may take: a day. What is played at the original pace must not sleep for years.
_LONGEST_MS = 86_400_000
_FRAME = re.compile(r"(\d{1,12})\+(\d{1,12})", re.ASCII)
#: All frames of nearly every item at once, each within a day by its digits: a twentieth of reading a stream.
_USUAL_FRAMES = re.compile(r"(?:\d{1,7}\+\d{1,12}(?: |\Z))*+", re.ASCII)
_END = re.compile(rf"(\d{{1,12}}) ({'|'.join(End)})", re.ASCII)


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


class _Strict(BaseModel):
    model_config = ConfigDict(extra="ignore", arbitrary_types_allowed=True)


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid")

    head: int = Field(ge=0, le=_LONGEST_MS)
    length: int | None = Field(default=None, ge=0, lt=10**15)
    assumed: str = Field(default="", max_length=100)
    frames: str
    end: str

    @field_validator("frames", mode="before")
    @classmethod
    def _no_frames(cls, value: Any) -> Any:
        return "" if value is None else value

    @field_validator("frames")
    @classmethod
    def _frame_list(cls, value: str) -> str:
        if _USUAL_FRAMES.fullmatch(value):
            return value
        for word in value.split():
            if not (frame := _FRAME.fullmatch(word)):
                raise ValueError(f"{word[:40]!r} is not a frame: write MILLISECONDS+BYTES, such as 340+253")
            _within_a_day(frame[1])
        return value

    @field_validator("end")
    @classmethod
    def _ending(cls, value: str) -> str:
        if not (end := _END.fullmatch(value)):
            raise ValueError(f"{value[:40]!r} is not an end: write MILLISECONDS and one of {', '.join(End)}")
        _within_a_day(end[1])
        return value


def _within_a_day(ms: str) -> None:
    if int(ms) > _LONGEST_MS:
        raise ValueError(f"{ms} ms is more than a day: no answer takes so long")


class _Status(_Strict):
    code: int = Field(ge=100, le=999)
    message: str | None = None

    @field_validator("code")
    @classmethod
    def _is_final(cls, value: int) -> int:
        """After another `1xx` a client waits for the answer itself (RFC 9110 15.2)."""
        if 100 <= value < 200 and value != 101:
            raise ValueError(f"{value} is not the status of an answer, but of one that is still to come")
        return value


class _Body(_Strict):
    string: bytes | str | None = None


def _text(value: Any) -> str:
    """A header's name or value; bytes are met in old files."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, (dict, list, tuple, set)):  # not `str(value)`: aliases can make it endless
        raise ValueError("a header's value is text, or a list of texts")
    return "" if value is None else str(value)


class _WithHeaders(_Strict):
    headers: dict[str, list[str]] = Field(default_factory=dict)

    @field_validator("headers", mode="before")
    @classmethod
    def _every_age(cls, value: Any) -> Any:
        """One value alone, a tuple and bytes are met in old files."""
        if not isinstance(value, dict):
            return value or {}
        listed = {_text(name): one if isinstance(one, (list, tuple)) else [one] for name, one in value.items()}
        return {name: [_text(one) for one in values] for name, values in listed.items()}


class _Request(_WithHeaders):
    method: str
    uri: str
    body: bytes | str | None = None

    @field_validator("uri")
    @classmethod
    def _has_parts(cls, value: str) -> str:
        urlsplit(value)  # raises ValueError
        return value

    @field_validator("body", mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, BytesIO):
            return value.getvalue()
        if hasattr(value, "__next__"):  # an iterator, as vcrpy restores one
            return b"".join(_chunk(part) for part in value)
        if isinstance(value, dict):  # `body: {string: ...}`, as some vcrpy serializers write
            return value.get("string")
        return value


def _chunk(part: Any) -> bytes:
    if isinstance(part, int):  # iter(b"...") yields numbers
        return bytes([part])
    if isinstance(part, (bytes, str)):
        return _bytes(part)
    raise ValueError("a body's chunks are bytes or text")


class _Response(_WithHeaders):
    status: _Status
    body: _Body = Field(default_factory=_Body)
    wire: _Wire | None = None

    @field_validator("body", mode="before")
    @classmethod
    def _none(cls, value: Any) -> Any:
        return {} if value is None else value


class Item(_Strict):
    """One item. Validate what the loader made of it; raises pydantic's ValidationError."""

    request: _Request
    response: _Response

    @field_validator("response", mode="before")
    @classmethod
    def _httpx_style(cls, value: Any) -> Any:
        """vcrpy 2 to 5 wrote answers of httpx as `status_code` and `content`."""
        if isinstance(value, dict) and "status_code" in value and "status" not in value:
            value = {**value, "status": {"code": value["status_code"]}, "body": {"string": value.get("content")}}
        return value

    def interaction(self) -> tuple[Interaction, int | None]:
        """The item as values, and, if its frames do not sum up to its body, what they do sum up to."""
        request = Request(self.request.method, self.request.uri, _flat(self.request.headers), _bytes(self.request.body))
        headers = kept(_flat(self.response.headers), everything=True)
        body = _bytes(self.response.body.string)
        status, wire = self.response.status, self.response.wire
        reason = status.message or ""
        if wire is None:  # a plain vcrpy cassette: one frame at 0
            framed = header(_flat(self.response.headers), "transfer-encoding")
            head = Head(status.code, reason, true_encoding(headers, body), None if framed else len(body))
            return Interaction(request, Response(head, 0, (Frame(0, body),) if body else (), 0)), None
        cuts = [(int(at_ms), int(size)) for at_ms, size in _FRAME.findall(wire.frames)]
        summed = sum(size for _, size in cuts)
        if summed == len(body):
            frames, start = [], 0
            for at_ms, size in cuts:
                frames.append(Frame(at_ms, body[start : start + size]))
                start += size
        else:
            times = [at_ms for at_ms, _ in cuts]
            frames = [Frame(*cut) for cut in sse.recut(times, body, media_type(headers))]
        end_ms, _, end = wire.end.partition(" ")
        length = wire.length
        if length is not None and not _is_empty(self.request.method, status.code):
            # Of an edited body; what is cut may lack bytes, and what follows a length would be taken for an answer.
            length = len(body) if End(end) is End.COMPLETE else max(length, len(body))
        head = Head(status.code, reason, headers, length)
        response = Response(head, wire.head, tuple(frames), int(end_ms), End(end), wire.assumed)
        return Interaction(request, response), None if summed == len(body) else summed


def _is_empty(method: str, status: int) -> bool:
    """Whether such an answer has no body, whatever length it declares (RFC 9112 6.3)."""
    return method == "HEAD" or status in (204, 304) or status < 200


def _flat(headers: dict[str, list[str]]) -> Headers:
    return tuple((name, value) for name, values in headers.items() for value in values)


def _bytes(value: bytes | str | None) -> bytes:
    return value if isinstance(value, bytes) else (value or "").encode()
