r"""Regular expressions that users write: compiled, and stopped if they take too long.

`re` cannot be stopped, and on some texts it tries every way to match: `(a{1,15}){1,15}b` does not end for sixty
letters. The `regex` package matches the same patterns with a timeout, and lets other threads run meanwhile. It is
imported with the first pattern, because that takes 50 ms.

The syntax is that of `re`: `regex` reads `x{e}` as a fuzzy match, so literal braces are escaped for it. Compared on
300,000 random patterns, both match alike but for `[[:alpha:]]`, `\B` in an empty text, and a few characters of `\w`
(combining marks, `²`) and `\s` (U+001C to U+001F).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from openai_replay.errors import PatternTimeoutError, UsageError

#: Seconds that a pattern may take for a text, and again for each further `_UNIT` characters.
TIMEOUT_S = 1.0
_UNIT = 1 << 20
#: A brace that `re` takes literally, after what looks like one and is none: `\N{DIGIT ONE}`, `\{`, `x{2,3}`.
_BRACE = re.compile(r"\\N\{[^}]*\}|\\.|\{\d*,\d*\}|\{\d+\}|\{", re.DOTALL)
#: A character of each class that patterns begin with, and the length of a run of it.
_SAMPLES = "qQ7_"
_RUN = 4096


class Match(Protocol):
    """A match of `re` or of a user's pattern."""

    def span(self) -> tuple[int, int]:
        """Return start and end in the text, in characters."""

    def __getitem__(self, group: int, /) -> str: ...


@dataclass(frozen=True, slots=True)
class UserPattern:
    """A user's regular expression, equal to another one of the same `text`.

    Its methods raise PatternTimeoutError after `timeout_s` seconds, for a longer text after that much per 2**20
    characters.
    """

    text: str
    timeout_s: float = TIMEOUT_S
    _compiled: Any = field(default=None, compare=False, repr=False)

    def spans(self, text: str, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
        """Return start and end of each match in `text[start:end]` that is not empty."""
        end = len(text) if end is None else end
        try:
            matches = self._compiled.finditer(text, start, end, timeout=self._timeout_s(end - start))
            return [(low, high) for low, high in (match.span() for match in matches) if low < high]
        except TimeoutError:
            raise self._error(end - start) from None

    def sub(self, replace: Callable[[Match], str], text: str) -> str:
        """Return `text` with each match replaced."""
        try:
            replaced: str = self._compiled.sub(replace, text, timeout=self._timeout_s(len(text)))
        except TimeoutError:
            raise self._error(len(text)) from None
        return replaced

    def begins_anywhere(self) -> bool:
        r"""Return True if the pattern begins with a repeat without an end, such as `\w+@`.

        In a long run of such characters it is tried from each of them to the last, which takes the square of the
        length.
        """
        try:
            return any(
                self._compiled.fullmatch(sample * _RUN, partial=True, timeout=self.timeout_s) for sample in _SAMPLES
            )
        except TimeoutError:
            return True

    def _timeout_s(self, length: int) -> float:
        return self.timeout_s * (1 + length / _UNIT)

    def _error(self, length: int) -> PatternTimeoutError:
        limit_s, pattern = self._timeout_s(length), _shortened(self.text)
        return PatternTimeoutError(
            f"The pattern {pattern!r} took longer than {limit_s:.3g} s on a text of {length} characters.",
            "Make it faster: begin it with fixed characters, bound its repeats ({1,100}), or make a repeat inside a "
            "repeat possessive (a++).",
        )


def compile_pattern(text: str, timeout_s: float = TIMEOUT_S) -> UserPattern:
    """Compile `text`, in the syntax of `re`.

    Raises UsageError if it does not parse, with the position if that is known.
    """
    try:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # `[a&&b]` means what it means in `re`
            re.compile(text)
    except re.error as error:
        raise _not_a_pattern(text, error.msg + (f" at position {error.pos}" if error.pos is not None else "")) from None
    except (OverflowError, RecursionError) as error:
        raise _not_a_pattern(text, str(error)) from None
    import regex

    try:
        escaped = _BRACE.sub(lambda match: r"\{" if match[0] == "{" else match[0], text)
        return UserPattern(text, timeout_s, regex.compile(escaped, regex.V0))
    except (regex.error, RecursionError) as error:
        raise _not_a_pattern(text, str(error)) from None


def _not_a_pattern(text: str, reason: str) -> UsageError:
    return UsageError(f"{_shortened(text)!r} is not a regular expression: {reason}", "See Python's re syntax.")


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"
