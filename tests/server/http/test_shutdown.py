"""A server that stops finishes its responses, and waits for nothing else."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from signal import SIGTERM

import pytest

from openai_replay.config.rules import Rules
from openai_replay.playback.pace import parse_pace
from openai_replay.server.serve import ServerConfig, serving
from tests.server.http.raw_requests import MIB, RECORDING, STREAM, limited, request
from tests.support.proxy import (
    OPENAI_REPLAY,
    PATIENCE_S,
    WITHOUT_UVLOOP,
    Connection,
    Ended,
    Proxy,
    cassette,
    command,
    item,
    playing,
)


async def test_shutdown_does_not_wait_for_idle_connections(tmp_path: Path) -> None:
    """Nor for those that arrive at that moment. Running responses would have a minute."""
    tape = cassette(tmp_path / "tape.yaml", RECORDING)
    for _ in range(3):
        async with command("play", tape) as process:
            address = ("127.0.0.1", int(process.origin.rpartition(":")[2]))
            with ExitStack() as stack:
                for _ in range(100):  # the system accepts them at once, the server later
                    stack.enter_context(socket.create_connection(address))
                process.signal(SIGTERM)
                assert await process.ended() == 0


async def test_shutdown_does_not_wait_for_the_rest_of_an_answered_request(tmp_path: Path) -> None:
    async with asyncio.timeout(PATIENCE_S), AsyncExitStack() as stack:
        async with limited(tmp_path, body=10, linger_s=2 * PATIENCE_S) as proxy:
            client = await stack.enter_async_context(Connection(proxy.origin))
            client.write(request(headers=b"Content-Length: 11\r\n"), "POST")
            assert (await client.rest()).status == 413
        assert await client.closed() in (Ended.EARLY, Ended.RESET)


@pytest.mark.parametrize("program", [OPENAI_REPLAY, WITHOUT_UVLOOP], ids=["uvloop", "asyncio"])
async def test_a_slow_reader_gets_its_whole_response_during_shutdown(tmp_path: Path, program: tuple[str, ...]) -> None:
    """All of it has been written, but the process still has most of it."""
    tape = cassette(tmp_path / "tape.yaml", item("x" * (4 * MIB), headers=(("content-type", "text/plain"),)))
    async with command("play", tape, program=program) as process, Connection(process.origin, 4096) as client:
        client.write(request(), "POST")
        await client.head()
        client.transport.pause_reading()
        process.signal(SIGTERM)
        await asyncio.sleep(0.2)
        client.transport.resume_reading()
        heard = await client.rest()
        assert (len(heard.body), heard.ended) == (4 * MIB, Ended.COMPLETE)
        assert await process.ended() == 0


async def test_a_client_that_does_not_read_is_cut_off_at_the_end_of_the_shutdown(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", item("x" * (4 * MIB), headers=(("content-type", "text/plain"),)))
    async with AsyncExitStack() as stack:
        async with serving(ServerConfig(Rules(), (tape,), port=0, quiet=True, shutdown_s=0.0)) as (base_url, _):
            client = await stack.enter_async_context(Connection(base_url, 4096))
            client.write(request(), "POST")
            await client.head()
            client.transport.pause_reading()
            asyncio.get_running_loop().call_later(0.1, client.transport.resume_reading)
        heard = await client.rest()
        assert len(heard.body) < 4 * MIB
        assert heard.ended in (Ended.EARLY, Ended.RESET)


async def test_a_stream_that_its_client_left_is_in_the_journal_after_shutdown(tmp_path: Path) -> None:
    """A reader of the journal would think that the recording is unused."""
    async with playing(cassette(tmp_path / "tape.yaml", STREAM), pace=parse_pace("original")) as player:
        async with Connection(player.origin) as client:
            client.write(request(), "POST")
            await client.head()
        await player.ask("GET", "/@/health")
    assert player.outcomes == ["played"]


async def test_a_stream_that_does_not_end_in_time_is_cut_off_and_in_the_journal(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", STREAM)
    rules = Rules(pace=parse_pace("original"))
    async with AsyncExitStack() as stack:
        async with serving(ServerConfig(rules, (tape,), port=0, quiet=True, shutdown_s=0.0)) as (base_url, sessions):
            assert sessions.default is not None
            client = await stack.enter_async_context(Connection(base_url))
            client.write(request(), "POST")
            await client.head()
        assert Proxy(base_url, sessions.default.engine).outcomes == ["played"]
        assert (await client.rest()).ended in (Ended.EARLY, Ended.RESET)
