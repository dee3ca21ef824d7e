"""Lines of characters in YAML values of every style."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from openai_replay.text import yaml_positions

LOADERS = [yaml.CSafeLoader, yaml.SafeLoader]


def node(text: str, loader: Any = yaml.CSafeLoader) -> Any:
    return loader(text).get_single_node()


@pytest.mark.parametrize("loader", LOADERS, ids=["libyaml", "pure Python"])
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("one\nX two\n", 2),
        ("a: |\n  one\n  two\n\n  X\n  more\n", 5),
        ("a: |+2\n   one\n  X\n\n", 3),
        ("a: >-\n  one\n  two\n\n  three X\n  more\n", 5),
        ("a: 'one\n  two\n\n  it''s\n  X'\n", 5),
        ('a: "one\\n\\\n  two\\\n  th\\u0041ree\\n X\\n\\\n  more"\n', 3),
        ('a: "one\n\n\n  two X"\n', 4),
        ("a: one\n  two\n  X three\n", 3),
        ("a: one\n\n\n  two\n  X three\n", 5),
        ('a: "X on one line \\n \\n"\n', 1),
        ("a:\n- b\n- c: [d, 'X']\n", 3),
    ],
)
def test_the_line_of_a_character_is_found_in_every_style(text: str, line: int, loader: Any) -> None:
    scalars = [scalar for scalar in yaml_positions.scalars(node(text, loader)) if "X" in scalar.node.value]
    assert [yaml_positions.line_at(text, scalar.node, scalar.node.value.index("X")) for scalar in scalars] == [line]
    assert scalars[0].line <= line


WORDS = st.lists(st.text(st.sampled_from("ab 'é\"\\🌍:#\n\t"), min_size=1, max_size=8), min_size=1, max_size=30)


@given(WORDS, st.sampled_from(["'", '"', "|", ">", ""]), st.integers(20, 60))
def test_a_word_is_found_in_the_line_it_is_written_in(words: list[str], style: str, width: int) -> None:
    value = " ".join(word + f"X{number}Y" for number, word in enumerate(words))
    text = yaml.dump({"a": [1, {"b": value}]}, default_style=style or None, width=width, allow_unicode=True)
    scalar = next(candidate for candidate in yaml_positions.scalars(node(text)) if candidate.path == ("a", 1, "b"))
    assume(scalar.node.value == value)  # PyYAML writes a folded line that starts with a space as another text
    lines = text.split("\n")
    for number in range(len(words)):
        line = yaml_positions.line_at(text, scalar.node, value.index(f"X{number}Y"))
        written = lines[line - 1]
        # A writer may break even a word, behind a backslash.
        joined = (written + lines[line].lstrip() if written.endswith("\\") else written).replace("\\", "")
        assert f"X{number}Y" in joined, json.dumps(text)


@pytest.mark.parametrize(
    "text", ["a: >-\n  one\n  two\n", 'a: "one\n  two"\n', "a: one\n  two\n", "a: |-\n  one\n  two\n"]
)
def test_the_end_of_a_value_is_in_its_last_line(text: str) -> None:
    [scalar] = yaml_positions.scalars(node(text))
    assert yaml_positions.line_at(text, scalar.node, len(scalar.node.value)) == text.count("\n")


def test_the_node_behind_an_alias_is_yielded_once() -> None:
    root = node("a: &x [1, 2]\nb: *x\nc: &y {d: *x}\n")
    assert [(scalar.path, scalar.node.value) for scalar in yaml_positions.scalars(root)] == [
        (("a", 0), "1"),
        (("a", 1), "2"),
    ]
