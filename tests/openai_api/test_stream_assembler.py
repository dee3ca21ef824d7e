"""A stream adds up to the response that the same request gets without streaming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_replay.openai_api.responses import Kind, Message, Part, parse_item, parse_messages
from openai_replay.openai_api.stream_assembler import Assembly, assemble
from openai_replay.text import sse
from openai_replay.text.sse import Event
from tests.openai_api.test_transcript import ODD
from tests.support.fake_openai import FakeOpenAI
from tests.support.upstream import Chunk, Received, Send


def fetch_body(path: str, **parameters: Any) -> bytes:
    """Return the body of the simulated API's response."""
    headers = [("authorization", "Bearer sk-test"), ("content-type", "application/json")]
    steps = FakeOpenAI()(Received("POST", path, headers, json.dumps(parameters).encode(), 0.0))
    sent = b"".join(step.data for step in steps if isinstance(step, Send)).partition(b"\r\n\r\n")[2]
    return sent + b"".join(part for step in steps if isinstance(step, Chunk) for part in step)


MESSAGES = [{"role": "user", "content": "Say hello."}]
TOOL = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {}}}}
USAGE = {"stream_options": {"include_usage": True}}


@pytest.mark.parametrize(
    ("path", "parameters", "streaming"),
    [
        ("/v1/chat/completions", {"messages": MESSAGES}, USAGE),
        ("/v1/chat/completions", {"messages": MESSAGES, "n": 3}, USAGE),
        ("/v1/chat/completions", {"messages": MESSAGES, "tools": [{"type": "function", "function": TOOL}]}, USAGE),
        ("/v1/chat/completions", {"messages": MESSAGES, "model": "utf8"}, USAGE),
        ("/v1/completions", {"prompt": "Say hello."}, {}),
        ("/v1/responses", {"input": "Say hello."}, {}),
        ("/v1/responses", {"input": "Say hello.", "tools": [{"type": "function", **TOOL}]}, {}),
    ],
)
def test_a_stream_adds_up_to_the_response_without_streaming(path: str, parameters: Any, streaming: Any) -> None:
    model = {"model": "gpt-4o-mini", **parameters}
    complete = json.loads(fetch_body(path, **model))
    streamed = assemble(sse.events(fetch_body(path, **model, **streaming, stream=True)))
    assert parse_messages(streamed) == parse_messages(complete)
    assert parse_messages(complete)
    for name in ("object", "model", *(["usage"] if path != "/v1/completions" else [])):
        assert streamed[name] == complete[name]


def test_a_stream_without_its_end_is_assembled() -> None:
    for tools in ([], [{"type": "function", **TOOL}]):
        body = fetch_body("/v1/responses", model="gpt-5-mini", input="Say hello.", tools=tools, stream=True)
        complete = assemble(sse.events(body))
        events = [
            event for event in sse.events(body) if ".delta" in event.type or event.type == "response.output_item.added"
        ]
        assert [part for event in parse_messages(assemble(events)) for part in event.parts] == parse_messages(complete)[
            0
        ].parts


def test_assistants_streams_are_assembled() -> None:
    body = fetch_body("/v1/threads/runs", assistant_id="asst_1", thread={"messages": MESSAGES}, stream=True)
    events = list(sse.events(body))
    message, run = parse_messages(assemble(events))
    assert message.role == "assistant"
    assert message.parts[0].text.startswith("You said “Say hello.”. Héllo 🌍!\nThis answer")
    assert run == Message([], "", "completed")
    deltas = [event for event in events if event.type in ("thread.message.created", "thread.message.delta")]
    assert parse_messages(assemble(deltas)) == [message]


