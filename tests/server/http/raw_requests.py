"""Requests as bytes, a recording that answers them, and servers with limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from openai_replay.config.rules import Rules
from openai_replay.server.http.limits import Limits
from openai_replay.server.serve import ServerConfig, serving
from tests.support.proxy import CHAT, Proxy, cassette, item

MIB = 1 << 20
BODY = b'"hello"'
#: The response to `BODY`, and its recording, at once and as a stream of 0.3 seconds.
RESPONSE = {"said": 0}
RECORDING = item('{"said": 0}')
STREAM = RECORDING + "    wire: {head: 0, frames: 0+5 300+6, end: 300 complete}\n"


def request(method: bytes = b"POST", headers: bytes = b"", body: bytes = BODY, path: bytes = CHAT.encode()) -> bytes:
    """Return a request as bytes; `headers` are whole lines, besides `Host` and, if they have no framing, a length."""
    length = b"" if b"ength" in headers or b"chunked" in headers else b"Content-Length: %d\r\n" % len(body)
    return b"%b %b HTTP/1.1\r\nHost: localhost\r\n%b%b\r\n%b" % (method, path, headers, length, body)


async def assert_still_serving(proxy: Proxy) -> None:
    """Fail unless the server answers another client."""
    assert (await proxy.ask("POST", CHAT, "hello")).json == RESPONSE


@asynccontextmanager
async def limited(tmp_path: Path, **limits: Any) -> AsyncIterator[Proxy]:
    """Play `RECORDING` with these limits."""
    tape = cassette(tmp_path / "tape.yaml", RECORDING)
    config = ServerConfig(Rules(), (tape,), port=0, quiet=True, limits=Limits(**limits))
    async with serving(config) as (base_url, sessions):
        assert sessions.default is not None
        yield Proxy(base_url, sessions.default.engine)
