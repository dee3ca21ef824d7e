"""The closest recordings of a request, and their differences."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from openai_replay.matching import diff
from openai_replay.matching.diff import Difference, Recorded
from openai_replay.matching.matcher import ComparableRequest, Matcher
from openai_replay.model import Request
from openai_replay.redaction.redactor import Redactor
from tests.matching.test_matcher import JSON, post

PLAIN = Matcher()


def ask(value: Any) -> Request:
    return post(json.dumps(value).encode())


def said(text: str, **options: Any) -> dict[str, Any]:
    system = {"role": "system", "content": "You are a careful assistant. " * 20}
    return {"model": "gpt-4o", "messages": [system, {"role": "user", "content": text}], **options}


def closest(current: Request, recorded: list[Request], count: int = 3, **played: bool) -> list[int]:
    tape = [
        Recorded(number, entry, PLAIN.key(entry), played.get(f"n{number}", False))
        for number, entry in enumerate(recorded, 1)
    ]
    actual = diff.nearest(current, tape, PLAIN, Redactor().redact_request, {}, count)
    # The order in which they come decides nothing.
    second_run = diff.nearest(current, tape[::-1], PLAIN, Redactor().redact_request, {}, count)
    assert [near.recorded.number for near in actual] == [near.recorded.number for near in second_run]
    return [near.recorded.number for near in actual]


def test_the_nearest_three() -> None:
    recorded = [said("Tell me a joke"), said("What is two plus two"), said("What is one plus one"), said("Bye", n=2)]
    assert closest(ask(said("What is one plus two")), [ask(entry) for entry in recorded]) == [2, 3, 1]
    assert closest(ask(said("What is one plus two")), [ask(entry) for entry in recorded[:1]]) == [1]
    assert closest(ask(said("x")), []) == []


def test_equals_go_by_number_and_what_was_not_played_goes_first() -> None:
    recorded = [ask(said(text)) for text in ("one", "two", "three", "four")]
    assert closest(ask(said("five")), recorded) == [1, 2, 3]
    assert closest(ask(said("five")), recorded, n1=True, n2=True) == [3, 4, 1]


def test_recordings_of_one_request_count_once() -> None:
    recorded = [ask(said("one")), ask(said("one")), ask(said("two"))]
    assert closest(ask(said("five")), recorded) == [1, 3]
    assert closest(ask(said("five")), recorded, n1=True) == [2, 3]


def test_one_message_more_is_nearer_than_another_conversation() -> None:
    turns = [{"role": "user", "content": f"Question {n} about {'abcdefghij'[n]}"} for n in range(10)]
    recorded = [ask({"messages": turns[:length]}) for length in (2, 4, 8)]
    assert closest(ask({"messages": turns[:5]}), [*recorded, ask({"messages": turns[:5][::-1]})])[0] in (2, 4)
    assert closest(ask({"messages": [*turns[:4], {"role": "tool", "content": "x"}]}), recorded) == [2, 1, 3]


def test_among_many_the_words_decide() -> None:
    recorded = [ask(said(f"Translate the word number {n} of the list, {'please ' * (n % 5)}now")) for n in range(1000)]
    current = ask(said("Translate the word number 777 of the list, please please now or later"))
    assert closest(current, recorded)[0] == 778


def test_only_a_few_are_compared_place_by_place(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = {"differences": 0, "meaning": 0, "clean": 0}
    real = diff.differences

    def counted(recorded: ComparableRequest, current: ComparableRequest) -> Iterator[Difference]:
        looks["differences"] += 1
        return real(recorded, current)

    def clean(request: Request) -> Request:
        looks["clean"] += 1
        return request

    class Counted(Matcher):
        def comparable(self, request: Request) -> ComparableRequest:
            looks["meaning"] += 1
            return super().comparable(request)

    monkeypatch.setattr(diff, "differences", counted)
    matcher = Counted()
    big = "x " * 5_000
    tape = [
        Recorded(number, entry, PLAIN.key(entry))
        for number, entry in enumerate((ask(said(big, n=n)) for n in range(1000)), 1)
    ]
    observed: dict[bytes, frozenset[int]] = {}
    looks["meaning"] = 0
    [near, *_] = diff.nearest(ask(said("y " * 5_000, n=7)), tape, matcher, clean, observed)
    assert near.recorded.number == 8
    assert looks["differences"] == looks["clean"] == diff.COMPARED
    assert looks["meaning"] < 1000 + 300  # every recording once, and those again that two megabytes hold
    assert len(observed) == 1000
    looks["meaning"] = 0
    diff.nearest(ask(said("z", n=7)), tape, matcher, clean, observed)
    assert looks["meaning"] < 300  # the tape is not read again


def test_not_more_is_read_than_there_is_time_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diff, "_READ", 3_000)
    recorded = [ask(said("x" * 2_000)), ask(said("one")), ask(said("two", n=2)), ask(said("y" * 5_000))]
    assert closest(ask(said("six")), recorded) == [2, 3]


def test_the_same_item_many_times_is_many_parts() -> None:
    recorded = [ask({"input": [1] * count + [2] * 3}) for count in (1, 4, 7, 9)]
    assert closest(ask({"input": [1] * 6 + [2] * 3}), recorded) == [3, 2, 4]
    tokens = [n % 3 for n in range(3_000)]
    assert closest(ask({"input": tokens}), [ask({"input": tokens[:-2]}), ask({"input": [1]})]) == [1, 2]


def test_a_recording_that_is_packed_is_read() -> None:
    packed = Request(
        "POST", post().uri, (*JSON, ("content-encoding", "gzip")), gzip.compress(json.dumps(said("two")).encode())
    )
    recorded = [ask({"messages": []}), packed]
    current = ask(said("three"))
    tape = [Recorded(n, entry, PLAIN.key(Redactor().redact_request(entry))) for n, entry in enumerate(recorded, 1)]
    [near, _] = diff.nearest(current, tape, PLAIN, Redactor().redact_request, {})
    assert near.recorded.number == 2
    assert [entry.path for entry in near.differences] == [("messages", 1, "content")]


@pytest.mark.parametrize(
    ("recorded", "current", "pointers"),
    [
        ({"a": "x", "b": ""}, {"a": "y", "b": " "}, ["/a", "/b"]),
        ({"a": [1, 2, 3, 4]}, {"a": [1, 9, 3, 4]}, ["/a/1"]),
        ({"a": [1, 2, 3, 4]}, {"a": [1, 3, 4]}, ["/a/1"]),
        ({"a": [{"b": 1}, 5, {"c": 1}]}, {"a": [5, {"c": 2}]}, ["/a/0", ""]),
        ({"a": ["x", 1]}, {"a": [1, "x"]}, ["/a"]),
        ({"a": [1, 1]}, {"a": [1]}, ["/a/1"]),
        ([[], {}], [{}, []], [""]),
        ({"a/b~": 1}, {}, ["/a~1b~0"]),
    ],
)
def test_places(recorded: Any, current: Any, pointers: list[str]) -> None:
    actual = diff.differences(PLAIN.comparable(ask(recorded)), PLAIN.comparable(ask(current)))
    assert [entry.pointer for entry in actual] == pointers