def test_transcriptions_and_speech_are_assembled() -> None:
    sound = fetch_body("/v1/audio/speech", input="hello", stream_format="sse")
    assembly = Assembly()
    for event in sse.events(sound):
        assembly.add(event)
    assert assembly.ended
    assert assembly.value["usage"]["total_tokens"] == 98
    ((part,),) = [message.parts for message in parse_messages(assembly.value)]
    assert part.kind is Kind.NOTE
    assert part.text.endswith("bytes of sound")
    deltas = [{"type": "transcript.text.delta", "delta": "Hel"}, {"type": "transcript.text.delta", "delta": "lo"}]
    last_event = {"type": "transcript.text.done", "text": "Hello!", "usage": {"input_tokens": 1}}
    assert assemble(stream(*deltas)) == {"text": "Hello"}
    assert assemble(stream(*deltas, last_event)) == {"text": "Hello!", "usage": {"input_tokens": 1}}


def stream(*values: Any, kind: str = "message") -> list[Event]:
    return [Event(kind, value if isinstance(value, str) else json.dumps(value)) for value in values]


def chat(**delta: Any) -> Any:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta}]}


def delta_event(kind: str, delta: str, **indexes: int) -> Any:
    return {"type": f"response.{kind}.delta", "delta": delta, **indexes}


def call(index: int, **function: str) -> Any:
    return chat(tool_calls=[{"index": index, "function": function, "type": "function"}])


