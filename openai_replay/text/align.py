"""Two sequences laid side by side: which items of the one are the same in the other.

Items that each has once hold the two together (the "patience" of Bram Cohen's diff), which costs n log n whatever the
sequences hold. `difflib`, which takes their square and, at worst, their cube, only looks into the short gaps between.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Sequence
from difflib import SequenceMatcher

#: Pairs of equal items in a gap, which is what `difflib` takes its time for.
_PAIRS = 60_000


def matched(first: Sequence[Hashable], second: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Indices of equal items, rising in both: what both begin and end with, what each has once (the most that keep
    their order), and what stands beside those.
    """
    start = alike(first, second)
    rest = min(len(first), len(second)) - start
    end = alike(first[len(first) - rest :][::-1], second[len(second) - rest :][::-1])
    found = [(index, index) for index in range(start)]
    top, bottom = len(first) - end, len(second) - end
    i = j = start
    for a, b in [*_once(first, second, start, top, bottom), (top, bottom)]:
        while i < a and j < b and first[i] == second[j]:
            found.append((i, j))
            i, j = i + 1, j + 1
        back = 0
        while i < a - back and j < b - back and first[a - back - 1] == second[b - back - 1]:
            back += 1
        found += _between(first, second, (i, a - back), (j, b - back))
        found += [(a - step, b - step) for step in range(back, 0, -1)]
        if a < top:
            found.append((a, b))
        i, j = a + 1, b + 1
    return found + [(top + index, bottom + index) for index in range(end)]


def alike(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """How many items both begin with."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((index for index, (one, other) in pairs if one != other), min(len(first), len(second)))


def _between(
    first: Sequence[Hashable], second: Sequence[Hashable], here: tuple[int, int], there: tuple[int, int]
) -> list[tuple[int, int]]:
    """What is equal in a gap that items which stand there once do not tell apart."""
    old, new = first[slice(*here)], second[slice(*there)]
    counts = Counter(new)
    if not 0 < sum(counts[item] for item in old) <= _PAIRS:
        return []
    blocks = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    return [(here[0] + at + step, there[0] + to + step) for at, to, size in blocks for step in range(size)]


def _once(
    first: Sequence[Hashable], second: Sequence[Hashable], start: int, top: int, bottom: int
) -> list[tuple[int, int]]:
    """The longest rising run of pairs among items that stand once in `first[start:top]` and `second[start:bottom]`."""
    here, there = Counter(first[start:top]), Counter(second[start:bottom])
    places = {item: index for index, item in enumerate(second[start:bottom], start) if there[item] == 1}
    pairs = [
        (index, places[item])
        for index, item in enumerate(first[start:top], start)
        if here[item] == 1 and item in places
    ]
    ends: list[int] = []  # the lowest end of a run of each length
    last: list[int] = []  # which pair that is
    before: list[int] = []  # of each pair, the one before it in its run
    for number, (_, place) in enumerate(pairs):
        length = bisect_left(ends, place)
        before.append(last[length - 1] if length else -1)
        ends[length : length + 1] = [place]
        last[length : length + 1] = [number]
    run = []
    number = last[-1] if last else -1
    while number >= 0:
        run.append(pairs[number])
        number = before[number]
    return run[::-1]
