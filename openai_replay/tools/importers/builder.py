"""Builds interactions from the parts that the formats have, and notes repairs and skipped entries."""

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
from openai_replay.text.content_encoding import drop_false_encoding
from openai_replay.tools.importers.source import GZIP_MAGIC, MAX_BYTES, decompress


@dataclass(slots=True)
class ImportResult:
    """The contents of a file: interactions in order, the repairs that were made, and the entries that were skipped,
    with reasons.
    """

    interactions: list[Interaction] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


class SkipEntry(Exception):
    """An entry that is not an exchange of a request and a response. The message says why, after "Entry 3"."""


NoteRepair = Callable[[str], None]


def build_all(entries: Iterable[Any], interaction: Callable[[Any, NoteRepair], Interaction]) -> ImportResult:
    """Return the interaction of each entry, with the notes about them. Raises ImportFormatError with the entry's
    number.
    """
    result = ImportResult()
    for number, entry in enumerate(entries, 1):
        repairs: dict[str, None] = {}

        def note_repair(note: str, notes: dict[str, None] = repairs) -> None:
            notes[note] = None

        try:
            built = interaction(entry, note_repair)
            _check(built.response)
        except SkipEntry as skipped:
            result.skipped.append(f"Entry {number} {skipped}")
            continue
        except ImportFormatError as error:
            raise ImportFormatError(f"Entry {number}: {error.message}") from None
        except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
            # A part is missing, or has another type than the format requires.
            raise ImportFormatError(f"Entry {number} {_describe_error(error)}") from None
        request = built.request
        typed_request = request._replace(headers=_with_content_type(request.headers, request.body, note_repair))
        result.interactions.append(Interaction(typed_request, built.response))
        result.repaired += repairs
    return result


def _check(response: Response) -> None:
    """Refuse times and a status that no cassette may hold. Raises ValueError."""
    if not 200 <= response.head.status <= 999:
        raise ValueError(f"{response.head.status} is not the status of a response")
    for at_ms in (response.head_ms, response.end_ms, *(frame.at_ms for frame in response.frames)):
        if not 0 <= at_ms <= MAX_TIME_MS:
            raise ValueError(f"{at_ms} ms is negative, or more than a day")


def _describe_error(error: Exception) -> str:
    return f"has no {error.args[0]}." if isinstance(error, KeyError) else f"is invalid: {error}."


def to_bytes(value: Any) -> bytes:
    """Return a body as bytes, text as UTF-8. Raises ValueError for anything else."""
    if value is None:
        return b""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes):
        return value
    raise ValueError("a body is neither text nor bytes")


def to_json(value: Any) -> bytes:
    """Return as JSON the body that a recorder kept as JSON values."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def decode_base64(text: str) -> bytes:
    """Decode base64 `text`. Raises ValueError."""
    return base64.b64decode("".join(text.split()), validate=True)


def decode_hex(text: str) -> bytes:
    """Decode hexadecimal `text`. Raises ValueError."""
    return binascii.unhexlify(text)


_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token, RFC 9110 5.6.2


def build_headers(pairs: Any) -> Headers:
    """Return headers from a mapping (to texts or lists of them), a flat list, a list of pairs, or HAR's names and
    values.
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
        for entry in pairs:
            yield str(entry["name"]), entry.get("value")
    elif isinstance(pairs, (list, tuple)) and pairs and isinstance(pairs[0], (list, tuple)):
        for name, value in pairs:
            yield _to_latin1(name), value
    elif pairs:
        flat = list(pairs)
        for name, value in zip(flat[::2], flat[1::2], strict=True):
            yield _to_latin1(name), value


