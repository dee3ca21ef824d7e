"""Items of a cassette are changed, and what does not change keeps its text to the byte."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vcr.serializers import yamlserializer

from openai_replay.cassette import editor, reader
from openai_replay.errors import CassetteError
from openai_replay.model import Interaction
from tests.cassette.test_reader import TAPE, interactions, item, plain, read, written

THREE = written(item(b"one"), item(b"two"), item(b"three"))


def texts(text: str) -> list[str]:
    """The text of every item, its comments included."""
    starts = [*reader.item_starts(text, TAPE), reader.load(text, TAPE).tail]
    return [text[start:end] for start, end in pairwise(starts)]


def without_numbers(text: str) -> str:
    return re.sub(r"(?m)^( *# )\d+(?=  )", r"\1N", text)


def bodies(text: str) -> list[bytes]:
    return [interaction.response.body for interaction in read(text)]


def one_list(text: str) -> str:
    """`text` of several cassettes of vcrpy's as one."""
    items = [line for line in text.splitlines(keepends=True) if not line.startswith(("version", "interactions"))]
    return "interactions:\n" + "".join(items) + "version: 1\n"


VCRPYS = one_list("".join(plain(body=f"{{string: {body}}}") for body in ("one", "two", "three")))


@pytest.mark.parametrize("text", [THREE, VCRPYS], ids=["ours", "vcrpy's"])
@pytest.mark.parametrize(
    ("changes", "result"),
    [
        ({}, [b"one", b"two", b"three"]),
        ({2: item(b"2")}, [b"one", b"2", b"three"]),
        ({1: item(b"1"), 3: item(b"3")}, [b"1", b"two", b"3"]),
        ({1: None}, [b"two", b"three"]),
        ({3: None}, [b"one", b"two"]),
        ({1: None, 3: item(b"3")}, [b"two", b"3"]),
        ({1: None, 2: None, 3: None}, []),
    ],
)
def test_items_are_written_anew_or_dropped(
    text: str, changes: Mapping[int, Interaction | None], result: list[bytes]
) -> None:
    edited = editor.edited(text, TAPE, changes)
    assert bodies(edited) == result
    unchanged = [without_numbers(entry) for number, entry in enumerate(texts(text), 1) if number not in changes]
    assert [entry for entry in map(without_numbers, texts(edited)) if entry in unchanged] == unchanged
    assert yamlserializer.deserialize(edited)["interactions"] is not None
    if not changes:
        assert edited == text


def test_comments_count_on_where_an_item_is_dropped() -> None:
    edited = editor.edited(THREE, TAPE, {1: None})
    assert re.findall(r"(?m)^# (\d+)  POST", edited) == ["1", "2"]


HAND_WRITTEN = THREE.replace("# 2  ", "# lint: allow secret\n# 2  ").replace("# 3  ", "# why it is here\n# 3  ")


def test_what_somebody_wrote_above_an_item_stays() -> None:
    edited = editor.edited(HAND_WRITTEN, TAPE, {2: item(b"2")})
    assert "# lint: allow secret\n# 2  POST /v1/chat/completions  m  200  99 ms\n- request" in edited
    assert without_numbers(editor.edited(HAND_WRITTEN, TAPE, {2: None})) == without_numbers(
        HAND_WRITTEN.replace(texts(HAND_WRITTEN)[1], "")
    )
    assert editor.edited(HAND_WRITTEN, TAPE, {2: None}).count("# 2  ") == 1


@pytest.mark.parametrize("changes", [{1: None}, {1: item(b"1")}, {3: None}, {3: item(b"3")}])
def test_what_stands_behind_an_item_stays(changes: Mapping[int, Interaction | None]) -> None:
    text = THREE.replace("# 2  ", "\n# The second part\n\n# 2  ") + "# the end\n"
    edited = editor.edited(text, TAPE, changes)
    assert edited.count("# The second part\n\n") == 1
    assert edited.endswith("# the end\n")


def test_a_file_of_other_line_ends_keeps_them() -> None:
    edited = editor.edited(THREE.replace("\n", "\r\n"), TAPE, {2: item(b"2\n")})
    assert bodies(edited) == [b"one", b"2\n", b"three"]
    assert "\n" not in edited.replace("\r\n", "")


