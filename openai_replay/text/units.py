"""How large things may be."""

from __future__ import annotations

import re
from dataclasses import dataclass

from openai_replay.errors import UsageError

_SIZE = re.compile(r"([0-9]{1,12})([kmg]?)b?", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes that are accepted of one message."""

    head: int = 64 << 10  # of a request's head, and of one line of it
    body: int = 512 << 20  # of a request's body: the largest file that api.openai.com takes
    response: int = 256 << 20  # of an answer that is kept for the tape


def parse_size(text: str) -> int:
    """Bytes in `65536`, `64k`, `64m` or `1g`, which are powers of 1024. Raises UsageError."""
    match = _SIZE.fullmatch(text.strip())
    if match and (size := int(match[1]) * _UNITS[match[2].lower()]):
        return size
    raise UsageError(f"{text!r} is not a size", "Write a number of bytes, or one with a unit: 64k, 64m, 1g.")


def shown(size: int) -> str:
    """`size` in bytes as a person writes it: 64k, 256m."""
    unit = next(unit for unit in ("g", "m", "k", "") if size % _UNITS[unit] == 0)
    return f"{size // _UNITS[unit]}{unit}"
