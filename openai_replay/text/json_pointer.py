"""JSON pointers (RFC 6901) with wildcards: parsing, comparing with a path, and removing the values they name."""

from __future__ import annotations

import re
from typing import Any

from openai_replay.errors import UsageError
from openai_replay.text.json_codec import Path

#: The segments of a pointer, unescaped. `*` stands for any key or index.
Pointer = tuple[str, ...]

_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")


def parse_pointer(text: str) -> Pointer:
    """Parse a pointer such as `/messages/*/content`. Raises UsageError, with the position if that is known."""
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
    """Return `pointer` as text."""
    return "".join("/" + segment.replace("~", "~0").replace("/", "~1") for segment in pointer)


def points_at(pointer: Pointer, path: Path) -> bool:
    """Return True if `pointer` names the value at `path`."""
    return len(pointer) == len(path) and all(
        segment in ("*", str(key)) for segment, key in zip(pointer, path, strict=True)
    )


def drop(value: Any, pointer: Pointer) -> None:
    """Remove everything that `pointer` names from `value`, in place. Missing keys are not an error."""
    segment, remaining = pointer[0], pointer[1:]
    if isinstance(value, dict):
        keys: list[Any] = list(value) if segment == "*" else [segment] if segment in value else []
    elif isinstance(value, list):
        keys = list(range(len(value)))[::-1] if segment == "*" else [int(segment)] if _is_index(segment, value) else []
    else:
        return
    for key in keys:
        if remaining:
            drop(value[key], remaining)
        else:
            del value[key]


def _is_index(segment: str, value: list[Any]) -> bool:
    return _INDEX.fullmatch(segment) is not None and int(segment) < len(value)
