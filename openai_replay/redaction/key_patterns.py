r"""The search for API keys in bytes, by the strict patterns of the table in `key_shapes`.

A key starts where a word starts, and ends where a word ends; inside base64 media, a prefix has word characters on both
sides. The patterns contain no quote, brace or comma, and no backslash except that of `\/`, so that a match lies inside
one JSON string.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache

from openai_replay.redaction.key_shapes import KEY_SHAPES

# The letter before a key may belong to an escape (`\nsk-...`, `%20sk-...`).
_START = r"(?:(?<![A-Za-z0-9_-])|(?<=\\[nrtbf])|(?<=\\u[0-9a-fA-F]{4})|(?<=%[0-9a-fA-F]{2}))"
_END = r"(?![A-Za-z0-9_-])"


# Prose has the word bearer, too: a token is long and has a digit. (Only so many characters are searched for one:
# `bearer+bearer+bearer+…` is one long run.)
_BEARER = (
    _START.encode()
    + rb"(?i:bearer)(?:[ \t]|%20|\+)+(?=(?:[A-Za-z._~+-]|\\?/){0,100}[0-9])((?:[A-Za-z0-9._~+-]|\\?/){16,}(?<!\.)=*)"
)
#: The patterns by the words that they begin with. Finding a word in hundreds of megabytes takes a tenth of a second;
#: trying an expression everywhere takes a minute, during which nothing else runs.
_BY_SIGN = {
    **{
        shape.prefix.encode(): f"{_START}({re.escape(shape.prefix)}{shape.strict}){_END}".encode()
        for shape in KEY_SHAPES
        if shape.strict
    },
    b"openai-insecure-api-key.": rb"openai-insecure-api-key\.([A-Za-z0-9._~+-]+(?<!\.))",
}
#: The words by the first `-` or `_` in them, or by None; and the texts before it. Splitting a text at these characters
#: rules most words out: 0.14 instead of 1.79 ms for 22 kB.
_BY_CUT = {
    cut: [sign for sign in _BY_SIGN if next((byte for byte in sign if byte in b"-_"), None) == cut]
    for cut in (*b"-_", None)
}
_BEFORE = {cut: tuple({sign[: sign.index(cut)] for sign in signs}) for cut, signs in _BY_CUT.items() if cut}
#: In lower case, because it occurs in any case.
_BEARER_SIGN = b"bearer"
#: Bytes that are converted to lower case at a time, so that a body of hundreds of megabytes is not copied.
_WINDOW = 1 << 20


def find_keys(text: bytes) -> Iterator[tuple[int, int]]:
    """Yield start and end of each key and token in `text`, in bytes, in no order."""
    for sign in _signs(text):
        yield from _matches(_compiled(_BY_SIGN[sign]), text, _places(text, sign))
    yield from _matches(_compiled(_BEARER), text, _places_in_any_case(text, _BEARER_SIGN))


def might_contain_key(text: bytes) -> bool:
    """Return True if `text` has the prefix of a key."""
    return any(_signs(text)) or _BEARER_SIGN in text.lower()


def _signs(text: bytes) -> Iterator[bytes]:
    for cut, signs in _BY_CUT.items():
        # Splitting a text and looking at the ends of its pieces takes a third of the time of searching for each word,
        # but all pieces are in memory at once.
        if cut is None or len(text) > _WINDOW or _ends(text.split(bytes([cut])), _BEFORE[cut]):
            yield from (sign for sign in signs if sign in text)


def _ends(pieces: list[bytes], with_any: tuple[bytes, ...]) -> bool:
    return bool([piece for piece in pieces if piece.endswith(with_any)])  # `any` takes twice as long


@cache  # compiled on first use: all of them take longer than a small cassette
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
