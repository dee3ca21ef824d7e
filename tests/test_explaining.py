"""Why nothing matched, word for word."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given

from openai_replay import explaining
from openai_replay.explaining import at_the_command_line, explain
from openai_replay.jsontext import parse_pointer
from openai_replay.matching import Matcher
from openai_replay.model import Request
from openai_replay.redaction import Redactor

from .test_jsontext import VALUES
from .test_matching import FILE, FORM, JSON, LARGE, post, upload

CHAT = "https://api.openai.com/v1/chat/completions"
LONG = "The quick brown fox jumps over the lazy dog. " * 4


def ask(value: Any, uri: str = CHAT) -> Request:
    return Request("POST", uri, JSON, json.dumps(value, ensure_ascii=False).encode())


def hi(content: str) -> Any:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": content}]}


def told(now: Request, recorded: list[Request], *ignore: str) -> str:
    pointers = tuple(parse_pointer(text) for text in ignore)
    return "\n".join(explain(now, recorded, "tape.yaml", "none", at_the_command_line("tape.yaml"), Matcher(pointers)))


NO = "No recording matches POST /v1/chat/completions in tape.yaml (mode none).\n"
RECORD = "\nRecord it:  openai-replay record tape.yaml -- <your command>"


@pytest.mark.parametrize(
    ("now", "recorded", "message"),
    [
        pytest.param(
            ask(hi("Say hi")),
            [ask(hi("Say nothing") | {"n": 2}), ask(hi("Say hello"))],
            "Closest is #2; it differs at\n  messages[0].content: recorded 'Say hello'  now 'Say hi'"
            f"{RECORD}\nIgnore it:  --ignore /messages/0/content",
            id="the nearest, and the place",
        ),
        pytest.param(
            ask({"a": LONG + "one" + LONG}),
            [ask({"a": LONG + "two" + LONG})],
            "Closest is #1; it differs at\n"
            "  a: recorded … jumps over the lazy dog. twoThe quick brown fox jumps over the lazy dog. The qu…"
            "  now … jumps over the lazy dog. oneThe quick brown fox jumps over the lazy dog. The qu…"
            f"{RECORD}\nIgnore it:  --ignore /a",
            id="long values, cut to where they part",
        ),
        pytest.param(
            ask({"a": "short"}),
            [ask({"a": LONG})],
            "Closest is #1; it differs at\n"
            "  a: recorded 'The quick brown fox jumps over the lazy dog. The quick brown fox jumps over the…"
            f"  now 'short'{RECORD}\nIgnore it:  --ignore /a",
            id="long and short",
        ),
        pytest.param(
            ask({"a": 1, "b": None, "c": True, "d": "1"}),
            [ask({"a": 1.0, "b": False, "c": 1, "d": 1})],
            "Closest is #1; it differs at\n  a: recorded 1.0  now 1\n  b: recorded False  now None\n"
            f"  c: recorded 1  now True\n  d: recorded 1  now '1'{RECORD}"
            "\nIgnore it:  --ignore /a --ignore /b --ignore /c --ignore /d",
            id="types",
        ),
        pytest.param(
            ask({"b": "absent", "m": {"x/y": 1}}),
            [ask({"a": "absent", "m": {"~": [1]}})],
            "Closest is #1; it differs at\n  a: recorded 'absent'  now absent\n  m.~: recorded [1]  now absent\n"
            f"  m.x/y: recorded absent  now 1\n  b: recorded absent  now 'absent'{RECORD}"
            "\nIgnore it:  --ignore /a --ignore '/m/~0' --ignore '/m/x~1y' --ignore /b",
            id="absent",
        ),
        pytest.param(
            ask([1, [2, 3], {"a b": 1}]),
            [ask([1, [2], {"a b": 2}, 4])],
            "Closest is #1; it differs at\n  [1][1]: recorded absent  now 3\n  [2].a b: recorded 2  now 1\n"
            f"  [3]: recorded 4  now absent{RECORD}\nIgnore it:  --ignore /1/1 --ignore '/2/a b' --ignore /3",
            id="lists of different length",
        ),
        pytest.param(
            ask({f"k{i}": 1 for i in range(11)}),
            [ask({f"k{i}": 2 for i in range(11)})],
            "Closest is #1; it differs at\n"
            + "".join(f"  k{i}: recorded 2  now 1\n" for i in range(8))
            + f"  and at 3 more places{RECORD}\nIgnore it:  "
            + " ".join(f"--ignore /k{i}" for i in range(8)),
            id="many places",
        ),
        pytest.param(
            ask("now"),
            [ask("then")],
            f"Closest is #1; it differs at\n  body: recorded 'then'  now 'now'{RECORD}",
            id="the whole body",
        ),
        pytest.param(
            post(b"\xff\x00"),
            [post(b"\xff\x01")],
            f"Closest is #1; it differs at\n  body: recorded b'\\xff\\x01'  now b'\\xff\\x00'{RECORD}",
            id="bytes",
        ),
        pytest.param(
            post(b"a=1", FORM),
            [ask({})],
            f"Closest is #1; it differs at\n  body: recorded is json  now is form{RECORD}",
            id="kinds",
        ),
        pytest.param(
            post(b"a=1&b=2", FORM),
            [post(b"b=3&a=1", FORM)],
            f"Closest is #1; it differs at\n  b: recorded '3'  now '2'{RECORD}\nIgnore it:  --ignore /b",
            id="form",
        ),
        pytest.param(
            upload(FILE, ("model", "", b"whisper-1")),
            [upload(FILE, ("model", "", b"gpt-4o-transcribe"))],
            "Closest is #1; it differs at\n  model.content: recorded 'gpt-4o-transcribe'  now 'whisper-1'"
            f"{RECORD}\nIgnore it:  --ignore /model/content",
            id="multipart",
        ),
        pytest.param(
            upload(LARGE),
            [upload(("file", LARGE[1], b"\xff" * 5001))],
            "Closest is #1; it differs at\n"
            "  file.bytes: recorded '5001, blake2b 9d27c38b5f84a406f4a21ab9b3ee895a'"
            "  now '5000, blake2b 92e316b2a288e2341a2dff60d7cbcdb9'"
            f"{RECORD}\nIgnore it:  --ignore /file/bytes",
            id="a large file",
        ),
        pytest.param(
            ask(hi("x"), f"{CHAT}?api-version=2&a=1"),
            [ask(hi("x"), f"{CHAT}?a=1&api-version=1")],
            "Closest is #1; it differs at\n  query: recorded 'a=1&api-version=1'  now 'a=1&api-version=2'" + RECORD,
            id="query",
        ),
        pytest.param(
            ask(hi("x")),
            [ask(hi("x"))],
            "#1 is the same request, but every recording of it has been played already."
            f"{RECORD}\nPlay it again:  --on-exhausted repeat (the last one) or cycle (from the first)",
            id="used up",
        ),
        pytest.param(ask({}), [], f"There is nothing on it.{RECORD}", id="empty tape"),
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
            f"Closest is #1; it differs at\n  body: recorded nested  now nested too deeply to be compared{RECORD}",
            id="nested deeply",
        ),
        pytest.param(
            post(b'{"a":1}'),
            [post(b'{"a":' + b"[" * 1000 + b"]" * 1000 + b"}"), post(b'{"a":2,"b":3}')],
            "Closest is #2; it differs at\n  a: recorded 2  now 1\n  b: recorded 3  now absent"
            f"{RECORD}\nIgnore it:  --ignore /a --ignore /b",
            id="what cannot be compared is not close",
        ),
    ],
)
def test_message(now: Request, recorded: list[Request], message: str) -> None:
    head = NO.replace("completions in", f"completions?{now.query} in") if now.query else NO
    assert told(now, recorded) == head + message


@pytest.mark.parametrize(
    ("now", "recorded", "ignore", "says"),
    [
        (ask({"user": 1, "a": 1}), ask({"user": 2, "a": 2}), ["/user"], "it differs at\n  a: recorded 2  now 1\n"),
        (ask({"user": 1}), ask({"user": 2}), ["/user"], "every recording of it has been played already"),
        (ask({}, CHAT + "?a=1&b=2"), ask({}, CHAT + "?b=2&a=1"), [], "every recording of it has been played already"),
    ],
)
def test_what_does_not_matter_is_no_difference(now: Request, recorded: Request, ignore: list[str], says: str) -> None:
    assert says in told(now, [recorded], *ignore)


def test_a_recording_of_other_hands_is_shown_without_its_secrets() -> None:
    recorded = ask({"key": "sk-" + "aB3dE6gH" * 6, "a": 1})
    nearest = explaining.nearest(ask({"key": "REDACTED", "a": 2}), [recorded], clean=Redactor().request)
    assert nearest == (1, [("a", "1", "2", "/a")])


def test_a_header_that_is_matched_is_a_difference() -> None:
    one, other = (Request("POST", CHAT, (*JSON, ("X-Tenant", name)), b"{}") for name in ("a", "b"))
    nearest = explaining.nearest(one, [other], Matcher(headers=("x-tenant",)))
    assert nearest == (1, [("headers", "'x-tenant: b'", "'x-tenant: a'", "")])


def test_another_path_is_near_where_paths_are_not_matched() -> None:
    nearest = explaining.nearest(ask({"a": 1}), [ask({"a": 2}, CHAT + "/else")], Matcher(on=("body",)))
    assert nearest == (1, [("a", "2", "1", "/a")])


@given(VALUES, VALUES)
def test_there_is_a_difference_exactly_where_the_keys_differ(was: Any, is_now: Any) -> None:
    recorded, now = ask(was), ask(is_now)
    nearest = explaining.nearest(now, [recorded])
    assert nearest is not None
    assert bool(nearest.differences) is (Matcher().key(recorded) != Matcher().key(now))
    assert all(len(one.recorded) < 90 and len(one.now) < 90 for one in nearest.differences)


def test_a_miss_is_cheap_even_with_many_large_recordings() -> None:
    recorded = [ask({"image": "A" * 200_000, "number": number}) for number in range(300)]
    start = time.perf_counter()
    assert "image: recorded" in told(ask({"image": "A" * 199_999 + "B", "number": 5}), recorded)
    assert time.perf_counter() - start < 2
