"""What the formats share: an interaction made from its parts, and what is said about it."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from openai_replay.cassette.schema import MAX_TIME_MS
from openai_replay.errors import ImportFormatError
from openai_replay.model import Frame, Head, Headers, Interaction, Request, Response, header, media_type
from openai_replay.text import json_codec, sse
from openai_replay.text.http_headers import true_encoding
from openai_replay.tools.importers.source import GZIP_MAGIC, MAX_BYTES, decompress


@dataclass(slots=True)
class ImportResult:
    """What a file holds: interactions in their order, what had to be mended, and which entries are none, and why."""

    interactions: list[Interaction] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


class SkipEntry(Exception):
    """An entry that is no exchange of a request and an answer; says why."""


NoteRepair = Callable[[str], None]


def build_all(entries: Iterable[Any], interaction: Callable[[Any, NoteRepair], Interaction]) -> ImportResult:
    """The interaction of every entry, and what was said about them. Raises SourceError with the entry's number."""
    found = ImportResult()
    for number, entry in enumerate(entries, 1):
        repairs: dict[str, None] = {}

        def repair(what: str, into: dict[str, None] = repairs) -> None:
            into[what] = None

        try:
            one = interaction(entry, repair)
            _check(one.response)
        except SkipEntry as why:
            found.skipped.append(f"entry {number}: {why}")
            continue
        except ImportFormatError as error:
            raise ImportFormatError(f"entry {number}: {error.message}") from None
        except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
            # A part that is missing, or of another type than the format says.
            raise ImportFormatError(f"entry {number}: {_describe_error(error)}") from None
        asked = one.request
        typed = asked._replace(headers=_with_content_type(asked.headers, asked.body, repair))
        found.interactions.append(Interaction(typed, one.response))
        found.repaired += repairs
    return found


def _check(said: Response) -> None:
    """Refuse what no cassette may hold. Raises ValueError."""
    if not 200 <= said.head.status <= 999:
        raise ValueError(f"{said.head.status} is not the status of an answer")
    for at_ms in (said.head_ms, said.end_ms, *(frame.at_ms for frame in said.frames)):
        if not 0 <= at_ms <= MAX_TIME_MS:
            raise ValueError(f"{at_ms} ms is more than a day, or less than nothing")


def _describe_error(error: Exception) -> str:
    return f"has no {error.args[0]}" if isinstance(error, KeyError) else f"cannot be read: {error}"


def to_bytes(value: Any) -> bytes:
    """A body as bytes: of text its UTF-8. Raises ValueError for what is no body."""
    if value is None:
        return b""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes):
        return value
    raise ValueError("a body is neither text nor bytes")


def to_json(value: Any) -> bytes:
    """A body that a recorder kept as JSON values, as JSON again."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def decode_base64(text: str) -> bytes:
    """The bytes of base64 `text`. Raises ValueError."""
    return base64.b64decode("".join(text.split()), validate=True)


def decode_hex(text: str) -> bytes:
    """The bytes of `text`. Raises ValueError."""
    return binascii.unhexlify(text)


_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token, RFC 9110 5.6.2


def build_headers(pairs: Any) -> Headers:
    """Headers from a mapping (of texts or lists of them), a flat list, a list of pairs, or HAR's name and value.

    Values are latin-1 text without line ends; the pseudo headers of HTTP/2 are left out.
    """
    return tuple(
        (name, line.strip())
        for name, value in _pairs(pairs)
        if _NAME.fullmatch(name)
        for line in _to_latin1(value).splitlines() or [""]
    )


def _pairs(pairs: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(pairs, dict):
        for name, values in pairs.items():
            for value in values if isinstance(values, (list, tuple)) else [values]:
                yield _to_latin1(name), value
    elif isinstance(pairs, (list, tuple)) and pairs and isinstance(pairs[0], dict):
        for one in pairs:
            yield str(one["name"]), one.get("value")
    elif isinstance(pairs, (list, tuple)) and pairs and isinstance(pairs[0], (list, tuple)):
        for name, value in pairs:
            yield _to_latin1(name), value
    elif pairs:
        flat = list(pairs)
        for name, value in zip(flat[::2], flat[1::2], strict=True):
            yield _to_latin1(name), value


def _to_latin1(value: Any) -> str:
    """A header's value as our text of bytes: what is beyond latin-1 was UTF-8 on the wire."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, (dict, list)):
        raise ValueError("a header's value is text, or a list of texts")
    text = str(value)
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("latin-1")
    return text


