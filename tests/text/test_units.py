"""Sizes in bytes as people write them."""

from __future__ import annotations

import pytest

from openai_replay.errors import UsageError
from openai_replay.text.units import format_size, parse_size

MIB = 1 << 20


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("65536", 65536), ("64k", 65536), ("64K", 65536), ("64kb", 65536), (" 1m ", MIB), ("2g", 2 << 30)],
)
def test_parse_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "0k", "-1", "1.5m", "k", "1t", "64 k", "1kk", "١k", "1e3"])
def test_other_texts_are_not_sizes(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(("size", "text"), [(1, "1"), (1000, "1000"), (65536, "64k"), (MIB, "1m"), (3 << 30, "3g")])
def test_a_formatted_size_can_be_parsed(size: int, text: str) -> None:
    assert format_size(size) == text
    assert parse_size(text) == size
