"""Fixtures of aimock, and responses without a request."""

from __future__ import annotations

import json

from openai_replay.tools.importers import SuppliedRequest
from tests.tools.importers.samples import (
    REQUEST_BODY,
    STREAM,
    URL,
    fixture,
    only_interaction,
    read,
    refusal,
)


def test_a_fixture_with_timings_is_a_stream_on_that_schedule() -> None:
    timings = {"ttftMs": 200, "interChunkDelaysMs": [10, 20, 30, 40], "totalDurationMs": 350}
    format_name, result = read(fixture({"content": "Hello"}, timings))
    (interaction,) = result.interactions
    assert format_name == "aimock"
    assert [frame.at_ms for frame in interaction.response.frames] == [200, 210, 230, 260, 300]
    assert (interaction.response.head_ms, interaction.response.end_ms) == (200, 350)
    chunks = [json.loads(frame.data[6:]) for frame in interaction.response.frames[:-1]]
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == "Hello"
    assert interaction.response.frames[-1].data == b"data: [DONE]\n\n"
    assert json.loads(interaction.request.body)["stream"] is True
    assert result.repaired == ["built request and response from the texts of a fixture, which holds no bytes"]


def test_fixtures_of_each_kind_become_responses() -> None:
    call = {"name": "weather", "arguments": {"city": "Oslo"}}
    response = only_interaction(fixture({"toolCalls": [call]}), "aimock").response
    (choice,) = json.loads(response.body)["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city":"Oslo"}'}
    timings = {"ttftMs": 5, "interChunkDelaysMs": [], "totalDurationMs": 0}
    assert b'"tool_calls"' in only_interaction(fixture({"toolCalls": [call]}, timings), "aimock").response.body
    response = only_interaction(fixture({"error": {"message": "slow down"}, "status": 429}), "aimock").response
    assert (response.head.status, json.loads(response.body)["error"]["message"]) == (429, "slow down")
    interaction = only_interaction(fixture({"embedding": [0.5]}, inputText="x", endpoint="embedding"), "aimock")
    assert interaction.request.uri.endswith("/v1/embeddings")
    assert json.loads(interaction.response.body)["data"][0]["embedding"] == [0.5]
    interaction = only_interaction(
        fixture({"content": {"a": 1}, "usage": {"total_tokens": 3}}, userMessage="x", systemMessage="y"), "aimock"
    )
    assert [message["role"] for message in json.loads(interaction.request.body)["messages"]] == ["system", "user"]
    assert json.loads(interaction.response.body)["usage"] == {"total_tokens": 3}
    assert (
        read(fixture({"content": "x"}, toolName="y"))[1]
        .skipped[0]
        .startswith("Entry 1 is a fixture without a chat message")
    )
    assert read(fixture({"image": {}}))[1].skipped[0].startswith("Entry 1 is a fixture whose response is neither")


def test_a_fixture_that_takes_years_is_refused() -> None:
    timings = {"ttftMs": 1e12, "interChunkDelaysMs": [], "totalDurationMs": 0}
    assert refusal(fixture({"content": "x"}, timings)).startswith(
        "Entry 1 is invalid: 1000000000000 ms is negative, or more"
    )
    timings["ttftMs"] = -3.0
    assert refusal(fixture({"content": "x"}, timings)).startswith("Entry 1 is invalid: -3 ms is negative, or more")


SUPPLIED = SuppliedRequest(REQUEST_BODY)


def test_a_raw_stream_needs_a_supplied_request() -> None:
    for start in ("", ": comment\n\n", "\ufeff"):
        format_name, result = read(start + STREAM.decode(), supplied=SuppliedRequest(REQUEST_BODY, "POST", URL))
        assert format_name == "raw"
        assert result.interactions[0].response.body.endswith(STREAM)
    assert result.interactions[0].request.body == REQUEST_BODY
    assert refusal(STREAM) == "The file is a response without its request. Give the request with --request FILE."
    assert (
        refusal(STREAM, SUPPLIED)
        == "Entry 1: The response does not tell the URL of its request. Give it with --url URL."
    )


def test_json_lines_become_the_stream_that_the_api_sends() -> None:
    chat = '{"object":"chat.completion.chunk","n":1}\n\n{"object":"chat.completion.chunk","n":2}\n[DONE]\n'
    (interaction,) = read(chat, supplied=SUPPLIED)[1].interactions
    assert interaction.request.uri == URL
    assert interaction.response.body == (
        b'data: {"object":"chat.completion.chunk","n":1}\n\ndata: {"object":"chat.completion.chunk","n":2}\n\n'
        b"data: [DONE]\n\n"
    )
    responses = '{"type":"response.created"}\n{"type":"response.completed"}\n'
    (interaction,) = read(responses, supplied=SUPPLIED)[1].interactions
    assert interaction.request.uri == "https://api.openai.com/v1/responses"
    assert interaction.response.frames[1].data == b'event: response.completed\ndata: {"type":"response.completed"}\n\n'
    assert refusal(responses + '{"type":', SUPPLIED) == "Entry 1: Line 3 is not JSON. It may be cut off."
    assert refusal(responses + "[1]", SUPPLIED) == "Entry 1: Line 3 is not an event."


def test_a_json_response_alone_is_read() -> None:
    (interaction,) = read({"object": "response", "id": "x"}, supplied=SUPPLIED)[1].interactions
    assert (interaction.response.head.status, interaction.response.body) == (200, b'{"object":"response","id":"x"}')
    (interaction,) = read({"error": {"message": "no"}}, supplied=SuppliedRequest(b"", "GET", URL))[1].interactions
    assert (interaction.response.head.status, interaction.request.headers) == (400, ())
    (interaction,) = read({"created": 1}, supplied=SuppliedRequest(b"", "GET", URL))[1].interactions
    assert interaction.response.body == b'{"created":1}'
