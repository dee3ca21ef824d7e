"""Comparison of two texts word by word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_replay.text import word_diff
from openai_replay.text.word_diff import Piece


@pytest.mark.parametrize(
    ("old", "new", "marked"),
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
def test_different_words_are_marked(old: str, new: str, marked: str) -> None:
    pieces = word_diff.compare(old, new)
    marks = (
        (f"[-{piece.old}-]" if piece.old else "") + (f"{{+{piece.new}+}}" if piece.new else "") for piece in pieces
    )
    assert "".join(piece.old if piece.same else mark for piece, mark in zip(pieces, marks, strict=True)) == marked


def test_texts_of_any_length_are_compared() -> None:
    old, new = "x " * 5000, "y " * 5000
    assert word_diff.compare("same " + old + "end", "same " + new + "end") == [
        Piece("same ", "same "),
        Piece(old[:-1], new[:-1]),
        Piece(" end", " end"),
    ]


WORDS = st.lists(st.sampled_from(["a", "b", " ", "  ", "\n", "é", ",", "cc"])).map("".join)


@given(WORDS, WORDS)
def test_the_pieces_add_up_to_both_texts(old: str, new: str) -> None:
    pieces = word_diff.compare(old, new)
    assert "".join(piece.old for piece in pieces) == old
    assert "".join(piece.new for piece in pieces) == new
    assert all(piece.same for piece in pieces) == (old == new)
