"""Parsers of settings: each takes a plain value and returns what the program works with, or raises UsageError.

A value may come from anywhere (a flag, TOML, JSON, Python), so each parser also checks its type. The modules that know
a syntax are imported when a value is parsed: `--help` reads the registry and must not load them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from openai_replay.errors import UsageError

if TYPE_CHECKING:
    from openai_replay.matching.normalizers import Normalizer
    from openai_replay.playback.pace import Pace

T = TypeVar("T")

#: The hint for a setting that has to name a variable, and may have got the key.
NAME_A_VARIABLE = (
    "Pass the name of a variable that holds the key, not the key itself: other users of this machine can read command "
    "lines."
)


def text(value: Any) -> str:
    """Return `value`, which has to be a string."""
    if not isinstance(value, str):
        raise UsageError(f"{value!r} is not a string", "Put it in quotes.")
    return value


def texts(value: Any) -> list[str]:
    """Return `value`, which has to be a list of strings."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise UsageError(f"{value!r} is not a list of strings", 'Write for example ["/metadata"].')
    return [text(entry) for entry in value]


def flag(value: Any) -> bool:
    """Return `value`, which has to be true or false."""
    if not isinstance(value, bool):
        raise UsageError(f"{value!r} is neither true nor false", "Write true or false, without quotes.")
    return value


def integer(low: int, high: int) -> Callable[[Any], int]:
    """Return a parser that takes a whole number from `low` to `high`."""

    def parse(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            is_quoted = isinstance(value, str) and value.isdecimal()
            raise UsageError(
                f"{value!r} is not a number from {low} to {high}",
                "Remove the quotes." if is_quoted else f"Write for example {max(low, 1)}.",
            )
        return value

    return parse


def path(value: Any) -> Path:
    """Return the path of a file."""
    return value if isinstance(value, Path) else Path(text(value))


def choice(names: Iterable[str], convert: Callable[[str], T]) -> Callable[[Any], T]:
    """Return a parser that takes one of `names` and converts it."""
    choices = [str(name) for name in names]

    def parse(value: Any) -> T:
        if value not in choices:
            raise UsageError(f"{value!r} is not a choice", f"The choices are {', '.join(choices)}.")
        return convert(value)

    return parse


def pace(value: Any) -> Pace:
    """Return the pace in `instant`, `original` or `2x,max-gap=200ms`."""
    from openai_replay.playback.pace import parse_pace

    return parse_pace(text(value))


def retry_after(value: Any) -> float | None:
    """Return seconds, or None for `keep`."""
    if value is None or value == "keep":
        return None
    try:
        seconds = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else -1.0
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e6:
        raise UsageError(f"{value!r} is neither `keep` nor a number of seconds", "Write for example 0.")
    return seconds


def seconds(value: Any) -> float:
    """Return the seconds in a duration such as `200ms`, `10m` or `90d`."""
    from openai_replay.text.units import parse_duration

    return parse_duration(text(value)) / 1000


def size(value: Any) -> int:
    """Return the bytes in a size such as `64k`."""
    from openai_replay.text.units import parse_size

    return parse_size(text(value))


def match_on(value: Any) -> tuple[str, ...]:
    """Return the parts of a request that have to be equal."""
    from openai_replay.matching import matcher

    return matcher.parse_on(value if isinstance(value, str) else texts(value))


def match_header(value: Any) -> tuple[str, ...]:
    """Return names of headers, in lower case."""
    from openai_replay.matching import matcher

    return tuple(matcher.parse_headers(texts(value)))


def normalize(value: Any) -> tuple[Normalizer, ...]:
    """Return the normalizers in `uuid,date` or `NAME=REGEX`."""
    from openai_replay.matching import normalizers

    return tuple(normalizers.parse(texts(value)))


def pointers(value: Any) -> tuple[tuple[str, ...], ...]:
    """Return JSON pointers (RFC 6901) as tuples of their parts."""
    from openai_replay.text import json_pointer

    return tuple(json_pointer.parse_pointer(pointer) for pointer in texts(value))


def redact_pattern(value: Any) -> list[str]:
    """Return regular expressions as they are, after they compiled."""
    from openai_replay.text import safe_regex

    for pattern in (patterns := texts(value)):
        safe_regex.compile_pattern(pattern)
    return patterns


def redact_pointer(value: Any) -> list[str]:
    """Return JSON pointers as they are, after they parsed."""
    pointers(value)
    return texts(value)


def variable(value: Any) -> str:
    """Return the name of an environment variable that holds a key.

    The UsageError does not show `value`, which may be the key itself.
    """
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", text(value)):
        raise UsageError("this is not the name of an environment variable", NAME_A_VARIABLE)
    return str(value)


def lint_rules(value: Any) -> list[str]:
    """Return names of rules of `lint`."""
    from openai_replay.config.lint_rule import Rule

    choices = [str(rule) for rule in Rule]
    for name in (names := texts(value)):
        if name not in choices:
            raise UsageError(f"{name!r} is not a rule", f"The rules are {', '.join(choices)}.")
    return names
