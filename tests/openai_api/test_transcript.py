"""Parsed responses and their previews in one line."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_replay.model import Frame, Head, Response
from openai_replay.openai_api import transcript

SSE = "text/event-stream; charset=utf-8"


def response_of(body: bytes, media: str = "application/json") -> Response:
    head = Head(200, "OK", (("Content-Type", media),) if media else ())
    return Response(head, 0, (Frame(0, body),), 0)


def stream(*events: Any) -> Response:
    """Return a stream of events: their data, or pairs of name and data."""
    lines = [("", event) if not isinstance(event, tuple) else (f"event: {event[0]}\n", event[1]) for event in events]
    return response_of("".join(f"{name}data: {json.dumps(data)}\n\n" for name, data in lines).encode(), SSE)


def chat(index: int = 0, **delta: Any) -> Any:
    return {"choices": [{"index": index, "delta": delta}]}


CALL = {"function": {"name": "weather", "arguments": '{"city":"Paris"}'}}


@pytest.mark.parametrize(
    ("value", "preview"),
    [
        ({"choices": [{"index": 0, "message": {"content": "Héllo\n 🌍!"}}]}, "Héllo 🌍!"),
        ({"choices": [{"index": 1, "message": {"content": "b"}}, {"index": 0, "message": {"content": "a"}}]}, "a"),
        ({"choices": [{"message": {"content": None, "refusal": "No."}}]}, "No."),
        ({"choices": [{"message": {"content": None, "tool_calls": [CALL]}}]}, 'weather{"city":"Paris"}'),
        ({"choices": [{"message": {"content": [{"type": "text", "text": "a"}, {"text": "b"}]}}]}, "ab"),
        ({"choices": [{"index": 0, "text": "legacy"}]}, "legacy"),
        ({"choices": []}, ""),
        ({"object": "response", "output": [{"type": "message", "content": [{"text": "Hi"}]}]}, "Hi"),
        ({"output": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "f{}"),
        ({"output": [{"type": "reasoning", "summary": []}, {"content": [{"text": "after"}]}]}, "after"),
        ({"error": {"message": "Rate limit reached", "code": "x"}}, "Rate limit reached"),
        ({"error": "plain"}, "plain"),
        ({"error": None, "output": [{"content": [{"text": "fine"}]}]}, "fine"),
        ({"text": "a transcription"}, "a transcription"),
        ({"data": [{"embedding": [1, 2]}]}, "1 embedding of 2 numbers"),
        ([1], ""),
    ],
)
def test_json_responses_have_previews(value: Any, preview: str) -> None:
    assert transcript.preview(response_of(json.dumps(value).encode())) == preview


@pytest.mark.parametrize(
    ("response", "preview"),
    [
        pytest.param(stream(chat(content=""), chat(content="Hel"), chat(content="lo")), "Hello", id="chat"),
        pytest.param(stream(chat(content="a"), chat(1, content="b"), chat(content="c")), "ac", id="first choice"),
        pytest.param(
            stream(chat(tool_calls=[CALL]), chat(tool_calls=[{"function": {"arguments": "!"}}])),
            'weather{"city":"Paris"}!',
            id="tool call",
        ),
        pytest.param(stream({"choices": [{"text": "a"}]}, {"choices": [{"text": "b"}]}), "ab", id="completions"),
        pytest.param(
            stream(
                ("response.created", {"type": "response.created", "response": {"error": None, "output": []}}),
                ("response.output_text.delta", {"type": "response.output_text.delta", "delta": "Hel"}),
                ("response.output_text.delta", {"type": "response.output_text.delta", "delta": "lo"}),
                ("response.output_text.done", {"type": "response.output_text.done", "text": "Hello"}),
            ),
            "Hello",
            id="Responses",
        ),
        pytest.param(stream(("response.function_call_arguments.delta", {"delta": "{}"})), "{}", id="arguments"),
        pytest.param(stream(("response.refusal.delta", {"delta": "No"})), "No", id="refusal"),
        pytest.param(stream({"type": "transcript.text.delta", "delta": "word"}), "word", id="transcription"),
        pytest.param(stream({"type": "speech.audio.delta", "audio": "AAAA"}), "3 bytes of sound", id="speech"),
        pytest.param(stream({"type": "speech.audio.delta", "audio": "A" * 70_000}), "", id="speech, its start"),
        pytest.param(
            stream(("thread.message.delta", {"delta": {"content": [{"index": 0, "text": {"value": "Hi"}}]}})),
            "Hi",
            id="Assistants",
        ),
        pytest.param(stream(("thread.run.step.delta", {"delta": {"step_details": {}}})), "", id="Assistants, a step"),
        pytest.param(stream(chat(content="Hi"), {"error": {"message": " broken"}}), "Hi broken", id="error inside"),
        pytest.param(stream(("error", {"type": "error", "message": "too long"})), "too long", id="error event"),
        pytest.param(
            stream(("response.failed", {"type": "response.failed", "response": {"error": {"message": "no"}}})),
            "no",
            id="failed",
        ),
        pytest.param(response_of(b"data: [DONE]\n\n", SSE), "", id="nothing but the end"),
        pytest.param(stream(chat(content="\ud83d"), chat(content="\ude00")), "😀", id="halves in two deltas"),
        pytest.param(stream(chat(content="a\ud83d")), "a�", id="half a character"),
        pytest.param(stream(*[chat(content="12345 ")] * 100), ("12345 " * 34)[:200], id="only the start"),
        pytest.param(response_of(b"an  audio\ntext", "text/plain"), "an audio text", id="text"),
        pytest.param(response_of(b"\xff\xfb" * 9, "audio/mpeg"), "18 bytes of audio/mpeg", id="audio"),
        pytest.param(response_of(b"", "audio/mpeg"), "", id="empty"),
        pytest.param(response_of(b"??", ""), "", id="no type"),
        pytest.param(response_of(b'{"error":', "application/problem+json"), "", id="torn JSON"),
    ],
)
def test_streams_and_other_media_have_previews(response: Response, preview: str) -> None:
    assert transcript.preview(response) == preview


NAMES = st.sampled_from(["choices", "delta", "message", "content", "tool_calls", "function", "text", "value", "error"])
NAMES |= st.sampled_from(["output", "type", "index", "response", "name", "arguments", "refusal"])
ODD = st.recursive(
    st.none() | st.integers() | st.text(max_size=3) | st.sampled_from(["error", "x.text.delta", "function_call"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
)


@given(ODD)
def test_no_response_of_any_shape_raises(value: Any) -> None:
    assert isinstance(transcript.preview(response_of(json.dumps(value).encode())), str)
    assert isinstance(transcript.preview(stream(value, ("x.text.delta", value))), str)
    transcript.preview(stream(value)).encode()  # nothing that cannot be written


def test_a_complete_response_is_parsed() -> None:
    body = gzip.compress(b'{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}')
    head = Head(200, "OK", (("content-type", "application/json"), ("content-encoding", "gzip")))
    parsed = transcript.parse_response(Response(head, 0, (Frame(0, body[:9]), Frame(1, body[9:])), 1))
    assert parsed.body.startswith(b"{")
    assert (parsed.is_stream, parsed.ended, parsed.messages[0].finish) == (False, True, "stop")
    cut = transcript.parse_response(stream(chat(content="Hi"), chat(content=" there")))
    assert (cut.is_stream, cut.ended, cut.value["choices"][0]["message"]["content"]) == (True, False, "Hi there")
    assert transcript.parse_response(stream()).value is None
    plain = transcript.parse_response(response_of(b"text", "text/plain"))
    assert (plain.value, plain.messages[0].text) == (None, "text")
