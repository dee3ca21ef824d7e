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
        """Whether both texts have it."""
        return self.old == self.new


def pieces(old: str, new: str) -> list[Piece]:
    """Both texts as a sequence of pieces; joined, the `old` of all are the one text, the `new` the other."""
    first, second = _WORD.findall(old), _WORD.findall(new)
    same: list[str] = []  # words of a piece that is not over yet
    found: list[Piece] = []
    i = j = 0
    for a, b in [*align.matched(first, second), (len(first), len(second))]:
        if i < a or j < b:
            _add(found, "".join(same), "".join(first[i:a]), "".join(second[j:b]))
            same = []
        same += first[a : a + 1]
        i, j = a + 1, b + 1
    text = "".join(same)
    return [*found, Piece(text, text)] if text else found


def _add(found: list[Piece], same: str, old: str, new: str) -> None:
    """Add what is the same, and the change behind it. Two changes with only white space between them are one."""
    if same.isspace() and found:
        last = found.pop()
        found.append(Piece(last.old + same + old, last.new + same + new))
    else:
        found += ([Piece(same, same)] if same else []) + [Piece(old, new)]