@pytest.mark.parametrize(
    ("events", "messages"),
    [
        pytest.param(
            stream(call(0, name="a", arguments=""), call(1, name="b", arguments="{"), call(0, arguments="[]"),
               call(1, arguments="}"), call(0, name="a")),
            [Message([Part(Kind.CALL, "[]", "a"), Part(Kind.CALL, "{}", "b")])],
            id="calls in turn",
        ),
        pytest.param(
            stream(chat(refusal="No"), chat(refusal=".")), [Message([Part(Kind.REFUSAL, "No.")])], id="refusal"
        ),
        pytest.param(
            stream(chat(reasoning_content="Hm"), chat(content="Yes")),
            [Message([Part(Kind.REASONING, "Hm"), Part(Kind.TEXT, "Yes")])],
            id="reasoning",
        ),
        pytest.param(
            stream(chat(audio={"id": "audio_1", "transcript": "He"}), chat(audio={"data": "AAAA", "transcript": "y"})),
            [Message([Part(Kind.TEXT, "Hey"), Part(Kind.NOTE, "3 bytes of sound")])],
            id="audio",
        ),
        pytest.param(
            stream(chat(function_call={"name": "f", "arguments": "{"}), chat(function_call={"arguments": "}"})),
            [Message([Part(Kind.CALL, "{}", "f")])],
            id="the functions of old",
        ),
        pytest.param(
            stream(chat(content="Hi"), {"error": {"message": "overloaded"}}),
            [Message([Part(Kind.TEXT, "Hi")]), Message([Part(Kind.ERROR, "overloaded")])],
            id="an error inside",
        ),
        pytest.param(stream({"error": {"code": 7}}), [Message([Part(Kind.ERROR, "7")])], id="an error without words"),
        pytest.param(
            stream({"type": "error", "message": "x"}), [Message([Part(Kind.ERROR, "x")])], id="an error event"
        ),
        pytest.param(
            stream({"type": "response.created", "response": {"id": "r", "status": "in_progress", "output": []}},
               delta_event("reasoning_summary_text", "Hm", output_index=0, summary_index=0),
               delta_event("output_text", "a", output_index=1, content_index=0),
               delta_event("refusal", "b", output_index=1, content_index=1),
               delta_event("custom_tool_call_input", "c", output_index=2),
               {"type": "response.output_item.done", "output_index": 3, "item":
                   {"type": "image_generation_call", "result": "AAAAAAAA"}},
               {"type": "response.web_search_call.searching", "output_index": 4},
               {"type": "response.output_item.added", "item": {"type": "web_search_call", "status": "completed"}},
               {"type": "response.output_item.added", "item": 1},
               {"type": "response.incomplete", "response": {"status": "incomplete", "output": [],
                   "incomplete_details": {"reason": "max_output_tokens"}}}),
            None,
            id="Responses",
        ),
        pytest.param(
            stream({"delta": {"step_details": {"tool_calls": [{"index": 0, "type": "code_interpreter",
                "code_interpreter": {"input": "1+1"}}]}}, "id": "step_1", "object": "thread.run.step.delta"},
               {"object": "thread.run", "status": "requires_action", "required_action": {"submit_tool_outputs":
                {"tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}}}),
            [Message([Part(Kind.CALL, "1+1", "code_interpreter")], "assistant"),
             Message([Part(Kind.CALL, "{}", "f", "call_1")], "", "requires_action")],
            id="Assistants, calls",
        ),
        pytest.param(
            stream({"delta": {"content": [{"index": 0, "text": {"value": "Hi"}}]}}, {"delta": 1, "object": "thread.x"},
               kind="thread.message.delta"),
            [Message([Part(Kind.TEXT, "Hi")])],
            id="Assistants, bare",
        ),
        pytest.param(
            stream({"type": "image_generation.partial_image", "b64_json": "AAAA"},
               {"type": "image_generation.completed", "b64_json": "AAAAAAAA"}),
            [Message([Part(Kind.NOTE, "6 bytes of picture")])],
            id="pictures",
        ),
        pytest.param(
            stream("no JSON", "[1]", "1", {"a": 1}, {"choices": [1]}, {"type": "response.x"}), [], id="nothing"
        ),
        pytest.param(stream({"object": "thread.odd"}), [], id="an object of no known sort"),
        pytest.param(
            stream(chat(content="a", refusal=None), chat(content=None)), [Message([Part(Kind.TEXT, "a")])], id="null"
        ),
        pytest.param(
            stream({"type": "response.created", "response": {"output": ["odd"]}}, delta_event("output_text", "a")),
            [Message([Part(Kind.TEXT, "a")], "assistant")],
            id="an odd item",
        ),
        pytest.param(
            stream({"type": "error", "message": "no"}, {"type": "response.failed", "response": {"error": None}}),
            [Message([Part(Kind.ERROR, "no")])],
            id="an error stays",
        ),
        pytest.param(stream(call(500, name="far")), [], id="an index that fills the memory"),
    ],
)  # fmt: skip
def test_streams_are_assembled(events: list[Event], messages: list[Message] | None) -> None:
    expected = messages if messages is not None else [
        Message(
            [
                Part(Kind.REASONING, "Hm"),
                Part(Kind.TEXT, "a"),
                Part(Kind.REFUSAL, "b"),
                Part(Kind.CALL, "c"),
                Part(Kind.NOTE, "6 bytes of picture"),
                Part(Kind.NOTE, "web_search_call completed"),
            ],
            "assistant",
            "max_output_tokens",
        )
    ]  # fmt: skip
    assert [message for message in parse_messages(assemble(events)) if message.parts] == expected


@pytest.mark.parametrize(
    ("last", "ended"),
    [("[DONE]", True), (chat(content="x"), False), ({"type": "response.completed", "response": {}}, True),
     ({"type": "transcript.text.segment.done"}, False), ({"type": "speech.audio.done"}, True)],
)  # fmt: skip
def test_the_last_event_ends_a_stream(last: Any, ended: bool) -> None:
    assembly = Assembly()
    for event in stream(chat(content="x"), last):
        assembly.add(event)
    assert assembly.ended is ended


@pytest.mark.parametrize(
    ("response", "messages"),
    [
        ({"object": "thread.message", "role": "user", "content": [{"text": {"value": "a"}}, "b", {"type": "x"}]},
         [Message([Part(Kind.TEXT, "a"), Part(Kind.TEXT, "b"), Part(Kind.NOTE, "x")], "user")]),
        ({"object": "thread.run", "status": "queued"}, [Message([], "", "queued")]),
        ({"data": [{"embedding": [1, 2]}, {"embedding": [3, 4]}]},
         [Message([Part(Kind.NOTE, "2 embeddings of 2 numbers")])]),
        ({"data": [{"embedding": "AAAA"}]}, [Message([Part(Kind.NOTE, "1 embedding")])]),
        ({"data": [{"b64_json": "AAAA"}]}, [Message([Part(Kind.NOTE, "1 picture")])]),
        ({"data": [{"url": "x"}, {"url": "y"}]}, [Message([Part(Kind.NOTE, "2 pictures")])]),
        ({"data": [{"object": "thread.message", "role": "user", "content": "hi"}]},
         [Message([Part(Kind.TEXT, "hi")], "user")]),
        ({"data": [{"id": "gpt-4o"}]}, []),
        ({"data": []}, []),
        ({"run": {"last_error": {"message": "too slow"}, "status": "failed"}, "steps": [1]},
         [Message([], "", "failed"), Message([Part(Kind.ERROR, "too slow")])]),
        ({"output": [{"type": "reasoning", "summary": [{"text": "Hm"}]}, {"type": "mcp_call", "name": "n",
          "arguments": "{}"}], "status": "completed"},
         [Message([Part(Kind.REASONING, "Hm"), Part(Kind.CALL, "{}", "n")], "assistant", "completed")]),
        ({"choices": [{"message": {"tool_calls": [{"type": "custom", "custom": {"name": "c", "input": "x"}}, {}]}}]},
         [Message([Part(Kind.CALL, "x", "c")])]),
        ({"choices": [{"index": 1, "text": ""}, {"index": "a", "text": "b"}]},
         [Message([Part(Kind.TEXT, "b")]), Message([], choice=1)]),
    ],
)  # fmt: skip
def test_messages_are_parsed_from_json(response: Any, messages: list[Message]) -> None:
    assert parse_messages(response) == messages


def test_a_file_search_becomes_a_note() -> None:
    assert parse_item({"type": "file_search_call"}) == [Part(Kind.NOTE, "file_search_call")]


PARTS = st.recursive(
    ODD | st.integers(-2, 300),
    lambda inner: st.dictionaries(
        st.sampled_from(["delta", "index", "output_index", "content_index", "object", "id", "response", "item", "data"])
        | st.sampled_from(["choices", "tool_calls", "message", "audio", "type", "content", "summary", "run", "steps"])
        | st.sampled_from(["messages", "step_details", "error", "output", "embedding", "last_error", "usage"]),
        inner | st.lists(inner, max_size=3),
        max_size=4,
    ),
    max_leaves=12,
)
KINDS = st.sampled_from(
    ["message", "thread.message.delta", "thread.run.step.delta", "error", "x.done", "x.audio.delta"]
)
KINDS |= st.sampled_from(["response.output_text.delta", "response.output_item.added", "response.completed"])
OBJECTS = st.sampled_from(["thread.message", "thread.message.delta", "thread.run", "thread.run.step.delta", None])


@given(st.lists(st.tuples(KINDS, PARTS, OBJECTS), max_size=6))
def test_no_stream_of_any_shape_raises(events: list[tuple[str, Any, str | None]]) -> None:
    values = [{**data, "object": sort} if isinstance(data, dict) and sort else data for _, data, sort in events]
    value = assemble(Event(kind, json.dumps(data)) for (kind, _, _), data in zip(events, values, strict=True))
    assert isinstance(parse_messages(value), list)
    for data in values:
        assert isinstance(parse_messages(data), list)


def test_the_streams_of_the_shipped_cassettes_end(tmp_path: Path) -> None:
    from tests.support.proxy import interactions

    for name in ("chat-stream", "responses-stream"):
        (interaction,) = interactions(Path(__file__).parents[2] / "cassettes" / f"{name}.yaml")
        assembly = Assembly()
        for event in sse.events(interaction.response.body):
            assembly.add(event)
        assert assembly.ended
        assert parse_messages(assembly.value)[0].finish in ("stop", "completed")
