"""Positions in a real Redis: several servers play one tape as one would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from openai_replay.cassette.cassette import Cassette
from openai_replay.config.rules import Rules
from openai_replay.errors import StartError, StateError
from openai_replay.server.cluster.redis import RedisPositionStore
from tests.cassette.test_positions import A, holds_the_rules
from tests.server.cluster.test_workers import EACH, many, numbered, said
from tests.support import redisserver
from tests.support.proxy import CHAT, Process, cassette, command, invoke, item, run

real = pytest.mark.skipif(redisserver.PROGRAM is None, reason="there is no redis-server here")
PASSWORD = "not-a-real-password"


@pytest.fixture
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redisserver.Server]:
    server = redisserver.Server(tmp_path_factory.mktemp("redis"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
async def store(redis: redisserver.Server) -> AsyncIterator[RedisPositionStore]:
    async with AsyncExitStack() as stack:
        store = RedisPositionStore(f"{redis.url}?run=one")
        await stack.enter_async_context(store)
        yield store


def tape_of(path: Path) -> Cassette:
    return Cassette.for_play([path], Rules().key)


async def all_of(processes: list[Process], count: int) -> list[int]:
    heard = await asyncio.gather(*(many(process, count) for process in processes))
    return said(process for group in heard for process in group)


@real
async def test_stored_positions_hold_the_rules(store: RedisPositionStore, tmp_path: Path) -> None:
    await holds_the_rules(store.positions_for("", tape_of(numbered(tmp_path / "tape.yaml", 3)), "told"))


@real
async def test_who_shares_positions(store: RedisPositionStore, redis: redisserver.Server, tmp_path: Path) -> None:
    tape, other_tape = (tape_of(numbered(tmp_path / f"{count}.yaml", count)) for count in (3, 4))
    copy = tape_of(numbered(tmp_path / "copy.yaml", 3))
    first = store.positions_for("", tape, "told")
    assert await first.claim(A, None) == 0
    assert await store.positions_for("", copy, "told").claim(A, None) == 1, "the same tape under another name"
    assert await store.positions_for("", other_tape, "told").claim(A, None) == 0, "another tape"
    assert await store.positions_for("", tape, "matched otherwise").claim(A, None) == 0
    assert await store.positions_for("name", tape, "told").claim(A, None) == 0, "another session"
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(second_run := RedisPositionStore(f"{redis.url}?run=two"))
        assert await second_run.positions_for("", tape, "told").claim(A, None) == 0, "another run"
    later = store.positions_for("", copy, "told")
    await later.rewind()
    assert await first.claim(A, None) == 0, "a rewind is everybody's"
    assert await store._redis.ttl((await store._redis.keys("openai-replay:one:*"))[0]) > 3600


@real
async def test_what_the_store_has_lost_is_not_taken_for_a_beginning(store: RedisPositionStore, tmp_path: Path) -> None:
    tape = tape_of(numbered(tmp_path / "tape.yaml", 3))
    first, second = store.positions_for("", tape, "told"), store.positions_for("", tape, "told")
    assert [await first.claim(A, None), await second.claim(A, None)] == [0, 1]
    await store._redis.flushall()
    with pytest.raises(StateError) as lost:
        await first.claim(A, None)
    assert lost.value.code == "state_lost"
    assert await store.positions_for("", tape, "told").claim(A, None) == 0, "who begins now knows nothing of it"
    with pytest.raises(StateError):
        await first.claim(A, None)
    await second.rewind()
    assert [await first.claim(A, None), await second.claim(A, None)] == [0, 1]


@real
async def test_two_servers_play_every_recording_once(redis: redisserver.Server, tmp_path: Path) -> None:
    tape = numbered(tmp_path / "tape.yaml")
    options = ("--state", redis.url, "--on-exhausted", "error", "--strict")
    async with command("play", tape, *options) as first, command("play", tape, "--workers", "2", *options) as second:
        assert await all_of([first, second], EACH // 2) == list(range(EACH))
        assert (await first.ask("POST", "/@/rewind")).status == 200
        assert (await first.ask("GET", "/@/journal")).status == 409
        assert await all_of([first, second], EACH // 2) == list(range(EACH))
        for process in (first, second):
            assert await process.stop() == 0, process.stderr[-1000:]
            assert f"{EACH} played" in process.stderr


@real
async def test_a_store_that_is_gone_and_comes_back(redis: redisserver.Server, tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", *(item(f'{{"said": {number}}}') for number in range(3)))
    async with command("play", tape, "--state", redis.url, "--on-exhausted", "error", "--strict") as process:
        assert (await process.ask("POST", CHAT, "hello")).json == {"said": 0}
        redis.stop()
        for _ in range(2):
            refused = await process.ask("POST", CHAT, "hello")
            assert (refused.status, refused.json["error"]["code"]) == (503, "state_unreachable")
            assert refused.header("x-should-retry") == "false"
            assert refused.json["error"]["message"].startswith(f"The position store {redis.url} cannot be reached.")
        assert (await process.ask("POST", "/@/rewind")).status == 503
        assert (await process.ask("GET", "/@/health")).status == 200
        redis.start()
        assert [(await process.ask("POST", CHAT, "hello")).json["said"] for _ in range(2)] == [1, 2]
        redis.stop()
        assert await process.stop() == 1
        assert "Error: The position store" in process.stderr, "what was not played cannot be known"


@real
async def test_no_password_is_said(tmp_path: Path) -> None:
    server = redisserver.Server(tmp_path, "--requirepass", PASSWORD)
    server.start()
    try:
        tape = numbered(tmp_path / "tape.yaml", 1)
        url = server.url.replace("redis://", f"redis://:{PASSWORD}@")
        async with command("play", tape, env={"OPENAI_REPLAY_STATE": url}) as process:
            assert (await process.ask("POST", CHAT, "hello")).status == 200
            server.stop()
            assert PASSWORD.encode() not in (await process.ask("POST", CHAT, "hello")).body
            assert PASSWORD not in process.stderr
        server.start()
        result = await run("play", tape, "--port", "0", "--state", url.replace(PASSWORD, "wrong-" + PASSWORD))
        assert result.code == 3
        assert f"Error: The position store {server.url} refuses the password." in result.stderr
        assert PASSWORD not in result.stderr
    finally:
        server.stop()


async def test_a_store_that_is_not_there_at_the_start(tmp_path: Path) -> None:
    tape = numbered(tmp_path / "tape.yaml", 1)
    for workers in ("1", "2"):
        result = await run("play", tape, "--port", "0", "--state", "redis://127.0.0.1:9/0", "--workers", workers)
        assert result.code == 3
        assert result.stderr.count("Error: The position store redis://127.0.0.1:9/0") == 1


async def test_a_client_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "redis.asyncio", None)
    with pytest.raises(StartError) as missing:
        await RedisPositionStore("redis://127.0.0.1:9/0").__aenter__()
    assert missing.value.hint == "Run pip install 'openai-replay[redis]'."


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "http://127.0.0.1:6379/0",
        "redis://",
        f"redis://:{PASSWORD}@127.0.0.1:port/0",
        f"redis://:{PASSWORD}@127.0.0.1/zero",
        f"redis://:{PASSWORD}@127.0.0.1/0?run=a%20b",
        f"redis://:{PASSWORD}@127.0.0.1/0?database=1",
        f"redis://:{PASSWORD}@127.0.0.1/0?run",
        f"redis://:{PASSWORD}@127.0.0.1/0#1",
    ],
)
def test_urls_that_make_no_sense(tmp_path: Path, url: str) -> None:
    result = invoke("play", numbered(tmp_path / "tape.yaml", 1), "--state", url)
    assert result.code == 2
    assert "--state" in result.stderr
    assert PASSWORD not in result.stderr
