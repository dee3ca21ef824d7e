"""JSON pointers with wildcards."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from openai_replay.errors import UsageError
from openai_replay.text import json_codec, json_pointer


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ("/messages/0/content", ("messages", "0", "content")),
        ("/tools/*/id", ("tools", "*", "id")),
        ("/a~1b/m~0n/~01", ("a/b", "m~n", "~1")),
        ("/", ("",)),
        ("/a//b", ("a", "", "b")),
    ],
)
def test_pointers_are_parsed_and_formatted(text: str, pointer: json_pointer.Pointer) -> None:
    assert json_pointer.parse_pointer(text) == pointer
    assert json_pointer.format_pointer(pointer) == text


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("messages", "'messages' is not a JSON pointer: it has to start with '/'.", "Write for example"),
        ("", "'' is not a JSON pointer: it has to start with '/'.", "Write for example"),
        ("/a~b", "'/a~b' is not a JSON pointer: '~' at position 2 must be written ~0.", "A '/' in a key is ~1."),
        ("/a~", "'/a~' is not a JSON pointer: '~' at position 2 must be written ~0.", "A '/' in a key is ~1."),
    ],
)
def test_other_texts_are_not_pointers(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        json_pointer.parse_pointer(text)
    assert caught.value.message == message
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize(
    ("pointer", "path", "is_named"),
    [
        ("/a/0", ("a", 0), True),
        ("/a/*", ("a", 7), True),
        ("/*/b", ("a", "b"), True),
        ("/a", ("a", 0), False),
        ("/a/0", ("a",), False),
        ("/a/01", ("a", 1), False),
    ],
)
def test_pointers_name_paths(pointer: str, path: json_codec.Path, is_named: bool) -> None:
    assert json_pointer.points_at(json_pointer.parse_pointer(pointer), path) is is_named


VALUE = {"a": [{"id": 1, "x": 2}, {"id": 3}, 4], "b": {"c": 5, "0": 6}, "d/e~": 7}


@pytest.mark.parametrize(
    ("pointer", "remaining"),
    [
        ("/b", {"a": [{"id": 1, "x": 2}, {"id": 3}, 4], "d/e~": 7}),
        ("/a/1", VALUE | {"a": [{"id": 1, "x": 2}, 4]}),
        ("/a/*", VALUE | {"a": []}),
        ("/a/*/id", VALUE | {"a": [{"x": 2}, {}, 4]}),
        ("/b/*", VALUE | {"b": {}}),
        ("/b/0", VALUE | {"b": {"c": 5}}),
        ("/d~1e~0", {"a": VALUE["a"], "b": VALUE["b"]}),
        ("/*", {}),
        ("/a/9", VALUE),
        ("/a/01", VALUE),
        ("/a/-", VALUE),
        ("/a/-1", VALUE),
        ("/a/١", VALUE),
        ("/a/" + "9" * 5000, VALUE),
        ("/b/c/d", VALUE),
        ("/nothing/here", VALUE),
        ("/", VALUE),
    ],
)
def test_named_values_are_removed(pointer: str, remaining: Any) -> None:
    value = copy.deepcopy(VALUE)
    json_pointer.drop(value, json_pointer.parse_pointer(pointer))
    assert value == remaining
