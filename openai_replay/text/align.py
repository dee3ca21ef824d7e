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


def pair_equal_items(first: Sequence[Hashable], second: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Indices of equal items, rising in both: what both begin and end with, what each has once (the most that keep
    their order), and what stands beside those.
    """
    start = common_start_length(first, second)
    limit = min(len(first), len(second)) - start
    end = common_start_length(first[len(first) - limit :][::-1], second[len(second) - limit :][::-1])
    pairs = [(index, index) for index in range(start)]
    top, bottom = len(first) - end, len(second) - end
    i = j = start
    for a, b in [*_once(first, second, start, top, bottom), (top, bottom)]:
        while i < a and j < b and first[i] == second[j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        back = 0
        while i < a - back and j < b - back and first[a - back - 1] == second[b - back - 1]:
            back += 1
        pairs += _between(first, second, (i, a - back), (j, b - back))
        pairs += [(a - step, b - step) for step in range(back, 0, -1)]
        if a < top:
            pairs.append((a, b))
        i, j = a + 1, b + 1
    return pairs + [(top + index, bottom + index) for index in range(end)]


def common_start_length(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Return the length of the common start."""
    limit = min(len(first), len(second))
    return next((index for index in range(limit) if first[index] != second[index]), limit)


def _between(
    first: Sequence[Hashable], second: Sequence[Hashable], start: tuple[int, int], end: tuple[int, int]
) -> list[tuple[int, int]]:
    """Pair equal items in a gap that has no unique items to align by."""
    old, new = first[slice(*start)], second[slice(*end)]
    counts = Counter(new)
    if not 0 < sum(counts[item] for item in old) <= _PAIRS:
        return []
    blocks = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    return [(start[0] + at + step, end[0] + to + step) for at, to, size in blocks for step in range(size)]


def _once(
    first: Sequence[Hashable], second: Sequence[Hashable], start: int, top: int, bottom: int
) -> list[tuple[int, int]]:
    """The longest rising run of pairs among items that stand once in `first[start:top]` and `second[start:bottom]`."""
    first_counts, second_counts = Counter(first[start:top]), Counter(second[start:bottom])
    index_of = {item: index for index, item in enumerate(second[start:bottom], start) if second_counts[item] == 1}
    pairs = [
        (index, index_of[item])
        for index, item in enumerate(first[start:top], start)
        if first_counts[item] == 1 and item in index_of
    ]
    ends: list[int] = []  # the lowest end of a run of each length
    last: list[int] = []  # which pair that is
    before: list[int] = []  # of each pair, the one before it in its run
    for number, (_, index) in enumerate(pairs):
        length = bisect_left(ends, index)
        before.append(last[length - 1] if length else -1)
        ends[length : length + 1] = [index]
        last[length : length + 1] = [number]
    run = []
    number = last[-1] if last else -1
    while number >= 0:
        run.append(pairs[number])
        number = before[number]
    return run[::-1]
