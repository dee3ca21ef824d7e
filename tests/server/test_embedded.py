"""`openai_replay.play` and `openai_replay.record` in a program: sync, async, threads, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

import openai_replay
from openai_replay.cassette.cassette import Cassette
from openai_replay.errors import CassetteError, StartError, UsageError
from tests.support.proxy import interactions
from tests.support.upstream import Upstream, running_upstream


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as server:
        yield server


@pytest.fixture(scope="module")
def tape(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cassette with an answer to "one" and one to "two"."""
    path = tmp_path_factory.mktemp("tapes") / "chat.yaml"
    with openai_replay.record(path, upstream.url) as recording:
        for text in ("one", "two"):
            ask(recording, text)
    return path


def messages(text: str) -> Any:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}


def ask(tape: openai_replay.Session, text: str) -> str:
    with OpenAI(base_url=tape.base_url, api_key="sk-test") as client:
        return client.chat.completions.create(**messages(text)).choices[0].message.content or ""


async def stream(tape: openai_replay.Session, text: str) -> str:
    async with AsyncOpenAI(base_url=tape.base_url, api_key="sk-test") as client:
        chunks = await client.chat.completions.create(**messages(text), stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])


def outcomes(tape: openai_replay.Session) -> list[str]:
    return [str(exchange.outcome) for exchange in tape.journal]


def test_record_then_play(tmp_path: Path, upstream: Upstream) -> None:
    path = tmp_path / "new" / "chat.yaml"
    with openai_replay.record(path, upstream.url) as tape:
        live = ask(tape, "hi")
        assert outcomes(tape) == ["recorded"]
    before = len(upstream.requests)
    with openai_replay.play(path) as tape:
        assert (tape.cassette, tape.mode) == (path, "none")
        assert tape.unplayed == ["#1 POST /v1/chat/completions"]
        assert ask(tape, "hi") == live
        assert outcomes(tape) == ["played"]
        assert tape.misses == tape.unplayed == []
    assert outcomes(tape) == ["played"]  # afterwards, too
    assert len(upstream.requests) == before


async def test_async_with(tmp_path: Path, upstream: Upstream) -> None:
    async with openai_replay.record(tmp_path / "chat.yaml", upstream.url) as tape:
        live = await stream(tape, "hi")
    async with openai_replay.play(tmp_path / "chat.yaml") as tape:
        assert await stream(tape, "hi") == live


async def test_async_code_inside_a_sync_with(tape: Path) -> None:
    with openai_replay.play(tape, ignore=["/stream"]) as playing:
        assert "one" in await asyncio.to_thread(ask, playing, "one")


def test_a_miss(tape: Path) -> None:
    with openai_replay.play(tape) as playing:
        with pytest.raises(openai.APIStatusError, match="No recording matches") as caught:
            ask(playing, "three")
        [explained] = playing.misses
        assert explained in caught.value.message
        assert (
            f'To record it, run:  openai_replay.record("{tape}")\nTo ignore it, set:  ignore=["/messages/0/content"]'
            in explained
        )
        assert outcomes(playing) == ["missed"]


def test_used_up_is_a_miss_until_rewind(tape: Path) -> None:
    with openai_replay.play(tape) as playing:
        ask(playing, "one")
        with pytest.raises(openai.APIStatusError, match='To play it again, set:  on_exhausted="repeat"'):
            ask(playing, "one")
        playing.rewind()
        ask(playing, "one")
        assert playing.unplayed == ["#2 POST /v1/chat/completions"]


def test_what_was_recorded_is_played_after_rewind(tmp_path: Path, upstream: Upstream) -> None:
    with openai_replay.record(tmp_path / "chat.yaml", upstream.url) as recording:
        client = OpenAI(base_url=recording.base_url, api_key="sk-test")
        ids = [client.chat.completions.create(**messages("hi")).id for _ in range(2)]
        recording.rewind()
        assert ids == [client.chat.completions.create(**messages("hi")).id for _ in range(2)]
        client.close()
        assert outcomes(recording) == ["recorded", "recorded", "played", "played"]


