"""The shape of JSON, and what has become another since an answer was recorded."""

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


def apart(before: Any, now: Any, merged: bool = False) -> list[str]:
    """What is found between two lists of values that are merged, else between two values."""
    olds, news = (before, now) if merged else ([before], [now])
    return list(
        json_shape.compare_shapes(json_shape.infer_shape(olds, merged), json_shape.infer_shape(news, merged), merged)
    )


@pytest.mark.parametrize(
    ("before", "now", "found"),
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
def test_differences(before: Any, now: Any, found: list[str]) -> None:
    assert apart(before, now) == found


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        ([{"a": 1}, {"b": 1}], [{"a": 1, "b": 1}], []),
        ([{"a": None}, {"a": "x"}], [{"a": "x"}], []),
        ([{"a": "x"}], [{"a": None}], ["a: was string, now null"]),
        ([{"a": [{"type": "f", "b": 1}]}, {"a": [{"c": 1}]}], [{"a": [{"type": "f", "b": 1, "c": 1}]}], []),
        ([{"a": 1}, {"b": 1}], [{"a": 1}], ["b: gone, was number"]),
    ],
)
def test_pieces_of_one(before: Any, now: Any, found: list[str]) -> None:
    assert apart(before, now, merged=True) == found


@given(PARTS, PARTS)
def test_a_shape_differs_from_itself_in_nothing(one: Any, other: Any) -> None:
    assert apart(one, one) == []
    assert bool(apart(one, other)) == bool(apart(other, one)) or "sometimes" in "".join(
        apart(one, other) + apart(other, one)
    )
    apart([one, other], [other], merged=True)


LETTERS = st.lists(st.sampled_from("abc"), max_size=12)


@given(LETTERS, st.integers(1, 5))
def test_what_comes_again_counts_once(letters: list[str], times: int) -> None:
    once = drift.event_sequence([Event(one, "{}") for one in ["x", *letters, "y"]])
    again = drift.event_sequence([Event(one, "{}") for one in ["x", *letters * times, "y"]])
    if len(set(letters)) == len(letters):
        assert drift.collapse_repeats(again) == drift.collapse_repeats(once) == ["x", *letters, "y"]
    drift.collapse_repeats(again)


def test_sequences() -> None:
    def events(*datas: Any) -> list[Event]:
        return [Event("message", one if isinstance(one, str) else json.dumps(one)) for one in datas]

    found = drift.event_sequence(
        [*events({"object": "chunk"}, {"object": "chunk"}, {"type": "a"}, {"error": 1}, {"b": 1}, [1], "no JSON"),
         Event("ping", "{}"), Event("keepalive", "{}"), Event("done", "[DONE]")]
    )  # fmt: skip
    assert drift.format_sequence(found) == "chunk+, a, error, data+, [DONE]"
    assert drift.format_sequence([]) == "none"
    assert drift.format_sequence([(str(n), False) for n in range(20)]) == "0, 1, 2, 3, 4, 5, …, 14, 15, 16, 17, 18, 19"


def answer(
    body: Any, status: int = 200, media: str = "application/json", end: End = End.COMPLETE, ms: int = 9
) -> Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = Head(status, "OK", (("content-type", media),) if media else ())
    return Response(head, 1, (Frame(1, data),), ms, end)


@pytest.mark.parametrize(
    ("before", "now", "form"),
    [
        (answer({}), answer({}, end=End.RESET), ["end: was complete, now reset"]),
        (answer({}), answer([], 500), ["status: was 200, now 500"]),
        (answer({}), answer({}, 201), ["status: was 200, now 201"]),
        (answer(b"{"), answer(b"{"), []),
        (answer(b"{"), answer({}), ["body: was not JSON"]),
        (answer(b"", media=""), answer({}), ["content-type: was none, now application/json"]),
        (answer(b"\xff", media="audio/mpeg"), answer(b"\xfe\xfd", media="audio/mpeg"), []),
        (answer(b"data: x\n\ndata: {}\n\n", media=SSE), answer(b"data: {}\n\n", media=SSE), []),
    ],
)
def test_drift(before: Response, now: Response, form: list[str]) -> None:
    assert drift.find_drift(before, now).breaking == form


@pytest.mark.parametrize(
    ("was", "now", "notes"),
    [
        (100, 5000, ["much slower: took 100 ms, now 5000 ms"]),
        (5000, 100, ["much faster: took 5000 ms, now 100 ms"]),
        (1, 900, []),
        (5000, 7000, []),
    ],
)
def test_times(was: int, now: int, notes: list[str]) -> None:
    assert drift.find_drift(answer({}, ms=was), answer({}, ms=now)) == ([], notes)
    assert drift.find_drift(answer({}, ms=was), answer({}, 201, ms=now)).notes == []


def test_headers_and_texts() -> None:
    before = answer({"text": "a"})
    now = replace(answer({"text": "b"}), head=Head(200, "OK", (("Content-Type", "application/json"), ("CF-Ray", "x"))))
    assert drift.find_drift(before, now).notes == ["the text differs"]
    now = replace(now, head=Head(200, "OK", (*now.head.headers, ("X-New", "1"), ("x-ratelimit-limit-tokens", "1"))))
    assert drift.find_drift(before, now).notes == ["headers added: x-new", "the text differs"]
    assert drift.find_drift(now, before).notes == ["headers removed: x-new", "the text differs"]
    done = answer({"choices": [{"text": "a", "finish_reason": "stop"}]})
    cut = answer({"choices": [{"text": "a", "finish_reason": "length"}]})
    assert drift.find_drift(done, cut) == (["finish reason: was stop, now length"], [])


@given(PARTS, PARTS, st.booleans())
def test_no_answer_of_any_shape_raises(one: Any, other: Any, stream: bool) -> None:
    def of(value: Any) -> Response:
        data = json.dumps(value).encode()
        return answer(b"data: " + data + b"\n\n", media=SSE) if stream else answer(value)

    assert drift.find_drift(of(one), of(one)).breaking == []
    drift.find_drift(of(one), of(other))
