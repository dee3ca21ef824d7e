"""A request becomes a key: equal keys are the same request.

The key contains the method, the path, the query in any order, and the meaning of the body: JSON by value (numbers
exactly: `1` is not `1.0`), a form by its fields, multipart by its parts without the random boundary, and anything else
by its bytes. The order of fields does not count, but the order of parts with one name does. The host and headers that
are not named do not count.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from openai_replay.errors import UsageError
from openai_replay.matching import normalizers
from openai_replay.matching.normalizers import Normalizer
from openai_replay.model import Request, header, media_type
from openai_replay.text import json_codec, json_pointer, multipart
from openai_replay.text.http_headers import HOP_BY_HOP
from openai_replay.text.json_pointer import Pointer

#: Parts of a request that can be compared.
ON = ("method", "path", "query", "body")
#: Bytes of a multipart text up to which it is compared as text, and not by its digest.
_SHOWN_PART = 4096
#: A header's name (RFC 9110 5.1).
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class ComparableRequest(NamedTuple):
    """The compared parts of a request. Parts that are not compared are empty.

    `query` and `headers` are sorted pairs. `kind` and `body` come from `parse_body`, except that a body of the kind
    `bytes` is its bytes.
    """

    method: str
    path: str
    query: list[list[str]]
    kind: str
    body: Any
    headers: list[list[str]]


@dataclass(frozen=True, slots=True)
class Matcher:
    """Decides whether two requests are equal.

    `ignore` names values of bodies that are left out, `on` the compared parts (of `ON`), and `headers` the compared
    headers in lower case. `normalize` are replacements before the comparison.
    """

    ignore: tuple[Pointer, ...] = ()
    on: tuple[str, ...] = ON
    headers: tuple[str, ...] = ()
    normalize: tuple[Normalizer, ...] = ()

    def target(self, request: Request) -> tuple[str, str]:
        """Return the method and path of `request` as they are compared, without reading its body."""
        method = request.method.upper() if "method" in self.on else ""
        path = request.path if "path" in self.on else ""
        return method, normalizers.normalized(self.normalize, path, "", None)[0] if self.normalize and path else path

    def comparable(self, request: Request) -> ComparableRequest:
        """Return the compared parts of `request`."""
        kind, body = "", None
        if "body" in self.on:
            kind, body = parse_body(request, full_text=bool(self.normalize))
            for pointer in self.ignore:
                json_pointer.drop(body, pointer)
            if kind == "bytes":
                body = request.body
        method = request.method.upper() if "method" in self.on else ""
        path = request.path if "path" in self.on else ""
        query = pairs(request.query) if "query" in self.on else []
        comparable_request = ComparableRequest(
            method, path, query, kind, body, self._headers(request) if self.headers else []
        )
        return _normalized(self.normalize, comparable_request) if self.normalize else comparable_request

    @property
    def description(self) -> str:
        """The settings that are not the default, as one line of JSON in ASCII: `{"normalize": ["uuid", "date"]}`.

        Empty for the default. `parse` reads it.
        """
        default = Matcher()
        settings = {
            "match_on": [*self.on] if self.on != default.on else [],
            "match_header": [*self.headers],
            "normalize": [*map(str, self.normalize)],
            "ignore": [*map(json_pointer.format_pointer, self.ignore)],
        }
        settings = {name: values for name, values in settings.items() if values}
        return json.dumps(settings).replace("\x7f", r"\u007f") if settings else ""

    def _headers(self, request: Request) -> list[list[str]]:
        """Return the compared headers, sorted by name, and the values of one name in their order."""
        compared = [[name.lower(), value] for name, value in request.headers if name.lower() in self.headers]
        return sorted(compared, key=lambda pair: pair[0])

    def key(self, request: Request) -> bytes:
        """Return the key of `request`: 16 bytes, equal for equal requests."""
        comparable = self.comparable(request)
        digest = hashlib.blake2b(digest_size=16)
        head = [comparable.method, comparable.path, *(part for pair in comparable.query for part in pair)]
        if comparable.headers:
            head += ["", *(part for pair in comparable.headers for part in pair), ""]
        for part in (*(_bytes(text) for text in head), *_canonical(comparable, request.body)):
            # The length in front keeps different sequences of parts different.
            digest.update(b"%d:" % len(part))
            digest.update(part)
        return digest.digest()


def _normalized(steps: tuple[Normalizer, ...], request: ComparableRequest) -> ComparableRequest:
    body = request.body
    if request.kind == "bytes":
        try:
            body = body.decode()
        except UnicodeDecodeError:
            body = None
    try:
        path, normalized_body, query, headers = normalizers.normalized(
            steps, request.path, request.kind, body, request.query, request.headers
        )
    except RecursionError:  # it is compared by its bytes
        return request
    if request.kind == "bytes":
        normalized_body = request.body if body is None else normalized_body.encode()
    elif request.kind == "multipart":
        normalized_body = {name: _each(_shortened, parts) for name, parts in normalized_body.items()}
    return ComparableRequest(request.method, path, sorted(query), request.kind, normalized_body, headers)


def _each(change: Callable[[Any], Any], one_or_more: Any) -> Any:
    return [change(entry) for entry in one_or_more] if isinstance(one_or_more, list) else change(one_or_more)


def parse(description: str) -> Matcher:
    """Return the Matcher with this `description`. Raises UsageError."""
    try:
        settings = json.loads(description or "{}")
    except (ValueError, RecursionError):
        settings = None
    lists = settings.values() if isinstance(settings, dict) else [None]
    if not all(isinstance(values, list) and all(isinstance(value, str) for value in values) for values in lists):
        raise UsageError(f"{description!r} does not describe a matching.", 'For example {"normalize": ["date"]} does.')
    if unknown := settings.keys() - {"match_on", "match_header", "normalize", "ignore"}:
        raise UsageError(f"A matching has no setting {min(unknown)!r}.", "Update openai-replay.")
    return Matcher(
        tuple(map(json_pointer.parse_pointer, settings.get("ignore", ()))),
        parse_on(settings.get("match_on", ON)),
        parse_headers(settings.get("match_header", ())),
        normalizers.parse(settings.get("normalize", ())),
    )


def same_matching(first: str, second: str) -> bool:
    """Return True if two descriptions mean the same matching. An empty one is the default."""
    try:
        return first == second or parse(first) == parse(second)
    except UsageError:
        return False


def parse_on(texts: str | Iterable[str]) -> tuple[str, ...]:
    """Return the named parts in the order of `ON`. A text may have several names with commas. Raises UsageError."""
    chosen = {name.strip() for text in ([texts] if isinstance(texts, str) else texts) for name in text.split(",")}
    for name in chosen:
        if name not in ON:
            raise UsageError(f"{name!r} is not a part of a request.", f"The parts are {', '.join(ON)}.")
    if not chosen:
        raise UsageError("No part is left to match on.", f"Name some of {', '.join(ON)}.")
    return tuple(name for name in ON if name in chosen)


def parse_headers(names: Iterable[str]) -> tuple[str, ...]:
    """Return header names in lower case and sorted. Raises UsageError for a name that is invalid or never recorded."""
    parsed = sorted({name.strip().lower() for name in names})
    for name in parsed:
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} is not the name of a header.", "Write for example x-tenant.")
        if name in HOP_BY_HOP:
            raise UsageError(
                f"The header {name!r} belongs to one connection and is not recorded.",
                "Name a header that the API reads.",
            )
    return tuple(parsed)


def _canonical(request: ComparableRequest, body: bytes) -> tuple[bytes, bytes]:
    if request.kind == "bytes":
        return b"bytes", request.body
    try:
        return request.kind.encode(), json_codec.canonical(request.body)
    except ValueError:  # nested too deeply
        return b"bytes", body


def pairs(query: str) -> list[list[str]]:
    """Return the sorted names and values of a query or a form. Escaped bytes that are not UTF-8 stay as they are."""
    parsed = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    return sorted([name, value] for name, value in parsed)


def parse_body(request: Request, full_text: bool = False) -> tuple[str, Any]:
    """Return the kind and the value of the body: `json`, `form` ({name: value}) or `multipart` ({name: part}).

    Other bodies are `bytes` with None. A repeated name has a list. With `full_text`, long texts of parts are not
    replaced by a digest.
    """
    body = request.body
    media = media_type(request.headers)
    if media == "multipart/form-data":
        parts = multipart.parse_parts(body, multipart.parse_boundary(header(request.headers, "content-type")))
        if parts is not None:
            return "multipart", _by_name((part.name, _part_value(part, full_text)) for part in parts)
    elif media == "application/x-www-form-urlencoded":
        return "form", _by_name((name, value) for name, value in pairs(body.decode("utf-8", "surrogateescape")))
    elif body:
        try:
            return "json", json_codec.exact(body)
        except ValueError:
            pass
    return "bytes", None


def _by_name(fields: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return fields by their names, so that a pointer can name them. Repeated names have a list, in their order."""
    values: dict[str, Any] = {}
    for name, value in fields:
        if name not in values:
            values[name] = value
        elif isinstance(values[name], list):
            values[name].append(value)
        else:
            values[name] = [values[name], value]
    return values


def _part_value(part: multipart.Part, full_text: bool) -> dict[str, str]:
    fields = {"filename": part.filename, "content_type": part.content_type}
    if full_text or len(part.content) <= _SHOWN_PART:
        try:
            return fields | {"content": bytes(part.content).decode()}
        except UnicodeDecodeError:
            pass
    return fields | _digest(part.content)


def _shortened(part: dict[str, str]) -> dict[str, str]:
    """Return a part with a digest instead of a long text."""
    content = part.get("content", "").encode("utf-8", "surrogatepass")
    if len(content) <= _SHOWN_PART:
        return part
    return {name: value for name, value in part.items() if name != "content"} | _digest(content)


def _digest(content: bytes | memoryview) -> dict[str, str]:
    return {"bytes": f"{len(content)}, blake2b {hashlib.blake2b(content, digest_size=16).hexdigest()}"}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
