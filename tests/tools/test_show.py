"""Recordings are shown as lists, in full, and as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from openai_replay.model import End, Frame, Head, Headers, Interaction, Request, Response
from openai_replay.openai_api import requests
from openai_replay.openai_api.responses import Kind, Message, Part
from openai_replay.openai_api.usage import Usage
from openai_replay.tools import show
from tests.matching.test_matcher import JSON, upload
from tests.openai_api.test_stream_assembler import PARTS, fetch_body
from tests.openai_api.test_transcript import SSE

URI = "https://api.openai.com/v1/chat/completions"


def interaction(
    request_value: Any,
    response_value: Any,
    *,
    headers: Headers = JSON,
    media: str = "application/json",
    uri: str = URI,
    **response: Any,
) -> Interaction:
    body = request_value if isinstance(request_value, bytes) else json.dumps(request_value).encode()
    data = response_value if isinstance(response_value, bytes) else json.dumps(response_value).encode()
    head = Head(response.pop("status", 200), "OK", (("content-type", media),) if media else ())
    return Interaction(
        Request("POST", uri, headers, body), Response(head, 1, (Frame(2, data),) if data else (), 3, **response)
    )


def shown(request_value: Any, response_value: Any, **options: Any) -> str:
    return "\n".join(show.format_recording(interaction(request_value, response_value, **options)))


CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"properties": {"city": {}, "unit": {}}}}}


def test_a_chat_is_shown_with_its_tools_and_usage() -> None:
    question = {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": [{"type": "text", "text": "Weather?"}, {"type": "image_url", "image_url": {}}]},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "snow"},
        ],
        "tools": [TOOL, {"type": "web_search"}, "odd"],
        "temperature": 0.5,
        "metadata": {"a": "long " * 20},
    }
    choice = {"index": 0, "message": {"role": "assistant", "content": "It\nsnows."}, "finish_reason": "stop"}
    used = {"prompt_tokens": 1200, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 1000}}
    assert shown(question, {"choices": [choice], "usage": used}) == "\n".join(
        [
            "request",
            "  system",
            "    Be short.",
            "  user",
            "    Weather?",
            "    note: image_url",
            "  assistant",
            "    call weather  call_1",
            "      {",
            '        "city": "Oslo"',
            "      }",
            "  tool call_1",
            "    snow",
            "  tools: weather(city, unit), web_search, odd",
            "  temperature: 0.5",
            "  metadata:",
            "    {",
            f'      "a": "{"long " * 20}"',
            "    }",
            "",
            "response",
            "  assistant",
            "    It",
            "    snows.",
            "    finish: stop",
            "  usage: 1,200 in (1,000 cached), 3 out",
        ]
    )


def test_choices_and_reasoning_are_shown() -> None:
    choices = [{"index": 1, "text": "b"}, {"index": 0, "message": {"content": "a", "reasoning_content": "Hm\nso"}}]
    used = {"input_tokens": 1, "output_tokens": 9, "output_tokens_details": {"reasoning_tokens": 8}}
    text = shown({"prompt": "x"}, {"choices": choices, "usage": used})
    assert "  choice 0\n    reasoning:\n      Hm\n      so\n    a\n  choice 1\n    b\n" in text
    assert "  prompt\n    x\n" in text
    assert "  usage: 1 in, 9 out (8 reasoning)" in text


def test_an_incomplete_stream_is_shown_as_far_as_it_came() -> None:
    stream = fetch_body("/v1/chat/completions", model="m", messages=[{"role": "user", "content": "a"}], stream=True)
    half = stream[: len(stream) // 2]
    assert "the response ended truncated" in shown({}, half, media=SSE, end=End.TRUNCATED)
    assert "the stream ended without its last event" in shown({}, half, media=SSE)
    assert "without its last event" not in shown({}, stream, media=SSE)
    arguments = {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": '{"a'}}]}}]}
    assert '    call f\n      {"a\n' in shown({}, b"data: " + json.dumps(arguments).encode() + b"\n\n", media=SSE)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"id": "gpt-4o", "object": "model"}, '{\n    "id": "gpt-4o",'),
        ({"data": [{"a": [0.5] * 100}]}, '"… 100 numbers"'),
        ({"data": "x" * 5000}, "x… 5000 characters"),
        ({"error": {"message": "no\x1b[2J"}}, "    error: no\\x1b[2J"),
        ({"text": "a", "usage": {"seconds": 2}}, "  usage: 2 s of sound"),
    ],
)
def test_other_responses_are_shown_as_a_tree(value: Any, words: str) -> None:
    assert words in shown({}, value)


def test_bodies_that_are_not_json_are_shown_as_text() -> None:
    assert shown({}, b'{"a":').endswith('response\n  {"a":')
    assert shown({}, b"\xff\xfe").endswith("response\n  2 bytes")
    assert shown({}, b"").endswith("response")


def test_sound() -> None:
    assert "note: 4 bytes of audio/mpeg" in shown({}, b"\xff\xfb12", media="audio/mpeg")
    assert show.format_usage(Usage(1, 2, 0, 0, 3.0)) == "1 in, 2 out"


def test_a_recording_cannot_control_the_terminal() -> None:
    evil = "\x1b[2J\x9b\u202e\x07"
    asked_by = {"role": evil, "content": evil, "tool_calls": [CALL | {"id": evil}]}
    value: dict[str, Any] = {"model": evil, "messages": [asked_by]}
    value |= {"tools": [{"type": evil}], evil: evil, "b": {evil: [evil] * 9}}
    body = {"choices": [{"message": {"role": evil, "content": evil, "refusal": evil}, "finish_reason": evil}]}
    recording = interaction(value, body, uri=f"{URI}?{evil}")
    text = "\n".join(
        [
            *show.format_recording(recording),
            *show.format_table([show.summarize(1, recording)], 80),
            show.format_heading(1, recording),
        ]
    )
    assert not set(text) & set(evil) - set("[2J")
    assert "\\x1b[2J" in text


def test_a_list() -> None:
    stream = fetch_body("/v1/chat/completions", model="m", messages=[{"role": "user", "content": "a"}], stream=True)
    lines = [
        show.summarize(1, interaction({"model": "gpt-4o"}, {"choices": [{"text": 'a "b"\nc'}]})),
        show.summarize(12, interaction({}, stream, media=SSE, end=End.RESET)),
        show.summarize(13, interaction(b"", b"", media="", status=204)),
    ]
    assert list(show.format_table(lines, 60)) == [
        '#1   POST /v1/chat/completions  gpt-4o          200  3 ms                    "a \\"b\\" c"',
        '#12  POST /v1/chat/completions          stream  200  3 ms  TTFT 2 ms  reset  "You said “a”. Héllo…"',
        "#13  POST /v1/chat/completions                  204  3 ms",
    ]
    assert show.format_heading(1, interaction({}, {})) == "#1  POST /v1/chat/completions  200  3 ms"


def test_a_recording_becomes_json_for_programs() -> None:
    recording = interaction({"a": 1}, b"\xff", media="audio/mpeg")
    value = show.as_json(3, recording)
    assert json.loads(json.dumps(value)) == {
        "number": 3,
        "request": {
            "method": "POST",
            "uri": URI,
            "headers": [list(pair) for pair in JSON],
            "body": {"text": '{"a": 1}'},
        },
        "response": {
            "status": 200,
            "reason": "OK",
            "headers": [["content-type", "audio/mpeg"]],
            "head_ms": 1,
            "frames": [{"at_ms": 2, "base64": "/w=="}],
            "end_ms": 3,
            "end": "complete",
        },
    }


# ------------------------------------------------------------------------------------------------ requests


def test_input_items_become_messages() -> None:
    items = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "snow"},
        {"type": "item_reference", "id": "msg_1"},
    ]
    parsed = requests.parse_request(
        Request("POST", URI, JSON, json.dumps({"instructions": "b", "input": items}).encode())
    )
    assert parsed.messages == [
        Message([Part(Kind.TEXT, "b")], "instructions"),
        Message([Part(Kind.TEXT, "a")], "user"),
        Message([Part(Kind.CALL, "{}", "f", "call_1")], "function_call call_1"),
        Message([Part(Kind.TEXT, "snow")], "function_call_output call_1"),
        Message([Part(Kind.NOTE, "item_reference")], "item_reference"),
    ]


@pytest.mark.parametrize(
    ("body", "parsed"),
    [
        ({"input": "a"}, requests.ParsedRequest("", [Message([Part(Kind.TEXT, "a")], "user")], {})),
        ({"input": ["a", "b"]}, requests.ParsedRequest("", [Message([Part(Kind.TEXT, '["a","b"]')], "input")], {})),
        ({"model": 5, "n": 1}, requests.ParsedRequest("", [], {"n": 1})),
        (b"\xff\xfe", requests.ParsedRequest("", [Message([Part(Kind.NOTE, "2 bytes of application/json")])], {})),
        ([1], requests.ParsedRequest("", [], {"body": [1]})),
        (b"", requests.ParsedRequest("", [], {})),
    ],
)
def test_other_requests_are_parsed(body: Any, parsed: requests.ParsedRequest) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert requests.parse_request(Request("POST", URI, JSON, data)) == parsed


def test_a_model_in_the_path() -> None:
    uri = "https://x.openai.azure.com/openai/deployments/mine/chat/completions?api-version=1"
    assert requests.parse_request(Request("POST", uri)).model == "mine"


def test_an_upload() -> None:
    sound = ("file", '; filename="a.wav"\r\nContent-Type: audio/wav', b"1234")
    request = upload(("model", "", b"whisper-1"), sound, ("x", "", b"\xff"))
    assert requests.parse_request(request) == requests.ParsedRequest(
        "whisper-1", [], {"file": "a.wav (4 bytes of audio/wav)", "x": "1 bytes"}
    )


@given(PARTS, PARTS)
def test_no_recording_of_any_shape_raises(question: Any, body: Any) -> None:
    recording = interaction(question, body)
    "\n".join([*show.format_recording(recording), *show.format_table([show.summarize(1, recording)], 80)]).encode()
