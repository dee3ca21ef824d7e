"""Sizes and durations as people write them."""

from __future__ import annotations

import pytest

from openai_replay.errors import UsageError
from openai_replay.text.units import format_size, parse_duration, parse_size

MIB = 1 << 20


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("65536", 65536), ("64k", 65536), ("64K", 65536), ("64kb", 65536), (" 1m ", MIB), ("2g", 2 << 30)],
)
def test_sizes_are_parsed(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "0k", "-1", "1.5m", "k", "1t", "64 k", "1kk", "١k", "1e3"])
def test_other_texts_are_not_sizes(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(("size", "text"), [(1, "1"), (1000, "1000"), (65536, "64k"), (MIB, "1m"), (3 << 30, "3g")])
def test_a_formatted_size_can_be_parsed(size: int, text: str) -> None:
    assert format_size(size) == text
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("200ms", 200.0),
        ("1.5s", 1500.0),
        ("2m", 120_000.0),
        (" 0s ", 0.0),
        ("007s", 7000.0),
        ("3h", 1.08e7),
        ("90d", 7.776e9),
    ],
)
def test_durations_are_parsed(text: str, ms: float) -> None:
    assert parse_duration(text) == ms


@pytest.mark.parametrize("text", ["", "5", "5w", "-5s", "1e3s", ".5s", "5 s", "s", "9" * 400 + "s"])
def test_other_texts_are_not_durations(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration"):
        parse_duration(text)
