"""Redaction of requests and responses, by the same rules, before a key is made and before anything is written.

* In a request, a secret becomes `REDACTED`, so that requests with different keys are equal.
* In a response, it becomes `REDACTED***` of the same length, so that sizes, frames and times stay true.
* A client that sends a text of a recorded response back sends the mask. In requests that becomes `REDACTED` as well,
  so it matches.

This module decides where to search for secrets. `masker` finds and masks them in a text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import accumulate
from urllib.parse import unquote

from openai_replay.errors import PatternTimeoutError
from openai_replay.model import Frame, Headers, Request, Response, header, media_type
from openai_replay.redaction.masker import MARK, Masker, mask, redact, unmask
from openai_replay.text import json_pointer, sse
from openai_replay.text.bounded_cache import BoundedCache
from openai_replay.text.content_encoding import decode_body, drop_false_encoding
from openai_replay.text.json_pointer import Pointer
from openai_replay.text.safe_regex import UserPattern, compile_pattern

HEADERS = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "api-key",
        "x-api-key",
        "x-goog-api-key",
        "ocp-apim-subscription-key",
        "cookie",
        "set-cookie",
        "openai-organization",
        "openai-project",
    }
)
#: Names of query parameters whose value is a key (Azure, Google and look-alikes).
QUERY = frozenset({"api-key", "api_key", "apikey", "key", "access_token", "subscription-key"})
#: Credentials of remote MCP servers: requests contain them, and responses repeat them.
POINTERS = tuple(
    json_pointer.parse_pointer(prefix + pointer)
    for prefix in ("", "/response", "/session")
    for pointer in ("/tools/*/authorization", "/tools/*/headers/*")
)

#: Maximum number of addresses in the cache.
_MAX_ADDRESSES = 256
#: Text for logs that could not be searched for secrets.
_WITHHELD = f"{MARK.decode()} (a --redact-pattern took too long)"
#: Headers that tell how to read a body. No pattern may change them.
_FRAMING = frozenset({"content-type", "content-encoding"})


@dataclass(frozen=True, slots=True)
class Redactor:
    """Redacts headers by their lower-case names, and bodies by built-in and users' patterns and pointers."""

    headers: frozenset[str] = HEADERS
    patterns: tuple[UserPattern, ...] = ()
    pointers: tuple[Pointer, ...] = POINTERS
    _masker: Masker = field(init=False, compare=False, repr=False)
    # A client sends the same headers to the same URI again and again.
    _addresses: BoundedCache[tuple[str, Headers], tuple[str, Headers]] = field(
        default_factory=lambda: BoundedCache(_MAX_ADDRESSES), init=False, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        """Create the masker."""
        object.__setattr__(self, "_masker", Masker(self.patterns, self.pointers))

    def redact_request(self, request: Request) -> Request:
        """Return `request` without secrets. A gzip or deflate body is decoded first, so that it matches by its content.

        Raises PatternTimeoutError.
        """
        headers, body = decode_body(request.headers, request.body)
        content_type = header(headers, "content-type")
        while (clean := unmask(self._masker.mask_body(body, content_type, redact))) != body:
            body = clean
        return Request(request.method, *self._redact_address(request.uri, headers), body)

    def redact_target(self, request: Request) -> Request:
        """Return method and URI of `request` for logs, without secrets. Like `redact_for_log`, it never fails."""
        try:
            return Request(request.method, *self._redact_address(request.uri, ()), b"")
        except PatternTimeoutError:
            return Request(request.method, f"/{_WITHHELD}")

    def redact_response(self, response: Response) -> Response:
        """Return `response` without secrets. Each frame keeps its size.

        A compressed body with a secret is kept decoded, with a frame per event, because its bytes cannot be edited in
        place. Raises PatternTimeoutError.
        """
        head = replace(response.head, headers=self._redact_headers(response.head.headers))
        body = response.body
        headers, plain = decode_body(head.headers, body)
        if header(drop_false_encoding(headers, plain), "content-encoding").strip().lower() not in ("", "identity"):
            return replace(response, head=head)  # brotli or damaged: masking would only break its bytes
        clean = self._masker.mask_body(plain, header(headers, "content-type"), mask)
        if clean is plain:
            return replace(response, head=head)
        if plain is not body:
            cuts = sse.recut([frame.at_ms for frame in response.frames], clean, media_type(headers))
            frames = tuple(Frame(*cut) for cut in cuts)
            return replace(response, head=replace(head, headers=headers, length=None), frames=frames)
        view = memoryview(clean)
        starts = accumulate((len(frame.data) for frame in response.frames), initial=0)
        frames = tuple(
            Frame(frame.at_ms, bytes(view[start : start + len(frame.data)]))
            for start, frame in zip(starts, response.frames, strict=False)
        )
        return replace(response, head=head, frames=frames)

    def redact_text(self, text: str) -> str:
        """Return `text` without secrets. Raises PatternTimeoutError."""
        return self._masker.mask_body(text.encode("utf-8", "backslashreplace"), "", redact).decode()

    def redact_for_log(self, text: str) -> str:
        """Return `text` without secrets, for messages and logs, or a placeholder if a pattern takes too long."""
        try:
            return self.redact_text(text)
        except PatternTimeoutError:
            return _WITHHELD

    def _redact_address(self, uri: str, headers: Headers) -> tuple[str, Headers]:
        """Return the URI and the headers of a request without secrets."""
        address = self._addresses.get((uri, headers))
        if address is None:
            address = self._redact_uri(uri), self._redact_headers(headers)
            self._addresses.put((uri, headers), address)
        return address

    def _redact_headers(self, headers: Headers) -> Headers:
        visible_values = "\n".join(value for name, value in headers if name.lower() not in self.headers)
        # All of them are searched at once, because most have no secret.
        clean = self.redact_text if self._masker.might_mask(visible_values.encode("utf-8", "backslashreplace")) else str
        return tuple((name, self._redact_value(name.lower(), value, clean)) for name, value in headers)

    def _redact_value(self, name: str, value: str, clean: Callable[[str], str]) -> str:
        if name in self.headers:
            return _redact_header(value)
        return value if name in _FRAMING else clean(value)

    def _redact_uri(self, uri: str) -> str:
        origin, question, query = _USER.sub(rf"\1{MARK.decode()}@", uri).partition("?")
        fields = [field.partition("=") for field in query.split("&")]
        query = "&".join(
            f"{name}={MARK.decode()}" if equals and unquote(name).lower() in QUERY else name + equals + value
            for name, equals, value in fields
        )
        return self.redact_text(origin + question + query)


# `https://user:password@host/`
_USER = re.compile(r"^([a-z]+://)[^/?#@]*@", re.IGNORECASE)


def build_redactor(headers: Iterable[str] = (), patterns: Iterable[str] = (), pointers: Iterable[str] = ()) -> Redactor:
    """Return a redactor with the built-in rules and these. Raises UsageError for an invalid pattern or pointer."""
    names = frozenset(name.lower() for name in headers)
    return Redactor(
        HEADERS | names,
        tuple(map(compile_pattern, patterns)),
        POINTERS + tuple(json_pointer.parse_pointer(text) for text in pointers),
    )


def _redact_header(value: str) -> str:
    """Return a header's value without its secret, but with its scheme (`Bearer`, `Basic`)."""
    scheme, space, credentials = value.partition(" ")
    return (
        f"{scheme} {MARK.decode()}"
        if space and credentials and scheme.lower() in ("bearer", "basic")
        else MARK.decode()
    )
