"""Two sequences laid side by side."""

from __future__ import annotations

from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_replay.text import align

ITEMS = st.lists(st.sampled_from("abcdefgh"), max_size=30)


def common_items(first: str, second: str) -> str:
    return "".join(first[index] for index, _ in align.pair_equal_items(first, second))


@pytest.mark.parametrize(
    ("first", "second", "common"),
    [
        ("", "", ""),
        ("abc", "abc", "abc"),
        ("abc", "xyz", ""),
        ("abcd", "abd", "abd"),
        ("axbxc", "aybyc", "abc"),
        ("bcdea", "abcde", "bcde"),
        ("aXbXaYb", "aZbZaWb", "abab"),
        ("aa", "aaa", "aa"),
        ("xabb", "yabbz", "abb"),
    ],
)
def test_equal_items_are_paired(first: str, second: str, common: str) -> None:
    assert common_items(first, second) == common


@given(ITEMS, ITEMS)
def test_pairs_are_equal_and_rise_in_both(first: list[str], second: list[str]) -> None:
    pairs = align.pair_equal_items(first, second)
    assert all(first[i] == second[j] for i, j in pairs)
    assert all(i < k and j < m for (i, j), (k, m) in pairwise(pairs))
    assert bool(pairs) is bool(set(first) & set(second))


def test_long_gaps_are_not_compared_pair_by_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    class Counted(SequenceMatcher[Any]):
        def __init__(self, junk: Any, first: Any, second: Any, autojunk: bool) -> None:
            sizes.append(sum(second.count(item) for item in first))
            super().__init__(junk, first, second, autojunk)

    monkeypatch.setattr(align, "SequenceMatcher", Counted)
    assert len(align.pair_equal_items(["x", "y"] * 50, ["y", "y", "x", "z"] * 50)) > 50
    assert sizes == [50 * 50 + 50 * 100]
    assert align.pair_equal_items([1, *"xy" * 5000, 2], [1, *"yx" * 5000, 3]) == [(0, 0)]
    assert len(sizes) == 1
