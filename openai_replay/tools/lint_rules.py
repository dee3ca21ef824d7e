"""Checks one recording of a cassette by named rules."""

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
from openai_replay.text.content_encoding import decode_body
from openai_replay.text.yaml_positions import Scalar


class Finding(NamedTuple):
    """A problem: its line, from 1, the rule that found it, and a message. `fixed` if `--fix` has corrected it."""

    line: int
    rule: Rule
    message: str
    fixed: bool = False


#: Characters above which nobody reads a quoted line.
_MAX_LINE_CHARACTERS = 10_000
#: Statuses that a suite seldom means to record: a wrong key, a timeout, a rate limit.
_ERROR_STATUSES = frozenset({401, 403, 408, 429})
#: Further names of headers whose value is a key, beside those that are redacted.
_SECRET_HEADER = re.compile(r"(?i).*(?:api-?key|auth|auth-token|security-token|access-token|authorization|secret)")
#: Headers that are redacted although they give no access.
_HARMLESS_HEADERS = frozenset({"openai-organization", "openai-project"})
#: Cookies that Cloudflare sets for each client: valid for half an hour, from one address.
_CLOUDFLARE = re.compile(r"(?:__cf_bm|_cfuvid|__cflb|cf_clearance)=")
_TEXT = re.compile(
    r"text/.*|application/(?:.*\+)?(?:json|xml)|application/(?:x-ndjson|x-www-form-urlencoded|javascript)"
)
_BASE64 = re.compile(r"[A-Za-z0-9+/_=-]{500,}")
_YAML_BINARY = "tag:yaml.org,2002:binary"


class _Side(NamedTuple):
    """A request or a response: its headers, its body, and the scalar that holds the body."""

    name: str
    headers: Headers
    body: bytes
    scalar: Scalar | None

    @property
    def is_binary(self) -> bool:
        return self.scalar is not None and self.scalar.node.tag == _YAML_BINARY