def test_an_exception_inside_loses_nothing(tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []

    def slow_disk(cassette: Cassette) -> None:
        time.sleep(0.2)
        synced.append(cassette.path)

    monkeypatch.setattr(Cassette, "sync", slow_disk)
    path = tmp_path / "chat.yaml"
    with (
        suppress(ZeroDivisionError),
        openai_replay.record(path, upstream.url) as recording,
        OpenAI(base_url=recording.base_url, api_key="sk-test") as client,
    ):
        for _ in client.chat.completions.create(**{**messages("hi"), "model": "long"}, stream=True):
            raise ZeroDivisionError
    [interaction] = interactions(path)
    assert interaction.response.body.endswith(b"data: [DONE]\n\n")
    assert synced == [path]  # the power may go


def test_several_cassettes_are_one_tape(tape: Path) -> None:
    with openai_replay.play(tape, tape.parent, on_exhausted="repeat") as playing:
        assert "one" in ask(playing, "one")
        assert "two" in ask(playing, "two")
        assert len(playing.unplayed) == 2


def test_two_tapes_at_once(tape: Path, tmp_path: Path) -> None:
    with openai_replay.play(tape) as first, openai_replay.play(tape) as second:
        assert first.base_url != second.base_url
        ask(first, "one")
        assert (outcomes(first), outcomes(second)) == (["played"], [])
        ask(second, "one")
        assert len(first.unplayed) == len(second.unplayed) == 1


def test_threads(tmp_path: Path, upstream: Upstream) -> None:
    texts = [f"text {number}" for number in range(12)]
    with openai_replay.record(tmp_path / "chat.yaml", upstream.url) as recording, ThreadPoolExecutor(6) as pool:
        live = list(pool.map(lambda text: ask(recording, text), texts))
    with openai_replay.play(tmp_path / "chat.yaml") as playing, ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda text: ask(playing, text), reversed(texts))) == live[::-1]
        assert outcomes(playing) == ["played"] * 12


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: openai_replay.play("no.yaml"), CassetteError, "no.yaml: does not exist"),
        (lambda: openai_replay.play(), UsageError, "`play` needs a cassette"),
        (lambda: openai_replay.play("a", pace="fast"), UsageError, "'fast' is not a pace"),
        (lambda: openai_replay.play("a", ignore="/a"), UsageError, "ignore: '/a' is not a list of strings"),
        (lambda: openai_replay.play("a", on_exhausted="stop"), UsageError, "on_exhausted: 'stop' is not a choice"),
        (lambda: openai_replay.play("a", mode="all"), UsageError, '`play` always has mode="none"'),  # type: ignore[call-arg]
        (
            lambda: openai_replay.play("a", retry_after=-1),
            UsageError,
            "retry_after: -1 is neither `keep` nor a number of seconds",
        ),
        (lambda: openai_replay.record("a", mode="rewind"), UsageError, "mode: 'rewind' is not a choice"),
        (lambda: openai_replay.record("a", upstream="localhost"), UsageError, "'localhost' is not the URL"),
        (lambda: openai_replay.record(Path(__file__, "a.yaml")), StartError, "Could not write .*a.yaml: "),
    ],
)
def test_bad_input(make: Callable[[], openai_replay.Session], error: type[Exception], text: str) -> None:
    threads = threading.active_count()
    with pytest.raises(error, match=text.replace("(", r"\(")), make():
        pass
    assert threading.active_count() == threads


def test_a_tape_that_is_not_running_says_so(tape: Path) -> None:
    stopped = openai_replay.play(tape)
    for use in (lambda: stopped.journal, lambda: stopped.rewind(), lambda: stopped.__exit__(None, None, None)):
        with pytest.raises(RuntimeError, match="Use it in a `with` block"):
            use()
    with stopped, pytest.raises(RuntimeError, match="already running"):
        stopped.__enter__()
    with stopped:  # once more, rewound
        assert "one" in ask(stopped, "one")


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts what /proc lists")
def test_nothing_is_left_behind(tape: Path, tmp_path: Path, upstream: Upstream) -> None:
    async def in_a_loop() -> None:
        async with openai_replay.play(tape) as playing:
            await asyncio.to_thread(ask, playing, "one")

    def everything(number: int) -> str:
        with openai_replay.play(tape) as playing:
            ask(playing, "one")
        with openai_replay.record(tmp_path / f"{number}.yaml", upstream.url) as recording:
            ask(recording, "one")
        with pytest.raises(CassetteError), openai_replay.play(tmp_path / "no.yaml"):
            pass
        asyncio.run(in_a_loop())
        return recording.base_url

    everything(0)  # what is opened once and for all
    before = threading.active_count(), open_files()
    base_url = [everything(number) for number in (1, 2, 3)][-1]
    assert (threading.active_count(), open_files()) == before
    host, port = base_url.split("/")[2].split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


def test_the_package_costs_nothing_until_it_is_used() -> None:
    """The command line and the plugin import little at the start."""
    code = "import sys, openai_replay; print([name for name in sys.modules if name in ('aiohttp', 'asyncio', 'yaml')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
