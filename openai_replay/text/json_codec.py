"""JSON text: parsing, canonical writing, positions of strings, and pretty-printing that changes no token.

orjson parses and writes. The standard library takes over if orjson is too strict or too coarse.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

#: Keys and indexes that lead from the root to a value.
Path = tuple[str | int, ...]

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)


def strings(text: bytes) -> Iterator[tuple[Path, int, int]]:
    """Yield path, start and end of each string value in `text`, in bytes, without the quotes. `text` must be valid."""
    path: list[str | int | None] = []  # one entry per container; None for an object before its next key
    for match in _TOKEN.finditer(text):
        first = text[match.start()]
        if first == 0x22:  # "
            if path and path[-1] is None:
                path[-1] = loads(match[0])
            else:
                yield tuple(path), match.start() + 1, match.end() - 1  # type: ignore[arg-type]  # every key is known
        elif first == 0x7B:  # {
            path.append(None)
        elif first == 0x5B:  # [
            path.append(0)
        elif first in b"}]":
            path.pop()
        elif first == 0x2C:  # ,
            last = path[-1]
            path[-1] = last + 1 if isinstance(last, int) else None


def pretty(text: bytes) -> bytes:
    """Return `text`, which must be valid, indented by two spaces. Only white space between tokens changes."""
    chunks: list[bytes] = []
    depth = 0
    previous = b""
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in b"}]":
            depth -= 1
        if (token in b"}]" and previous not in b"{[") or (previous and previous in b"{[," and token not in b"}]"):
            chunks.append(b"\n" + b"  " * depth)
        chunks.append(b": " if token == b":" else token)
        if token in b"{[":
            depth += 1
        previous = token
    return b"".join(chunks)


# orjson reads integers over 64 bits as floats, and two different ones could look equal.
_LONG_NUMBER = re.compile(rb"\d{19}")
#: Every sixth byte of 19 digits in a row gives three digits, so a sixth of a text nearly always rules them out.
_SPARSE, _IN_A_ROW = 6, re.compile(rb"\d{3}")
#: orjson writes at most 254 levels. A deeper value has no canonical text.
_MAX_DEPTH = 250


def loads(text: bytes) -> Any:
    """Return the value of `text`. Lone surrogates are allowed, because models stream them.

    Raises ValueError if it is not JSON, or has more than 1,024 levels.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return _stdlib(text)


def exact(text: bytes) -> Any:
    """Return the value of `text` as `loads` does, with integers of any length."""
    return _stdlib(text) if _IN_A_ROW.search(text[::_SPARSE]) and _LONG_NUMBER.search(text) else loads(text)


def shallow(text: bytes) -> Any:
    """Return the value of `text` as `loads` does, safe for recursion: raises ValueError above 250 levels, too."""
    value = loads(text)
    if text.count(b"[") + text.count(b"{") > _MAX_DEPTH and _depth(value) > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    return value


def canonical(value: Any) -> bytes:
    """Return `value` as JSON: the same bytes for the same value. Raises ValueError if it is nested too deeply."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # an integer past 64 bits, a lone surrogate, or too deep
        if _depth(value) > _MAX_DEPTH:
            raise ValueError("nested too deeply") from None
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _depth(value: Any) -> int:
    """Return the levels of `value`, counted up to one more than is allowed."""
    level, depth = [value], 0
    while depth <= _MAX_DEPTH and (level := [inner for outer in level for inner in _inside(outer)]):
        depth += 1
    return depth


def _stdlib(text: bytes) -> Any:
    try:
        return json.loads(text.decode(), parse_float=_finite, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
