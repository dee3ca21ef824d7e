"""Two texts compared word by word: what of a long text is another, and a little of what stands around it.

The notation is that of `git diff --word-diff`: `[-taken away-]` and `{+added+}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import NamedTuple

# A word, a run of white space, or one other character: "Hello, world" parts behind the comma.
_WORD = re.compile(r"\w+|\s+|[^\w\s]")
#: Words that are compared one by one, which takes their square in time; where more than these differ, it is one piece.
_COMPARED = 1000


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
    # What both begin and end with is most of two long texts, and costs a comparison at a time.
    start = _alike(first, second)
    end = _alike(first[start:][::-1], second[start:][::-1])
    found = [Piece(text := "".join(first[:start]), text)]
    found += _between(first[start : len(first) - end], second[start : len(second) - end])
    found.append(Piece(text := "".join(first[len(first) - end :]), text))
    return [piece for piece in found if piece.old or piece.new]


def inline(old: str, new: str, context: int = 40) -> str:
    """What differs, in one text: `Say [-hello-]{+hi+} to…`. `context`: characters that are shown around a change."""
    if old == new:
        return old
    found = pieces(old, new)
    out = []
    for number, piece in enumerate(found):
        if piece.same:
            out.append(_around(piece.old, context, bool(number), number < len(found) - 1))
        else:
            out.append((f"[-{piece.old}-]" if piece.old else "") + (f"{{+{piece.new}+}}" if piece.new else ""))
    return "".join(out)


def _around(text: str, context: int, after: bool, before: bool) -> str:
    """`text` but for what is more than `context` away from a change `after` or `before` which it stands."""
    if len(text) <= context * (after + before) + 1:
        return text
    return (text[:context] if after else "") + "…" + (text[len(text) - context :] if before else "")


def _alike(first: list[str], second: list[str]) -> int:
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count


def _between(first: list[str], second: list[str]) -> Iterator[Piece]:
    if max(len(first), len(second)) > _COMPARED:
        yield Piece("".join(first), "".join(second))
        return
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    old = new = ""  # of the change that is not over yet
    for kind, start, stop, begin, end in matcher.get_opcodes():
        text, other = "".join(first[start:stop]), "".join(second[begin:end])
        if kind != "equal":
            old, new = old + text, new + other
        elif text.isspace() and (old or new) and stop < len(first) and end < len(second):
            old, new = old + text, new + other  # one change, not a change a word
        else:
            yield Piece(old, new)
            yield Piece(text, other)
            old = new = ""
    yield Piece(old, new)  # both ends differ: what is alike there has been taken off
