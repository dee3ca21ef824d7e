"""Requests that are too large are refused, and the server goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.http.raw_requests import BODY, MIB, RECORDING, RESPONSE, assert_still_serving, limited, request
from tests.support.proxy import (
    CHAT,
    Connection,
    Ended,
    cassette,
    command,
    invoke,
    playing,
)


@pytest.mark.parametrize("option", ["--max-head", "--max-body", "--max-response"])
def test_a_limit_that_is_not_a_size_is_a_usage_error(tmp_path: Path, option: str) -> None:
    result = invoke("record", tmp_path / "tape.yaml", option, "much")
    assert (result.code, "'much' is not a size" in result.stderr) == (2, True)


async def test_limits_are_options(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", RECORDING)
    async with command("play", tape, "--max-head", "1k", "--max-body", "100") as process:
        assert (await process.ask("POST", CHAT, "hello", [("X-Long", "x" * 1000)])).status == 431
        assert (await process.ask("POST", CHAT, "x" * 100)).status == 413
        assert (await process.ask("POST", CHAT, "hello")).json == RESPONSE


@pytest.mark.parametrize(
    "sent",
    [
        request(headers=b"X-Long: " + b"x" * 3000 + b"\r\n"),
        request(headers=b"X-" + b"x" * 3000 + b": 1\r\n"),
        request(headers=b"".join(b"X-%d: %b\r\n" % (number, b"x" * 90) for number in range(30))),
        request(headers=b"".join(b"X-%d: 1\r\n" % number for number in range(200))),
        request(path=b"/" + b"x" * 3000),
        b"POST /" + b"x" * 3000,
    ],
    ids=["a value", "a name", "all together", "200 headers", "the target", "a target that does not end"],
)
async def test_a_head_larger_than_max_head_is_a_431(tmp_path: Path, sent: bytes) -> None:
    async with limited(tmp_path, head=2048) as proxy:
        async with Connection(proxy.origin) as client:
            client.write(sent, "POST")
            heard = await client.rest()
            assert (heard.status, heard.header("x-should-retry"), heard.ended) == (431, "false", Ended.COMPLETE)
            assert heard.json["error"]["type"] == "openai_replay"
            assert "--max-head" in heard.json["error"]["message"]
            assert "xxx" not in heard.json["error"]["message"]
            assert await client.closed() in (Ended.EARLY, Ended.RESET)
        await assert_still_serving(proxy)


@pytest.mark.parametrize("framing", ["a length", "chunks", "expect"])
async def test_a_body_larger_than_max_body_is_a_413(tmp_path: Path, framing: str) -> None:
    async with limited(tmp_path, body=1000) as proxy:
        for size, status in ((1000, 424), (1001, 413)):
            body = b"x" * size
            if framing == "chunks":
                sent = request(headers=b"Transfer-Encoding: chunked\r\n", body=b"%x\r\n%b\r\n0\r\n\r\n" % (size, body))
            elif framing == "expect":  # and wait for permission to send it
                headers = b"Expect: 100-continue\r\nContent-Length: %d\r\n" % size
                sent = request(headers=headers, body=body if size == 1000 else b"")
            else:
                sent = request(body=body)
            async with Connection(proxy.origin) as client:
                client.write(sent, "POST")
                heard = await client.rest()
                assert (heard.status, heard.header("x-should-retry")) == (status, "false")
                if status == 413:
                    assert "--max-body" in heard.json["error"]["message"]
                    assert heard.header("connection") == "close"
        await assert_still_serving(proxy)


async def test_a_body_that_is_declared_very_large_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    async with limited(tmp_path) as proxy:
        async with Connection(proxy.origin) as client:
            client.write(request(headers=b"Content-Length: 99999999999\r\n", body=b"x"), "POST")
            assert (await client.rest()).status == 413
        await assert_still_serving(proxy)


async def test_a_request_that_is_refused_before_its_body_arrived_is_the_last(tmp_path: Path) -> None:
    """The client may then not send the body, and the next request would be read as the body."""
    async with playing(cassette(tmp_path / "tape.yaml", RECORDING)) as player:
        async with Connection(player.origin) as client:
            expects = request(
                headers=b"Expect: 100-continue\r\nContent-Length: 7\r\n", body=b"", path=b"/@none/v1/models"
            )
            client.write(expects, "POST")
            heard = await client.rest()
            assert (heard.status, heard.header("connection")) == (424, "close")
        async with Connection(player.origin) as client:
            client.write(request(headers=b"Transfer-Encoding: chunked\r\n", body=b"7\r\n"), "POST")
            await player.ask("GET", "/@/health")
            client.write(BODY + b"\r\nnone\r\n", "POST")
            heard = await client.rest()
            assert (heard.status, heard.header("connection")) == (400, "close")
            assert await client.closed() in (Ended.EARLY, Ended.RESET)
        await assert_still_serving(player)


async def test_a_refused_request_is_read_to_its_end_so_that_the_client_sees_the_response(tmp_path: Path) -> None:
    async with limited(tmp_path, body=1000) as proxy, Connection(proxy.origin) as client:
        client.write(request(headers=b"Content-Length: %d\r\n" % MIB, body=b""), "POST")
        heard = await client.rest()
        assert (heard.status, heard.header("connection")) == (413, "close")
        client.write(b"x" * MIB, "POST")
        assert await client.closed() is Ended.EARLY, "in good order"
        assert client.unread == b""
