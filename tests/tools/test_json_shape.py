"""Shapes of JSON, and drift between a recorded and a current response."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_replay.model import End, Frame, Head, Response
from openai_replay.text.sse import Event
from openai_replay.tools import drift, json_shape
from tests.openai_api.test_stream_assembler import PARTS
from tests.openai_api.test_transcript import SSE


def shape_changes(before: Any, current: Any, are_fragments: bool = False) -> list[str]:
    """Return the differences between two values, or between two lists of fragments."""
    olds, news = (before, current) if are_fragments else ([before], [current])
    return list(
        json_shape.compare_shapes(
            json_shape.infer_shape(olds, are_fragments), json_shape.infer_shape(news, are_fragments), are_fragments
        )
    )


@pytest.mark.parametrize(
    ("before", "current", "lines"),
    [
        ({"a": 1}, {"a": 2.5}, []),
        ({"a": "x"}, {"a": "y"}, []),
        ({"a": True}, {"a": 1}, ["a: was boolean, now number"]),
        ({"a": [1, 2]}, {"a": [3]}, []),
        ({"a": []}, {"a": [{"b": 1}]}, []),
        ({"a": [{"b": 1}]}, {"a": []}, []),
        ({"a": [{"b": 1}]}, {"a": [{}]}, ["a[].b: gone, was number"]),
        ({"a": [{"b": 1}, {}]}, {"a": [{"b": 1}]}, []),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1}, {}]}, ["a[].b: was always there, now only sometimes"]),
        ({"a": [1]}, {"a": [1, "x"]}, ["a[]: was number, now number or string"]),
        ({"a": {"b": {"c": 1}}}, {"a": {}}, ["a.b: gone, was object"]),
        ({"a": {"b": 1}}, {"a": "b"}, ["a: was object, now string"]),
        ({"a": None}, {"a": {"b": 1}}, ["a: was null, now object"]),
        ({"call_1a": 1}, {"call_2b": 1}, []),
        ({"tool_calls": 1}, {}, ["tool_calls: gone, was number"]),
        ({"a.b": 1, "c[]": 1}, {"a.b": 1}, ["c··: gone, was number"]),
        ([{"type": "x", "a": 1}], [{"type": "y", "a": 1}], ["[x]: gone, was object", "[y]: new, object"]),
        ([{"type": "x.y", "a": 1}, {"type": 5}], [{"type": "x.y"}, {"type": 6}], ["[x·y].a: gone, was number"]),
        ("a", "b", []),
        ("a", 1, ["all: was string, now number"]),
    ],
)
def test_differences(before: Any, current: Any, lines: list[str]) -> None:
    assert shape_changes(before, current) == lines


@pytest.mark.parametrize(
    ("before", "current", "lines"),
    [
        ([{"a": 1}, {"b": 1}], [{"a": 1, "b": 1}], []),
        ([{"a": None}, {"a": "x"}], [{"a": "x"}], []),
        ([{"a": "x"}], [{"a": None}], ["a: was string, now null"]),
        ([{"a": [{"type": "f", "b": 1}]}, {"a": [{"c": 1}]}], [{"a": [{"type": "f", "b": 1, "c": 1}]}], []),
        ([{"a": 1}, {"b": 1}], [{"a": 1}], ["b: gone, was number"]),
    ],
)
def test_fragments_of_one_value_are_merged(before: Any, current: Any, lines: list[str]) -> None:
    assert shape_changes(before, current, are_fragments=True) == lines


@given(PARTS, PARTS)
def test_a_shape_does_not_differ_from_itself(first: Any, second: Any) -> None:
    assert shape_changes(first, first) == []
    assert bool(shape_changes(first, second)) == bool(shape_changes(second, first)) or "sometimes" in "".join(
        shape_changes(first, second) + shape_changes(second, first)
    )
    shape_changes([first, second], [second], are_fragments=True)


LETTERS = st.lists(st.sampled_from("abc"), max_size=12)


@given(LETTERS, st.integers(1, 5))
def test_repeated_sequences_count_once(letters: list[str], times: int) -> None:
    once = drift.event_sequence([Event(letter, "{}") for letter in ["x", *letters, "y"]])
    repeated = drift.event_sequence([Event(letter, "{}") for letter in ["x", *letters * times, "y"]])
    if len(set(letters)) == len(letters):
        assert drift.collapse_repeats(repeated) == drift.collapse_repeats(once) == ["x", *letters, "y"]
    drift.collapse_repeats(repeated)


def test_sequences() -> None:
    def events(*datas: Any) -> list[Event]:
        return [Event("message", data if isinstance(data, str) else json.dumps(data)) for data in datas]

    sequence = drift.event_sequence(
        [*events({"object": "chunk"}, {"object": "chunk"}, {"type": "a"}, {"error": 1}, {"b": 1}, [1], "no JSON"),
         Event("ping", "{}"), Event("keepalive", "{}"), Event("done", "[DONE]")]
    )  # fmt: skip
    assert drift.format_sequence(sequence) == "chunk+, a, error, data+, [DONE]"
    assert drift.format_sequence([]) == "none"
    assert drift.format_sequence([(str(n), False) for n in range(20)]) == "0, 1, 2, 3, 4, 5, …, 14, 15, 16, 17, 18, 19"


def response_of(
    body: Any, status: int = 200, media: str = "application/json", end: End = End.COMPLETE, ms: int = 9
) -> Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = Head(status, "OK", (("content-type", media),) if media else ())
    return Response(head, 1, (Frame(1, data),), ms, end)


@pytest.mark.parametrize(
    ("before", "current", "breaking"),
    [
        (response_of({}), response_of({}, end=End.RESET), ["end: was complete, now reset"]),
        (response_of({}), response_of([], 500), ["status: was 200, now 500"]),
        (response_of({}), response_of({}, 201), ["status: was 200, now 201"]),
        (response_of(b"{"), response_of(b"{"), []),
        (response_of(b"{"), response_of({}), ["body: was not JSON"]),
        (response_of(b"", media=""), response_of({}), ["content-type: was none, now application/json"]),
        (response_of(b"\xff", media="audio/mpeg"), response_of(b"\xfe\xfd", media="audio/mpeg"), []),
        (response_of(b"data: x\n\ndata: {}\n\n", media=SSE), response_of(b"data: {}\n\n", media=SSE), []),
    ],
)
def test_drift(before: Response, current: Response, breaking: list[str]) -> None:
    assert drift.find_drift(before, current).breaking == breaking


@pytest.mark.parametrize(
    ("recorded", "current", "notes"),
    [
        (100, 5000, ["much slower: took 100 ms, now 5000 ms"]),
        (5000, 100, ["much faster: took 5000 ms, now 100 ms"]),
        (1, 900, []),
        (5000, 7000, []),
    ],
)
def test_times(recorded: int, current: int, notes: list[str]) -> None:
    assert drift.find_drift(response_of({}, ms=recorded), response_of({}, ms=current)) == ([], notes)
    assert drift.find_drift(response_of({}, ms=recorded), response_of({}, 201, ms=current)).notes == []


def test_headers_and_texts() -> None:
    before = response_of({"text": "a"})
    current = replace(
        response_of({"text": "b"}), head=Head(200, "OK", (("Content-Type", "application/json"), ("CF-Ray", "x")))
    )
    assert drift.find_drift(before, current).notes == ["the text differs"]
    current = replace(
        current, head=Head(200, "OK", (*current.head.headers, ("X-New", "1"), ("x-ratelimit-limit-tokens", "1")))
    )
    assert drift.find_drift(before, current).notes == ["headers added: x-new", "the text differs"]
    assert drift.find_drift(current, before).notes == ["headers removed: x-new", "the text differs"]
    finished = response_of({"choices": [{"text": "a", "finish_reason": "stop"}]})
    cut = response_of({"choices": [{"text": "a", "finish_reason": "length"}]})
    assert drift.find_drift(finished, cut) == (["finish reason: was stop, now length"], [])


@given(PARTS, PARTS, st.booleans())
def test_no_response_of_any_shape_raises(first: Any, second: Any, stream: bool) -> None:
    def response(value: Any) -> Response:
        data = json.dumps(value).encode()
        return response_of(b"data: " + data + b"\n\n", media=SSE) if stream else response_of(value)

    assert drift.find_drift(response(first), response(first)).breaking == []
    drift.find_drift(response(first), response(second))
