"""When a request came, though the loop that reads it was busy."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from openai_replay.model import Request
from openai_replay.playback.pace import INSTANT, ORIGINAL, Pace
from openai_replay.proxy.client import ResponseSink
from openai_replay.server.http.kernel_timestamps import Arrivals, note
from tests.support.proxy import CHAT, Connection, cassette, item, playing

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux knows")


def waited_s(transport: asyncio.BaseTransport) -> float:
    return Arrivals().waited_s(transport)


def work(seconds: float) -> None:
    """What the loop has to wait for."""
    time.sleep(seconds)


class Transport(asyncio.Transport):
    def __init__(self, connection: socket.socket | None) -> None:
        super().__init__({"socket": connection})


@pytest.mark.parametrize("size", [1, 50_000])
def test_what_waits_is_noted_and_stays(size: int) -> None:
    """Large pieces are not put together by the system; the last one decides all the same."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        note(server)
        with socket.create_connection(server.getsockname()) as client, server.accept()[0] as accepted:
            assert waited_s(Transport(accepted)) == 0.0, "nothing is there"
            client.sendall(b"G" * size)
            time.sleep(0.05)
            before = time.monotonic()
            client.sendall(b"/" * size)
            sent = time.monotonic()
            time.sleep(0.05)
            waited, now = waited_s(Transport(accepted)), time.monotonic()
            assert before - 0.001 <= now - waited <= sent + 0.001, "it is there when its last byte is"
            assert accepted.recv(1) == b"G"
            accepted.setblocking(False)
            with suppress(BlockingIOError):
                while accepted.recv(1 << 20):
                    pass
            assert waited_s(Transport(accepted)) == 0.0
            client.close()
            assert waited_s(Transport(accepted)) == 0.0
        assert waited_s(Transport(accepted)) == 0.0, "it is closed"
        assert waited_s(Transport(None)) == 0.0


def test_where_nobody_notes_it_nothing_has_waited() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        client.sendall(b"GET")
        with server.accept()[0] as accepted:
            assert accepted.recv(1) == b"G"
            assert waited_s(Transport(accepted)) == 0.0


@pytest.mark.parametrize("put_s", [-3600.0, 3600.0])
def test_a_clock_that_is_put_is_not_taken_for_waiting(monkeypatch: pytest.MonkeyPatch, put_s: float) -> None:
    real = time.time
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        note(server)
        with server.accept()[0] as accepted:
            note(accepted)
            client.sendall(b"GET")
            time.sleep(0.01)
            monkeypatch.setattr(time, "time", lambda: real() + put_s)
            assert waited_s(Transport(accepted)) == 0.0


async def test_a_reset_is_no_mistake() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        with server.accept()[0] as accepted:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            assert waited_s(Transport(accepted)) == 0.0


@pytest.mark.parametrize("size", [0, 100_000])
@pytest.mark.parametrize("is_new", [True, False])
async def test_a_busy_loop_does_not_put_a_request_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_new: bool, size: int
) -> None:
    """It counts from when it came, a fifth of a second before it is read."""
    starts: list[float] = []
    async with playing(cassette(tmp_path / "tape.yaml", item("hello")), pace=ORIGINAL) as player:
        answer = player.engine.answer

        async def noted(request: Request, client: ResponseSink, start: float | None = None) -> None:
            assert start is not None
            starts.append(start)
            await answer(request, client, start)

        monkeypatch.setattr(player.engine, "answer", noted)
        async with Connection(player.origin) as client:
            if not is_new:
                await client.ask("POST", CHAT, "hello")
            before = time.monotonic()
            client.send("POST", CHAT, "x" * size)
            sent = time.monotonic()
            work(0.2)
            await client.rest()
    assert before - 0.001 <= starts[-1] <= sent + 0.05


@pytest.mark.parametrize("pace", [INSTANT, ORIGINAL])
async def test_nobody_asks_where_nothing_is_played_by_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pace: Pace
) -> None:
    asked: list[object] = []

    def noted(*of: object) -> float:
        asked.append(of)
        return 0.0

    monkeypatch.setattr(Arrivals, "waited_s", noted)
    async with playing(cassette(tmp_path / "tape.yaml", item("hello")), pace=pace) as player:
        assert (await player.ask("POST", CHAT, "hello")).status == 200
    assert bool(asked) is (pace != INSTANT)
