"""Promise 9: vcrpy and pytest-recording play our cassettes, and we play those that vcrpy recorded."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
import vcr
import vcr.matchers

from tests.support.proxy import CHAT, KEY, Heard, environment, on_tape, playing, recording
from tests.support.upstream import Chunk, Close, Received, Step, Upstream, plain, running_upstream, sse

JSON = ("content-type", "application/json")


class Question(NamedTuple):
    """A request and how the upstream answers it."""

    steps: list[Step]
    body: Any = None
    path: str = CHAT
    method: str = "POST"


ODD = "tab\there, NEL \x85, LS \u2028, BOM \ufeff, nul \x00, yes: no, 'quoted', \"too\", # and\r\n  spaces \n\n\n"

QUESTIONS = {
    "json": Question(
        plain(b'{"a": "\xc3\xa9 \xf0\x9f\x8c\x8d"}', headers=[JSON, ("x-b", "1"), ("x-b", "2")]), {"q": 1}
    ),
    "same request, another answer": Question(plain(b'{"a": 2}'), {"q": 1}),
    "stream": Question(sse(*(f"data: {word} 🌍\n\n".encode() for word in ["Héllo", "you", "there"])), {"stream": True}),
    "CRLF stream": Question(sse(b"data: 1\r\n\r\n", b"data: [DONE]\r\n\r\n"), {"stream": True, "n": 1}),
    "stream cut inside a character": Question(
        [*sse(b"data: 1\n\n", b"data: \xf0\x9f")[:-1], Close()], {"stream": True, "n": 2}
    ),
    "odd text": Question(plain(ODD.encode(), headers=[("content-type", "text/plain; charset=utf-8")]), {"q": 2}),
    "starts with a space": Question(plain(b"  x\n y\n", headers=[("content-type", "text/plain")]), {"q": 3}),
    "only line feeds": Question(plain(b"\n\n", headers=[("content-type", "text/plain")]), {"q": 4}),
    "binary": Question(plain(bytes(range(256)), headers=[("content-type", "audio/mpeg")]), {"q": 5}),
    "gzip": Question(plain(gzip.compress(b"{}", mtime=0), headers=[JSON, ("content-encoding", "gzip")]), {"q": 6}),
    "rate limit": Question(
        plain(b"{}", status=429, reason="Too Many Requests", headers=[JSON, ("retry-after", "1")]), 7
    ),
    "nothing": Question(plain(b"", status=200, headers=[]), {"q": 8}),
    "upload": Question(plain(b'{"id": "file-1"}'), b"\xff\x00 raw", "/v1/files"),
    "text upload": Question(plain(b'{"id": "file-2"}'), b"line\r\nline\n", "/v1/files"),
    "get": Question(plain(b'{"data": []}'), None, "/v1/models?limit=2&after=a%20b", "GET"),
}


def sent(question: Question) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a question."""
    if question.body is None or isinstance(question.body, bytes):
        return question.body or b"", {"Content-Type": "application/octet-stream"} if question.body else {}
    return json.dumps(question.body).encode(), {"Content-Type": "application/json"}


def all_answers(questions: Iterable[Question]) -> Callable[[Received], list[Step]]:
    """Return an API that gives the responses to `questions` one after the other."""
    answers = iter([question.steps for question in questions])
    return lambda _: next(answers)


class Answer(NamedTuple):
    """The response that an ordinary client library got."""

    status: int
    reason: str | None
    headers: Mapping[str, list[str]]  # names in lower case
    body: bytes


def by_urllib(origin: str, question: Question) -> Answer:
    """Ask with http.client, by way of urllib."""
    body, headers = sent(question)
    headers["Authorization"] = f"Bearer {KEY}"
    request = urllib.request.Request(origin + question.path, body or None, headers, method=question.method)
    try:
        answer = urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        names = {name.lower(): answer.headers.get_all(name) for name in answer.headers}
        return Answer(answer.status, answer.reason, names, answer.read())


def by_aiohttp(origin: str, question: Question) -> Answer:
    """Ask with aiohttp, which decodes gzip by itself."""

    async def ask() -> Answer:
        body, headers = sent(question)
        async with (
            aiohttp.ClientSession() as session,
            session.request(question.method, origin + question.path, data=body or None, headers=headers) as answer,
        ):
            names = {name.lower(): answer.headers.getall(name) for name in answer.headers}
            return Answer(answer.status, answer.reason, names, await answer.read())

    return asyncio.run(ask())


BOTH = pytest.mark.parametrize("ask", [by_urllib, by_aiohttp])


def as_played(answer: Heard) -> tuple[int, str, dict[str, list[str]], bytes]:
    """Return the parts of a response that a cassette keeps."""
    return answer.status, answer.reason, {k.lower(): v for k, v in on_tape(answer.headers).items()}, answer.body


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, list[Heard]]:
    """Return a cassette of all questions, the recorded origin, and the responses that the recording client heard."""
    cassette_path = tmp_path_factory.mktemp("recorded") / "tape.yaml"

    async def record() -> tuple[str, list[Heard]]:
        heard = []
        async with Upstream(all_answers(QUESTIONS.values())) as up, recording(up.url, cassette_path) as proxy:
            for question in QUESTIONS.values():
                body, headers = sent(question)
                heard.append(await proxy.ask(question.method, question.path, body, headers.items()))
            return up.origin, heard

    return cassette_path, *asyncio.run(record())


def same_body(first: Any, second: Any) -> None:
    """Compare bodies as vcrpy does, but take no body for an empty body: vcrpy's `null` and `""` differ."""
    if first.body or second.body:
        vcr.matchers.body(first, second)