def test_a_file_whose_last_line_has_no_end() -> None:
    assert bodies(editor.edited(THREE.rstrip("\n"), TAPE, {3: None})) == [b"one", b"two"]
    assert bodies(editor.joined(*reversed_items(THREE.rstrip("\n")))) == [b"three", b"two", b"one"]


def reversed_items(text: str) -> tuple[str, list[str], str]:
    head, items, tail = editor.parts(text, TAPE, reader.load(text, TAPE))
    return head, items[::-1], tail


def test_indented_items() -> None:
    text = re.sub(r"(?m)^(?=[-# ] ?.)", "  ", THREE)
    edited = editor.edited(text, TAPE, {1: None, 2: item(b"a\n\nb", headers=(("x", "y: z"),))})
    assert bodies(edited) == [b"a\n\nb", b"three"]
    assert texts(edited)[1] == texts(text)[2].replace("# 3  ", "# 2  ")


@pytest.mark.parametrize("change", [None, item(b"new")])
def test_what_others_refer_to_is_not_lost(change: Interaction | None) -> None:
    text = one_list(plain(headers="&h {a: [b]}") + plain(headers="*h") + plain())
    edited = editor.edited(text, TAPE, {1: change})
    assert read(edited) == [*([change] if change else []), *read(text)[1:]] or change
    assert read(edited)[-2:] == read(text)[-2:]
    assert texts(edited)[-1] == texts(text)[-1]


@pytest.mark.parametrize(
    ("text", "changes", "says"),
    [
        (THREE, {4: None}, "has 3 interactions, and no number 4"),
        (THREE, {0: None}, "has 3 interactions, and no number 0"),
        (
            "interactions: [{request: {method: GET, uri: /}, response: {status: {code: 200}}}]",
            {1: None},
            "shares a line",
        ),
        ("nonsense", {1: None}, "is not a cassette"),
        (one_list(plain(headers="&h {a: [b]}") + plain()) + "x: *h\n", {1: None}, "its layout is unusual"),
    ],
)
def test_what_cannot_be_done_is_refused(text: str, changes: Mapping[int, Interaction | None], says: str) -> None:
    with pytest.raises(CassetteError, match=says):
        editor.edited(text, TAPE, changes)


@given(st.lists(interactions(), min_size=1, max_size=4), st.data())
def test_any_items_are_changed_and_the_others_kept(recorded: list[Interaction], data: Any) -> None:
    text = written(*recorded)
    numbers = st.integers(1, len(recorded))
    changes = data.draw(st.dictionaries(numbers, st.none() | interactions(), max_size=3))
    edited = editor.edited(text, TAPE, changes)
    expected = [
        (None if number in changes else old, entry)
        for number, old in enumerate(texts(text), 1)
        if (entry := changes.get(number, recorded[number - 1])) is not None
    ]
    actual = read(edited)
    assert [first.response.body for first in actual] == [first.response.body for _, first in expected]
    assert [first.response.frames for first in actual] == [first.response.frames for _, first in expected]
    for new, (old, _) in zip(texts(edited), expected, strict=True):
        assert old is None or without_numbers(new) == without_numbers(old)
    stock = yamlserializer.deserialize(edited)
    assert len(stock["interactions"]) == len(expected)


@pytest.mark.parametrize("end", ["version: 1\n", "version: 1", "# the end\nversion: 1\n...\n"])
def test_lines_after_the_list_are_moved_before_it(end: str) -> None:
    text = VCRPYS.removesuffix("version: 1\n") + end
    new = editor.make_appendable(text, TAPE)
    document = reader.load(new, TAPE)
    assert editor.can_append(new, document)
    assert not editor.can_append(text, reader.load(text, TAPE))
    assert document.interactions == read(text)
    assert editor.make_appendable(new, TAPE) == new


def test_an_empty_list_becomes_one_that_can_be_appended_to() -> None:
    assert editor.make_appendable("interactions: []\nversion: 1\n", TAPE) == "version: 1\ninteractions:\n"


def test_a_file_whose_lines_cannot_be_moved_is_refused() -> None:
    text = VCRPYS.replace("interactions:", "interactions: &list", 1) + "again: *list\n"
    with pytest.raises(CassetteError):
        editor.make_appendable(text, TAPE)
