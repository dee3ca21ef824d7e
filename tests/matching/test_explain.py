"""The explanation of a miss, word for word."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_replay.matching import diff
from openai_replay.matching import explain as explaining
from openai_replay.matching.diff import Candidate, Recorded
from openai_replay.matching.explain import MissContext, explain
from openai_replay.matching.matcher import Matcher
from openai_replay.matching.suggestions import at_the_command_line
from openai_replay.model import Request
from openai_replay.redaction.redactor import Redactor
from openai_replay.text import escape
from openai_replay.text.json_pointer import parse_pointer
from tests.matching.test_matcher import FILE, FORM, JSON, LARGE, post, upload
from tests.text.test_json_codec import VALUES

CHAT = "https://api.openai.com/v1/chat/completions"
PLAIN = Matcher()
LONG = "The quick brown fox jumps over the lazy dog. " * 4


def ask(value: Any, uri: str = CHAT) -> Request:
    return Request("POST", uri, JSON, json.dumps(value, ensure_ascii=False).encode())


def hi(content: str) -> Any:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": content}]}


def on_tape(*requests: Request, matcher: Matcher = PLAIN, played: Collection[int] = ()) -> list[Recorded]:
    return [
        Recorded(number, request, matcher.key(request), number in played) for number, request in enumerate(requests, 1)
    ]


def tape(*requests: Request, matcher: Matcher = PLAIN, gave: Collection[str] = ()) -> MissContext:
    return MissContext("tape.yaml", "none", on_tape(*requests, matcher=matcher), lambda ids: set(ids) - set(gave), {})


def told(current: Request, recorded: Iterable[Request], matcher: Matcher = PLAIN, gave: Collection[str] = ()) -> str:
    shelf = tape(*recorded, matcher=matcher, gave=gave)
    return "\n".join(explain(current, shelf, at_the_command_line("tape.yaml"), matcher, Redactor().redact_request)[:2])


NO = "No recording matches POST /v1/chat/completions in tape.yaml (mode none).\n"
RECORD = "\nTo record it, run:  openai-replay record tape.yaml -- <your command>"


@pytest.mark.parametrize(
    ("current", "recorded", "message"),
    [
        pytest.param(
            ask(hi("Say hi")),
            [ask(hi("Say nothing") | {"n": 2}), ask(hi("Say hello"))],
            "The closest recording is #2. It differs in:\n  messages[0].content: recorded 'Say hello'  now 'Say hi'\n"
            f"The next closest is #1. It differs in messages[0].content, n{RECORD}\n"
            f"To ignore it, set:  --ignore /messages/0/content",
            id="the nearest, and the place",
        ),
        pytest.param(
            ask({"a": LONG + "one" + LONG}),
            [ask({"a": LONG + "two" + LONG})],
            "The closest recording is #1. It differs in:\n"
            "  a: … fox jumps over the lazy dog. [-twoThe-]{+oneThe+} quick brown fox jumps over …"
            f"{RECORD}\nTo ignore it, set:  --ignore /a",
            id="long values, cut to where they part",
        ),
        pytest.param(
            ask({"a": "short"}),
            [ask({"a": LONG})],
            "The closest recording is #1. It differs in:\n"
            "  a: recorded 'The quick brown fox jumps over the lazy dog. The quick brown fox jumps over the…"
            f"  now 'short'{RECORD}\nTo ignore it, set:  --ignore /a",
            id="long and short",
        ),
        pytest.param(
            ask({"a": 1, "b": None, "c": True, "d": "1"}),
            [ask({"a": 1.0, "b": False, "c": 1, "d": 1})],
            "The closest recording is #1. It differs in:\n  a: recorded 1.0  now 1\n  b: recorded false  now null\n"
            f"  c: recorded 1  now true\n  d: recorded 1  now '1'{RECORD}"
            "\nTo ignore it, set:  --ignore /a --ignore /b --ignore /c --ignore /d",
            id="types",
        ),
        pytest.param(
            ask({"b": "absent", "m": {"x/y": 1}}),
            [ask({"a": "absent", "m": {"~": [1]}})],
            "The closest recording is #1. It differs in:\n  a: recorded 'absent'  now absent\n"
            "  b: recorded absent  now 'absent'\n"
            f"  m.x/y: recorded absent  now 1\n  m.~: recorded [1]  now absent{RECORD}"
            "\nTo ignore it, set:  --ignore /a --ignore /b --ignore '/m/x~1y' --ignore '/m/~0'",
            id="absent",
        ),
        pytest.param(
            ask([1, [2, 3], {"a b": 1}]),
            [ask([1, [2], {"a b": 2}, 4])],
            "The closest recording is #1. It differs in:\n  [1][1]: added: 3\n  [2].a b: recorded 2  now 1\n"
            f"  [3]: removed: 4{RECORD}\nTo ignore it, set:  --ignore /1/1 --ignore '/2/a b' --ignore /3",
            id="lists of different length",
        ),
        pytest.param(
            ask({f"k{i}": 1 for i in range(11)}),
            [ask({f"k{i}": 2 for i in range(11)})],
            "The closest recording is #1. It differs in:\n"
            + "".join(f"  k{i}: recorded 2  now 1\n" for i in (0, 1, 10, 2, 3, 4, 5, 6))
            + f"  and in 3 more places{RECORD}",
            id="many places",
        ),
        pytest.param(
            ask("now"),
            [ask("then")],
            f"The closest recording is #1. It differs in:\n  body: recorded 'then'  now 'now'{RECORD}",
            id="the whole body",
        ),
        pytest.param(
            post(b"\xff\x00"),
            [post(b"\xff\x01")],
            f"The closest recording is #1. It differs in:\n  body: recorded b'\\xff\\x01'  now b'\\xff\\x00'{RECORD}",
            id="bytes",
        ),
        pytest.param(
            post(b"a=1", FORM),
            [ask({})],
            f"The closest recording is #1. It differs in:\n  body: recorded is json  now is form{RECORD}",
            id="kinds",
        ),
        pytest.param(
            post(b"a=1&b=2", FORM),
            [post(b"b=3&a=1", FORM)],
            f"The closest recording is #1. It differs in:\n  b: recorded '3'  now '2'{RECORD}\n"
            f"To ignore it, set:  --ignore /b",
            id="form",
        ),
        pytest.param(
            upload(FILE, ("model", "", b"whisper-1")),
            [upload(FILE, ("model", "", b"gpt-4o-transcribe"))],
            "The closest recording is #1. It differs in:\n"
            "  model.content: recorded 'gpt-4o-transcribe'  now 'whisper-1'"
            f"{RECORD}\nTo ignore it, set:  --ignore /model/content",
            id="multipart",
        ),
        pytest.param(
            upload(LARGE),
            [upload(("file", LARGE[1], b"\xff" * 5001))],
            "The closest recording is #1. It differs in:\n"
            "  file.bytes: recorded '5001, blake2b 9d27c38b5f84a406f4a21ab9b3ee895a'"
            "  now '5000, blake2b 92e316b2a288e2341a2dff60d7cbcdb9'"
            f"{RECORD}\nTo ignore it, set:  --ignore /file/bytes",
            id="a large file",
        ),
        pytest.param(
            ask(hi("x"), f"{CHAT}?api-version=2&a=1"),
            [ask(hi("x"), f"{CHAT}?a=1&api-version=1")],
            "The closest recording is #1. It differs in:\n"
            "  query: recorded 'a=1&api-version=1'  now 'a=1&api-version=2'"
            f"{RECORD}\nTo accept it, set:  --match-on method,path,body",
            id="query",
        ),
        pytest.param(
            ask(hi("x")),
            [ask(hi("x"))],
            "#1 is the same request, but every recording of it has been played already."
            f"{RECORD}\nTo play it again, set:  --on-exhausted repeat (the last one) or cycle (from the first)",
            id="used up",
        ),
        pytest.param(ask({}), [], f"The cassette has no recordings.{RECORD}", id="empty tape"),
        pytest.param(
            ask({}),
            [Request("GET", CHAT), *[Request("POST", "https://x/v1/responses")] * 2],
            "It has no recording of that method and path, only POST /v1/responses (2), GET /v1/chat/completions (1)."
            + RECORD,
            id="no such path",
        ),
        pytest.param(
            ask({}),
            [Request("GET", f"https://x/v1/{i}") for i in range(6)],
            "It has no recording of that method and path, only "
            f"{', '.join(f'GET /v1/{i} (1)' for i in range(5))}, ….{RECORD}",
            id="many other paths",
        ),
        pytest.param(
            post(b'{"a":' * 1000 + b"1" + b"}" * 1000),
            [post(b'{"a":' * 1000 + b"2" + b"}" * 1000)],
            f"The closest recording is #1. It differs in:\n  body: nested too deeply to be compared{RECORD}",
            id="nested deeply",
        ),
        pytest.param(
            post(b'{"a":1}'),
            [post(b'{"a":' + b"[" * 1000 + b"]" * 1000 + b"}"), post(b'{"a":2,"b":3}')],
            "The closest recording is #2. It differs in:\n  a: recorded 2  now 1\n  b: recorded 3  now absent\n"
            "The next closest is #1. It differs in body: nested too deeply to be compared"
            f"{RECORD}\nTo ignore it, set:  --ignore /a --ignore /b",
            id="what cannot be compared is not close",
        ),
    ],
)
def test_message(current: Request, recorded: list[Request], message: str) -> None:
    head = NO.replace("completions in", f"completions?{current.query} in") if current.query else NO
    assert told(current, recorded) == head + message


@pytest.mark.parametrize(
    ("current", "recorded", "ignore", "says"),
    [
        (ask({"user": 1, "a": 1}), ask({"user": 2, "a": 2}), ["/user"], "It differs in:\n  a: recorded 2  now 1\n"),
        (ask({"user": 1}), ask({"user": 2}), ["/user"], "every recording of it has been played already"),
        (ask({}, CHAT + "?a=1&b=2"), ask({}, CHAT + "?b=2&a=1"), [], "every recording of it has been played already"),
    ],
)
def test_what_does_not_matter_is_no_difference(
    current: Request, recorded: Request, ignore: list[str], says: str
) -> None:
    matcher = Matcher(tuple(parse_pointer(text) for text in ignore))
    assert says in told(current, [recorded], matcher)


def nearest(current: Request, *recorded: Request, matcher: Matcher = PLAIN) -> list[Candidate]:
    return diff.nearest(current, on_tape(*recorded, matcher=matcher), matcher, Redactor().redact_request, {})


def places(near: Candidate) -> list[tuple[str, Any, Any]]:
    return [(entry.pointer, entry.recorded, entry.current) for entry in near.differences]


def test_a_recording_of_other_hands_is_shown_without_its_secrets() -> None:
    recorded = ask({"key": "sk-" + "aB3dE6gH" * 6, "a": 1})
    [near] = nearest(ask({"key": "REDACTED", "a": 2}), recorded)
    assert places(near) == [("/a", 1, 2)]
    assert "aB3dE6gH" not in told(ask({"key": "REDACTED and more", "a": 2}), [recorded])


DATED = [{"role": "system", "content": "Today is 2026-11-21. " + LONG}, {"role": "user", "content": "Hi"}]
TURNS = [{"role": role, "content": text} for role, text in [("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")]]
UUIDS = "123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174001"


def tool(name: str) -> Any:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    ("recorded", "current", "message"),
    [
        pytest.param(
            {"messages": [{"role": "system", "content": "Today is 2026-11-20. " + LONG}, DATED[1]]},
            {"messages": DATED},
            "Only a date differs:\n"
            "  messages[0].content: Today is 2026-11-[-20-]{+21+}. The quick brown fox jumps …"
            f"{RECORD}\nTo accept it, set:  --normalize date",
            id="a date",
        ),
        pytest.param(
            {"a": f"{UUIDS[0]} of 2026-11-20", "user": 1},
            {"a": f"{UUIDS[1]} of 2026-11-21", "user": 2},
            "It differs in:\n"
            f"  a: recorded '{UUIDS[0]} of 2026-11-20'  now '{UUIDS[1]} of 2026-11-21'  (a UUID and a date)\n"
            f"  user: recorded 1  now 2{RECORD}\nTo accept it, set:  --normalize uuid --normalize date --ignore /user",
            id="two kinds in one place, and another difference",
        ),
        pytest.param(
            {"at": 1795000000, "n": 1, "file": "/tmp/abc123/a.txt"},
            {"at": 1795000001, "file": "/tmp/abc124/a.txt"},
            "Only a time as a number, a temporary path and a default that is given or left out differ:\n"
            "  at: recorded 1795000000  now 1795000001\n"
            "  file: recorded '/tmp/abc123/a.txt'  now '/tmp/abc124/a.txt'\n  n: recorded 1  now absent"
            f"{RECORD}\nTo accept it, set:  --normalize epoch --normalize tmp-path --normalize defaults",
            id="an epoch, a path, a default",
        ),
        pytest.param(
            {"call_id": "call_1aA", "at": "2026-11-20T10:00:00Z"},
            {"call_id": "call_2bB", "at": "2026-11-21T11:00:00Z"},
            "Only a date and time and the id of a call differ:\n"
            "  at: recorded '2026-11-20T10:00:00Z'  now '2026-11-21T11:00:00Z'\n"
            "  call_id: recorded 'call_1aA'  now 'call_2bB'\n"
            "call_id: call_2bB was issued by no recording in this cassette"
            f"{RECORD}\nTo accept it, set:  --normalize datetime --normalize call-id",
            id="an id and a time",
        ),
        pytest.param(
            {"model": "gpt-4o", "temperature": 1, "a": '{"b": 1, "c": 2}', "d": "x  y"},
            {"model": "gpt-4o-2024-08-06", "temperature": 0.5, "a": '{"c":2,"b":1}', "d": "x y"},
            "Only the way the same JSON is written, white space, a model's alias and a sampling "
            'parameter differ:\n  a: recorded \'{"b": 1, "c": 2}\'  now \'{"c":2,"b":1}\'\n'
            "  d: recorded 'x  y'  now 'x y'\n  model: recorded 'gpt-4o'  now 'gpt-4o-2024-08-06'\n"
            f"  temperature: recorded 1  now 0.5{RECORD}"
            "\nTo ignore it, set:  --ignore /a --ignore /d --ignore /model --ignore /temperature",
            id="kinds without a normaliser",
        ),
        pytest.param(
            {"model": "gpt-4o-2024-08-06", "a": "{not", "b": "{}"},
            {"model": "gpt-4o-2024-05-13", "a": "{nor", "b": "[]"},
            "It differs in:\n  a: recorded '{not'  now '{nor'\n  b: recorded '{}'  now '[]'\n"
            f"  model: recorded 'gpt-4o-2024-08-06'  now 'gpt-4o-2024-05-13'{RECORD}"
            "\nTo ignore it, set:  --ignore /a --ignore /b --ignore /model",
            id="kinds that only look so",
        ),
        pytest.param(
            {"a": "The key is REDACTED"},
            {"a": "The key is 12345"},
            "Only a redacted secret differs:\n"
            f"  a: recorded 'The key is REDACTED'  now 'The key is 12345'{RECORD}\nTo ignore it, set:  --ignore /a",
            id="a secret that is known on one side only",
        ),
        pytest.param(
            {"messages": TURNS[:1]},
            {"messages": TURNS[:2]},
            f"It differs in:\n  messages[1]: added: {{role: 'assistant', content: 'Hello'}}{RECORD}",
            id="a message more",
        ),
        pytest.param(
            {"messages": [*TURNS, *TURNS]},
            {"messages": TURNS[:1]},
            f"It differs in:\n"
            f"  messages[1] to [5]: removed: 5 items, the last {{role: 'user', content: 'Bye'}}{RECORD}",
            id="many messages less",
        ),
        pytest.param(
            {"messages": [*TURNS, TURNS[0]]},
            {"messages": [TURNS[1], TURNS[2], TURNS[0] | {"content": "So"}]},
            "It differs in:\n  messages[0]: removed: {role: 'user', content: 'Hi'}\n"
            f"  messages[2].content: recorded 'Hi'  now 'So'{RECORD}",
            id="a window that has moved on",
        ),
        pytest.param(
            {"tools": [tool("a"), tool("b"), tool("c")]},
            {"tools": [tool("a"), tool("c"), tool("search") | {"strict": True}]},
            f"It differs in:\n  tools[1]: removed: b\n  tools[2]: added: search{RECORD}"
            "\nTo ignore it, set:  --ignore /tools/2 --ignore /tools/1",
            id="tools by their names",
        ),
        pytest.param(
            {"tools": [tool("b"), tool("a")]},
            {"tools": [tool("x"), tool("b") | {"strict": True}]},
            f"It differs in:\n  tools[0]: added: x\n  tools[1].strict: recorded absent  now true\n"
            f"  tools[1]: removed: a{RECORD}",
            id="a tool that is another one, and one that has moved",
        ),
        pytest.param(
            {"tools": [tool("b"), tool("a")], "stream": True},
            {"tools": [tool("a"), tool("b")]},
            "Only whether the response is a stream and the order of a list differ:\n"
            f"  stream: recorded true  now absent\n  tools: the same 2 items in another order{RECORD}",
            id="a stream or not is nothing to ignore",
        ),
        pytest.param(
            {"a\nb": "\x1b[31m", "c": "\ud83d", "d": "\u202e"},
            {"a\nb": "x", "c": "y", "d": "z"},
            "It differs in:\n  a\\nb: recorded '\\x1b[31m'  now 'x'\n  c: recorded '\\ud83d'  now 'y'\n"
            f"  d: recorded '\\u202e'  now 'z'{RECORD}",
            id="nothing that a terminal obeys",
        ),
    ],
)
def test_kinds_of_differences(recorded: Any, current: Any, message: str) -> None:
    def sent(value: Any) -> Request:
        return Request("POST", CHAT, JSON, json.dumps(value).encode())

    assert told(sent(current), [sent(recorded)]) == NO + "The closest recording is #1. " + message


def test_where_no_setting_accepts_it_a_fallback_may() -> None:
    shelf = tape(ask({"messages": TURNS[:1]}))._replace(fallback=lambda near: "sequence")
    current = ask({"messages": TURNS})
    _, hint, _ = explain(current, shelf, at_the_command_line("tape.yaml"), PLAIN, Redactor().redact_request)
    assert hint == RECORD[1:] + "\nTo play #1 instead, set:  --fallback sequence"
    _, hint, _ = explain(
        ask({"messages": []}), shelf, at_the_command_line("tape.yaml"), PLAIN, Redactor().redact_request
    )
    assert "--fallback" in hint


@pytest.mark.parametrize(
    ("recorded", "reason"),
    [
        ([], "empty"),
        ([Recorded(1, ask({"a": 1}, CHAT + "/other"), b"1", False)], "unknown_endpoint"),
        ([Recorded(1, ask({"a": 2}), b"1", False)], "no_match"),
        ([Recorded(1, ask({"a": 1}), PLAIN.key(ask({"a": 1})), True)], "exhausted"),
    ],
)
def test_each_miss_has_a_reason_for_programs(recorded: list[Recorded], reason: str) -> None:
    context = tape()._replace(recorded=recorded)
    explanation = explain(ask({"a": 1}), context, at_the_command_line("tape.yaml"), PLAIN, Redactor().redact_request)
    assert explanation.reason == reason


def test_differences_for_those_who_play_it_all_the_same() -> None:
    [near] = nearest(ask({"a": 1, "b": 1}), ask({"a": 2, "b": "\x1b"}))
    assert explaining.differences(near, ask({})) == ["a: recorded 2  now 1", "b: recorded '\\x1b'  now 1"]
    [near] = nearest(ask({f"k{n}": n for n in range(10)}), ask({}))
    assert explaining.differences(near, ask({}))[7:] == ["k7: recorded absent  now 7", "and in 2 more"]


NOT_HERE = " was issued by no recording in this cassette"


@pytest.mark.parametrize(
    ("current", "recorded", "gave", "lines"),
    [
        pytest.param(
            ask({"previous_response_id": "resp_b", "input": "Hi"}),
            [ask({"previous_response_id": "resp_a", "input": "Hi"})],
            [],
            [f"previous_response_id: resp_b{NOT_HERE}"],
            id="a response",
        ),
        pytest.param(
            ask({"previous_response_id": "resp_b", "input": "Ho"}),
            [ask({"previous_response_id": "resp_a", "input": "Hi"})],
            ["resp_b"],
            [],
            id="a response that was given",
        ),
        pytest.param(
            ask({"conversation": {"id": "conv_b"}}),
            [ask({"conversation": {"id": "conv_a"}})],
            [],
            [f"conversation.id: conv_b{NOT_HERE}"],
            id="a conversation",
        ),
        pytest.param(
            ask({"messages": [{"role": "tool", "tool_call_id": "call_b2", "content": "resp_b"}]}),
            [],
            [],
            [f"messages[0].tool_call_id: call_b2{NOT_HERE}"],
            id="a call",
        ),
        pytest.param(
            ask({"input": [{"call_id": f"call_b{n}"} for n in range(9)]}),
            [ask({"input": [{"call_id": "call_b0"}, {"call_id": "call_b1"}]})],
            ["call_b3"],
            [f"input[{n}].call_id: call_b{n}{NOT_HERE}" for n in (2, 4, 5)],
            id="many calls, some of which are on the tape",
        ),
        pytest.param(
            Request("GET", "https://x/v1/threads/thread_b/runs/run_b"),
            [Request("GET", "https://x/v1/threads/thread_b/runs/run_a")],
            [],
            [f"path: run_b{NOT_HERE}"],
            id="a path",
        ),
        pytest.param(
            ask({"attachments": [{"file_id": "file-b1"}], "user": "resp_x", "vector_store_ids": ["vs_b"]}),
            [],
            [],
            [f"attachments[0].file_id: file-b1{NOT_HERE}", f"vector_store_ids[0]: vs_b{NOT_HERE}"],
            id="files",
        ),
        pytest.param(post(b'{"call_id":' * 300 + b"1" + b"}" * 300), [], [], [], id="too deep"),
    ],
)
def test_ids_that_nobody_gave(current: Request, recorded: list[Request], gave: list[str], lines: list[str]) -> None:
    text = told(current, recorded, gave=gave)
    assert [line for line in text.splitlines() if line.endswith(NOT_HERE)] == lines


def test_answers_are_read_only_where_a_request_speaks_of_ids() -> None:
    def never(names: Collection[str]) -> set[str]:
        raise AssertionError(names)

    shelf = tape(ask({"a": 1, "call_id": "call_a1"}))._replace(not_given=never)
    for current in (ask({"a": 2}), ask({"a": 1, "call_id": "call_a1"}), ask({"a": 2, "call_id": "call_a1"})):
        assert explain(current, shelf, at_the_command_line("tape.yaml"), PLAIN, Redactor().redact_request)


@pytest.mark.parametrize(
    ("current", "recorded", "says"),
    [
        ("/chat/completions", "/v1/chat/completions", "the path differs only by /v1. Is the base URL right?"),
        ("/openai/v1/responses", "/v1/responses", "the path differs only by /openai. Is the base URL right?"),
        ("/v1/v1/responses", "/v1/responses", "the path differs only by /v1. Is the base URL right?"),
        ("//v1/responses/", "/v1/responses", "the path differs only by slashes. Is the base URL right?"),
        ("/v1/responses", "/v1/embeddings", "no recording of that method and path, only POST /v1/embeddings (1)."),
        ("/", "/v1/responses", "no recording of that method and path, only POST /v1/responses (1)."),
    ],
)
def test_another_path(current: str, recorded: str, says: str) -> None:
    assert says in told(ask({}, "https://x" + current), [ask({}, "https://y" + recorded)])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "(the body is empty)"),
        (b"{\n 'a': 1}", "(not JSON: expecting property name enclosed in double quotes in line 2, column 2)"),
        (b"\xff", "(not JSON)"),
        (b'{"a": NaN}', "(not JSON)"),
    ],
)
def test_a_body_that_is_no_json(body: bytes, says: str) -> None:
    assert f"\n  body: recorded is json  now is bytes  {says}\n" in told(post(body), [ask({})])


def test_recordings_that_are_far_off_are_not_told_at_length() -> None:
    near = hi("Say hello")
    far = {"model": "x", "messages": [{"role": "user", "content": str(n)} for n in range(3)], "n": 3, "stop": "x"}
    text = told(ask(hi("Say hi")), [ask(far), ask(near | {"top_p": 0.5, "n": 2, "a": 1}), ask(near)])
    assert (
        "\nThe closest recording is #3. It differs in:\n  messages[0].content: recorded 'Say hello'  now 'Say hi'\n"
        in text
    )
    assert "\nThe next closest is #2. It differs in 4 places\nThe next closest is #1. It differs in 6 places\n" in text
    text = told(ask(hi("Say hi") | {"n": 1}), [ask(hi("Say ho") | {"n": 1}), ask(hi("Say hi") | {"n": 2}), ask(near)])
    assert "\nThe next closest is #2. It differs in n: recorded 2  now 1\n" in text
    wide = ask(near | {"b": 1, "c": 1, "d": 1})
    assert "\nThe next closest is #2. It differs in b, c, d and 1 more place\n" in told(
        ask(hi("x y z w")), [ask(hi("s t u v") | {"a": 2}), wide]
    )


def test_a_header_that_is_matched_is_a_difference() -> None:
    entry, second = (Request("POST", CHAT, (*JSON, ("X-Tenant", name)), b"{}") for name in ("a", "b"))
    assert "\n  headers: recorded 'x-tenant: b'  now 'x-tenant: a'\n" in told(
        entry, [second], Matcher(headers=("x-tenant",))
    )


def test_another_path_is_near_where_paths_are_not_matched() -> None:
    [near] = nearest(ask({"a": 1}), ask({"a": 2}, CHAT + "/else"), matcher=Matcher(on=("body",)))
    assert places(near) == [("/a", 2, 1)]


@given(VALUES, VALUES)
def test_there_is_a_difference_exactly_where_the_keys_differ(recorded: Any, is_now: Any) -> None:
    recorded, current = ask(recorded), ask(is_now)
    [near] = nearest(current, recorded)
    assert bool(near.differences) is (PLAIN.key(recorded) != PLAIN.key(current))
    text = told(current, [recorded])
    assert escape.text(text) == text
    assert max(map(len, text.split("\n"))) < 300


@given(VALUES, VALUES, st.randoms())
def test_the_order_of_keys_changes_nothing(recorded: Any, is_now: Any, random: Random) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, list):
            return [shuffled(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        items = [(name, shuffled(entry)) for name, entry in value.items()]
        random.shuffle(items)
        return dict(items)

    assert told(ask(shuffled(is_now)), [ask(shuffled(recorded))]) == told(ask(is_now), [ask(recorded)])


def test_a_huge_value_is_one_short_line() -> None:
    image = "data:image/png;base64," + "iVBORw0KGgo/" * 100_000
    text = told(ask({"a": 1, "url": image + "A"}), [ask({"a": 1, "url": image + "B"})])
    assert text == (
        NO + "The closest recording is #1. It differs in:\n  url: …AoK/iVBORw0KGgo/iVBORw0KGgo/[-B-]{+A+}"
        f"{RECORD}\nTo ignore it, set:  --ignore /url"
    ).replace("AoK/iVBORw0KGgo/iVBORw0KGgo/", image[-30:])
