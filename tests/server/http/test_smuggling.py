"""Requests that could be read as two are refused, and so is input that is not HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from openai_replay.model import Mode
from openai_replay.playback.pace import parse_pace
from tests.server.http.raw_requests import BODY, RECORDING, RESPONSE, STREAM, assert_still_serving, limited, request
from tests.support.proxy import (
    CHAT,
    Connection,
    Ended,
    cassette,
    playing,
    recording,
)
from tests.support.upstream import Upstream, plain

INNER = b"GET /v1/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"


SMUGGLED = {
    "two lengths": request(headers=b"Content-Length: 7\r\nContent-Length: 8\r\n"),
    "the same length twice": request(headers=b"Content-Length: 7\r\nContent-Length: 7\r\n"),
    "a list of lengths": request(headers=b"Content-Length: 7, 7\r\n"),
    "a length and chunks": request(
        headers=b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", body=b"0\r\n\r\n" + INNER
    ),
    "chunks and a length": request(
        headers=b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", body=b"0\r\n\r\n" + INNER
    ),
    "chunked twice": request(headers=b"Transfer-Encoding: chunked, chunked\r\n", body=b"0\r\n\r\n" + INNER),
    "chunked before another": request(headers=b"Transfer-Encoding: chunked, identity\r\n", body=b"0\r\n\r\n" + INNER),
    "an unknown coding": request(headers=b"Transfer-Encoding: xchunked\r\n", body=b"0\r\n\r\n" + INNER),
    "a signed length": request(headers=b"Content-Length: +7\r\n"),
    "a hexadecimal length": request(headers=b"Content-Length: 0x7\r\n"),
    "a length with an underscore": request(headers=b"Content-Length: 1_0\r\n", body=b'"hello123"'),
    "an overflowing length": request(headers=b"Content-Length: 18446744073709551623\r\n"),
    "a space before the colon": request(headers=b"Content-Length : 7\r\n"),
    "a folded line": request(headers=b"X-Folded: a\r\n b\r\n"),
    "a bare line feed": request(headers=b"X-One: 1\nX-Two: 2\r\n"),
    "line feeds only": request().replace(b"\r\n", b"\n"),
    "a bare carriage return": request(headers=b"X-One: 1\rX-Two: 2\r\n"),
    "a NUL in a value": request(headers=b"X-One: a\0b\r\n"),
    "a space in a name": request(headers=b"X One: 1\r\n"),
    "an empty name": request(headers=b": 1\r\n"),
    "a line that begins with a space": request(headers=b" X-One: 1\r\n"),
    "two hosts": request(headers=b"Host: evil.example\r\n"),
    "a chunk size that overflows": request(
        headers=b"Transfer-Encoding: chunked\r\n", body=b"10000000000000007\r\n" + BODY + b"\r\n0\r\n\r\n"
    ),
    "a signed chunk size": request(headers=b"Transfer-Encoding: chunked\r\n", body=b"+7\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a chunk size with a prefix": request(
        headers=b"Transfer-Encoding: chunked\r\n", body=b"0x7\r\n" + BODY + b"\r\n0\r\n\r\n"
    ),
    "a line feed in a chunk extension": request(
        headers=b"Transfer-Encoding: chunked\r\n", body=b"7;a\nb\r\n" + BODY + b"\r\n0\r\n\r\n"
    ),
    "a chunk that ends in a line feed": request(
        headers=b"Transfer-Encoding: chunked\r\n", body=b"7\r\n" + BODY + b"\n0\r\n\r\n"
    ),
    "another version": request().replace(b"HTTP/1.1", b"HTTP/3.7"),
    "a version of its own": request().replace(b"HTTP/1.1", b"HTTPS/1.1"),
    "a tab in the request line": request().replace(b" HTTP/1.1", b"\tHTTP/1.1"),
    "an invalid method": request(method=b"P(ST"),
    "a target that is not a URL": request(path=b"http://[::1"),
}


@pytest.mark.parametrize("name", SMUGGLED)
async def test_a_request_that_could_be_read_as_two_is_refused(tmp_path: Path, name: str) -> None:
    """With a 400, and the connection ends: nothing that follows on it is read as a request."""
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml", mode=Mode.OFF) as proxy:
        up.script("POST", CHAT, plain(b"{}"))
        async with Connection(proxy.origin) as client:
            client.write(SMUGGLED[name] + INNER, "POST")
            heard = await client.rest()
            assert heard.status == 400, heard
            assert heard.json["error"]["code"] == "bad_request"
            assert await client.closed() in (Ended.EARLY, Ended.RESET)
            assert client.unread == b"", "a second response"
        assert up.requests == [], "nothing was forwarded"
        assert (await proxy.ask("POST", CHAT, {})).json == {}, "the server goes on"


async def test_chunk_extensions_do_not_belong_to_the_body(tmp_path: Path) -> None:
    """They count for no limit of the body, but those of a line hold, so that they have an end."""
    async with limited(tmp_path) as proxy:
        async with Connection(proxy.origin) as client:
            extended = b"7;%b\r\n" % (b"x" * 1000) + BODY + b"\r\n0\r\n\r\n"
            client.write(request(headers=b"Transfer-Encoding: chunked\r\n", body=extended), "POST")
            assert (await client.rest()).json == RESPONSE
        await assert_still_serving(proxy)


@pytest.mark.parametrize("chunk", [b"none\r\n", b"7;a\nb\r\n", b"-7\r\n"])
async def test_a_broken_chunk_after_the_start_of_a_body_is_a_400(tmp_path: Path, chunk: bytes) -> None:
    async with playing(cassette(tmp_path / "tape.yaml", RECORDING)) as player, Connection(player.origin) as client:
        client.write(request(headers=b"Transfer-Encoding: chunked\r\n", body=b"1\r\n[\r\n"), "POST")
        await asyncio.sleep(0.05)
        client.write(chunk, "POST")
        heard = await client.rest()
        assert (heard.status, heard.header("connection")) == (400, "close")
        assert "Could not read the request's body: " in heard.json["error"]["message"]
        assert await client.closed() in (Ended.EARLY, Ended.RESET)


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01"])
async def test_a_tunnel_is_refused_and_the_connection_ends(tmp_path: Path, sent: bytes) -> None:
    """Bytes after a CONNECT are not HTTP, and get no response."""
    async with playing(cassette(tmp_path / "tape.yaml", RECORDING)) as player:
        async with Connection(player.origin) as client:
            client.write(b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: localhost\r\n\r\n" + sent)
            heard = await client.rest()
            assert (heard.status, heard.header("connection")) == (400, "close")
            assert await client.closed() in (Ended.EARLY, Ended.RESET)
        await assert_still_serving(player)


async def test_nonsense_after_a_response_is_a_400(tmp_path: Path) -> None:
    async with playing(cassette(tmp_path / "tape.yaml", RECORDING)) as player:
        async with Connection(player.origin) as client:
            client.write(request(), "POST")
            assert (await client.rest()).json == RESPONSE
            client.write(b"\r\n\r\n\0\0 nonsense \xff\r\n\r\n", "POST")
            assert (await client.rest()).status == 400
        await assert_still_serving(player)


async def test_nonsense_after_a_request_gets_its_400_after_the_response(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", STREAM)
    async with playing(tape, pace=parse_pace("original")) as player, Connection(player.origin) as client:
        client.write(request(), "POST")
        await client.head()
        for _ in range(3):
            client.write(b"\0\r\n\r\n", "POST")
            await asyncio.sleep(0.01)
        assert (await client.rest()).json == RESPONSE
        assert (await client.rest()).status == 400
        assert await client.closed() in (Ended.EARLY, Ended.RESET)
