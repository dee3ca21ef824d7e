"""Two cassettes are compared by request and response."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from openai_replay.matching.matcher import Matcher
from openai_replay.model import End, Frame, Head, Headers, Interaction, Request, Response
from openai_replay.tools import compare
from openai_replay.tools.compare import Pair
from tests.openai_api.test_stream_assembler import PARTS, fetch_body
from tests.openai_api.test_transcript import SSE

JSON = (("content-type", "application/json"),)
URI = "https://api.openai.com/v1/"


def recording(
    body_value: Any,
    request_value: Any = None,
    path: str = "chat/completions",
    headers: Headers = JSON,
    status: int = 200,
    end: End = End.COMPLETE,
    at_ms: int = 2,
) -> Interaction:
    body = body_value if isinstance(body_value, bytes) else json.dumps(body_value).encode()
    data = request_value if isinstance(request_value, bytes) else json.dumps(request_value).encode()
    response = Response(Head(status, "OK", headers), 1, (Frame(at_ms, body),), at_ms, end)
    return Interaction(Request("POST", URI + path, JSON, data), response)


def unexpected(first: Interaction, second: Interaction) -> list[str]:
    return compare.compare_recordings(first, second).unexpected


CALL = {"id": "call_1a", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}


@pytest.mark.parametrize(
    ("first", "second", "lines"),
    [
        (recording({"a": 1}), recording({"a": 1}), []),
        (recording({"a": 1}), recording({"a": 2}), ["response a: 1, now 2"]),
        (recording({"a": 1, "b": [1]}), recording({"c": 1, "b": [1]}),
         ["response a: only in the first: 1", "response c: only in the second: 1"]),
        (recording({"a": [1, 2]}), recording({"a": [2, 1]}), ["response a: the same in another order"]),
        (recording({}, {"a": "x"}), recording({}, {"a": "y"}), ["request  a: 'x', now 'y'"]),
        (recording({}, {}, "a"), recording({}, {}, "a?b=1"), ["request  query: [], now [['b', '1']]"]),
        (recording({"id": "call_1a", "created": 1, "system_fingerprint": "a", "x_id": "1", "created_at": 1}),
         recording({"id": "call_2b", "created": 2, "system_fingerprint": "b", "x_id": "2", "created_at": 2}), []),
        (recording({"x": "call_1a"}), recording({"x": "file-1a"}), ["response x: 'call_1a', now 'file-1a'"]),
        (recording({"id": "a"}), recording({}), ["response id: only in the first: 'a'"]),
        (recording({"id": "a"}), recording({"id": None}), ["response id: 'a', now null"]),
        (recording({}, {"tool_call_id": "call_1a", "x": ["call_1b"]}),
         recording({}, {"tool_call_id": "call_2a", "x": ["call_2b"]}), []),
        (recording({"tool_calls": [CALL]}),
         recording({"tool_calls": [{**CALL, "function": {"name": "weather", "arguments": '{ "city": "Oslo" }'}}]}), []),
        (recording({"tool_calls": [CALL]}),
         recording({"tool_calls": [{**CALL, "function": {"name": "weather", "arguments": '{"city":"Bergen"}'}}]}),
         ["response tool_calls[0].function.arguments.city: 'Oslo', now 'Bergen'"]),
        (recording({}, {"calls": [{"arguments": '{"a":1}'}]}), recording({}, {"calls": [{"arguments": '{"a":2}'}]}),
         ["request  calls[0].arguments.a: 1, now 2"]),
        (recording({}), recording({}, status=500), ["response status: 200, now 500"]),
        (recording({}), recording({}, end=End.RESET), ["response end: complete, now reset"]),
        (recording(b"a", headers=()), recording(b"a"), ["response content-type: '', now 'application/json'"]),
        (recording(b"\xff\xfe"), recording(b"abc"), ["response body: '2 bytes', now 'abc'"]),
        (recording({"a": "the quick brown fox jumps over the lazy dog " * 3 + "x"}),
         recording({"a": "the quick brown fox jumps over the lazy dog " * 3 + "y"}),
         ["response a: … fox jumps over the lazy dog [-x-]{+y+}"]),
        (recording({"a": "\x1b[2J"}), recording({"a": "b"}), ["response a: '\\x1b[2J', now 'b'"]),
        (recording({}, b"[" * 500 + b"]" * 500), recording({}, b"[" * 501 + b"]" * 501),
         ["request  body: nested too deeply to be compared"]),
        (recording({}, b"[" * 990 + b"]" * 990), recording({}, b"[" * 990 + b"]" * 990),
         ["request  body: nested too deeply to be compared"]),
    ],
)  # fmt: skip
def test_differences(first: Interaction, second: Interaction, lines: list[str]) -> None:
    assert unexpected(first, second) == lines


def test_streams_are_compared_by_their_joined_response() -> None:
    question = {"model": "m", "messages": [{"role": "user", "content": "a"}], "stream": True}
    events = fetch_body("/v1/chat/completions", **question)
    streamed, changed = (
        recording(events, headers=(("content-type", SSE),)),
        recording(events.replace(b"simulated", b"imagined"), headers=(("content-type", SSE),)),
    )
    assert unexpected(streamed, streamed) == []
    cuts = streamed.response.body
    recut = Response(streamed.response.head, 1, (Frame(1, cuts[:50]), Frame(70, cuts[50:])), 90)
    assert unexpected(streamed, Interaction(streamed.request, recut)) == []
    texts = [line for line in unexpected(streamed, changed) if "content:" in line]
    assert texts
    assert all(line.startswith("response choices[0].message.content: ") for line in texts)
    half = recording(events[: len(events) // 2], headers=(("content-type", SSE),))
    assert "response choices[0].finish_reason: 'stop', now null" in unexpected(streamed, half)
    assert unexpected(half, recording({}))[0] == "response content-type: 'text/event-stream', now 'application/json'"


def test_expected_differences_are_listed_apart() -> None:
    new = (*JSON, ("x-request-id", "req_1"), ("X-New", "\x1b"))
    differences = compare.compare_recordings(
        recording({"id": "a"}, headers=(*JSON, ("x-request-id", "req_2"))), recording({"id": "b"}, headers=new)
    )
    assert differences.unexpected == []
    assert differences.expected == [
        "response id: 'a', now 'b'",
        "response header x-new: null, now '\\x1b'",
        "response header x-request-id: 'req_2', now 'req_1'",
    ]


def test_times() -> None:
    assert compare.compare_times(recording({}).response, recording({}, at_ms=9).response) == [
        "timing   head: 1 ms, now 1 ms",
        "timing   end: 2 ms, now 9 ms",
        "timing   frames: 1, now 1",
    ]


KEY = Matcher().key


def test_pairs() -> None:
    a, b, c, model = recording({}, "a"), recording({}, "b"), recording({}, "c"), recording({}, "m", "models")
    assert compare.pair_recordings([a, b, a], [a, a, b], KEY) == [Pair(0, 0), Pair(1, 2), Pair(2, 1)]
    assert compare.pair_recordings([a, b, model], [c, a], KEY) == [Pair(0, 1), Pair(1, 0), Pair(2, None)]
    assert compare.pair_recordings([a], [b, model, c], KEY) == [Pair(0, 0), Pair(None, 1), Pair(None, 2)]
    assert compare.pair_recordings([a], [model], KEY) == [Pair(0, 0)]
    assert compare.pair_recordings([], [a], KEY) == [Pair(None, 0)]


def test_ids_that_responses_gave_count_as_the_same() -> None:
    first = [recording({"id": "file-1a"}, "up"), recording({}, {"id": "file-1a"}), recording({}, {"id": "file-9z"})]
    second = [recording({"id": "file-2b"}, "up"), recording({}, {"id": "file-9z"}), recording({}, {"id": "file-2b"})]
    assert compare.pair_recordings(first, second, KEY) == [Pair(0, 0), Pair(1, 2), Pair(2, 1)]


@given(PARTS, PARTS)
def test_no_recording_of_any_shape_raises(first: Any, second: Any) -> None:
    assert unexpected(recording(first, second), recording(first, second)) == []
    compare.compare_recordings(recording(first, second), recording(second, first))
