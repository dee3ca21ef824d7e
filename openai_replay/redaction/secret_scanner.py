"""The search for secrets in texts, for `lint`. Nothing is redacted here: `masker` does that in recording.

A finding has the kind of a secret and its position, never the secret itself. Placeholders (`REDACTED`, `sk-your-key`,
`xxxx`) are not secrets, and neither are random texts: IDs, hashes, base64 media, encrypted reasoning. So a key is
recognized by its maker's prefix, or by the name that it is assigned to.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from openai_replay.redaction.key_shapes import KEY_SHAPES

# A key starts where a word starts, or after an escape (`\nsk-...`, `%20sk-...`), and ends where a word ends. Base64url
# media with a prefix inside has word characters on both sides of it.
_START = r"(?:(?<![A-Za-z0-9_+/-])|(?<=\\[nrtbf])|(?<=\\u[0-9a-fA-F]{4})|(?<=%[0-9a-fA-F]{2})|(?<=[=:]/))"
_END = r"(?![A-Za-z0-9_-])"


class Shape(NamedTuple):
    """The pattern of one kind of secret. Texts without the lower-case word `sign` have none."""

    kind: str
    sign: str
    pattern: re.Pattern[str]


SHAPES = (
    *(
        Shape(
            shape.kind,
            shape.prefix.lower(),
            re.compile(f"{_START}(?:{re.escape(shape.prefix)}{shape.loose}){_END}"),
        )
        for shape in KEY_SHAPES
        if shape.loose
    ),
    Shape("private key", "private key-----", re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----")),
    # Prose has the word bearer, too: a token is long and has a digit.
    Shape(
        "bearer token",
        "bearer",
        re.compile(r"(?i:\bbearer)(?:[ \t]|%20|\+)+(?=[A-Za-z._~+/-]*[0-9])([A-Za-z0-9._~+/-]{16,2000}=*)"),
    ),
    Shape("password in a URL", "://", re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s/:@\"'\\<>{}]*:([^\s/:@\"'\\<>{}]{3,})@")),
)

# `"api_key": "..."`, `api-key=...`, `password: ...`, with any number of escapes. The search is for the last word of the
# name: a pattern that begins with any letter would be tried everywhere.
_ASSIGNED = re.compile(
    r"(?i:key|secret|password|passwd|token|credential)\\*[\"']?\s?[=:]\s?\\*[\"']?"
    r"(?P<value>[A-Za-z0-9_+/.~!@#$^*=-]{16,250})(?![A-Za-z0-9_+/=-])"
)
_NAME_BEFORE = re.compile(r"[A-Za-z0-9_-]{0,40}\Z")
# Other keys and tokens are not secrets: `cache_key`, `next_page_token`, `max_tokens`.
_NAME = re.compile(
    r"(?i)(?:.*[_-]|.*[a-z](?=[A-Z]))?"
    r"(?:api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key|subscription[_-]?key|secret|password|passwd|credential"
    r"|(?<!next[_-])(?<!page[_-])(?<!sync[_-])(?<!continuation[_-])(?<!next)(?<!page)(?<!continuation)token)"
)
_NAMES = ("key", "secret", "passw", "token", "credential")

# Placeholders of secrets in examples and tests.
_PLACEHOLDER = re.compile(
    r"(?i)redacted|example|placeholder|dummy|changeme|change-me|filtered|scrubbed|sanitized|masked|insert|replace"
    r"|(?:^|[^a-z])(?:fake|test|testing|mock|sample|invalid|wrong|bad|none|null|not|no|your|my|some|secret|demo|foo|bar"
    r"|localhost|unused|local|random|token|password|here)(?:[^a-z]|$)"
    r"|(.)\1{5}|0123456|1234567|abcdefg|\*\*\*|\.\.\.|^\$|^env\."
)
#: Public keys: those of PostHog's projects, and of Stripe's pages.
_PUBLIC = re.compile(r"phc_|pk_(?:live|test)_")


class Leak(NamedTuple):
    """A secret in a text: its kind, its position, and its first characters, which tell whose it is."""

    kind: str
    start: int
    end: int
    preview: str


def find_leaks(text: str) -> Iterator[Leak]:
    """Yield the secrets in `text`, in no order; only one of several that overlap."""
    lower = text.lower()
    reported_spans: list[tuple[int, int]] = []
    for kind, sign, pattern in SHAPES:
        if sign in lower:
            for match in pattern.finditer(text):
                start, end = match.span(match.re.groups)
                secret = text[start:end]
                if _is_outside(start, end, reported_spans) and (kind == "private key" or not is_placeholder(secret)):
                    reported_spans.append((start, end))
                    yield Leak(kind, start, end, _preview(secret, sign))
    if any(name in lower for name in _NAMES):
        for match in _ASSIGNED.finditer(text):
            start, end = match.span("value")
            word = re.match("[A-Za-z]+", match[0])
            before = _NAME_BEFORE.search(text, max(0, match.start() - 40), match.start())
            name = f"{before[0] if before else ''}{word[0] if word else ''}"
            if _NAME.fullmatch(name) and _is_outside(start, end, reported_spans) and _looks_random(match["value"]):
                reported_spans.append((start, end))
                yield Leak(f"value of {name!r}", start, end, _preview(match["value"]))


def is_placeholder(value: str) -> bool:
    """Return True if `value` is a placeholder, or cannot be a secret: a key mixes letters and digits."""
    key = re.sub(r"^(?:sk-(?:proj|ant|or|lf|admin|svcacct|None)-|[a-z0-9]+_(?:live|test)_)", "", value)
    return bool(_PLACEHOLDER.search(key)) or len(set(key)) < 4 or not _MIXED.search(key)


_MIXED = re.compile(r"[0-9]|[a-z][A-Z]|[A-Z][a-z]|[^A-Za-z0-9_-]")


def _preview(secret: str, sign: str = "") -> str:
    """Return the part of a secret that may be shown: the prefix of all secrets of its kind, or two characters."""
    prefix = secret[: len(sign)] if sign and secret.lower().startswith(sign) else secret[:2]
    return f"{prefix}… ({len(secret)} characters)"


def _is_outside(start: int, end: int, reported_spans: list[tuple[int, int]]) -> bool:
    return all(end <= low or high <= start for low, high in reported_spans)


def _looks_random(value: str) -> bool:
    """Return True if a value that is assigned to the name of a secret looks random: letters and digits mixed."""
    if is_placeholder(value) or _PUBLIC.match(value):
        return False
    has_letters, has_digits = re.search("[A-Za-z]", value), re.search("[0-9]", value)
    if not (has_letters and has_digits):
        return False
    # Bits a character: of 16 hexadecimal digits by dice 3.1 on average, of words and dates in kebab case about as
    # much, but these hold few digits.
    digits = sum(character.isdigit() for character in value) / len(value)
    words = len(re.findall(r"[a-z]{4,}|[A-Z]{4,}", value))
    return entropy(value) >= 3.0 and digits >= 0.08 and words <= len(value) / 12


def entropy(text: str) -> float:
    """Return the bits per character (Shannon), by the frequency of each in `text`."""
    counts = Counter(text)
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts.values())
