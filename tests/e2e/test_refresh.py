"""`refresh` asks the simulated upstream again, as it was or with one planted change."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import openai_replay
from tests.support import fake_openai
from tests.support.fake_openai import FakeOpenAI
from tests.support.proxy import cassette, free_port, interactions, invoke, item
from tests.support.upstream import (
    Chunk,
    Close,
    End,
    Received,
    Reset,
    Send,
    Sleep,
    Step,
    Upstream,
    plain,
    running_upstream,
)

KEY = "sk-test-refresh-0123456789abcdef"
QUESTION = [{"role": "user", "content": "Weather in Oslo?"}]
TOOL = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {}}}}
CHAT = {"model": "gpt-4o-mini", "messages": QUESTION}
STREAM = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
CALLS = {**CHAT, "tools": [{"type": "function", "function": TOOL}]}
RESPONSES = {"model": "gpt-5-mini", "input": "Weather in Oslo?", "tools": [{"type": "function", **TOOL}]}
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n\xff\x00\r\n--b--\r\n'
)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("COLUMNS", "200")


def ask(base: str, path: str, body: Any = None, kind: str = "application/json") -> bytes:
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    headers = {"Authorization": "Bearer sk-test-record-0123456789abcdef", **({"Content-Type": kind} if data else {})}
    try:
        with urllib.request.urlopen(urllib.request.Request(base + path, data, headers)) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        return error.read()


def recorded(cassette_path: Path, *requests: tuple[str, Any], api: Callable[[Received], Any] | None = None) -> Path:
    with running_upstream(api) as up, openai_replay.record(cassette_path, upstream=up.url) as run:
        for path, body in requests:
            ask(run.base_url, path, body)
    return cassette_path


@contextmanager
def later(change: Callable[[list[Step]], list[Step]] = lambda steps: steps) -> Iterator[Upstream]:
    """Run the API some time later: with other ids and dates, and with `change` made to each response."""
    api = FakeOpenAI()
    api._number = 500
    with running_upstream(lambda request: change(api(request))) as up:
        yield up


def checked(cassette_path: Path, up: Upstream, *options: str) -> tuple[int, list[str]]:
    """Return the exit code and the findings of `--check`, without those that are expected."""
    before = cassette_path.read_bytes()
    result = invoke("refresh", cassette_path, "--check", "--upstream", up.url, *options)
    assert result.stderr == ""
    assert cassette_path.read_bytes() == before
    return result.code, [line.strip() for line in result.stdout.splitlines() if re.match(r"    [^(]", line)]


# ------------------------------------------------------------------------------------------------ what is as expected


ALL_REQUESTS: list[tuple[str, Any]] = [
    ("/chat/completions", CHAT),
    ("/chat/completions", STREAM),
    ("/chat/completions", {**STREAM, "n": 3}),
    ("/chat/completions", CALLS),
    ("/chat/completions", {**CALLS, "stream": True}),
    ("/completions", {"model": "m", "prompt": "a", "stream": True}),
    ("/responses", RESPONSES),
    ("/responses", {**RESPONSES, "stream": True}),
    ("/responses", {"model": "m", "input": "a b c", "stream": True}),
    ("/threads/runs", {"assistant_id": "asst_1", "thread": {"messages": QUESTION}, "stream": True}),
    ("/embeddings", {"model": "m", "input": ["a", "b"]}),
    ("/audio/speech", {"model": "m", "input": "a", "stream_format": "sse"}),
    ("/audio/speech", {"model": "m", "input": "a"}),
    ("/moderations", {"input": "a"}),
    ("/models", None),
    ("/nowhere", {}),
]


@pytest.fixture(scope="module")
def all_requests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("refresh") / "everything.yaml", *ALL_REQUESTS)


def test_an_unchanged_api_has_no_drift(all_requests: Path) -> None:
    with later() as up:
        assert checked(all_requests, up) == (0, [])
        assert len(up.requests) == len(ALL_REQUESTS)


def test_other_texts_frames_and_times_are_expected(all_requests: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_openai, "reply", lambda call, prompt: "An altogether different answer, " * 9)
    monkeypatch.setattr(fake_openai, "as_json", lambda schema, prompt: '{"city":"Bergen"}')

    def cut_otherwise(steps: list[Step]) -> list[Step]:
        steps = [step for step in steps if not isinstance(step, Sleep)]
        body = b"".join(part for step in steps if isinstance(step, Chunk) for part in step)
        rest_of_steps = [step for step in steps if not isinstance(step, Chunk)]
        return [*rest_of_steps[:1], *(Chunk(body[at : at + 97]) for at in range(0, len(body), 97)), *rest_of_steps[1:]]

    with later(cut_otherwise) as up:
        assert checked(all_requests, up) == (0, [])


def test_expected_changes_are_printed_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cassette_path = recorded(tmp_path / "tape.yaml", ("/chat/completions", CHAT))
    monkeypatch.setattr(fake_openai, "reply", lambda call, prompt: "other")
    with later(renamed_header) as up:
        result = invoke("refresh", cassette_path, "--check", "--upstream", up.url)
    assert result.code == 0
    assert "#1  POST /v1/chat/completions  gpt-4o-mini  200" in result.stdout
    assert "    (as expected: the text differs)\n" in result.stdout
    assert "    (as expected: headers removed: openai-version)\n" in result.stdout
    assert "    (as expected: headers added: openai-api-version)\n" in result.stdout
    assert result.stdout.endswith("0 of 1 drifted\n")


def renamed_header(steps: list[Step]) -> list[Step]:
    swap = (b"openai-version:", b"openai-api-version:")
    return [Send(step.data.replace(*swap)) if isinstance(step, Send) else step for step in steps]


# ------------------------------------------------------------------------------------------------ planted changes


def in_json(change: Callable[[Any], Any]) -> Callable[[list[Step]], list[Step]]:
    """`change` made to the JSON of an answer, in place, or by what it returns."""

    def changed(steps: list[Step]) -> list[Step]:
        sent = [step.data for step in steps if isinstance(step, Send)]
        top, _, body = b"".join(sent).partition(b"\r\n\r\n")
        body += b"".join(part for step in steps if isinstance(step, Chunk) for part in step)
        value = json.loads(body)
        new = change(value)
        return plain(json.dumps(value if new is None else new).encode(), headers=headers_of(top))

    return changed


def headers_of(top: bytes) -> list[tuple[str, str]]:
    lines = [line.partition(": ") for line in top.decode().split("\r\n")[1:]]
    return [(name, value) for name, _, value in lines if name not in ("content-length", "transfer-encoding")]


def in_events(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[list[Step]], list[Step]]:
    """`change` made to the events of a stream."""

    def changed(steps: list[Step]) -> list[Step]:
        body = b"".join(part for step in steps if isinstance(step, Chunk) for part in step)
        events = [event + b"\n\n" for event in body.split(b"\n\n") if event]
        sends = [step for step in steps if isinstance(step, Send)]
        return [*sends, *(Chunk(event) for event in change(events)), End()]

    return changed


def replaced(old: bytes, new: bytes, count: int = -1) -> Callable[[list[Step]], list[Step]]:
    return in_events(lambda events: [event.replace(old, new, count) for event in events])


def set_at(path: str, value: Any) -> Callable[[Any], None]:
    """Set what stands at `path`, a key by key; `...` as value takes it away."""

    def change(answer: Any) -> None:
        *parents, last = path.split(".")
        for key in parents:
            answer = answer[int(key)] if key.isdigit() else answer[key]
        if value is ...:
            del answer[last]
        else:
            answer[last] = value

    return change


def status(code: int) -> Callable[[list[Step]], list[Step]]:
    error = {"error": {"message": "gone", "type": "x", "param": None, "code": None}}
    return lambda steps: plain(json.dumps(error).encode(), status=code, reason="No")


CHUNK = "chat.completion.chunk"
PLANTED = [
    pytest.param(CHAT, in_json(set_at("moderated", False)), ["moderated: new, boolean"], id="field added"),
    pytest.param(CHAT, in_json(set_at("service_tier", ...)), ["service_tier: gone, was string"], id="field gone"),
    pytest.param(CHAT, in_json(set_at("created", "2026")), ["created: was number, now string"], id="type changed"),
    pytest.param(CHAT, in_json(set_at("model", None)), ["model: was string, now null"], id="null"),
    pytest.param(
        CHAT, in_json(set_at("choices.0.message.sources", [{"url": "x"}])),
        ["choices[].message.sources: new, array"], id="field added, deep",
    ),
    pytest.param(
        CHAT, in_json(set_at("choices.0.message.content", [{"type": "text", "text": "a"}])),
        ["choices[].message.content: was string, now array"], id="type changed, deep",
    ),
    pytest.param(CHAT, in_json(set_at("usage", ...)), ["usage: gone, was object"], id="object gone"),
    pytest.param(CHAT, in_json(set_at("usage.prompt_tokens", None)), ["usage.prompt_tokens: was number, now null"],
                 id="null, deep"),
    pytest.param({**CHAT, "n": 2}, in_json(set_at("choices.1.message.refusal", ...)),
                 ["choices[].message.refusal: was always there, now only sometimes"], id="only sometimes"),
    pytest.param({**CHAT, "n": 2}, in_json(set_at("choices.1.finish_reason", None)),
                 ["choices[].finish_reason: was string, now string or null", "finish reason: was stop, stop, now stop"],
                 id="nullable in one"),
    pytest.param(CHAT, in_json(set_at("choices.0.finish_reason", "length")),
                 ["finish reason: was stop, now length"], id="finish reason"),
    pytest.param(CALLS, in_json(set_at("choices.0.message.tool_calls.0.type", "tool")),
                 ["choices[].message.tool_calls[function]: gone, was object",
                  "choices[].message.tool_calls[tool]: new, object"], id="another sort of item"),
    pytest.param(CHAT, status(404), ["status: was 200, now 404"], id="status"),
    pytest.param(CHAT, status(500), ["status: was 200, now 500"], id="server error"),
    pytest.param(CHAT, in_json(lambda value: [value]),
                 ["all: was object, now array", "finish reason: was stop, now none"], id="an array around it"),
    pytest.param(
        CHAT, lambda steps: plain(b"{", headers=[("content-type", "application/json")]),
        ["body: is not JSON", "finish reason: was stop, now none"], id="no JSON",
    ),
    pytest.param(
        CHAT, lambda steps: plain(b"hello", headers=[("content-type", "text/plain")]),
        ["content-type: was application/json, now text/plain"], id="content type",
    ),
    pytest.param(STREAM, in_events(lambda events: events[:-1]),
                 [f"events: were {CHUNK}+, [DONE]; now {CHUNK}+"], id="no [DONE]"),
    pytest.param(STREAM, replaced(b'"object":"chat.completion.chunk"', b'"object":"chat.chunk"'),
                 [f"events: were {CHUNK}+, [DONE]; now chat.chunk+, [DONE]"], id="renamed chunks"),
    pytest.param(STREAM, in_events(lambda events: [*events[:-1], b'data: {"type":"metrics"}\n\n', events[-1]]),
                 [f"events: were {CHUNK}+, [DONE]; now {CHUNK}+, metrics, [DONE]"], id="new sort of event"),
    pytest.param(STREAM, replaced(b'"created":', b'"obfuscation":"x","created":'),
                 [f"{CHUNK} obfuscation: new, string"], id="field added to chunks"),
    pytest.param(STREAM, replaced(b'"system_fingerprint":"fp_simulated",', b""),
                 [f"{CHUNK} system_fingerprint: gone, was string"], id="field gone from chunks"),
    pytest.param(STREAM, replaced(b'"system_fingerprint":"fp_simulated"', b'"system_fingerprint":null'),
                 [f"{CHUNK} system_fingerprint: was string, now null"], id="null in chunks"),
    pytest.param(STREAM, replaced(b'"content":"', b'"text":"'),
                 [f"{CHUNK} choices[].delta.content: gone, was string", f"{CHUNK} choices[].delta.text: new, string"],
                 id="renamed field of a delta"),
    pytest.param(STREAM, replaced(b'"role":"assistant",', b""),
                 [f"{CHUNK} choices[].delta.role: gone, was string"], id="what only the first chunk has"),
    pytest.param(STREAM, replaced(b'"finish_reason":"stop"', b'"finish_reason":"content_filter"'),
                 ["finish reason: was stop, now content_filter"], id="finish reason of a stream"),
    pytest.param(STREAM, lambda steps: [*steps[: len(steps) // 2], Close()], None, id="cut off"),
    pytest.param(STREAM, lambda steps: [*steps[: len(steps) // 2], Reset()], None, id="broken off"),
    pytest.param(
        STREAM, lambda steps: plain(b'{"id":"x"}', headers=[("content-type", "application/json")]),
        ["content-type: was text/event-stream, now application/json"], id="no stream any more",
    ),
    pytest.param(RESPONSES | {"stream": True}, replaced(b"response.output_item.added", b"response.item.added"), [
        "events: were response.created, response.in_progress, response.output_item.added, "
        "response.function_call_arguments.delta+, response.function_call_arguments.done, response.output_item.done, "
        "response.completed; now response.created, response.in_progress, response.item.added, "
        "response.function_call_arguments.delta+, response.function_call_arguments.done, response.output_item.done, "
        "response.completed"], id="renamed event"),
    pytest.param(RESPONSES | {"stream": True}, replaced(b'"sequence_number":', b'"seq":'),
                 None, id="renamed field of every event"),
    pytest.param(RESPONSES | {"stream": True}, replaced(b'"temperature":1.0', b'"temperature":"1.0"'), [
        f"response.{name} response.temperature: was number, now string" for name in
        ("created", "in_progress", "completed")], id="type changed in events"),
    pytest.param(RESPONSES | {"stream": True}, replaced(b'"status":"completed"', b'"status":"incomplete"'),
                 ["finish reason: was completed, now incomplete"], id="status of a response"),
    pytest.param(RESPONSES, in_json(set_at("output.0.type", "tool_call")),
                 ["output[function_call]: gone, was object", "output[tool_call]: new, object"],
                 id="another sort of output"),
    pytest.param(RESPONSES, in_json(set_at("metadata", [])), ["metadata: was object, now array"], id="empty array"),
]  # fmt: skip


def path_of(body: Any) -> str:
    return "/responses" if "input" in body else "/chat/completions"


@pytest.fixture(scope="module")
def planted_cassettes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a cassette for each request whose response a change is planted in."""
    folder = tmp_path_factory.mktemp("planted")
    bodies = {json.dumps(case.values[0]): case.values[0] for case in PLANTED}
    return {
        text: recorded(folder / f"{number}.yaml", (path_of(body), body))
        for number, (text, body) in enumerate(bodies.items())
    }


