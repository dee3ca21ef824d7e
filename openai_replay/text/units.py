"""Sizes in bytes: reading them from text, and writing them."""

from __future__ import annotations

import re

from openai_replay.errors import UsageError

_SIZE = re.compile(r"([0-9]{1,12})([kmg]?)b?", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def parse_size(text: str) -> int:
    """Return the bytes in `65536`, `64k`, `64m` or `1g` (powers of 1024). Raises UsageError."""
    match = _SIZE.fullmatch(text.strip())
    if match and (size := int(match[1]) * _UNITS[match[2].lower()]):
        return size
    raise UsageError(f"{text!r} is not a size", "Write a number of bytes, or one with a unit: 64k, 64m, 1g.")


def format_size(size: int) -> str:
    """Return `size`, in bytes, as a person writes it: 64k, 256m."""
    unit = next(unit for unit in ("g", "m", "k", "") if size % _UNITS[unit] == 0)
    return f"{size // _UNITS[unit]}{unit}"