def _to_latin1(value: Any) -> str:
    """Return a header's value as latin-1 text, one character per byte. Other characters were UTF-8 on the wire."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, (dict, list)):
        raise ValueError("a header's value is neither text nor a list of texts")
    text = str(value)
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("latin-1")
    return text


def drop_headers(pairs: Headers, *names: str) -> Headers:
    """Return `pairs` without the headers of these (lower-case) names."""
    return tuple(pair for pair in pairs if pair[0].lower() not in names)


def build_request(method: Any, uri: Any, pairs: Headers, body: bytes = b"") -> Request:
    """Return a request as a cassette has it. Raises ValueError."""
    method, uri = str(method).lstrip(":").upper(), str(uri)
    if not _NAME.fullmatch(method):
        raise ValueError(f"{method!r} is not a method")
    urlsplit(uri)  # raises ValueError
    _refuse_bomb(pairs, body, "The request")
    return Request(method, uri, pairs, body)


def build_response(
    status: Any,
    reason: Any,
    pairs: Headers,
    body: bytes | list[bytes],
    note_repair: NoteRepair,
    *,
    head_ms: int = 0,
    end_ms: int = 0,
    decoded: bool = False,
) -> Response:
    """Return a response. A list of parts keeps them as frames; a stream becomes one frame per event, at the time of the
    head.

    `decoded` says that the format keeps bodies without the encoding that their headers name. `note_repair` is called
    with each repair.
    """
    code = int(status)
    parts = [body] if isinstance(body, bytes) else body
    body = b"".join(parts)
    pairs = _with_content_type(pairs, body, note_repair)
    true_headers = drop_headers(pairs, "content-encoding") if decoded else drop_false_encoding(pairs, body)
    if true_headers != pairs and body:
        note_repair("dropped a content-encoding that the body does not have")
    _refuse_bomb(true_headers, body, "The response")
    encoding = header(true_headers, "content-encoding").strip().lower()
    if encoding in ("br", "zstd") and body:
        note_repair(f"kept a {encoding} body compressed, without searching it for secrets")
    is_stream = media_type(true_headers) == "text/event-stream"
    if is_stream and len(parts) == 1 and encoding in ("", "identity"):
        parts = [body[start:stop] for start, stop in sse.spans(body)]
    frames = tuple(Frame(head_ms, part) for part in parts if part)
    is_framed = header(pairs, "transfer-encoding") or (is_stream and not header(pairs, "content-length"))
    head = Head(code, "" if reason is None else _one_line(str(reason)), true_headers, None if is_framed else len(body))
    return Response(head, head_ms, frames, max(head_ms, end_ms))


def _with_content_type(pairs: Headers, body: bytes, note_repair: NoteRepair) -> Headers:
    """Return `pairs` with a valid content-type, which clients go by. Some recorders keep a bare word, or no headers at
    all.
    """
    media = media_type(pairs)
    if "/" in media or (pairs and not media) or not body:
        return pairs
    if re.match(rb"(?:data|event): ?", body):
        kind = "text/event-stream"
    else:
        try:
            json_codec.loads(body)
        except ValueError:
            return pairs
        kind = "application/json"
    note_repair("restored a missing content-type from the body")
    return (*drop_headers(pairs, "content-type"), ("content-type", kind))


def _one_line(text: str) -> str:
    return " ".join(_to_latin1(text).split())


def _refuse_bomb(pairs: Headers, body: bytes, subject: str) -> None:
    """Refuse a bomb, which each reader of the cassette would decompress. Deflate makes at most 1,032 bytes of one."""
    encoding = header(pairs, "content-encoding").strip().lower()
    if (
        len(body) * 1032 > MAX_BYTES
        and encoding in ("gzip", "x-gzip", "deflate")
        and body[:2] in (GZIP_MAGIC, b"\x78\x9c")
    ):
        decompress(body, f"{subject} of {len(body)} bytes")


def guess_url(body: bytes) -> str | None:
    """Return the API's URL for responses like `body`, by its `object` or `type`; None if it has neither."""
    for text in [event.data.encode() for _, event in zip(range(3), sse.events(body), strict=False)] or [body]:
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