@pytest.mark.parametrize(("body", "change", "findings"), PLANTED)
def test_a_planted_change_is_found_and_nothing_else(
    planted_cassettes: dict[str, Path],
    body: Any,
    change: Callable[[list[Step]], list[Step]],
    findings: list[str] | None,
) -> None:
    with later(change) as up:
        code, lines = checked(planted_cassettes[json.dumps(body)], up)
    assert code == 1
    if findings is not None:
        assert lines == findings
    else:
        assert lines


def test_a_truncated_stream_is_reported_as_truncated(planted_cassettes: dict[str, Path]) -> None:
    with later(lambda steps: [*steps[: len(steps) // 2], Close()]) as up:
        assert "end: was complete, now truncated" in checked(planted_cassettes[json.dumps(STREAM)], up)[1]


# ------------------------------------------------------------------------------------------------ refresh


def test_new_ids_go_into_later_requests(tmp_path: Path) -> None:
    cassette_path = tmp_path / "tape.yaml"
    with running_upstream() as up, openai_replay.record(cassette_path, upstream=up.url) as run:
        call = json.loads(ask(run.base_url, "/chat/completions", CALLS))["choices"][0]["message"]
        messages = [*QUESTION, call, {"role": "tool", "tool_call_id": call["tool_calls"][0]["id"], "content": "snow"}]
        ask(run.base_url, "/chat/completions", {**CALLS, "messages": messages})
        file = json.loads(ask(run.base_url, "/files", FORM, "multipart/form-data; boundary=b"))["id"]
        ask(run.base_url, f"/files/{file}")
        ask(run.base_url, f"/files/{file}/content")
    before = interactions(cassette_path)
    with later() as up:
        result = invoke("refresh", cassette_path, "--upstream", up.url)
        assert (result.code, result.stderr) == (0, "")
        assert f"Sending 5 requests of {cassette_path} to {up.origin} again." in result.stdout
        assert result.stdout.splitlines()[-1] == "5 refreshed"
        assert [request.header("authorization") for request in up.requests] == [f"Bearer {KEY}"] * 5
        assert up.requests[2].body == FORM
        upload = json.loads(interactions(cassette_path)[2].response.body)["id"]
        assert upload != file
        assert up.requests[3].path == f"/v1/files/{upload}"
    after = interactions(cassette_path)
    assert [request.response.head.status for request in after] == [200] * 5
    assert after[4].response.body == b"\xff\x00"
    # The cassette has the requests that a client sends if it gets the new responses.
    called = json.loads(after[0].response.body)["choices"][0]["message"]["tool_calls"][0]["id"]
    assert json.loads(after[1].request.body)["messages"][2]["tool_call_id"] == called
    assert called.encode() not in before[1].request.body
    assert KEY not in cassette_path.read_text("utf-8")
    assert KEY not in result.stdout
    with openai_replay.play(cassette_path) as played:
        message = json.loads(ask(played.base_url, "/chat/completions", CALLS))["choices"][0]["message"]
        messages = [*QUESTION, message, {"role": "tool", "tool_call_id": called, "content": "snow"}]
        ask(played.base_url, "/chat/completions", {**CALLS, "messages": messages})
        assert not played.misses


def test_refresh_changes_only_responses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cassette_path = recorded(tmp_path / "tape.yaml", ("/chat/completions", CHAT), ("/chat/completions", STREAM))
    text = cassette_path.read_text("utf-8")
    cassette_path.write_text(text.replace("# 2  ", "# mine\n# 2  "), "utf-8")
    with running_upstream() as up:  # the same API: only the times are others
        assert invoke("refresh", cassette_path, "--upstream", up.url).code == 0
    refreshed = cassette_path.read_text("utf-8")
    assert "# mine\n# 2  POST" in refreshed

    def times_out(text: str) -> str:
        return re.sub(r"(?m)^( +(head|frames|end):|# \d).*(\n +\d+\+.*)*$", "", text.replace("# mine\n", ""))

    assert times_out(refreshed) == times_out(text)
    first, second = interactions(cassette_path)
    assert (first.response.head.length is None, second.response.end_ms > 0) == (True, True)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (status(401), "the status was 200 and is now 401: gone"),
        (lambda steps: [*steps[:4], Close()], "the response was truncated after "),
        (lambda steps: [Close()], "closed the connection without a response"),
    ],
)
def test_a_failure_leaves_the_file_as_it_was(tmp_path: Path, change: Any, reason: str) -> None:
    requests = [("/chat/completions", STREAM), ("/models", None)]
    cassette_path = recorded(tmp_path / "tape.yaml", *requests)
    before = cassette_path.read_bytes()
    with later(change) as up:
        result = invoke("refresh", cassette_path, "--upstream", up.url)
        assert len(up.requests) == 1
    assert result.code == 1
    assert re.search(rf"#1  POST .*FAILED: .*{reason}", result.stdout)
    assert result.stdout.endswith("The cassette did not change. --keep-going refreshes the others.\n")
    assert cassette_path.read_bytes() == before


def test_a_failure_discards_earlier_responses(tmp_path: Path) -> None:
    cassette_path = recorded(tmp_path / "tape.yaml", ("/models", None), ("/chat/completions", CHAT), ("/models", None))
    before = cassette_path.read_bytes()
    with later() as up:
        up.script("POST", "/v1/chat/completions", status(500)([]))
        result = invoke("refresh", cassette_path, "--upstream", up.url)
        assert [request.method for request in up.requests] == ["GET", "POST"]
    assert (result.code, cassette_path.read_bytes() == before) == (1, True)
    assert re.search(r"#1  GET .*  fresh\n", result.stdout)


def test_keep_going_refreshes_the_others(tmp_path: Path) -> None:
    cassette_path = recorded(tmp_path / "tape.yaml", ("/chat/completions", CHAT), ("/models", None))
    before = interactions(cassette_path)
    with later() as up:
        up.script("POST", "/v1/chat/completions", status(500)([]))
        result = invoke("refresh", cassette_path, "--upstream", up.url, "--keep-going")
        assert len(up.requests) == 2
    assert (result.code, result.stdout.splitlines()[-1]) == (1, "1 refreshed, 1 failed")
    after = interactions(cassette_path)
    assert after[0] == before[0]
    assert after[1].response.head.headers != before[1].response.head.headers


def test_an_unreachable_upstream_is_a_failure(tmp_path: Path) -> None:
    cassette_path = recorded(tmp_path / "tape.yaml", ("/models", None))
    result = invoke("refresh", cassette_path, "--check", "--upstream", f"http://127.0.0.1:{free_port()}/v1")
    assert (result.code, "FAILED: GET http://127.0.0.1" in result.stdout) == (1, True)
    assert result.stdout.endswith("0 of 0 drifted, 1 failed\n")


def test_a_silent_upstream_times_out(tmp_path: Path) -> None:
    cassette_path = recorded(tmp_path / "tape.yaml", ("/models", None))
    with later(lambda steps: [Sleep(60.0)]) as up:
        start = time.monotonic()
        result = invoke("refresh", cassette_path, "--upstream", up.url, "--idle-timeout", "100ms")
        assert time.monotonic() - start < 20
    assert (result.code, "longer than the idle timeout" in result.stdout) == (1, True)


def test_a_request_with_a_redacted_body_is_not_sent(tmp_path: Path) -> None:
    mcp = {**RESPONSES, "tools": [{"type": "mcp", "server_label": "x", "authorization": "secret-token"}]}
    cassette_path = recorded(tmp_path / "tape.yaml", ("/responses", mcp), ("/models", None))
    with later() as up:
        result = invoke("refresh", cassette_path, "--upstream", up.url)
        assert (result.code, up.requests) == (1, [])
        assert "#1  cannot be sent again: its body contains REDACTED" in result.stdout
        for options, last in ((["--keep-going"], "1 refreshed, 1 failed"), (["--check"], "0 of 1 drifted, 1 failed")):
            result = invoke("refresh", cassette_path, "--upstream", up.url, *options)
            assert (result.code, result.stdout.splitlines()[-1]) == (1, last)
        assert [request.path for request in up.requests] == ["/v1/models"] * 2


def test_the_key_goes_only_to_a_named_upstream(tmp_path: Path) -> None:
    cassette_path = recorded(tmp_path / "tape.yaml", ("/models", None))
    # A file beside the cassette may come from whoever wrote that.
    (tmp_path / "openai-replay.toml").write_text('upstream = "http://127.0.0.1:9/v1"\n')
    result = invoke("refresh", cassette_path)  # that is api.openai.com, and the recording is not from there
    assert result.code == 1
    assert "#1  cannot be sent again: it was recorded from http://127.0.0.1" in result.stdout
    assert "asking" not in result.stdout


@pytest.mark.parametrize(
    ("key", "message"), [("", "is not set"), ("sk bad\nkey", "contains characters that no key has")]
)
def test_a_missing_or_bad_key_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, message: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    result = invoke("refresh", cassette(tmp_path / "tape.yaml", item("a")))
    assert (result.code, message in result.stderr, "bad" in result.stderr) == (2, True, False)


def test_azure_gets_the_key_in_its_own_header(tmp_path: Path) -> None:
    cassette_path = cassette(tmp_path / "tape.yaml", item("1").replace("content-type: [application/json]\n    body: '",
        'api-key: [REDACTED]\n      cookie: [REDACTED]\n      x: ["y"]\n    body: \'', 1))  # fmt: skip
    with running_upstream(lambda request: plain(b"1")) as up:
        assert checked(cassette_path, up) == (0, [])
        (request,) = up.requests
    assert request.header("api-key") == KEY
    assert (request.header("authorization"), request.header("cookie"), request.header("x")) == (None, None, "y")


def test_a_key_in_a_response_is_redacted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-of-no-known-form")
    cassette_path = recorded(tmp_path / "tape.yaml", ("/models", None))
    with later(in_json(set_at("echo", "your key: a-key-of-no-known-form"))) as up:
        result = invoke("refresh", cassette_path, "--upstream", up.url)
        assert (up.requests[0].header("authorization"), result.code) == ("Bearer a-key-of-no-known-form", 0)
    assert "your key: REDACTED" in cassette_path.read_text("utf-8")
    assert "of-no-known-form" not in cassette_path.read_text("utf-8") + result.stdout


def test_a_cassette_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    cassette_path = recorded(tmp_path / "tape.yaml", ("/models", None))

    def change(steps: list[Step]) -> list[Step]:
        cassette(cassette_path, item("theirs"))
        return steps

    with later(change) as up:
        result = invoke("refresh", cassette_path, "--upstream", up.url)
    assert (result.code, "another program changed it" in result.stderr) == (3, True)
    assert "theirs" in cassette_path.read_text("utf-8")


def test_what_is_no_cassette(tmp_path: Path) -> None:
    assert invoke("refresh", tmp_path / "none.yaml").code == 3
    torn = cassette(tmp_path / "torn.yaml", item("a"))
    torn.write_bytes(torn.read_bytes() + b"\0" * 8192)
    result = invoke("refresh", torn)
    assert (result.code, "a recorder was killed" in result.stderr) == (3, True)
    flow = tmp_path / "flow.yaml"
    flow.write_text("version: 1\ninteractions: [{request: {method: GET, uri: 'https://api.openai.com/v1/x'},"
                    " response: {status: {code: 200, message: OK}, headers: {}, body: {string: a}}}]\n")  # fmt: skip
    with later() as up:
        assert invoke("refresh", flow, "--upstream", up.url).code == 3
        assert up.requests == []
