"""Two tapes compared."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from openai_replay.matching.matcher import Matcher
from openai_replay.model import End, Frame, Head, Headers, Interaction, Request, Response
from openai_replay.tools import compare
from openai_replay.tools.compare import Pair
from tests.openai_api.test_stream_assembler import PARTS, asked
from tests.openai_api.test_transcript import SSE

JSON = (("content-type", "application/json"),)
URI = "https://api.openai.com/v1/"


def of(
    said: Any,
    question: Any = None,
    path: str = "chat/completions",
    headers: Headers = JSON,
    status: int = 200,
    end: End = End.COMPLETE,
    at_ms: int = 2,
) -> Interaction:
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    data = question if isinstance(question, bytes) else json.dumps(question).encode()
    response = Response(Head(status, "OK", headers), 1, (Frame(at_ms, body),), at_ms, end)
    return Interaction(Request("POST", URI + path, JSON, data), response)


def found(first: Interaction, second: Interaction) -> list[str]:
    return compare.compare_recordings(first, second).unexpected


CALL = {"id": "call_1a", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}


@pytest.mark.parametrize(
    ("first", "second", "lines"),
    [
        (of({"a": 1}), of({"a": 1}), []),
        (of({"a": 1}), of({"a": 2}), ["response a: 1, now 2"]),
        (of({"a": 1, "b": [1]}), of({"c": 1, "b": [1]}),
         ["response a: only in the first: 1", "response c: only in the second: 1"]),
        (of({"a": [1, 2]}), of({"a": [2, 1]}), ["response a: the same in another order"]),
        (of({}, {"a": "x"}), of({}, {"a": "y"}), ["request  a: 'x', now 'y'"]),
        (of({}, {}, "a"), of({}, {}, "a?b=1"), ["request  query: [], now [['b', '1']]"]),
        (of({"id": "call_1a", "created": 1, "system_fingerprint": "a", "x_id": "1", "created_at": 1}),
         of({"id": "call_2b", "created": 2, "system_fingerprint": "b", "x_id": "2", "created_at": 2}), []),
        (of({"x": "call_1a"}), of({"x": "file-1a"}), ["response x: 'call_1a', now 'file-1a'"]),
        (of({"id": "a"}), of({}), ["response id: only in the first: 'a'"]),
        (of({"id": "a"}), of({"id": None}), ["response id: 'a', now null"]),
        (of({}, {"tool_call_id": "call_1a", "x": ["call_1b"]}),
         of({}, {"tool_call_id": "call_2a", "x": ["call_2b"]}), []),
        (of({"tool_calls": [CALL]}),
         of({"tool_calls": [{**CALL, "function": {"name": "weather", "arguments": '{ "city": "Oslo" }'}}]}), []),
        (of({"tool_calls": [CALL]}),
         of({"tool_calls": [{**CALL, "function": {"name": "weather", "arguments": '{"city":"Bergen"}'}}]}),
         ["response tool_calls[0].function.arguments.city: 'Oslo', now 'Bergen'"]),
        (of({}, {"calls": [{"arguments": '{"a":1}'}]}), of({}, {"calls": [{"arguments": '{"a":2}'}]}),
         ["request  calls[0].arguments.a: 1, now 2"]),
        (of({}), of({}, status=500), ["response status: 200, now 500"]),
        (of({}), of({}, end=End.RESET), ["response end: complete, now reset"]),
        (of(b"a", headers=()), of(b"a"), ["response content-type: '', now 'application/json'"]),
        (of(b"\xff\xfe"), of(b"abc"), ["response body: '2 bytes', now 'abc'"]),
        (of({"a": "the quick brown fox jumps over the lazy dog " * 3 + "x"}),
         of({"a": "the quick brown fox jumps over the lazy dog " * 3 + "y"}),
         ["response a: … fox jumps over the lazy dog [-x-]{+y+}"]),
        (of({"a": "\x1b[2J"}), of({"a": "b"}), ["response a: '\\x1b[2J', now 'b'"]),
        (of({}, b"[" * 500 + b"]" * 500), of({}, b"[" * 501 + b"]" * 501),
         ["request  body: nested too deeply to be compared"]),
        (of({}, b"[" * 990 + b"]" * 990), of({}, b"[" * 990 + b"]" * 990),
         ["request  body: nested too deeply to be compared"]),
    ],
)  # fmt: skip
def test_differences(first: Interaction, second: Interaction, lines: list[str]) -> None:
    assert found(first, second) == lines


def test_streams_are_compared_by_what_they_come_to() -> None:
    question = {"model": "m", "messages": [{"role": "user", "content": "a"}], "stream": True}
    events = asked("/v1/chat/completions", **question)
    one, other = (
        of(events, headers=(("content-type", SSE),)),
        of(events.replace(b"simulated", b"imagined"), headers=(("content-type", SSE),)),
    )
    assert found(one, one) == []
    cuts = one.response.body
    again = Response(one.response.head, 1, (Frame(1, cuts[:50]), Frame(70, cuts[50:])), 90)
    assert found(one, Interaction(one.request, again)) == []
    texts = [line for line in found(one, other) if "content:" in line]
    assert texts
    assert all(line.startswith("response choices[0].message.content: ") for line in texts)
    half = of(events[: len(events) // 2], headers=(("content-type", SSE),))
    assert "response choices[0].finish_reason: 'stop', now null" in found(one, half)
    assert found(half, of({}))[0] == "response content-type: 'text/event-stream', now 'application/json'"


def test_what_is_expected_is_told_apart() -> None:
    new = (*JSON, ("x-request-id", "req_1"), ("X-New", "\x1b"))
    told = compare.compare_recordings(
        of({"id": "a"}, headers=(*JSON, ("x-request-id", "req_2"))), of({"id": "b"}, headers=new)
    )
    assert told.unexpected == []
    assert told.expected == [
        "response id: 'a', now 'b'",
        "response header x-new: null, now '\\x1b'",
        "response header x-request-id: 'req_2', now 'req_1'",
    ]


def test_times() -> None:
    assert compare.compare_times(of({}).response, of({}, at_ms=9).response) == [
        "timing   head: 1 ms, now 1 ms",
        "timing   end: 2 ms, now 9 ms",
        "timing   frames: 1, now 1",
    ]


KEY = Matcher().key


def test_pairs() -> None:
    a, b, c, model = of({}, "a"), of({}, "b"), of({}, "c"), of({}, "m", "models")
    assert compare.pair_recordings([a, b, a], [a, a, b], KEY) == [Pair(0, 0), Pair(1, 2), Pair(2, 1)]
    assert compare.pair_recordings([a, b, model], [c, a], KEY) == [Pair(0, 1), Pair(1, 0), Pair(2, None)]
    assert compare.pair_recordings([a], [b, model, c], KEY) == [Pair(0, 0), Pair(None, 1), Pair(None, 2)]
    assert compare.pair_recordings([a], [model], KEY) == [Pair(0, 0)]
    assert compare.pair_recordings([], [a], KEY) == [Pair(None, 0)]


def test_ids_that_answers_give_count_as_the_same() -> None:
    first = [of({"id": "file-1a"}, "up"), of({}, {"id": "file-1a"}), of({}, {"id": "file-9z"})]
    second = [of({"id": "file-2b"}, "up"), of({}, {"id": "file-9z"}), of({}, {"id": "file-2b"})]
    assert compare.pair_recordings(first, second, KEY) == [Pair(0, 0), Pair(1, 2), Pair(2, 1)]


@given(PARTS, PARTS)
def test_no_recording_of_any_shape_raises(one: Any, other: Any) -> None:
    assert found(of(one, other), of(one, other)) == []
    compare.compare_recordings(of(one, other), of(other, one))
