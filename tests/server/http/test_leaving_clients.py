"""Clients that leave are noticed at once, also while nothing is sent. Clients that half close get their response."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from signal import SIGINT, SIGTERM

import pytest

from openai_replay.playback.pace import parse_pace
from tests.support.proxy import CHAT, PATIENCE_S, Connection, Ended, cassette, command, item, playing, recording
from tests.support.upstream import Hold, Step, Upstream, plain, sse

EVENT = b"data: 1\n\n"
DONE = b"data: [DONE]\n\n"


def silent(gate: asyncio.Event, location: str) -> list[Step]:
    """Return a response that is silent `where` until `gate` opens."""
    if location == "before the head":
        return [Hold(gate), *plain(b'{"a": 1}')]
    return [*sse(EVENT)[:-1], Hold(gate), *sse(DONE)[2:]]


WHERE = ["before the head", "between events"]


async def asked(up: Upstream, client: Connection, location: str) -> None:
    """Send a request, and wait until its response is silent."""
    client.send("POST", CHAT, "hello")
    async with asyncio.timeout(PATIENCE_S):
        while not up.requests:
            await asyncio.sleep(0.01)
    if location == "between events":
        await client.head()
        assert await client.piece() == EVENT


@pytest.mark.parametrize("location", WHERE)
async def test_a_client_that_half_closes_gets_its_response(tmp_path: Path, location: str) -> None:
    gate = asyncio.Event()
    async with Upstream() as up, recording(up.url, tmp_path / "chat.yaml") as proxy, Connection(proxy.origin) as client:
        up.script("POST", CHAT, silent(gate, location))
        await asked(up, client, location)
        client.transport.write_eof()
        await asyncio.sleep(0.5)  # it is checked several times
        gate.set()
        heard = await client.rest()
        assert heard.ended is Ended.COMPLETE
        assert proxy.outcomes == ["recorded"]


@pytest.mark.parametrize("location", WHERE)
async def test_the_drain_timeout_starts_when_the_client_leaves(tmp_path: Path, location: str) -> None:
    gate = asyncio.Event()
    cassette_path = tmp_path / "chat.yaml"
    async with Upstream() as up, recording(up.url, cassette_path, drain_timeout_s=0.3) as proxy:
        up.script("POST", CHAT, silent(gate, location))
        async with Connection(proxy.origin) as client:
            await asked(up, client, location)
        start = time.monotonic()
        async with asyncio.timeout(PATIENCE_S):
            while not proxy.journal:
                await asyncio.sleep(0.01)
        assert 0.25 < time.monotonic() - start < 2
        assert proxy.outcomes == ["lost"]
        assert "the client left" in proxy.journal[0].error
        gate.set()


async def test_a_forwarded_response_is_dropped_when_the_client_leaves(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with Upstream() as up:
        up.script("POST", CHAT, silent(gate, "between events"))
        async with command("record", tmp_path / "chat.yaml", "--upstream", up.url, "--mode", "off") as process:
            async with Connection(process.origin) as client:
                await asked(up, client, "between events")
            await asyncio.sleep(0.1)
            start = time.monotonic()
            assert await process.stop() == 0
            assert time.monotonic() - start < 3
        gate.set()


def paced(path: Path) -> Path:
    """Return a cassette with a response that takes a minute."""
    return stream(path, 60_000)


def stream(path: Path, second_ms: int) -> Path:
    """Return a cassette with two events, the second `second_ms` after the first."""
    text = item("BODY", headers=(("content-type", "text/event-stream"),))
    text = text.replace("'BODY'", json.dumps(2 * EVENT.decode()))
    wire = f"head: 0\n      frames: 0+9 {second_ms}+9\n      end: {second_ms} complete\n"
    return cassette(path, f"{text}    wire:\n      {wire}")


async def test_paced_play_stops_when_the_client_leaves(tmp_path: Path) -> None:
    async with playing(paced(tmp_path / "chat.yaml"), pace=parse_pace("original")) as proxy:
        async with Connection(proxy.origin) as client:
            client.send("POST", CHAT, "hello")
            await client.head()
            await client.piece()
        async with asyncio.timeout(2):
            while not proxy.journal:
                await asyncio.sleep(0.01)
        assert proxy.outcomes == ["played"]


async def test_a_player_stops_at_once_after_its_clients_have_left(tmp_path: Path) -> None:
    async with command("play", paced(tmp_path / "chat.yaml"), "--pace", "original") as process:
        async with Connection(process.origin) as client:
            client.send("POST", CHAT, "hello")
            await client.head()
            await client.piece()
        start = time.monotonic()
        assert await process.stop() == 0
        assert time.monotonic() - start < 3


async def test_paced_play_goes_on_for_a_client_that_half_closes(tmp_path: Path) -> None:
    path = stream(tmp_path / "chat.yaml", 600)
    async with playing(path, pace=parse_pace("original")) as proxy, Connection(proxy.origin) as client:
        client.send("POST", CHAT, "hello")
        await client.head()
        client.transport.write_eof()
        assert [await client.piece(), await client.piece()] == [EVENT, EVENT]


@pytest.mark.parametrize("numbers", [(SIGINT, SIGINT), (SIGTERM, SIGINT), (SIGINT, SIGTERM)], ids=str)
async def test_any_second_signal_ends_a_recorder_at_once(tmp_path: Path, numbers: tuple[int, int]) -> None:
    """The first one waits for running responses. The second one has the system's default effect, in every loop."""
    gate = asyncio.Event()
    async with Upstream() as up:
        up.script("POST", CHAT, silent(gate, "between events"))
        async with (
            command("record", tmp_path / "chat.yaml", "--upstream", up.url) as process,
            Connection(process.origin) as client,
        ):
            await asked(up, client, "between events")
            process.popen.send_signal(numbers[0])
            await asyncio.sleep(0.3)
            assert process.popen.poll() is None
            process.popen.send_signal(numbers[1])
            assert await process.ended() == -numbers[1]
        gate.set()