@BOTH
def test_stock_vcrpy_plays_what_we_recorded(
    recorded: tuple[Path, str, list[Heard]], ask: Callable[[str, Question], Answer]
) -> None:
    cassette_path, origin, heard = recorded
    matcher = vcr.VCR(record_mode="none", match_on=["method", "scheme", "host", "port", "path", "query", "what"])
    matcher.register_matcher("what", same_body)
    with matcher.use_cassette(str(cassette_path)) as cassette:
        for (name, question), live in zip(QUESTIONS.items(), heard, strict=True):
            answer = ask(origin, question)
            status, reason, headers, body = as_played(live)
            assert (answer.status, answer.reason, answer.body) == (status, reason, body), name
            assert answer.headers == headers, name
        assert cassette.all_played


PYTEST_RECORDING = """
import json, pytest, urllib.request

@pytest.mark.default_cassette("tape.yaml")
@pytest.mark.vcr
@pytest.mark.block_network
def test_models():
    with urllib.request.urlopen("ORIGIN/v1/models?limit=2&after=a%20b") as answer:
        assert (answer.status, answer.read()) == (200, b'{"data": []}')

@pytest.mark.default_cassette("tape.yaml")
@pytest.mark.vcr(match_on=["method", "uri", "body"])
def test_stream():
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request("ORIGIN/v1/chat/completions", b'{"stream": true}', headers)
    with urllib.request.urlopen(request) as answer:
        assert answer.read().decode() == "data: Héllo 🌍\\n\\ndata: you 🌍\\n\\ndata: there 🌍\\n\\n"

@pytest.fixture(scope="module")
def vcr_cassette_dir():
    return "FOLDER"
"""


def test_pytest_recording_plays_what_we_recorded(recorded: tuple[Path, str, list[Heard]], tmp_path: Path) -> None:
    cassette_path, origin, _ = recorded
    program = PYTEST_RECORDING.replace("ORIGIN", origin).replace("FOLDER", str(cassette_path.parent))
    (tmp_path / "test_it.py").write_text(program, "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "--record-mode=none", "-p", "no:cacheprovider", "test_it.py"]
    result = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 passed" in result.stdout


@BOTH
async def test_we_play_what_stock_vcrpy_recorded(tmp_path: Path, ask: Callable[[str, Question], Answer]) -> None:
    cassette_path = tmp_path / "tape.yaml"
    questions = {
        name: question for name, question in QUESTIONS.items() if "cut" not in name
    }  # no library returns from a cut

    def record() -> list[Answer]:
        answers = []
        api = all_answers(questions.values())
        with running_upstream(api) as up, vcr.use_cassette(str(cassette_path), record_mode="all"):
            for question in questions.values():
                answers.append(ask(up.origin, question))
        return answers

    answers = await asyncio.to_thread(record)
    assert "wire" not in cassette_path.read_text("utf-8")
    async with playing(cassette_path) as player:
        for (name, question), answer in zip(questions.items(), answers, strict=True):
            body, headers = sent(question)
            played = await player.ask(question.method, question.path, body, headers.items())
            assert (played.status, played.reason, played.body) == (answer.status, answer.reason, answer.body), name
            expected_headers = {key.lower(): values for key, values in on_tape(answer_headers(answer)).items()}
            if name == "gzip" and ask is by_aiohttp:  # stored decoded, under the header of what came
                assert expected_headers.pop("content-encoding") == ["gzip"]
            assert {key.lower(): values for key, values in on_tape(played.headers).items()} == expected_headers, name
            assert len(played.pieces) <= 1, "a plain cassette has no frames"
        assert set(player.outcomes) == {"played"}


def answer_headers(answer: Answer) -> list[tuple[str, str]]:
    return [(name, value) for name, values in answer.headers.items() for value in values]


def test_vcrpy_and_openai_replay_can_add_to_one_cassette(tmp_path: Path) -> None:
    """vcrpy records, we add to it, vcrpy plays all of it and adds again, we play all of it."""
    cassette_path = tmp_path / "tape.yaml"
    paths = ["/v1/one", "/v1/two", "/v1/three"]

    async def ours(upstream: str, path: str) -> Heard:
        async with recording(upstream, cassette_path) as proxy:
            return await proxy.ask("GET", path)

    async def all_of_it() -> list[bytes]:
        async with playing(cassette_path) as player:
            return [(await player.ask("GET", path)).body for path in paths]

    with running_upstream() as up:
        for path in paths:
            up.script("GET", path, plain(f"🌍 {path}\n".encode(), headers=[("content-type", "text/plain")]))
        questions = [Question([], None, path, "GET") for path in paths]
        with vcr.use_cassette(str(cassette_path)):
            by_urllib(up.origin, questions[0])
        assert cassette_path.read_text("utf-8").endswith("version: 1\n")
        asyncio.run(ours(up.url, paths[1]))
        with vcr.use_cassette(str(cassette_path), record_mode="new_episodes"):
            bodies = [by_urllib(up.origin, question).body for question in questions]
        assert len(up.requests) == 3
        assert asyncio.run(all_of_it()) == bodies == [f"🌍 {path}\n".encode() for path in paths]


def test_vcrpy_loses_the_times_of_chunks(tmp_path: Path) -> None:
    """Times of chunks are the reason for the proxy: vcrpy joins a stream before the client sees its first byte."""
    steps = sse(*[Chunk(b"data: x\n\n")] * 3, interval=0.1)
    cassette_path = tmp_path / "tape.yaml"
    with running_upstream() as up:
        up.script("POST", CHAT, steps)
        with vcr.use_cassette(str(cassette_path)):
            by_urllib(up.origin, Question([], {}))

    async def played() -> Heard:
        async with playing(cassette_path) as player:
            return await player.ask("POST", CHAT, {})

    assert asyncio.run(played()).cuts == [b"data: x\n\n" * 3]
