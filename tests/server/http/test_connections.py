"""Clients that leave, that read slowly, that send nothing, and very many of them. The server goes on."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from openai_replay.server.http.connection_registry import max_connections
from tests.server.http.raw_requests import MIB, RECORDING, RESPONSE, assert_still_serving, limited, request
from tests.support.proxy import (
    CHAT,
    OPENAI_REPLAY,
    PATIENCE_S,
    Connection,
    Ended,
    Over,
    Proxy,
    cassette,
    command,
    interactions,
    recording,
)
from tests.support.upstream import Upstream, plain, sse

SOAK = bool(os.environ.get("OPENAI_REPLAY_SOAK"))


@pytest.mark.parametrize("cut", range(1, len(request()), 9))
async def test_a_client_that_leaves_within_its_request_leaves_no_trace(tmp_path: Path, cut: int) -> None:
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml") as proxy:
        async with Connection(proxy.origin) as client:
            client.write(request()[:cut], "POST")
            await proxy.ask("GET", "/@/health")
        await proxy.ask("GET", "/@/health")
        assert (up.requests, proxy.journal) == ([], [])


async def test_a_client_may_leave_at_any_byte_of_the_response(tmp_path: Path) -> None:
    """Each response is recorded whole, and no task of the client stays behind."""
    events = [b"data: %d\n\n" % number for number in range(4)]
    tape = tmp_path / "tape.yaml"
    async with Upstream() as up, recording(up.url, tape) as proxy:
        up.script("POST", CHAT, sse(*events, interval=0.002, ttft=0.0))
        size = len(await read_and_leave(proxy, 0, b"first")) - len(b"Connection: close\r\n")
        before = len(asyncio.all_tasks())
        cuts = range(1, size, 7)
        for cut in cuts:
            await read_and_leave(proxy, cut, b"%d" % cut)
        async with asyncio.timeout(PATIENCE_S):
            while len(proxy.journal) < len(cuts) + 1 or len(asyncio.all_tasks()) > before + up.connections:
                await asyncio.sleep(0.01)
    recorded = interactions(tape)
    assert len(recorded) == len(cuts) + 1
    assert {interaction.response.body for interaction in recorded} == {b"".join(events)}


async def read_and_leave(proxy: Proxy, size: int, body: bytes) -> bytes:
    """Send a request, read `size` bytes of the response (0: all of them) and leave. Return the bytes."""
    async with Connection(proxy.origin) as client:
        client.write(request(headers=b"" if size else b"Connection: close\r\n", body=body), "POST")
        with suppress(Over):
            await client.until(size or sys.maxsize)
        return client.unread


async def test_slow_readers_cost_no_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A response of 8 MB is not in memory once for each of twenty clients that read nothing of it."""
    body = b"x" * (8 * MIB)
    tape = tmp_path / "tape.yaml"
    async with Upstream() as up, recording(up.url, tape) as proxy:
        up.script("POST", CHAT, plain(body, headers=[("content-type", "text/plain")]))
        await proxy.ask("POST", CHAT, "hello")
    async with command("play", tape) as process, AsyncExitStack() as stack:
        assert (await process.ask("POST", CHAT, "hello")).body == body
        before = process.peak_bytes
        clients = [await stack.enter_async_context(Connection(process.origin, 4096)) for _ in range(20)]
        for client in clients:
            client.send("POST", CHAT, "hello")
            client.transport.pause_reading()
        while (await process.ask("GET", "/@/journal")).json["played"] < 1:
            await asyncio.sleep(0.01)
        assert (await process.ask("POST", CHAT, "hello")).body == body, "the server answers other clients"
        growth = process.peak_bytes - before
        with capsys.disabled():
            print(f" [20 readers of {len(body) // MIB} MB that do not read: {growth / MIB:.0f} MB more]", end="")
        assert growth < 10 * len(body)
        clients[0].transport.resume_reading()
        assert (await clients[0].rest()).body == body


