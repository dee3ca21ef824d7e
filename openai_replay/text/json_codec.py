"""JSON as text: where its strings lie, pretty-printing that changes no token, and JSON pointers.

Parsing and dumping is orjson's job, and the standard library's where orjson is too strict or too coarse.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from openai_replay.errors import UsageError

#: Where a value lies: keys and indices from the root.
Path = tuple[str | int, ...]
#: A JSON pointer (RFC 6901) taken apart; the segment `*` stands for any key or index.
Pointer = tuple[str, ...]

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)


def strings(text: bytes) -> Iterator[tuple[Path, int, int]]:
    """Path, start and end of every string value in `text`, quotes excluded. `text` must be valid JSON."""
    path: list[str | int | None] = []  # one entry a container; None: an object that waits for its next key
    for match in _TOKEN.finditer(text):
        first = text[match.start()]
        if first == 0x22:  # "
            if path and path[-1] is None:
                path[-1] = loads(match[0])
            else:
                yield tuple(path), match.start() + 1, match.end() - 1  # type: ignore[arg-type]  # no None is left here
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
    """`text`, which must be valid JSON, indented by two spaces. Only white space between tokens changes."""
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


# orjson reads integers past 64 bits as floats, and two of them could look equal.
_LONG_NUMBER = re.compile(rb"\d{19}")
#: Of 19 digits in a row, every sixth byte finds three: a sixth of the text tells almost always that there are none.
_SPARSE, _IN_A_ROW = 6, re.compile(rb"\d{3}")
#: orjson writes 254 levels at most; what is deeper has no canonical text.
_MAX_DEPTH = 250


def loads(text: bytes) -> Any:
    """The value of `text`, lone surrogates included, which models do stream; raises ValueError where it is no JSON (or
    is nested over 1,024 deep).
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return _stdlib(text)


def exact(text: bytes) -> Any:
    """As `loads`, with integers of any length."""
    return _stdlib(text) if _IN_A_ROW.search(text[::_SPARSE]) and _LONG_NUMBER.search(text) else loads(text)


def shallow(text: bytes) -> Any:
    """As `loads`; raises ValueError where it is nested over 250 deep, too: who walks over the value need not fear."""
    value = loads(text)
    if text.count(b"[") + text.count(b"{") > _MAX_DEPTH and _depth(value) > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    return value


def canonical(value: Any) -> bytes:
    """`value` as JSON, the same bytes for the same value; raises ValueError where it is nested too deeply."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # an integer past 64 bits, a lone surrogate, or too deep
        if _depth(value) > _MAX_DEPTH:
            raise ValueError("nested too deeply") from None
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _depth(value: Any) -> int:
    """Return the nesting depth of `value`, at most one level more than is allowed."""
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
    raise ValueError(f"{text} is no JSON")


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def parse_pointer(text: str) -> Pointer:
    """Take `/messages/*/content` apart. Raises UsageError with the place where it is no JSON pointer."""
    if not text.startswith("/"):
        raise UsageError(
            f"{text!r} is not a JSON pointer: it has to start with '/'",
            "Write for example /messages/0/content or /tools/*/id.",
        )
    if bad := re.search(r"~(?![01])", text):
        raise UsageError(
            f"{text!r} is not a JSON pointer: '~' at position {bad.start()} must be written ~0", "A '/' in a key is ~1."
        )
    return tuple(segment.replace("~1", "/").replace("~0", "~") for segment in text[1:].split("/"))


def format_pointer(pointer: Pointer) -> str:
    """`pointer` as text again."""
    return "".join("/" + segment.replace("~", "~0").replace("/", "~1") for segment in pointer)


def points_at(pointer: Pointer, path: Path) -> bool:
    """Return True if `pointer` names the value at `path`."""
    return len(pointer) == len(path) and all(want in ("*", str(have)) for want, have in zip(pointer, path, strict=True))


def drop(value: Any, pointer: Pointer) -> None:
    """Take what `pointer` names out of `value`, in place. What is not there is no error."""
    segment, remaining = pointer[0], pointer[1:]
    if isinstance(value, dict):
        keys: list[Any] = list(value) if segment == "*" else [segment] if segment in value else []
    elif isinstance(value, list):
        keys = list(range(len(value)))[::-1] if segment == "*" else [int(segment)] if _index(segment, value) else []
    else:
        return
    for key in keys:
        if remaining:
            drop(value[key], remaining)
        else:
            del value[key]


_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")


def _index(segment: str, value: list[Any]) -> bool:
    return _INDEX.fullmatch(segment) is not None and int(segment) < len(value)
