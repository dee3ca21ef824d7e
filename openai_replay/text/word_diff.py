"""Comparison of two texts word by word. `display` shows the result."""

from __future__ import annotations

import re
from typing import NamedTuple

from openai_replay.text import align

# A word, a run of white space, or one other character, so that "Hello, world" is split after the comma.
_WORD = re.compile(r"\w+|\s+|[^\w\s]")


class Piece(NamedTuple):
    """A part of two texts, as it is in each. Both are equal if it has not changed."""

    old: str
    new: str

    @property
    def same(self) -> bool:
        """True if both texts have it."""
        return self.old == self.new


def compare(old: str, new: str) -> list[Piece]:
    """Return both texts as a sequence of pieces: their `old` joined is the one text, their `new` the other."""
    first, second = _WORD.findall(old), _WORD.findall(new)
    common: list[str] = []  # the equal words since the last change
    result: list[Piece] = []
    first_next = second_next = 0
    for first_index, second_index in [*align.pair_equal_items(first, second), (len(first), len(second))]:
        if first_next < first_index or second_next < second_index:
            old_words, new_words = first[first_next:first_index], second[second_next:second_index]
            _add(result, "".join(common), "".join(old_words), "".join(new_words))
            common = []
        common += first[first_index : first_index + 1]
        first_next, second_next = first_index + 1, second_index + 1
    text = "".join(common)
    return [*result, Piece(text, text)] if text else result


def _add(result: list[Piece], common: str, old: str, new: str) -> None:
    """Add equal words and the change after them. Two changes with only white space between them become one."""
    if common.isspace() and result:
        last = result.pop()
        result.append(Piece(last.old + common + old, last.new + common + new))
    else:
        result += ([Piece(common, common)] if common else []) + [Piece(old, new)]
