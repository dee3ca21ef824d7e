"""Sizes in bytes and durations in milliseconds: reading them from text, and writing them."""

from __future__ import annotations

import re

from openai_replay.errors import UsageError

_SIZE = re.compile(r"([0-9]{1,12})([kmg]?)b?", re.IGNORECASE | re.ASCII)
_SIZE_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)")
_DURATION_UNITS = {"ms": 1.0, "s": 1000.0, "m": 60_000.0, "h": 3_600_000.0, "d": 86_400_000.0}


def parse_size(text: str) -> int:
    """Return the bytes in `65536`, `64k`, `64m` or `1g` (powers of 1024). Raises UsageError."""
    match = _SIZE.fullmatch(text.strip())
    if match and (size := int(match[1]) * _SIZE_UNITS[match[2].lower()]):
        return size
    raise UsageError(f"{text!r} is not a size", "Write a number of bytes, or one with a unit: 64k, 64m, 1g.")


def format_size(size: int) -> str:
    """Return `size`, in bytes, as a person writes it: 64k, 256m."""
    unit = next(unit for unit in ("g", "m", "k", "") if size % _SIZE_UNITS[unit] == 0)
    return f"{size // _SIZE_UNITS[unit]}{unit}"


def parse_duration(text: str) -> float:
    """Return the milliseconds in `200ms`, `1.5s`, `2m`, `3h` or `90d`. Raises UsageError."""
    if match := _DURATION.fullmatch(text.strip()):
        return float(match[1]) * _DURATION_UNITS[match[2]]
    raise UsageError(f"{text!r} is not a duration", "Write a number and a unit: 200ms, 1.5s, 2m, 90d.")