async def test_recorded_times_are_those_of_the_upstream_and_not_of_a_slow_reader(tmp_path: Path) -> None:
    """The client reads nothing until the upstream has sent all of it."""
    tape = tmp_path / "tape.yaml"
    frames = [b"x" * 200_000] * 30
    async with Upstream() as up, recording(up.url, tape) as proxy:
        up.script("POST", CHAT, sse(*frames, interval=0.01, ttft=0.01))
        async with Connection(proxy.origin, 4096) as client:
            client.send("POST", CHAT, {})
            client.transport.pause_reading()
            async with asyncio.timeout(PATIENCE_S):
                while len(up.sent) < len(frames) + 2:
                    await asyncio.sleep(0.01)
            sent_at = asyncio.get_running_loop().time()
            await asyncio.sleep(2)
            client.transport.resume_reading()
            heard = await client.rest()
        assert heard.body == b"".join(frames)
        response = interactions(tape)[0].response
        sent_ms = (up.sent[-1].at - up.requests[0].at) * 1000
        assert response.end_ms < sent_ms + 1600, "the two seconds without a reader are not recorded"
        assert asyncio.get_running_loop().time() - sent_at >= 2


async def test_idle_connections_do_not_keep_others_out(tmp_path: Path) -> None:
    """More of them than the process may have files: the oldest are closed. In full size, 10,000."""
    count, files = (10_000, 0) if SOAK else (600, 400)
    if SOAK:
        _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
        if hard_limit < count + 1000:
            pytest.skip(f"this system allows {hard_limit} files")
    limit = ("bash", "-c", f'ulimit -n {files} && exec "$@"', "bash") if files else ()
    tape = cassette(tmp_path / "tape.yaml", RECORDING)
    async with command("play", tape, program=(*limit, *OPENAI_REPLAY)) as process, AsyncExitStack() as stack:
        assert (await process.ask("POST", CHAT, "hello")).json == RESPONSE
        before = process.peak_bytes
        clients = []
        for number in range(count):
            clients.append(await stack.enter_async_context(Connection(process.origin)))
            if number % 100 == 0:
                assert (await process.ask("POST", CHAT, "hello")).json == RESPONSE, f"beside {number} idle ones"
        assert (await process.ask("POST", CHAT, "hello")).json == RESPONSE
        if files:
            await clients[0].closed()
            clients[-1].send("POST", CHAT, "hello")
            assert (await clients[-1].rest()).json == RESPONSE, "the newest is still there"
        assert (process.peak_bytes - before) / count < 64 << 10
        assert "Traceback" not in process.stderr
        assert await process.stop() == 0


async def test_a_busy_connection_is_not_closed_for_idle_ones(tmp_path: Path) -> None:
    tape = tmp_path / "tape.yaml"
    async with Upstream() as up, AsyncExitStack() as stack:
        events = [b"data: %d\n\n" % number for number in range(20)]
        up.script("POST", CHAT, sse(*events, interval=0.05))
        program = ("bash", "-c", 'ulimit -n 100 && exec "$@"', "bash", *OPENAI_REPLAY)
        process = await stack.enter_async_context(command("record", tape, "--upstream", up.url, program=program))
        busy = await stack.enter_async_context(Connection(process.origin))
        busy.send("POST", CHAT, {})
        await busy.head()
        for _ in range(150):
            await stack.enter_async_context(Connection(process.origin))
        heard = await busy.rest()
        assert (heard.body, heard.ended) == (b"".join(events), Ended.COMPLETE)


def test_half_of_the_files_are_for_connections() -> None:
    assert max_connections(1000) == 500
    assert max_connections(10) == 16
    assert max_connections(resource.RLIM_INFINITY) > 1 << 30


@pytest.mark.parametrize("sent", [b"", request()[:20], request()], ids=["nothing", "half a head", "a request"])
async def test_a_connection_that_is_idle_for_too_long_is_closed(tmp_path: Path, sent: bytes) -> None:
    async with limited(tmp_path, idle_s=0.2) as player, Connection(player.origin) as client:
        client.write(sent, "POST")
        if sent == request():
            assert (await client.rest()).json == RESPONSE
        assert await client.closed() is Ended.EARLY
        await assert_still_serving(player)


async def test_a_body_that_does_not_arrive_is_a_408(tmp_path: Path) -> None:
    async with limited(tmp_path, idle_s=0.2, linger_s=0.1) as player, Connection(player.origin) as client:
        client.write(request()[:-1], "POST")
        heard = await client.rest()
        assert (heard.status, heard.header("connection")) == (408, "close")
        assert await client.closed() is Ended.EARLY
        await assert_still_serving(player)
