"""Two texts compared word by word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_replay.text import word_diff
from openai_replay.text.word_diff import Piece


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        ("Say hello", "Say hi", "Say [-hello-]{+hi+}"),
        ("hello there", "there", "[-hello -]there"),
        ("there", "there now", "there{+ now+}"),
        ("same", "same", "same"),
        ("", "new", "{+new+}"),
        ("", "", ""),
        ("one two three", "four five six", "[-one two three-]{+four five six+}"),
        ("Hello, world", "Hello; world", "Hello[-,-]{+;+} world"),
        ("naïve façade", "naïve facade", "naïve [-façade-]{+facade+}"),
    ],
)
def test_what_differs(old: str, new: str, shown: str) -> None:
    found = word_diff.pieces(old, new)
    marks = ((f"[-{one.old}-]" if one.old else "") + (f"{{+{one.new}+}}" if one.new else "") for one in found)
    assert "".join(one.old if one.same else mark for one, mark in zip(found, marks, strict=True)) == shown


def test_texts_of_any_length_are_compared() -> None:
    old, new = "x " * 5000, "y " * 5000
    assert word_diff.pieces("same " + old + "end", "same " + new + "end") == [
        Piece("same ", "same "),
        Piece(old[:-1], new[:-1]),
        Piece(" end", " end"),
    ]


WORDS = st.lists(st.sampled_from(["a", "b", " ", "  ", "\n", "é", ",", "cc"])).map("".join)


@given(WORDS, WORDS)
def test_the_pieces_are_both_texts(old: str, new: str) -> None:
    found = word_diff.pieces(old, new)
    assert "".join(piece.old for piece in found) == old
    assert "".join(piece.new for piece in found) == new
    assert all(piece.same for piece in found) == (old == new)
