"""Alignment of two sequences: which items of the one are equal to which of the other.

Items that occur once in each sequence are aligned first, as in the "patience" diff of Bram Cohen. That takes n log n
steps for any input. `difflib`, which takes the square of the length and at worst the cube, compares only the short gaps
between.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Sequence
from difflib import SequenceMatcher

#: Largest number of equal pairs in a gap that `difflib` compares: its time grows with these.
_MAX_PAIRS = 60_000

#: Indexes of an item in the first and in the second sequence.
Pair = tuple[int, int]


def pair_equal_items(first: Sequence[Hashable], second: Sequence[Hashable], max_pairs: int = _MAX_PAIRS) -> list[Pair]:
    """Return the indexes of equal items, increasing in both sequences.

    These are the common start and end, the items that each sequence has once (as many as keep their order), and the
    equal items next to those. A gap between them is not compared if it has more than `max_pairs` equal pairs.
    """
    start = common_start_length(first, second)
    limit = min(len(first), len(second)) - start
    end = common_start_length(first[len(first) - limit :][::-1], second[len(second) - limit :][::-1])
    pairs = [(index, index) for index in range(start)]
    first_end, second_end = len(first) - end, len(second) - end
    low, other_low = start, start  # the start of a gap in each sequence
    anchors = _pair_unique_items(first, second, start, first_end, second_end)
    for anchor, other_anchor in [*anchors, (first_end, second_end)]:
        while low < anchor and other_low < other_anchor and first[low] == second[other_low]:
            pairs.append((low, other_low))
            low, other_low = low + 1, other_low + 1
        high, other_high = anchor, other_anchor
        while low < high and other_low < other_high and first[high - 1] == second[other_high - 1]:
            high, other_high = high - 1, other_high - 1
        pairs += _pair_gap(first, second, (low, other_low), (high, other_high), max_pairs)
        pairs += [(high + step, other_high + step) for step in range(anchor - high)]
        if anchor < first_end:
            pairs.append((anchor, other_anchor))
        low, other_low = anchor + 1, other_anchor + 1
    return pairs + [(first_end + index, second_end + index) for index in range(end)]


def common_start_length(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Return the length of the common start."""
    limit = min(len(first), len(second))
    return next((index for index in range(limit) if first[index] != second[index]), limit)


def _pair_gap(
    first: Sequence[Hashable], second: Sequence[Hashable], start: Pair, end: Pair, max_pairs: int
) -> list[Pair]:
    """Pair equal items between `start` and `end`, a gap that has no unique items to align by."""
    old, new = first[start[0] : end[0]], second[start[1] : end[1]]
    counts = Counter(new)
    if not 0 < sum(counts[item] for item in old) <= max_pairs:
        return []
    blocks = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    return [(start[0] + block.a + step, start[1] + block.b + step) for block in blocks for step in range(block.size)]


def _pair_unique_items(
    first: Sequence[Hashable], second: Sequence[Hashable], start: int, first_end: int, second_end: int
) -> list[Pair]:
    """Return the longest run of pairs, increasing in both, of items that each sequence has once before its end.

    It is the longest increasing subsequence, by patience sorting.
    """
    first_counts, second_counts = Counter(first[start:first_end]), Counter(second[start:second_end])
    index_of = {item: index for index, item in enumerate(second[start:second_end], start) if second_counts[item] == 1}
    pairs = [
        (index, index_of[item])
        for index, item in enumerate(first[start:first_end], start)
        if first_counts[item] == 1 and item in index_of
    ]
    lowest_ends: list[int] = []  # by length: the lowest index in `second` at which a run of this length ends
    last_pairs: list[int] = []  # by length: the number of the pair that ends this run
    previous: list[int] = []  # by pair: the number of the pair before it in its run, or -1
    for number, (_, index) in enumerate(pairs):
        length = bisect_left(lowest_ends, index)
        previous.append(last_pairs[length - 1] if length else -1)
        lowest_ends[length : length + 1] = [index]
        last_pairs[length : length + 1] = [number]
    run = []
    number = last_pairs[-1] if last_pairs else -1
    while number >= 0:
        run.append(pairs[number])
        number = previous[number]
    return run[::-1]
