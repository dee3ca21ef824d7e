"""A stream comes to the answer that the same request gets without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_replay.openai_api.responses import Kind, Message, Part, item, parse_messages
from openai_replay.openai_api.stream_assembler import Assembly, assembled
from openai_replay.text import sse
from openai_replay.text.sse import Event
from tests.openai_api.test_transcript import ODD
from tests.support.fake_openai import FakeOpenAI
from tests.support.upstream import Chunk, Received, Send


def asked(path: str, **parameters: Any) -> bytes:
    """The body that the simulated API answers with."""
    headers = [("authorization", "Bearer sk-test"), ("content-type", "application/json")]
    steps = FakeOpenAI()(Received("POST", path, headers, json.dumps(parameters).encode(), 0.0))
    sent = b"".join(one.data for one in steps if isinstance(one, Send)).partition(b"\r\n\r\n")[2]
    return sent + b"".join(part for one in steps if isinstance(one, Chunk) for part in one)


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
def test_a_stream_comes_to_the_answer_without_one(path: str, parameters: Any, streaming: Any) -> None:
    model = {"model": "gpt-4o-mini", **parameters}
    whole = json.loads(asked(path, **model))
    streamed = assembled(sse.events(asked(path, **model, **streaming, stream=True)))
    assert parse_messages(streamed) == parse_messages(whole)
    assert parse_messages(whole)
    for name in ("object", "model", *(["usage"] if path != "/v1/completions" else [])):
        assert streamed[name] == whole[name]


def test_a_response_is_put_together_where_its_end_is_missing() -> None:
    for tools in ([], [{"type": "function", **TOOL}]):
        body = asked("/v1/responses", model="gpt-5-mini", input="Say hello.", tools=tools, stream=True)
        whole = assembled(sse.events(body))
        events = [one for one in sse.events(body) if ".delta" in one.type or one.type == "response.output_item.added"]
        assert [part for one in parse_messages(assembled(events)) for part in one.parts] == parse_messages(whole)[
            0
        ].parts


def test_assistants() -> None:
    body = asked("/v1/threads/runs", assistant_id="asst_1", thread={"messages": MESSAGES}, stream=True)
    events = list(sse.events(body))
    said, run = parse_messages(assembled(events))
    assert said.role == "assistant"
    assert said.parts[0].text.startswith("You said “Say hello.”. Héllo 🌍!\nThis answer")
    assert run == Message([], "", "completed")
    deltas = [one for one in events if one.type in ("thread.message.created", "thread.message.delta")]
    assert parse_messages(assembled(deltas)) == [said]


def test_transcriptions_and_speech() -> None:
    sound = asked("/v1/audio/speech", input="hello", stream_format="sse")
    assembly = Assembly()
    for one in sse.events(sound):
        assembly.add(one)
    assert assembly.ended
    assert assembly.value["usage"]["total_tokens"] == 98
    ((part,),) = [one.parts for one in parse_messages(assembly.value)]
    assert part.kind is Kind.NOTE
    assert part.text.endswith("bytes of sound")
    deltas = [{"type": "transcript.text.delta", "delta": "Hel"}, {"type": "transcript.text.delta", "delta": "lo"}]
    done = {"type": "transcript.text.done", "text": "Hello!", "usage": {"input_tokens": 1}}
    assert assembled(of(*deltas)) == {"text": "Hello"}
    assert assembled(of(*deltas, done)) == {"text": "Hello!", "usage": {"input_tokens": 1}}


def of(*values: Any, kind: str = "message") -> list[Event]:
    return [Event(kind, one if isinstance(one, str) else json.dumps(one)) for one in values]


def chat(**delta: Any) -> Any:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta}]}


def piece(kind: str, delta: str, **where: int) -> Any:
    return {"type": f"response.{kind}.delta", "delta": delta, **where}


def call(index: int, **function: str) -> Any:
    return chat(tool_calls=[{"index": index, "function": function, "type": "function"}])


@pytest.mark.parametrize(
    ("events", "said"),
    [
        pytest.param(
            of(call(0, name="a", arguments=""), call(1, name="b", arguments="{"), call(0, arguments="[]"),
               call(1, arguments="}"), call(0, name="a")),
            [Message([Part(Kind.CALL, "[]", "a"), Part(Kind.CALL, "{}", "b")])],
            id="calls in turn",
        ),
        pytest.param(of(chat(refusal="No"), chat(refusal=".")), [Message([Part(Kind.REFUSAL, "No.")])], id="refusal"),
        pytest.param(
            of(chat(reasoning_content="Hm"), chat(content="Yes")),
            [Message([Part(Kind.REASONING, "Hm"), Part(Kind.TEXT, "Yes")])],
            id="reasoning",
        ),
        pytest.param(
            of(chat(audio={"id": "audio_1", "transcript": "He"}), chat(audio={"data": "AAAA", "transcript": "y"})),
            [Message([Part(Kind.TEXT, "Hey"), Part(Kind.NOTE, "3 bytes of sound")])],
            id="audio",
        ),
        pytest.param(
            of(chat(function_call={"name": "f", "arguments": "{"}), chat(function_call={"arguments": "}"})),
            [Message([Part(Kind.CALL, "{}", "f")])],
            id="the functions of old",
        ),
        pytest.param(
            of(chat(content="Hi"), {"error": {"message": "overloaded"}}),
            [Message([Part(Kind.TEXT, "Hi")]), Message([Part(Kind.ERROR, "overloaded")])],
            id="an error inside",
        ),
        pytest.param(of({"error": {"code": 7}}), [Message([Part(Kind.ERROR, "7")])], id="an error without words"),
        pytest.param(of({"type": "error", "message": "x"}), [Message([Part(Kind.ERROR, "x")])], id="an error event"),
        pytest.param(
            of({"type": "response.created", "response": {"id": "r", "status": "in_progress", "output": []}},
               piece("reasoning_summary_text", "Hm", output_index=0, summary_index=0),
               piece("output_text", "a", output_index=1, content_index=0),
               piece("refusal", "b", output_index=1, content_index=1),
               piece("custom_tool_call_input", "c", output_index=2),
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
            of({"delta": {"step_details": {"tool_calls": [{"index": 0, "type": "code_interpreter",
                "code_interpreter": {"input": "1+1"}}]}}, "id": "step_1", "object": "thread.run.step.delta"},
               {"object": "thread.run", "status": "requires_action", "required_action": {"submit_tool_outputs":
                {"tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}}}),
            [Message([Part(Kind.CALL, "1+1", "code_interpreter")], "assistant"),
             Message([Part(Kind.CALL, "{}", "f", "call_1")], "", "requires_action")],
            id="Assistants, calls",
        ),
        pytest.param(
            of({"delta": {"content": [{"index": 0, "text": {"value": "Hi"}}]}}, {"delta": 1, "object": "thread.x"},
               kind="thread.message.delta"),
            [Message([Part(Kind.TEXT, "Hi")])],
            id="Assistants, bare",
        ),
        pytest.param(
            of({"type": "image_generation.partial_image", "b64_json": "AAAA"},
               {"type": "image_generation.completed", "b64_json": "AAAAAAAA"}),
            [Message([Part(Kind.NOTE, "6 bytes of picture")])],
            id="pictures",
        ),
        pytest.param(of("no JSON", "[1]", "1", {"a": 1}, {"choices": [1]}, {"type": "response.x"}), [], id="nothing"),
        pytest.param(of({"object": "thread.odd"}), [], id="an object of no known sort"),
        pytest.param(
            of(chat(content="a", refusal=None), chat(content=None)), [Message([Part(Kind.TEXT, "a")])], id="null"
        ),
        pytest.param(
            of({"type": "response.created", "response": {"output": ["odd"]}}, piece("output_text", "a")),
            [Message([Part(Kind.TEXT, "a")], "assistant")],
            id="an odd item",
        ),
        pytest.param(
            of({"type": "error", "message": "no"}, {"type": "response.failed", "response": {"error": None}}),
            [Message([Part(Kind.ERROR, "no")])],
            id="an error stays",
        ),
        pytest.param(of(call(500, name="far")), [], id="an index that fills the memory"),
    ],
)  # fmt: skip
def test_streams(events: list[Event], said: list[Message] | None) -> None:
    expected = said if said is not None else [
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
    assert [one for one in parse_messages(assembled(events)) if one.parts] == expected


@pytest.mark.parametrize(
    ("last", "ended"),
    [("[DONE]", True), (chat(content="x"), False), ({"type": "response.completed", "response": {}}, True),
     ({"type": "transcript.text.segment.done"}, False), ({"type": "speech.audio.done"}, True)],
)  # fmt: skip
def test_whether_the_last_event_came(last: Any, ended: bool) -> None:
    assembly = Assembly()
    for event in of(chat(content="x"), last):
        assembly.add(event)
    assert assembly.ended is ended


@pytest.mark.parametrize(
    ("answer", "said"),
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
def test_answers(answer: Any, said: list[Message]) -> None:
    assert parse_messages(answer) == said


def test_an_item_of_a_file_search() -> None:
    assert item({"type": "file_search_call"}) == [Part(Kind.NOTE, "file_search_call")]


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
    given = [{**one, "object": sort} if isinstance(one, dict) and sort else one for _, one, sort in events]
    value = assembled(Event(kind, json.dumps(one)) for (kind, _, _), one in zip(events, given, strict=True))
    assert isinstance(parse_messages(value), list)
    for one in given:
        assert isinstance(parse_messages(one), list)


def test_the_shipped_streams_end(tmp_path: Path) -> None:
    from tests.support.proxy import interactions

    for name in ("chat-stream", "responses-stream"):
        (one,) = interactions(Path(__file__).parents[2] / "cassettes" / f"{name}.yaml")
        assembly = Assembly()
        for event in sse.events(one.response.body):
            assembly.add(event)
        assert assembly.ended
        assert parse_messages(assembly.value)[0].finish in ("stop", "completed")
