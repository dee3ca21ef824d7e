"""One item of a cassette, looked at by rules that have names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from openai_replay.config.lint_rule import Rule
from openai_replay.model import End, Headers, Interaction, Response, header, media_type
from openai_replay.redaction import redactor, secret_scanner
from openai_replay.redaction.masker import Masker, mask
from openai_replay.text import json_codec, sse, yaml_positions
from openai_replay.text.http_headers import decoded
from openai_replay.text.yaml_positions import Scalar


class Finding(NamedTuple):
    """What is wrong, by which rule, and in which line, counted from 1."""

    line: int
    rule: Rule
    message: str
    fixed: bool = False


#: Characters of one quoted line that nobody reads any more.
_MAX_LINE_CHARACTERS = 10_000
#: Answers that a suite seldom means to record: a key that is wrong, a limit that was hit, a server that was down.
_ERROR_STATUSES = frozenset({401, 403, 408, 429})
#: Names of headers whose value is a key, beside those that are redacted.
_SECRET_HEADER = re.compile(r"(?i).*(?:api-?key|auth|auth-token|security-token|access-token|authorization|secret)")
#: What is redacted though it lets nobody in.
_HARMLESS_HEADERS = frozenset({"openai-organization", "openai-project"})
#: What Cloudflare sets for everybody: it is good for half an hour at the address it was given to.
_CLOUDFLARE = re.compile(r"(?:__cf_bm|_cfuvid|__cflb|cf_clearance)=")
_TEXT = re.compile(
    r"text/.*|application/(?:.*\+)?(?:json|xml)|application/(?:x-ndjson|x-www-form-urlencoded|javascript)"
)
_BASE64 = re.compile(r"[A-Za-z0-9+/_=-]{500,}")
_YAML_BINARY = "tag:yaml.org,2002:binary"


class _Side(NamedTuple):
    """A request or an answer: its headers, its body, and the scalar that holds the body."""

    name: str
    headers: Headers
    body: bytes
    scalar: Scalar | None

    @property
    def is_binary(self) -> bool:
        return self.scalar is not None and self.scalar.node.tag == _YAML_BINARY


class LintedRecording:
    """One item of a cassette, looked at rule by rule."""

    def __init__(self, text: str, node: Any, interaction: Interaction) -> None:
        self.text, self.node, self.interaction = text, node, interaction
        self.line = int(node.start_mark.line) + 1
        self.scalars = list(yaml_positions.scalars(node))
        by_path = {one.path: one for one in self.scalars}
        request, response = interaction.request, interaction.response
        asked = by_path.get(("request", "body")) or by_path.get(("request", "body", "string"))
        answered = by_path.get(("response", "body", "string")) or by_path.get(("response", "content"))
        self.status = by_path.get(("response", "status", "code")) or by_path.get(("response", "status_code"))
        self.end = by_path.get(("response", "wire", "end"))
        self.request = _Side("request", request.headers, request.body, asked)
        self.response = _Side("answer", response.head.headers, response.body, answered)

    def check_schema(self) -> Iterator[Finding]:
        """Keys that make other readers fail."""
        for key, value in self.node.value:
            if key.value == "request" and value.id == "mapping":
                why = "in a request: vcrpy cannot load it"
                yield from find_unknown_keys(value, ("method", "uri", "body", "headers"), why)

    def check_secrets(self) -> Iterator[Finding]:
        """Keys, tokens and passwords, wherever they stand."""
        for scalar in self.scalars:
            value, is_header = scalar.node.value, len(scalar.path) > 2 and scalar.path[1] == "headers"
            if is_header and _is_secret_header(str(scalar.path[2]), value):
                yield Finding(
                    scalar.line, Rule.SECRET, f"value of the header {scalar.path[2]} ({len(value)} characters)"
                )
            elif scalar.node.tag != _YAML_BINARY:
                for leak in secret_scanner.leaks(value):
                    line = yaml_positions.line_at(self.text, scalar.node, leak.start)
                    yield Finding(line, Rule.SECRET, describe_leak(leak))
        comments = read_comments_above(self.text, self.node)
        for leak in secret_scanner.leaks(comments):
            line = self.line - comments.count("\n", leak.start)
            yield Finding(line, Rule.SECRET, describe_leak(leak, " in a comment"))
        for side in (self.request, self.response):
            yield from self._check_hidden_secrets(side)

    def _check_hidden_secrets(self, side: _Side) -> Iterator[Finding]:
        """What does not show in the file's text: in compressed bodies, split over events, or told by its place."""
        if side.scalar is None:
            return
        headers, body = decoded(side.headers, side.body)
        hidden = side.is_binary or body is not side.body
        told = list(secret_scanner.leaks(body.decode("utf-8", "replace"))) if hidden else []
        for leak in told:
            yield Finding(side.scalar.line, Rule.SECRET, describe_leak(leak, f" in the {side.name}'s binary body"))
        if told or (not side.is_binary and any(secret_scanner.leaks(side.scalar.node.value))):
            return
        masker = Masker((), redactor.POINTERS)
        clean = masker.masked(body, header(headers, "content-type"), mask)
        changed = (
            [at for at, (old, new) in enumerate(zip(body, clean, strict=True)) if old != new] if clean != body else []
        )
        secret = bytes(body[at] for at in changed).decode("latin-1")
        if len(secret) >= 8 and not secret_scanner.is_placeholder(secret):
            offset = len(body[: changed[0]].decode("utf-8", "replace"))
            line = side.scalar.line if side.is_binary else yaml_positions.line_at(self.text, side.scalar.node, offset)
            what = f"a key or credential in the {side.name}, which `record` takes out ({len(secret)} characters)"
            yield Finding(line, Rule.SECRET, what)

    def check_reviewable(self) -> Iterator[Finding]:
        """Text that stands in the file in a way that nobody can read."""
        for side in (self.request, self.response):
            if side.scalar is None or not _TEXT.fullmatch(media_type(side.headers)):
                continue  # images and audio are bytes, and nobody reviews them as text
            encoding = header(side.headers, "content-encoding").strip().lower()
            raw = self.text[side.scalar.node.start_mark.index : side.scalar.node.end_mark.index]
            if side.is_binary and encoding not in ("", "identity"):
                what = f"the {side.name}'s body is compressed ({encoding}); record it anew, asking for `identity`"
                yield Finding(side.scalar.line, Rule.UNREVIEWABLE, what)
            elif side.is_binary:
                what = f"the {side.name}'s body says it is text and is no UTF-8"
                yield Finding(side.scalar.line, Rule.UNREVIEWABLE, what)
            elif side.scalar.node.style == '"':
                for number, line in enumerate(raw.split("\n")):
                    if len(_BASE64.sub("", line)) > _MAX_LINE_CHARACTERS:
                        what = f"{len(line)} characters of the {side.name} in one quoted line; record it anew"
                        yield Finding(side.scalar.line + number, Rule.UNREVIEWABLE, what)
                        break

    def check_errors(self) -> Iterator[Finding]:
        """Answers that went wrong, and were likely not meant to be kept."""
        response = self.interaction.response
        status = response.head.status
        if status in _ERROR_STATUSES or status >= 500:
            line = self.status.line if self.status else self.line
            yield Finding(line, Rule.ERROR, f"the answer is an error: {status} {response.head.reason}".rstrip())
        if response.end is not End.COMPLETE:
            line = self.end.line if self.end else self.line
            what = "closed before it was whole" if response.end is End.TRUNCATED else "cut off by a broken connection"
            yield Finding(line, Rule.ERROR, f"the answer is {what} ({response.end})")
        elif status < 400 and (at := _find_error(response)) is not None and self.response.scalar is not None:
            scalar = self.response.scalar
            line = scalar.line if self.response.is_binary else yaml_positions.line_at(self.text, scalar.node, at)
            yield Finding(line, Rule.ERROR, "there is an error inside the answer")


