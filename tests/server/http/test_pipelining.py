"""Several requests on one connection are answered in their order, and only as fast as the client reads."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from openai_replay.playback.pace import parse_pace
from tests.server.http.raw_requests import MIB, RECORDING, RESPONSE, STREAM, request
from tests.support.proxy import (
    CHAT,
    PATIENCE_S,
    Connection,
    Ended,
    cassette,
    item,
    playing,
    recording,
)
from tests.support.upstream import Sleep, Upstream, plain


async def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    count = 100
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml") as proxy:
        for number in range(count):
            up.script("POST", f"/v1/{number}", [Sleep(0.02 if number < 3 else 0.0), *plain(b"%d" % number)])
        async with Connection(proxy.origin) as client:
            client.write(b"".join(request(path=b"/v1/%d" % number) for number in range(count)), "POST")
            assert [(await client.rest()).json for _ in range(count)] == list(range(count))


async def test_pipelined_requests_wait_for_a_client_that_does_not_read(tmp_path: Path) -> None:
    """Their responses would have to stay in memory."""
    count, size = 400, 100_000  # responses that are written at once
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml") as proxy:
        up.script("POST", CHAT, plain(b'"%b"' % (b"x" * size)))
        async with Connection(proxy.origin) as first:
            first.write(request(), "POST")
            await first.rest()

    def read_responses(client: socket.socket) -> bytes:
        data = bytearray()
        while len(data) < count * size or not data.endswith(b'x"'):
            data += client.recv(1 << 16)
        return bytes(data)

    async with playing(tmp_path / "tape.yaml") as player:
        url = urlsplit(player.origin)
        with socket.create_connection((url.hostname, url.port)) as client:
            client.sendall(request() * count)
            await asyncio.sleep(1)
            assert 0 < len(player.journal) < count / 2
            client.settimeout(PATIENCE_S)
            data = await asyncio.to_thread(read_responses, client)
            assert data.count(b"HTTP/1.1 200 OK") == count
        assert len(player.journal) == count


async def test_requests_during_a_stream_are_read_no_further_than_needed(tmp_path: Path) -> None:
    """Hundreds of requests, some with bodies that do not fit into the buffer of their reader, and half of one."""
    large_body, count = b'"%b"' % (b"x" * MIB), 400
    tape = cassette(tmp_path / "tape.yaml", STREAM, item("{}", prompt="x" * MIB))
    async with playing(tape, pace=parse_pace("original")) as player, Connection(player.origin) as client:
        client.write(request(), "POST")
        await client.head()
        for _ in range(4):
            client.write(request(path=b"/@/health") * (count // 4), "POST")
            await asyncio.sleep(0.01)
        client.write(request(body=large_body) + request(body=large_body)[:-1], "POST")
        assert (await client.rest()).json == RESPONSE
        assert [(await client.rest()).status for _ in range(count)] == [405] * count
        assert (await client.rest()).json == {}
        client.write(large_body[-1:] + request(body=b'"none"'), "POST")
        assert [(await client.rest()).status for _ in range(2)] == [200, 424]


async def test_a_request_during_another_response_counts_from_its_last_byte(tmp_path: Path) -> None:
    first, second = (f"    wire: {{head: {ms}, frames: {ms}+11, end: {ms} complete}}\n" for ms in (400, 300))
    tape = cassette(tmp_path / "tape.yaml", RECORDING + first, item('{"said": 1}', prompt="again") + second)
    async with playing(tape, pace=parse_pace("original")) as player, Connection(player.origin) as client:
        second_request = request(body=b'"again"')
        client.write(request() + second_request[:-7], "POST")
        await asyncio.sleep(0.3)
        client.write(second_request[-7:], "POST")
        assert (await client.rest()).json == RESPONSE
        heard = await client.rest()
        assert heard.json == {"said": 1}
        assert heard.head_at >= 0.3


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
async def test_an_http_1_0_client_may_keep_its_connection(tmp_path: Path, connection: str) -> None:
    header = b"Connection: %b\r\n" % connection.encode()
    async with playing(cassette(tmp_path / "tape.yaml", RECORDING)) as player, Connection(player.origin) as client:
        client.write(request(path=b"/@/none", headers=header).replace(b"HTTP/1.1", b"HTTP/1.0"))
        heard = await client.rest()
        assert (heard.status, heard.framing, heard.header("connection")) == (404, "length", connection)
        if connection == "keep-alive":
            client.write(request(headers=header).replace(b"HTTP/1.1", b"HTTP/1.0"), "POST")
            heard = await client.rest()
            assert (heard.json, heard.framing, heard.header("connection")) == (RESPONSE, "length", "keep-alive")
        else:
            assert await client.closed() is Ended.EARLY