def drop_headers(pairs: Headers, *names: str) -> Headers:
    """`pairs` without the headers of these (lower-case) names."""
    return tuple(one for one in pairs if one[0].lower() not in names)


def build_request(method: Any, uri: Any, pairs: Headers, body: bytes = b"") -> Request:
    """A request as a cassette has it."""
    method, uri = str(method).lstrip(":").upper(), str(uri)
    if not _NAME.fullmatch(method):
        raise ValueError(f"{method!r} is no method")
    urlsplit(uri)  # raises ValueError
    _refuse_bomb(pairs, body, "its request")
    return Request(method, uri, pairs, body)


def build_response(
    status: Any,
    reason: Any,
    pairs: Headers,
    body: bytes | list[bytes],
    repair: NoteRepair,
    *,
    head_ms: int = 0,
    end_ms: int = 0,
    decoded: bool = False,
) -> Response:
    """An answer. A list of pieces keeps its cuts; a stream is cut at its events, and all is there with the head.

    `decoded` says that the format keeps bodies without the encoding that their headers name. `repair` is told what was
    mended.
    """
    code = int(status)
    pieces = [body] if isinstance(body, bytes) else body
    body = b"".join(pieces)
    pairs = _with_content_type(pairs, body, repair)
    true = drop_headers(pairs, "content-encoding") if decoded else true_encoding(pairs, body)
    if true != pairs and body:
        repair("a content-encoding that the body does not have was dropped")
    _refuse_bomb(true, body, "its answer")
    encoding = header(true, "content-encoding").strip().lower()
    if encoding in ("br", "zstd") and body:
        repair(f"{encoding}: kept as it came, and not searched for secrets")
    stream = media_type(true) == "text/event-stream"
    if stream and len(pieces) == 1 and encoding in ("", "identity"):
        pieces = [body[start:stop] for start, stop in sse.spans(body)]
    frames = tuple(Frame(head_ms, piece) for piece in pieces if piece)
    framed = header(pairs, "transfer-encoding") or (stream and not header(pairs, "content-length"))
    head = Head(code, "" if reason is None else _one_line(str(reason)), true, None if framed else len(body))
    return Response(head, head_ms, frames, max(head_ms, end_ms))


def _with_content_type(pairs: Headers, body: bytes, repair: NoteRepair) -> Headers:
    """`pairs` with a content-type that is one: some recorders put a word in its place, or keep no headers at all, and
    clients go by it.
    """
    said = media_type(pairs)
    if "/" in said or (pairs and not said) or not body:
        return pairs
    if re.match(rb"(?:data|event): ?", body):
        kind = "text/event-stream"
    else:
        try:
            json_codec.loads(body)
        except ValueError:
            return pairs
        kind = "application/json"
    repair("a content-type that was not kept was put back by what the body is")
    return (*drop_headers(pairs, "content-type"), ("content-type", kind))


def _one_line(text: str) -> str:
    return " ".join(_to_latin1(text).split())


def _refuse_bomb(pairs: Headers, body: bytes, what: str) -> None:
    """Refuse a bomb: whoever reads the cassette would unfold it. Deflate makes 1,032 bytes of one, not more."""
    encoding = header(pairs, "content-encoding").strip().lower()
    if (
        len(body) * 1032 > MAX_BYTES
        and encoding in ("gzip", "x-gzip", "deflate")
        and body[:2] in (GZIP_MAGIC, b"\x78\x9c")
    ):
        decompress(body, f"{what} of {len(body)} bytes")


def guess_url(body: bytes) -> str | None:
    """The URL at the API that gives answers like `body`, by the `object` it says to be; None if it says none."""
    for text in [one.data.encode() for _, one in zip(range(3), sse.events(body), strict=False)] or [body]:
        try:
            value = json_codec.loads(text)
        except ValueError:
            continue
        if isinstance(value, dict):
            kind = str(value.get("object") or value.get("type"))
            if kind == "list" and value.get("data") and isinstance(value["data"][0], dict):
                kind = str(value["data"][0].get("object"))
            path = next((path for start, path in _ENDPOINTS.items() if kind.startswith(start)), None)
            if path:
                return f"https://api.openai.com/v1/{path}"
    return None


_ENDPOINTS = {
    "chat.completion": "chat/completions",
    "response": "responses",
    "text_completion": "completions",
    "embedding": "embeddings",
}