def _find_error(response: Response) -> int | None:
    """Where, in characters, an error is said inside an answer whose status is fine."""
    body = response.body
    if media_type(response.head.headers) != "text/event-stream":
        value = _parse_object(body)
        failed = bool(value.get("error")) or value.get("status") == "failed"
        return max(body.find(b'"error"'), 0) if failed and ("error" in value) else None
    for start, end in sse.spans(body):
        for event in sse.events(body[start:end]):
            value = _parse_object(event.data.encode())
            kind = value.get("type") or event.type
            if kind in ("error", "response.failed") or value.get("error"):
                return len(body[:start].decode("utf-8", "replace"))
    return None


def _is_secret_header(name: str, value: str) -> bool:
    lower = name.lower()
    if lower in _HARMLESS_HEADERS or (lower not in redactor.HEADERS and not _SECRET_HEADER.fullmatch(lower)):
        return False
    if lower in ("cookie", "set-cookie") and _CLOUDFLARE.match(value):
        return False
    if value.startswith("AWS4-"):  # a signature, not a key
        return False
    key = value.rpartition(" ")[2] if "cookie" not in lower else value.partition("=")[2].partition(";")[0]
    return len(key) >= 8 and not secret_scanner.is_placeholder(key)


def recorded_at_s(response: Response) -> float | None:
    """When an answer was given, in seconds since 1970: by its `Date`, or by what it says of itself; None if unknown."""
    try:
        return parsedate_to_datetime(header(response.head.headers, "date")).replace(tzinfo=UTC).timestamp()
    except (ValueError, TypeError, OverflowError):
        pass
    body = response.body
    if media_type(response.head.headers) == "text/event-stream":
        body = next((event.data.encode() for event in sse.events(body)), b"")
    value = _parse_object(body)
    inner = value.get("response")
    for one in (value, inner if isinstance(inner, dict) else {}):
        for name in ("created", "created_at"):
            made = one.get(name)
            if isinstance(made, (int, float)) and made > 0:
                return float(made)
    return None


def describe_leak(leak: secret_scanner.Leak, where: str = "") -> str:
    """What is said of a secret: never the secret."""
    return f"{leak.kind}{where}: {leak.shown}"


def read_comments_above(text: str, node: Any) -> str:
    """The lines of comments right above an item."""
    end = text.rfind("\n", 0, node.start_mark.index) + 1
    match = re.search(r"(?:^[ \t]*#.*\n)*\Z", text[max(0, end - 4000) : end], re.MULTILINE)
    return match[0] if match else ""


def find_unknown_keys(node: Any, known: Iterable[str], why: str) -> Iterator[Finding]:
    """Findings of the keys of a mapping that are not `known`."""
    for key, _ in node.value:
        if key.value not in known:
            yield Finding(int(key.start_mark.line) + 1, Rule.SCHEMA, f"there is a key {key.value!r} {why}")


def _parse_object(body: bytes) -> dict[str, Any]:
    try:
        value = json_codec.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
