"""Values in messages are short and have no control characters."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_replay.text import display, escape
from tests.text.test_json_codec import VALUES

FOX = "The quick brown fox jumps over the lazy dog. "
WORDS = st.lists(st.sampled_from(["a", "bb", "c\n", " ", "\x1b[2J", "é", "\ud83d", "x" * 70, FOX])).map("".join)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"content": "Hi", "x": None, "role": "user"}, "{role: 'user', content: 'Hi', x: null}"),
        ([1, 1.0, True, False, [], {}], "[1, 1.0, true, false, [], {}]"),
        ({"a\nb": "\x1b"}, "{a\\nb: '\\x1b'}"),
        ("x" * 100, "'" + "x" * 79 + "…"),
        ({"k" * 100: 1}, "{" + "k" * 79 + "…"),
        (b"\xff", "b'\\xff'"),
    ],
)
def test_values_are_formatted_as_short_texts(value: Any, text: str) -> None:
    assert display.format_value(value) == text


def test_only_the_start_of_a_deep_value_is_read() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    assert display.format_value(value) == "[" * 80 + "…"


def test_paths_are_formatted_as_keys_and_indexes() -> None:
    assert display.format_path(["a", 0, "b\x1b", 1]) == "a[0].b\\x1b[1]"
    assert display.format_path([0, "a"]) == "[0].a"
    assert display.format_path(["k" * 100]) == "k" * 80 + "…"
    assert display.format_path([]) == ""


@pytest.mark.parametrize(
    ("recorded", "current", "text"),
    [
        ("short", "shirt", ""),
        (FOX * 3, "else", ""),
        (FOX * 3, FOX * 3 + "End.", "… fox jumps over the lazy dog. {+End.+}"),
        (FOX * 3, "Now. " + FOX * 3, "{+Now. +}The quick brown fox jumps …"),
        (
            FOX * 3,
            FOX + FOX.replace("quick", "slow") + FOX,
            "… jumps over the lazy dog. The [-quick-]{+slow+} brown fox jumps over the …",
        ),
        (
            "Day 1. " + FOX * 3 + "one",
            "Day 2. " + FOX * 3 + "two",
            "Day [-1-]{+2+}. The quick brown fox jumps … fox jumps over the lazy dog. [-one-]{+two+}",
        ),
        (
            " ".join(f"{FOX}{n}" for n in range(7)),
            " ".join(f"{FOX}{n + 1}0" for n in range(7)),
            "… fox jumps over the lazy dog. [-0-]{+10+} The quick brown fox jumps over the lazy dog. [-1-]{+20+} "
            "The quick brown fox jumps over the lazy dog. [-2-]{+30+} The quick brown fox jumps over the lazy dog. "
            "[-3-]{+40+} The quick brown fox jumps … and 3 more changes",
        ),
        (FOX * 3 + "a" * 300, FOX * 3 + "b" * 300, ""),
        (
            FOX * 20 + "a" * 300,
            FOX * 20 + "b" * 300,
            f"… fox jumps over the lazy dog. [-{'a' * 30}…{'a' * 15}-]{{+{'b' * 30}…{'b' * 15}+}}",
        ),
        (FOX * 3 + "pineapple", FOX * 3 + "pine", "… fox jumps over the lazy dog. [-pineapple-]{+pine+}"),
        ("unpine" + FOX * 3, "repine" + FOX * 3, "[-unpineThe-]{+repineThe+} quick brown fox jumps over …"),
        ("A" * 200 + "B" + "C" * 200, "A" * 200 + "D" + "C" * 200, f"…{'A' * 30}[-B-]{{+D+}}{'C' * 30}…"),
        (FOX * 3 + "\n\x1b", FOX * 3 + "\t", "… fox jumps over the lazy dog. [-\\n\\x1b-]{+\\t+}"),
    ],
)
def test_changes_are_marked_between_their_surroundings(recorded: str, current: str, text: str) -> None:
    assert display.format_changes(recorded, current) == text


@given(WORDS, WORDS)
def test_changes_are_short_and_plain(recorded: str, current: str) -> None:
    text = display.format_changes(recorded, current)
    assert len(text) < 1000
    assert escape.line(text) == text
    if text:
        assert "[-" in text or "{+" in text


@given(VALUES)
def test_a_value_is_short_and_plain(value: Any) -> None:
    text = display.format_value(value)
    assert len(text) <= display.MAX_CHARACTERS + 1
    assert escape.line(text) == text


def test_huge_strings_are_compared_only_between_their_first_and_last_change() -> None:
    huge = "AbC+/" * 1_000_000
    changes = display.format_changes(huge + "x y" + huge, huge + "z y z" + huge, max_compared=100)
    assert changes.count("[-") + changes.count("{+") > 1, "the words were compared"
    assert display.format_changes(f"begin {huge} end", f"begins {huge} ends") == ""
