"""Two texts compared word by word; `quoting` shows what of a long one is another."""

from __future__ import annotations

import re
from typing import NamedTuple

from openai_replay.text import align

# A word, a run of white space, or one other character: "Hello, world" parts behind the comma.
_WORD = re.compile(r"\w+|\s+|[^\w\s]")


class Piece(NamedTuple):
    """A part of two texts: `old` and `new` are equal where both have it as it is."""

    old: str
    new: str

    @property
    def same(self) -> bool:
        """True if both texts have it."""
        return self.old == self.new


def compare(old: str, new: str) -> list[Piece]:
    """Both texts as a sequence of pieces; joined, the `old` of all are the one text, the `new` the other."""
    first, second = _WORD.findall(old), _WORD.findall(new)
    common: list[str] = []  # words of a piece that is not over yet
    result: list[Piece] = []
    i = j = 0
    for a, b in [*align.pair_equal_items(first, second), (len(first), len(second))]:
        if i < a or j < b:
            _add(result, "".join(common), "".join(first[i:a]), "".join(second[j:b]))
            common = []
        common += first[a : a + 1]
        i, j = a + 1, b + 1
    text = "".join(common)
    return [*result, Piece(text, text)] if text else result


def _add(result: list[Piece], common: str, old: str, new: str) -> None:
    """Add what is the same, and the change behind it. Two changes with only white space between them are one."""
    if common.isspace() and result:
        last = result.pop()
        result.append(Piece(last.old + common + old, last.new + common + new))
    else:
        result += ([Piece(common, common)] if common else []) + [Piece(old, new)]
