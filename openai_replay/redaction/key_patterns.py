"""Patterns of API keys: only of kinds with their own prefix, which distinguishes them from random text.

A shape has a fixed prefix, and a length that is fixed or bounded: what is masked by mistake is a recording that is
damaged. A key starts where a word starts, and ends where a word ends; inside base64 media, a prefix has word characters
on both sides. The patterns hold no quote, brace or comma, and no backslash but that of `\\/`, so that what they match
lies inside one JSON string.

Where a maker has published no format, the length is that of the keys that are seen, with room to grow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

# The letter before may belong to an escape (`\nsk-...`, `%20sk-...`).
_START = r"(?:(?<![A-Za-z0-9_-])|(?<=\\[nrtbf])|(?<=\\u[0-9a-fA-F]{4})|(?<=%[0-9a-fA-F]{2}))"
_END = r"(?![A-Za-z0-9_-])"


class Shape(NamedTuple):
    """A kind of key: a `sign` that every one of them starts with, and the `pattern` of all of it, as text."""

    kind: str
    sign: str
    pattern: str


def _shape(kind: str, sign: str, pattern: str) -> Shape:
    return Shape(kind, sign, re.escape(sign) + pattern)


SHAPES = (
    # OpenAI's, and all that look like them: Anthropic, OpenRouter, DeepSeek, Langfuse. Base64url media is longer.
    _shape("`sk-…` (OpenAI, Anthropic, OpenRouter, DeepSeek, …)", "sk-", r"[A-Za-z0-9_-]{20,200}"),
    _shape("OpenAI client secret", "ek_", r"[A-Za-z0-9_-]{20,200}"),
    _shape("OpenAI session key", "sess-", r"[A-Za-z0-9_-]{20,200}"),
    _shape("Google API key", "AIza", r"[A-Za-z0-9_-]{35}"),
    _shape("AWS access key id", "AKIA", r"[A-Z2-7]{16}"),
    _shape("AWS temporary access key id", "ASIA", r"[A-Z2-7]{16}"),
    *(_shape("GitHub token", f"gh{kind}_", r"[A-Za-z0-9]{36,255}") for kind in "pousr"),
    _shape("GitHub fine-grained token", "github_pat_", r"[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
    _shape("GitLab token", "glpat-", r"[A-Za-z0-9_-]{20,64}"),
    *(_shape("Slack token", f"xox{kind}-", r"[0-9]{8,14}-[A-Za-z0-9-]{16,230}") for kind in "abeprs"),
    _shape("Slack app token", "xapp-", r"[0-9]-[A-Z0-9]{8,14}-[0-9]{8,14}-[a-f0-9]{40,80}"),
    _shape("Hugging Face token", "hf_", r"[A-Za-z0-9]{34,40}"),
    _shape("Groq key", "gsk_", r"[A-Za-z0-9]{48,64}"),
    _shape("Replicate token", "r8_", r"[A-Za-z0-9]{37,40}"),
    _shape("xAI key", "xai-", r"[A-Za-z0-9]{64,128}"),
    _shape("Perplexity key", "pplx-", r"[A-Za-z0-9]{48,64}"),
    _shape("NVIDIA key", "nvapi-", r"[A-Za-z0-9_-]{60,80}"),
    *(_shape("Stripe live key", f"{kind}k_live_", r"[A-Za-z0-9]{24,128}") for kind in "sr"),
    _shape("npm token", "npm_", r"[A-Za-z0-9]{36}"),
    _shape("PyPI token", "pypi-AgE", r"[A-Za-z0-9_-]{80,250}"),
    _shape("SendGrid key", "SG.", r"[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    _shape("LangSmith key", "lsv2_", r"(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}"),
    _shape("Tavily key", "tvly-", r"(?:dev-|prod-)?[A-Za-z0-9]{32,64}"),
    _shape("Databricks token", "dapi", r"[0-9a-f]{32}(?:-[0-9])?"),
)

# Prose speaks of bearers, too: a token is long and holds a digit. (That is looked for so far
# only: `bearer+bearer+bearer+…` is one long run.)
_BEARER = (
    _START.encode()
    + rb"(?i:bearer)(?:[ \t]|%20|\+)+(?=(?:[A-Za-z._~+-]|\\?/){0,100}[0-9])((?:[A-Za-z0-9._~+-]|\\?/){16,}(?<!\.)=*)"
)
#: The words that these are looked for by. To find a word in hundreds of megabytes takes a tenth of a second; to try an
#: expression everywhere in them takes a minute, and nothing else runs then.
_BY_SIGN = {
    **{shape.sign.encode(): f"{_START}({shape.pattern}){_END}".encode() for shape in SHAPES},
    b"openai-insecure-api-key.": rb"openai-insecure-api-key\.([A-Za-z0-9._~+-]+(?<!\.))",
}
#: The signs by the first `-` or `_` in them, and by nothing; and what stands before it in any of them.
_BY_CUT = {
    cut: [sign for sign in _BY_SIGN if next((byte for byte in sign if byte in b"-_"), None) == cut]
    for cut in (*b"-_", None)
}
_BEFORE = {cut: tuple({sign[: sign.index(cut)] for sign in signs}) for cut, signs in _BY_CUT.items() if cut}
#: In lower case: it is written in any.
_BEARER_SIGN = b"bearer"
#: Bytes that are made lower case at a time: a body of hundreds of megabytes is not held once more for it.
_WINDOW = 1 << 20


def find_keys(text: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of every key and token in `text`, in bytes, in no order."""
    for sign in _signs(text):
        yield from _matches(_compiled(_BY_SIGN[sign]), text, _places(text, sign))
    yield from _matches(_compiled(_BEARER), text, _places_in_any_case(text, _BEARER_SIGN))


def might_contain_key(text: bytes) -> bool:
    """Return True if `text` has the prefix of a key."""
    return any(_signs(text)) or _BEARER_SIGN in text.lower()


def _signs(text: bytes) -> Iterator[bytes]:
    for cut, signs in _BY_CUT.items():
        # To cut a text, and to look at the ends of the pieces, takes a third of the time that looking for every sign
        # takes; but all pieces are held at once.
        if cut is None or len(text) > _WINDOW or _ends(text.split(bytes([cut])), _BEFORE[cut]):
            yield from (sign for sign in signs if sign in text)


def _ends(pieces: list[bytes], with_any: tuple[bytes, ...]) -> bool:
    return bool([piece for piece in pieces if piece.endswith(with_any)])  # `any` takes twice as long


@cache  # when it is first needed: all of them take longer than a small tape does
def _compiled(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern)


def _matches(pattern: re.Pattern[bytes], text: bytes, starts: Iterable[int]) -> Iterator[tuple[int, int]]:
    end = 0
    for at in starts:
        if at >= end and (match := pattern.match(text, at)) is not None:
            yield match.span(1)
            end = match.end()


def _places(text: bytes, sign: bytes) -> Iterator[int]:
    at = text.find(sign)
    while at >= 0:
        yield at
        at = text.find(sign, at + 1)


def _places_in_any_case(text: bytes, sign: bytes) -> Iterator[int]:
    for low in range(0, len(text), _WINDOW):
        yield from (low + at for at in _places(text[low : low + _WINDOW + len(sign) - 1].lower(), sign))
