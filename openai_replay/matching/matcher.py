"""A request becomes a key: equal keys are the same request.

In the key: method, path, query in any order, and the body by what it means: JSON by value (numbers exactly: `1` is
not `1.0`), a form by its fields, multipart by its parts without the random boundary, anything else by its bytes. The
order of fields is not, that of parts of one name is. Not in the key: the host, and headers that are not named.
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
from openai_replay.text import json_codec, multipart
from openai_replay.text.http_headers import HOP_BY_HOP
from openai_replay.text.json_codec import Pointer

#: What of a request can be compared.
ON = ("method", "path", "query", "body")
#: Text of a multipart part up to this many bytes is shown as it is, anything longer by its digest.
_SHOWN_PART = 4096
#: A header's name (RFC 9110 5.1).
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class Meaning(NamedTuple):
    """What a request says, as far as it is compared; what is not is empty.

    `query` and `headers` are sorted pairs, `kind` and `body` what `meaning` gives, a body of kind `bytes` as its
    bytes.
    """

    method: str
    path: str
    query: list[list[str]]
    kind: str
    body: Any
    headers: list[list[str]]


@dataclass(frozen=True, slots=True)
class Matcher:
    """What decides whether two requests are the same.

    `ignore`: what is left out of their bodies. `on`: what of `ON` is compared, `headers` (lower case): those that are
    compared, too. `normalize`: what is made the same before.
    """

    ignore: tuple[Pointer, ...] = ()
    on: tuple[str, ...] = ON
    headers: tuple[str, ...] = ()
    normalize: tuple[Normalizer, ...] = ()

    def target(self, request: Request) -> tuple[str, str]:
        """Method and path of `request` as they are compared; cheap."""
        method = request.method.upper() if "method" in self.on else ""
        path = request.path if "path" in self.on else ""
        return method, normalizers.normalized(self.normalize, path, "", None)[0] if self.normalize and path else path

    def meaning(self, request: Request) -> Meaning:
        """What of `request` is compared; `explaining` shows where two of them differ."""
        kind, body = "", None
        if "body" in self.on:
            kind, body = meaning(request, whole=bool(self.normalize))
            for pointer in self.ignore:
                json_codec.drop(body, pointer)
            if kind == "bytes":
                body = request.body
        method = request.method.upper() if "method" in self.on else ""
        path = request.path if "path" in self.on else ""
        query = pairs(request.query) if "query" in self.on else []
        said = Meaning(method, path, query, kind, body, self._headers(request) if self.headers else [])
        return _normalized(self.normalize, said) if self.normalize else said

    @property
    def described(self) -> str:
        """All of this in a line: `on method,path,query,body; normalize uuid,date; ignore /metadata/run`. Empty where it
        is the default; `parse` reads it.
        """
        if self == Matcher():
            return ""
        said = {
            "on": self.on,
            "headers": self.headers,
            "normalize": map(str, self.normalize),
            "ignore": map(json_codec.pointer_text, self.ignore),
        }
        texts = {name: ",".join(map(_quoted, values)) for name, values in said.items()}
        return "; ".join(f"{name} {text}" for name, text in texts.items() if text)

    def _headers(self, request: Request) -> list[list[str]]:
        """Those that are compared, sorted by name; values of one name in their order."""
        found = [[name.lower(), value] for name, value in request.headers if name.lower() in self.headers]
        return sorted(found, key=lambda pair: pair[0])

    def key(self, request: Request) -> bytes:
        """The key of `request`: 16 bytes, equal for requests that mean the same."""
        said = self.meaning(request)
        digest = hashlib.blake2b(digest_size=16)
        head = [said.method, said.path, *(part for pair in said.query for part in pair)]
        if said.headers:
            head += ["", *(part for pair in said.headers for part in pair), ""]
        for part in (*(_bytes(text) for text in head), *_canonical(said, request.body)):
            # With its length, so that no two sequences of parts run together the same way.
            digest.update(b"%d:" % len(part))
            digest.update(part)
        return digest.digest()


def _normalized(steps: tuple[Normalizer, ...], said: Meaning) -> Meaning:
    body = said.body
    if said.kind == "bytes":
        try:
            body = body.decode()
        except UnicodeDecodeError:
            body = None
    try:
        path, now, query, headers = normalizers.normalized(steps, said.path, said.kind, body, said.query, said.headers)
    except RecursionError:  # it is compared by its bytes
        return said
    if said.kind == "bytes":
        now = said.body if body is None else now.encode()
    elif said.kind == "multipart":
        now = {name: _each(_shortened, parts) for name, parts in now.items()}
    return Meaning(said.method, path, sorted(query), said.kind, now, headers)


def _each(change: Callable[[Any], Any], one_or_more: Any) -> Any:
    return [change(one) for one in one_or_more] if isinstance(one_or_more, list) else change(one_or_more)


#: A word of a description that needs no quotes, and any.
_BARE = re.compile(r"[!$-+\--:<-\[\]-~]+")
_SECTION = re.compile(r'(on|headers|normalize|ignore) ((?:"(?:[^"\\]|\\.)*"|[^";])*)(?:; |$)')
_WORDS = re.compile(r'"(?:[^"\\]|\\.)*"|[^",]+')


def _quoted(text: str) -> str:
    return text if _BARE.fullmatch(text) else json.dumps(text)


def parse(described: str) -> Matcher:
    """The Matcher that is `described` so. Raises UsageError."""
    said: dict[str, list[str]] = {}
    position = 0
    while section := _SECTION.match(described, position):
        said[section[1]] = [json.loads(word) if word[0] == '"' else word for word in _WORDS.findall(section[2])]
        position = section.end()
    if position != len(described):
        raise UsageError(f"{described!r} is no matching", "It is such as: on method,path; ignore /metadata/run")
    return Matcher(
        tuple(map(json_codec.parse_pointer, said.get("ignore", ()))),
        parse_on(said.get("on", ON)),
        parse_headers(said.get("headers", ())),
        normalizers.parse(said.get("normalize", ())),
    )


def alike(one: str, other: str) -> bool:
    """Whether two descriptions say the same, in whatever words; an empty one is the default."""
    try:
        return one == other or parse(one) == parse(other)
    except UsageError:
        return False


def parse_on(texts: str | Iterable[str]) -> tuple[str, ...]:
    """What of `ON` is named, in its order; a text may name several with commas between. Raises UsageError."""
    named = {name.strip() for text in ([texts] if isinstance(texts, str) else texts) for name in text.split(",")}
    for name in named:
        if name not in ON:
            raise UsageError(f"there is no {name!r} to match on", f"Name some of {', '.join(ON)}.")
    if not named:
        raise UsageError("nothing is left to match on", f"Name some of {', '.join(ON)}.")
    return tuple(name for name in ON if name in named)


def parse_headers(names: Iterable[str]) -> tuple[str, ...]:
    """The names of headers, in lower case and sorted. Raises UsageError for what is none, or is not on the tape."""
    found = sorted({name.strip().lower() for name in names})
    for name in found:
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} is not the name of a header", "Write for example x-tenant.")
        if name in HOP_BY_HOP:
            raise UsageError(
                f"the header {name!r} belongs to one connection: it is not on the tape", "Name one that the API reads."
            )
    return tuple(found)


def _canonical(said: Meaning, body: bytes) -> tuple[bytes, bytes]:
    if said.kind == "bytes":
        return b"bytes", said.body
    try:
        return said.kind.encode(), json_codec.canonical(said.body)
    except ValueError:  # nested too deeply
        return b"bytes", body


def pairs(query: str) -> list[list[str]]:
    """Names and values of a query or a form, sorted. Escaped bytes that are no UTF-8 stay what they are."""
    found = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    return sorted([name, value] for name, value in found)


def meaning(request: Request, whole: bool = False) -> tuple[str, Any]:
    """What the body says, as (kind, value): `json`, `form` (name to value) and `multipart` (name to part), else
    `bytes` and None. Where a name repeats, there is a list. `whole`: the text of a part is there, however long.
    """
    body = request.body
    media = media_type(request.headers)
    if media == "multipart/form-data":
        found = multipart.parts(body, multipart.boundary(header(request.headers, "content-type")))
        if found is not None:
            return "multipart", _by_name((part.name, _part_value(part, whole)) for part in found)
    elif media == "application/x-www-form-urlencoded":
        return "form", _by_name((name, value) for name, value in pairs(body.decode("utf-8", "surrogateescape")))
    elif body:
        try:
            return "json", json_codec.exact(body)
        except ValueError:
            pass
    return "bytes", None


def _by_name(fields: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Fields by their names: a pointer can name them. Those of one name are a list in their order."""
    named: dict[str, Any] = {}
    for name, value in fields:
        if name not in named:
            named[name] = value
        elif isinstance(named[name], list):
            named[name].append(value)
        else:
            named[name] = [named[name], value]
    return named


def _part_value(part: multipart.Part, whole: bool) -> dict[str, str]:
    said = {"filename": part.filename, "content_type": part.content_type}
    if whole or len(part.content) <= _SHOWN_PART:
        try:
            return said | {"content": bytes(part.content).decode()}
        except UnicodeDecodeError:
            pass
    return said | _digest(part.content)


def _shortened(part: dict[str, str]) -> dict[str, str]:
    """A part whose text is long, by its digest."""
    content = part.get("content", "").encode("utf-8", "surrogatepass")
    if len(content) <= _SHOWN_PART:
        return part
    return {name: value for name, value in part.items() if name != "content"} | _digest(content)


def _digest(content: bytes | memoryview) -> dict[str, str]:
    return {"bytes": f"{len(content)}, blake2b {hashlib.blake2b(content, digest_size=16).hexdigest()}"}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
