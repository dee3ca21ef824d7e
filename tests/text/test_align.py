"""Alignment of two sequences."""

from __future__ import annotations

from itertools import pairwise

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


def test_a_gap_with_many_equal_pairs_is_not_compared() -> None:
    first, second = ["x", "y"] * 50, ["y", "y", "x", "z"] * 50  # 50 * 50 + 50 * 100 equal pairs
    assert len(align.pair_equal_items(first, second, max_pairs=7500)) > 50
    assert align.pair_equal_items(first, second, max_pairs=7499) == []
    assert align.pair_equal_items([1, *"xy" * 5000, 2], [1, *"yx" * 5000, 3]) == [(0, 0)]
