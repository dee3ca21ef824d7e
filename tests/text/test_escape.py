"""Control characters are shown as escapes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_replay.journal import console
from openai_replay.journal.exchanges import Exchange, Outcome
from openai_replay.text import escape


@pytest.mark.parametrize(
    ("original", "line", "text"),
    [
        ("plain é 🌍 日本", "plain é 🌍 日本", "plain é 🌍 日本"),
        ("a\x1b[31mred", "a\\x1b[31mred", "a\\x1b[31mred"),
        ("a\x1b]0;title\x07", "a\\x1b]0;title\\x07", "a\\x1b]0;title\\x07"),
        ("a\nb\tc", "a\\nb\\tc", "a\nb\tc"),
        ("a\r\nb\rc", "a\\r\\nb\\rc", "a\nb\\rc"),
        ("a\x9b2Jb\x7f", "a\\x9b2Jb\\x7f", "a\\x9b2Jb\\x7f"),
        ("a\u202eb\u2066c\u2028", "a\\u202eb\\u2066c\\u2028", "a\\u202eb\\u2066c\\u2028"),
        ("a\ud800b\U000e0041", "a\\ud800b\\U000e0041", "a\\ud800b\\U000e0041"),
        ("a\0b\bc", "a\\x00b\\x08c", "a\\x00b\\x08c"),
    ],
)
def test_control_and_direction_characters_are_escaped(original: str, line: str, text: str) -> None:
    assert escape.line(original) == line
    assert escape.text(original) == text


@given(st.text(st.characters(exclude_categories=[])))
def test_an_escaped_line_has_no_control_characters(text: str) -> None:
    line = escape.line(text)
    assert line.isprintable() or all(
        character.isprintable() or character.isspace() or ord(character) > 0xFF for character in line
    )
    assert not set(line) & {"\x1b", "\n", "\r", "\x9b", "\u202e"}
    line.encode()


def test_the_line_of_an_exchange_has_no_control_characters() -> None:
    line = console.line(Exchange(Outcome.PLAYED, "GET", "/v1/a\x9b2J", 200, preview="\u202ecod.exe \x9b2J \x7f"))
    assert line == r'play    GET /v1/a\x9b2J  200  0 frames  0 ms  "\u202ecod.exe \x9b2J \x7f"'
