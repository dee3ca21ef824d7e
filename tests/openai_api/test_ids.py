"""IDs in requests and responses, and the pairs of recorded and fresh interactions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openai_replay.matching.matcher import Matcher
from openai_replay.model import Frame, Head, Interaction, Request, Response
from openai_replay.openai_api import ids

CHAT = "https://api.openai.com/v1/chat/completions"


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("call_abc", "call"),
        ("call_1", "call"),
        ("chatcmpl-9x8QfooBar", "chatcmpl"),
        ("file-AbCdEf", "file"),
        ("resp_68a1b2c3", "resp"),
        ("toolu_01A09q90qw90lq917835lq9", "toolu"),
        ("gen-1730000000-AbCdEfGhIj1", ""),  # not without a list, or a date would be chance as well
        ("gen-17300AbCdEfGhIj1", "gen"),
        ("D681PevKs", "id"),
        ("123e4567-e89b-12d3-a456-426614174000", "uuid"),
        ("gpt-4o", ""),
        ("gpt-4o-mini-2024-07-18", ""),
        ("text-embedding-ada-002", ""),
        ("claude-3-5-sonnet-20241022", ""),
        ("user", ""),
        ("12345678", ""),
        ("get_weather", ""),
    ],
)
def test_ids_are_classified_by_their_prefix(word: str, kind: str) -> None:
    assert ids.classify(word) == kind


def response_of(*values: Any) -> Response:
    body = b"".join(json.dumps(value).encode() + b"\n" for value in values)
    return Response(Head(200, "OK"), 1, (Frame(1, body),), 1)


def request_of(value: Any, uri: str = CHAT, method: str = "POST") -> Request:
    return Request(method, uri, (("content-type", "application/json"),), json.dumps(value).encode())


def test_issued_ids_are_found_in_order_and_once() -> None:
    event = (
        b'event: x\r\ndata: {"item_id":"msg_1", "id" :\n"resp_2", "name": "call_me", "text": "\\"id\\": \\"no_1\\""}'
    )
    model = b'{"id": "gpt-4o", "object": "model"}{"id":"msg_1"}'
    assert ids.find_issued(event + model) == ["msg_1", "resp_2"]
    assert ids.find_issued(response_of({"id": "call_1"})) == ["call_1"]


def test_only_whole_words_are_renamed() -> None:
    uri = "https://h/v1/threads/thread_1/runs/thread_12?after=thread_1&x=%2Fthread_1"
    body = rb'{"a": "\nthread_1 \u00e9thread_1 xthread_1", "thread_1": ["thread_1"]}' + b"\xff"
    renamed = ids.rename_ids(Request("GET", uri, (), body), {"thread_1": "T", "other": "O"})
    assert renamed.uri == "https://h/v1/threads/T/runs/thread_12?after=T&x=%2FT"
    assert renamed.body == rb'{"a": "\nT \u00e9T xthread_1", "T": ["T"]}' + b"\xff"


@pytest.mark.parametrize("mapping", [{}, {"call_2": "call_3"}])
def test_a_request_without_ids_stays_the_same_object(mapping: dict[str, str]) -> None:
    request = request_of({"id": "call_1"})
    assert ids.rename_ids(request, mapping) is request


def test_ids_of_two_responses_are_paired_by_kind() -> None:
    recorded = response_of({"id": "resp_1", "output": [{"id": "call_1"}, {"id": "call_2"}, {"id": "call_3"}]})
    fresh = response_of({"id": "resp_9", "output": [{"id": "rs_9"}, {"id": "call_9"}, {"id": "call_8"}]})
    assert ids.pair_ids(recorded, fresh) == {"resp_1": "resp_9", "call_1": "call_9", "call_2": "call_8"}


def turn(call: str, result: str = "sunny", arguments: str = "{}") -> Request:
    """Return the second turn of a tool loop."""
    return request_of(
        [{"tool_calls": [{"id": call, "arguments": arguments}]}, {"tool_call_id": call, "content": result}]
    )


FIRST = request_of("What is the weather?")


@pytest.mark.parametrize(
    ("recorded", "fresh", "expected"),
    [
        pytest.param(
            [
                Interaction(FIRST, response_of({"id": "call_1"})),
                Interaction(turn("call_1"), response_of({"id": "chatcmpl-1"})),
            ],
            [
                Interaction(FIRST, response_of({"id": "call_9"})),
                Interaction(turn("call_9"), response_of({"id": "chatcmpl-9"})),
            ],
            [0, 1],
            id="a tool loop",
        ),
        pytest.param(
            [Interaction(FIRST, response_of({"id": "call_1"})), Interaction(turn("call_1"), response_of())],
            [
                Interaction(FIRST, response_of({"id": "call_9"})),
                Interaction(turn("call_9", arguments="{1}"), response_of()),
            ],
            [0, 1],
            id="the model has called with other arguments",
        ),
        pytest.param(
            [
                Interaction(FIRST, response_of({"id": "call_1"})),
                Interaction(FIRST, response_of({"id": "call_2"})),
                Interaction(turn("call_2"), response_of()),
                Interaction(turn("call_1"), response_of()),
            ],
            [
                Interaction(FIRST, response_of({"id": "call_9"})),
                Interaction(turn("call_9"), response_of()),
                Interaction(FIRST, response_of({"id": "call_8"})),
                Interaction(turn("call_8"), response_of()),
            ],
            [0, 3, 1, 2],
            id="two samples, now one after the other",
        ),
        pytest.param(
            [Interaction(FIRST, response_of({"id": "call_1"})), Interaction(turn("call_1"), response_of())],
            [Interaction(turn("call_1"), response_of()), Interaction(turn("call_1"), response_of())],
            [1, None],
            id="more than there were",
        ),
        pytest.param(
            [Interaction(FIRST, response_of({"id": "call_1"})), Interaction(turn("call_1"), response_of())],
            [Interaction(FIRST, response_of({"id": "call_1"})), Interaction(request_of("else"), response_of())],
            [0, None],
            id="something else",
        ),
        pytest.param([], [Interaction(FIRST, response_of())], [None], id="nothing"),
    ],
)
def test_fresh_interactions_are_paired_with_recorded_ones(
    recorded: list[Interaction], fresh: list[Interaction], expected: list[int | None]
) -> None:
    assert ids.pair_interactions(recorded, fresh, Matcher().key) == expected


def test_ids_in_paths_pair_interactions_as_well() -> None:
    def flow(thread: str, run: str) -> list[Interaction]:
        base = "https://api.openai.com/v1/threads"
        return [
            Interaction(request_of({}, base), response_of({"id": thread})),
            Interaction(request_of({}, f"{base}/{thread}/runs"), response_of({"id": run, "thread_id": thread})),
            Interaction(
                request_of("", f"{base}/{thread}/runs/{run}", "GET"), response_of({"id": run, "status": "queued"})
            ),
            Interaction(
                request_of("", f"{base}/{thread}/runs/{run}", "GET"), response_of({"id": run, "status": "completed"})
            ),
        ]

    assert ids.pair_interactions(flow("thread_a", "run_a"), flow("thread_b", "run_b"), Matcher().key) == [0, 1, 2, 3]


def test_unissued_ids_are_found() -> None:
    responses = [response_of({"id": "resp_1"}), response_of({"output": [{"call_id": "call_22"}]})]
    assert ids.find_unissued(["resp_1", "call_2", "call_22"], iter(responses)) == {"call_2"}
    assert ids.find_unissued(["resp_1"], iter([*responses[:1], None])) == set()  # type: ignore[arg-type]  # it is not read
    assert ids.find_unissued([], iter([None])) == set()  # type: ignore[arg-type]


def test_a_compressed_response_may_issue_any_id() -> None:
    packed = Response(Head(200, "OK", (("content-encoding", "gzip"),)), 0, (Frame(0, b"\x1f\x8b"),), 0)
    assert ids.find_unissued(["resp_1"], [packed]) == set()