class LintedRecording:
    """A recording with its YAML node. Each method checks one rule."""

    def __init__(self, text: str, node: Any, interaction: Interaction) -> None:
        self.text, self.node, self.interaction = text, node, interaction
        self.line = int(node.start_mark.line) + 1
        self.scalars = list(yaml_positions.scalars(node))
        by_path = {scalar.path: scalar for scalar in self.scalars}
        request, response = interaction.request, interaction.response
        request_body = by_path.get(("request", "body")) or by_path.get(("request", "body", "string"))
        response_body = by_path.get(("response", "body", "string")) or by_path.get(("response", "content"))
        self.status = by_path.get(("response", "status", "code")) or by_path.get(("response", "status_code"))
        self.end = by_path.get(("response", "wire", "end"))
        self.request = _Side("request", request.headers, request.body, request_body)
        self.response = _Side("response", response.head.headers, response.body, response_body)

    def check_schema(self) -> Iterator[Finding]:
        """Yield the keys that make other readers fail."""
        for key, value in self.node.value:
            if key.value == "request" and value.id == "mapping":
                reason = "in a request. vcrpy cannot load it."
                yield from find_unknown_keys(value, ("method", "uri", "body", "headers"), reason)

    def check_secrets(self) -> Iterator[Finding]:
        """Yield the keys, tokens and passwords in values, comments and bodies."""
        for scalar in self.scalars:
            value, is_header = scalar.node.value, len(scalar.path) > 2 and scalar.path[1] == "headers"
            if is_header and _is_secret_header(str(scalar.path[2]), value):
                yield Finding(
                    scalar.line, Rule.SECRET, f"Value of the header {scalar.path[2]} ({len(value)} characters)."
                )
            elif scalar.node.tag != _YAML_BINARY:
                for leak in secret_scanner.find_leaks(value):
                    line = yaml_positions.line_at(self.text, scalar.node, leak.start)
                    yield Finding(line, Rule.SECRET, describe_leak(leak))
        comments = read_comments_above(self.text, self.node)
        for leak in secret_scanner.find_leaks(comments):
            line = self.line - comments.count("\n", leak.start)
            yield Finding(line, Rule.SECRET, describe_leak(leak, " in a comment"))
        for side in (self.request, self.response):
            yield from self._check_hidden_secrets(side)

    def _check_hidden_secrets(self, side: _Side) -> Iterator[Finding]:
        """Yield secrets that the file's text does not show: in compressed bodies, split over events, or known by their
        field.
        """
        if side.scalar is None:
            return
        headers, body = decode_body(side.headers, side.body)
        hidden = side.is_binary or body is not side.body
        leaks = list(secret_scanner.find_leaks(body.decode("utf-8", "replace"))) if hidden else []
        for leak in leaks:
            yield Finding(side.scalar.line, Rule.SECRET, describe_leak(leak, f" in the binary body of the {side.name}"))
        if leaks or (not side.is_binary and any(secret_scanner.find_leaks(side.scalar.node.value))):
            return
        masker = Masker((), redactor.POINTERS)
        clean = masker.mask_body(body, header(headers, "content-type"), mask)
        changed = (
            [at for at, (old, new) in enumerate(zip(body, clean, strict=True)) if old != new] if clean != body else []
        )
        secret = bytes(body[at] for at in changed).decode("latin-1")
        if len(secret) >= 8 and not secret_scanner.is_placeholder(secret):
            offset = len(body[: changed[0]].decode("utf-8", "replace"))
            line = side.scalar.line if side.is_binary else yaml_positions.line_at(self.text, side.scalar.node, offset)
            message = f"A key or credential in the {side.name}, which `record` redacts ({len(secret)} characters)."
            yield Finding(line, Rule.SECRET, message)

    def check_reviewable(self) -> Iterator[Finding]:
        """Yield text that nobody can review, because the file holds it as bytes or in one very long line."""
        for side in (self.request, self.response):
            if side.scalar is None or not _TEXT.fullmatch(media_type(side.headers)):
                continue  # images and audio are bytes, and nobody reviews them as text
            encoding = header(side.headers, "content-encoding").strip().lower()
            raw = self.text[side.scalar.node.start_mark.index : side.scalar.node.end_mark.index]
            if side.is_binary and encoding not in ("", "identity"):
                message = (
                    f"The {side.name} body is compressed ({encoding}). Record it again: `record` asks for `identity`."
                )
                yield Finding(side.scalar.line, Rule.UNREVIEWABLE, message)
            elif side.is_binary:
                message = f"The {side.name} body claims to be text but is not UTF-8."
                yield Finding(side.scalar.line, Rule.UNREVIEWABLE, message)
            elif side.scalar.node.style == '"':
                for number, line in enumerate(raw.split("\n")):
                    if len(_BASE64.sub("", line)) > _MAX_LINE_CHARACTERS:
                        message = f"{len(line)} characters of the {side.name} in one quoted line. Record it again."
                        yield Finding(side.scalar.line + number, Rule.UNREVIEWABLE, message)
                        break

    def check_errors(self) -> Iterator[Finding]:
        """Yield responses that went wrong, and that were probably recorded by accident."""
        response = self.interaction.response
        status = response.head.status
        if status in _ERROR_STATUSES or status >= 500:
            line = self.status.line if self.status else self.line
            yield Finding(line, Rule.ERROR, f"The response is an error: {status} {response.head.reason}".rstrip() + ".")
        if response.end is not End.COMPLETE:
            line = self.end.line if self.end else self.line
            problem = "closed before its end" if response.end is End.TRUNCATED else "cut off by a broken connection"
            yield Finding(line, Rule.ERROR, f"The response was {problem} ({response.end}).")
        elif status < 400 and (offset := _find_error(response)) is not None and self.response.scalar is not None:
            scalar = self.response.scalar
            line = scalar.line if self.response.is_binary else yaml_positions.line_at(self.text, scalar.node, offset)
            yield Finding(line, Rule.ERROR, "The response contains an error.")


def _find_error(response: Response) -> int | None:
    """Return the offset, in characters, of an error inside a response whose status is fine; None if it has none."""
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
    """Return the time of a response in seconds since 1970, by its `Date` or the time in its body; None if unknown."""
    try:
        return parsedate_to_datetime(header(response.head.headers, "date")).replace(tzinfo=UTC).timestamp()
    except (ValueError, TypeError, OverflowError):
        pass
    body = response.body
    if media_type(response.head.headers) == "text/event-stream":
        body = next((event.data.encode() for event in sse.events(body)), b"")
    value = _parse_object(body)
    inner = value.get("response")
    for fields in (value, inner if isinstance(inner, dict) else {}):
        for name in ("created", "created_at"):
            created = fields.get(name)
            if isinstance(created, (int, float)) and created > 0:
                return float(created)
    return None


def describe_leak(leak: secret_scanner.Leak, position: str = "") -> str:
    """Return a message about a secret, without the secret itself."""
    return f"{leak.kind}{position}: {leak.preview}"


def read_comments_above(text: str, node: Any) -> str:
    """Return the lines of comments right above a recording."""
    end = text.rfind("\n", 0, node.start_mark.index) + 1
    match = re.search(r"(?:^[ \t]*#.*\n)*\Z", text[max(0, end - 4000) : end], re.MULTILINE)
    return match[0] if match else ""


def find_unknown_keys(node: Any, allowed: Iterable[str], reason: str) -> Iterator[Finding]:
    """Yield a finding for each key of a mapping that is not among `allowed`."""
    for key, _ in node.value:
        if key.value not in allowed:
            yield Finding(int(key.start_mark.line) + 1, Rule.SCHEMA, f"Unknown key {key.value!r} {reason}")


def _parse_object(body: bytes) -> dict[str, Any]:
    try:
        value = json_codec.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
