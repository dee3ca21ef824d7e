"""Recording from an upstream that cannot be reached or gives no response."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from openai_replay.model import End as Ending
from tests.e2e.samples import chunked
from tests.support.proxy import (
    CHAT,
    Connection,
    Ended,
    Heard,
    command,
    free_port,
    interactions,
    playing,
    recording,
)
from tests.support.upstream import Chunk, Close, Hold, Reset, Send, Step, Upstream, plain

SMILE = "🙂".encode()
EVERY_BYTE = bytes(range(256)) * 3


def is_ours(heard: Heard, status: int, code: str) -> str:
    """Check that `heard` is an error of ours in OpenAI's shape; its message."""
    assert heard.status == status
    assert heard.header("content-type") == "application/json"
    error = heard.json["error"]
    assert {**error, "message": ""} == {"type": "openai_replay", "code": code, "param": None, "message": ""}
    assert list(heard.json) == ["error"]
    return str(error["message"])


async def test_an_unreachable_upstream(tmp_path: Path) -> None:
    tape = tmp_path / "tape.yaml"
    port = free_port()
    async with recording(f"http://127.0.0.1:{port}/v1", tape) as proxy:
        message = is_ours(await proxy.ask("POST", CHAT, {}), 502, "upstream_unreachable")
        assert proxy.outcomes == ["failed"]
    assert message.startswith(f"POST http://127.0.0.1:{port} failed: ")
    assert "Nothing was recorded. Check --upstream" in message
    assert not tape.exists()


async def test_an_unknown_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    tape = tmp_path / "tape.yaml"
    async with recording("http://api.example.invalid/v1", tape) as proxy, Connection(proxy.origin) as client:
        monkeypatch.setattr(socket, "getaddrinfo", fails)
        message = is_ours(await client.ask("POST", CHAT, {}), 502, "upstream_unreachable")
    assert "the host name 'api.example.invalid' is unknown (DNS)" in message
    assert not tape.exists()


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ([Close()], "it closed the connection without a response"),
        ([Reset()], ""),
        ([Send(b"SSH-2.0-OpenSSH_9.6\r\n"), Close()], "its response is not HTTP"),
        ([Send(b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n"), Close()], "its response is not HTTP"),
        ([Send(b"HTTP/1.1 200 OK\r\ncontent-type: appl"), Close()], ""),
    ],
    ids=["closes", "resets", "is no HTTP", "has a bad header", "closes inside the head"],
)
async def test_an_upstream_without_an_answer(tmp_path: Path, steps: list[Step], text: str) -> None:
    tape = tmp_path / "tape.yaml"
    async with Upstream() as up, recording(up.url, tape) as proxy:
        up.script("POST", CHAT, steps)
        message = is_ours(await proxy.ask("POST", CHAT, {}), 502, "upstream_unreachable")
        up.script("POST", "/v1/next", plain(b"{}"))
        assert (await proxy.ask("POST", "/v1/next", {})).status == 200, "the proxy goes on"
    assert text in message
    assert [interaction.request.path for interaction in interactions(tape)] == ["/v1/next"]


async def test_a_silent_upstream(tmp_path: Path) -> None:
    tape = tmp_path / "tape.yaml"
    async with Upstream() as up, recording(up.url, tape, idle_timeout_s=0.3) as proxy:
        up.script("POST", CHAT, [Hold(asyncio.Event())])
        message = is_ours(await proxy.ask("POST", CHAT, {}), 502, "upstream_unreachable")
        assert "it sent nothing for longer than the idle timeout" in message
        assert not tape.exists()
        up.script("POST", "/v1/responses", chunked(Chunk(b"data: 1\n\n"), Hold(asyncio.Event())))
        heard = await proxy.ask("POST", "/v1/responses", {})
    assert (heard.body, heard.ended) == (b"data: 1\n\n", Ended.EARLY)
    assert interactions(tape)[0].response.end is Ending.TRUNCATED


async def test_a_websocket_is_refused_and_another_upgrade_is_not(tmp_path: Path) -> None:
    """The GET that is left without the upgrade would put an error on the tape that the API never meant."""
    handshake = [("Connection", "Upgrade"), ("Upgrade", "WebSocket"), ("Sec-WebSocket-Version", "13")]
    async with Upstream() as upstream, recording(upstream.url, tmp_path / "tape.yaml") as proxy:
        heard = await proxy.ask("GET", "/v1/responses", headers=handshake)
        assert (heard.status, heard.header("x-should-retry")) == (501, "false")
        assert "WebSockets are not supported." in heard.json["error"]["message"]
        assert upstream.requests == []
        assert not (tmp_path / "tape.yaml").exists()
        to_http_2 = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABk")]
        assert (await proxy.ask("GET", "/v1/models", headers=to_http_2)).status == 200
    async with playing(tmp_path / "tape.yaml") as proxy:
        assert (await proxy.ask("GET", "/v1/responses", headers=handshake)).status == 501
        assert (await proxy.ask("GET", "/v1/models", headers=to_http_2)).status == 200
        assert proxy.outcomes == ["played"]


async def test_a_loop_is_refused(tmp_path: Path) -> None:
    port = free_port()
    async with command(
        "record", tmp_path / "tape.yaml", "--upstream", f"http://127.0.0.1:{port}/v1", "--port", str(port)
    ) as process:
        heard = await process.ask("POST", CHAT, {})
        assert "the upstream is this proxy itself" in is_ours(heard, 508, "request_loop")
        assert heard.header("x-should-retry") == "false"
        await process.stop()
    assert not (tmp_path / "tape.yaml").exists(), "an error of ours is nothing to record"
