"""What clients do wrong, by accident or on purpose: slow, gone, too large, two requests in one. The server goes on."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from pathlib import Path
from signal import SIGTERM
from typing import Any
from urllib.parse import urlsplit

import pytest

from openai_replay.config.rules import Rules
from openai_replay.errors import UsageError
from openai_replay.model import Mode
from openai_replay.playback.pace import parse_pace
from openai_replay.server.http.connection_registry import max_connections
from openai_replay.server.http.limits import Limits
from openai_replay.server.serve import ServerConfig, serving
from openai_replay.text.units import format_size, parse_size
from tests.support.proxy import (
    CHAT,
    OPENAI_REPLAY,
    PATIENCE_S,
    WITHOUT_UVLOOP,
    Connection,
    Ended,
    Over,
    Proxy,
    cassette,
    command,
    interactions,
    invoke,
    item,
    playing,
    recording,
)
from tests.support.upstream import Hold, Sleep, Upstream, plain, sse

SOAK = bool(os.environ.get("OPENAI_REPLAY_SOAK"))
MIB = 1 << 20
SAME = item('{"said": 0}')
ANSWER = {"said": 0}
QUESTION = b'"hello"'


def request(method: bytes = b"POST", more: bytes = b"", body: bytes = QUESTION, path: bytes = CHAT.encode()) -> bytes:
    """A request as bytes; `more` are whole header lines."""
    length = b"" if b"ength" in more or b"chunked" in more else b"Content-Length: %d\r\n" % len(body)
    return b"%b %b HTTP/1.1\r\nHost: localhost\r\n%b%b\r\n%b" % (method, path, more, length, body)


async def goes_on(proxy: Proxy) -> None:
    assert (await proxy.ask("POST", CHAT, "hello")).json == ANSWER, "the server goes on"


# ------------------------------------------------------------------------------------------------ sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("65536", 65536), ("64k", 65536), ("64K", 65536), ("64kb", 65536), (" 1m ", MIB), ("2g", 2 << 30)],
)
def test_parse_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "0k", "-1", "1.5m", "k", "1t", "64 k", "1kk", "١k", "1e3"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(("size", "text"), [(1, "1"), (1000, "1000"), (65536, "64k"), (MIB, "1m"), (3 << 30, "3g")])
def test_a_size_as_it_is_shown(size: int, text: str) -> None:
    assert format_size(size) == text
    assert parse_size(text) == size


@pytest.mark.parametrize("option", ["--max-head", "--max-body", "--max-response"])
def test_a_limit_that_is_no_size_is_a_usage_error(tmp_path: Path, option: str) -> None:
    done = invoke("record", tmp_path / "tape.yaml", option, "much")
    assert (done.code, "'much' is not a size" in done.stderr) == (2, True)


# ------------------------------------------------------------------------------------------------ too large


@asynccontextmanager
async def limited(tmp_path: Path, **limits: Any) -> AsyncIterator[Proxy]:
    """Play `SAME` with these limits."""
    tape = cassette(tmp_path / "tape.yaml", SAME)
    async with serving(ServerConfig(Rules(), (tape,), port=0, quiet=True, limits=Limits(**limits))) as (
        base_url,
        sessions,
    ):
        assert sessions.default is not None
        yield Proxy(base_url, sessions.default.engine)


@pytest.mark.parametrize(
    "sent",
    [
        request(more=b"X-Long: " + b"x" * 3000 + b"\r\n"),
        request(more=b"X-" + b"x" * 3000 + b": 1\r\n"),
        request(more=b"".join(b"X-%d: %b\r\n" % (number, b"x" * 90) for number in range(30))),
        request(more=b"".join(b"X-%d: 1\r\n" % number for number in range(200))),
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
        await goes_on(proxy)


@pytest.mark.parametrize("framing", ["a length", "chunks", "expect"])
async def test_a_body_larger_than_max_body_is_a_413(tmp_path: Path, framing: str) -> None:
    async with limited(tmp_path, body=1000) as proxy:
        for size, status in ((1000, 424), (1001, 413)):
            body = b"x" * size
            if framing == "chunks":
                sent = request(more=b"Transfer-Encoding: chunked\r\n", body=b"%x\r\n%b\r\n0\r\n\r\n" % (size, body))
            elif framing == "expect":  # and wait for the word to send it
                more = b"Expect: 100-continue\r\nContent-Length: %d\r\n" % size
                sent = request(more=more, body=body if size == 1000 else b"")
            else:
                sent = request(body=body)
            async with Connection(proxy.origin) as client:
                client.write(sent, "POST")
                heard = await client.rest()
                assert (heard.status, heard.header("x-should-retry")) == (status, "false")
                if status == 413:
                    assert "--max-body" in heard.json["error"]["message"]
                    assert heard.header("connection") == "close"
        await goes_on(proxy)


async def test_a_body_that_is_declared_very_large_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    async with limited(tmp_path) as proxy:
        async with Connection(proxy.origin) as client:
            client.write(request(more=b"Content-Length: 99999999999\r\n", body=b"x"), "POST")
            assert (await client.rest()).status == 413
        await goes_on(proxy)


# ------------------------------------------------------------------------------------------------ two in one

INNER = b"GET /v1/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
SMUGGLED = {
    "two lengths": request(more=b"Content-Length: 7\r\nContent-Length: 8\r\n"),
    "the same length twice": request(more=b"Content-Length: 7\r\nContent-Length: 7\r\n"),
    "a list of lengths": request(more=b"Content-Length: 7, 7\r\n"),
    "a length and chunks": request(
        more=b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", body=b"0\r\n\r\n" + INNER
    ),
    "chunks and a length": request(
        more=b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", body=b"0\r\n\r\n" + INNER
    ),
    "chunked twice": request(more=b"Transfer-Encoding: chunked, chunked\r\n", body=b"0\r\n\r\n" + INNER),
    "chunked before another": request(more=b"Transfer-Encoding: chunked, identity\r\n", body=b"0\r\n\r\n" + INNER),
    "an unknown coding": request(more=b"Transfer-Encoding: xchunked\r\n", body=b"0\r\n\r\n" + INNER),
    "a signed length": request(more=b"Content-Length: +7\r\n"),
    "a hexadecimal length": request(more=b"Content-Length: 0x7\r\n"),
    "a length with an underscore": request(more=b"Content-Length: 1_0\r\n", body=b'"hello123"'),
    "an overflowing length": request(more=b"Content-Length: 18446744073709551623\r\n"),
    "a space before the colon": request(more=b"Content-Length : 7\r\n"),
    "a folded line": request(more=b"X-Folded: a\r\n b\r\n"),
    "a bare line feed": request(more=b"X-One: 1\nX-Two: 2\r\n"),
    "line feeds only": request().replace(b"\r\n", b"\n"),
    "a bare carriage return": request(more=b"X-One: 1\rX-Two: 2\r\n"),
    "a NUL in a value": request(more=b"X-One: a\0b\r\n"),
    "a space in a name": request(more=b"X One: 1\r\n"),
    "an empty name": request(more=b": 1\r\n"),
    "a line that begins with a space": request(more=b" X-One: 1\r\n"),
    "two hosts": request(more=b"Host: evil.example\r\n"),
    "a chunk size that overflows": request(
        more=b"Transfer-Encoding: chunked\r\n", body=b"10000000000000007\r\n" + QUESTION + b"\r\n0\r\n\r\n"
    ),
    "a signed chunk size": request(
        more=b"Transfer-Encoding: chunked\r\n", body=b"+7\r\n" + QUESTION + b"\r\n0\r\n\r\n"
    ),
    "a chunk size with a prefix": request(
        more=b"Transfer-Encoding: chunked\r\n", body=b"0x7\r\n" + QUESTION + b"\r\n0\r\n\r\n"
    ),
    "a line feed in a chunk extension": request(
        more=b"Transfer-Encoding: chunked\r\n", body=b"7;a\nb\r\n" + QUESTION + b"\r\n0\r\n\r\n"
    ),
    "a chunk that ends in a line feed": request(
        more=b"Transfer-Encoding: chunked\r\n", body=b"7\r\n" + QUESTION + b"\n0\r\n\r\n"
    ),
    "another version": request().replace(b"HTTP/1.1", b"HTTP/3.7"),
    "a version of its own": request().replace(b"HTTP/1.1", b"HTTPS/1.1"),
    "a tab in the request line": request().replace(b" HTTP/1.1", b"\tHTTP/1.1"),
    "a method that is none": request(method=b"P(ST"),
    "a target that is no URL": request(path=b"http://[::1"),
}


@pytest.mark.parametrize("name", SMUGGLED)
async def test_a_request_that_could_be_read_as_two_is_refused(tmp_path: Path, name: str) -> None:
    """With a 400, and the connection ends: nothing that follows on it is taken for a request."""
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml", mode=Mode.OFF) as proxy:
        up.script("POST", CHAT, plain(b"{}"))
        async with Connection(proxy.origin) as client:
            client.write(SMUGGLED[name] + INNER, "POST")
            heard = await client.rest()
            assert heard.status == 400, heard
            assert heard.json["error"]["code"] == "bad_request"
            assert await client.closed() in (Ended.EARLY, Ended.RESET)
            assert client.unread == b"", "there is no second answer"
        assert up.requests == [], "nothing of it went on"
        assert (await proxy.ask("POST", CHAT, {})).json == {}, "the server goes on"


async def test_long_chunk_extensions_are_no_body_and_have_an_end(tmp_path: Path) -> None:
    """They count for nothing, so they must not keep a connection busy for ever: past the limits it ends."""
    async with limited(tmp_path) as proxy:
        async with Connection(proxy.origin) as client:
            extended = b"7;%b\r\n" % (b"x" * 1000) + QUESTION + b"\r\n0\r\n\r\n"
            client.write(request(more=b"Transfer-Encoding: chunked\r\n", body=extended), "POST")
            assert (await client.rest()).json == ANSWER
        await goes_on(proxy)


# ------------------------------------------------------------------------------------------------ order and ends


async def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    count = 100
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml") as proxy:
        for number in range(count):
            up.script("POST", f"/v1/{number}", [Sleep(0.02 if number < 3 else 0.0), *plain(b"%d" % number)])
        async with Connection(proxy.origin) as client:
            client.write(b"".join(request(path=b"/v1/%d" % number) for number in range(count)), "POST")
            assert [(await client.rest()).json for _ in range(count)] == list(range(count))


async def test_a_client_that_pipelines_and_does_not_read_is_not_answered_for_ever(tmp_path: Path) -> None:
    """What it does not take would be held for it."""
    count, size = 400, 100_000  # answers that are written in one go
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml") as proxy:
        up.script("POST", CHAT, plain(b'"%b"' % (b"x" * size)))
        async with Connection(proxy.origin) as first:
            first.write(request(), "POST")
            await first.rest()

    def received(client: socket.socket) -> bytes:
        got = bytearray()
        while len(got) < count * size or not got.endswith(b'x"'):
            got += client.recv(1 << 16)
        return bytes(got)

    async with playing(tmp_path / "tape.yaml") as player:
        url = urlsplit(player.origin)
        with socket.create_connection((url.hostname, url.port)) as client:
            client.sendall(request() * count)
            await asyncio.sleep(1)
            assert 0 < len(player.journal) < count / 2
            client.settimeout(PATIENCE_S)
            seen = await asyncio.to_thread(received, client)
            assert seen.count(b"HTTP/1.1 200 OK") == count
        assert len(player.journal) == count


@pytest.mark.parametrize("cut", range(1, len(request()), 9))
async def test_a_client_that_leaves_in_the_middle_of_its_request(tmp_path: Path, cut: int) -> None:
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml") as proxy:
        async with Connection(proxy.origin) as client:
            client.write(request()[:cut], "POST")
            await proxy.ask("GET", "/@/health")
        await proxy.ask("GET", "/@/health")
        assert (up.requests, proxy.journal) == ([], [])


async def test_a_client_that_leaves_at_any_byte_of_the_answer(tmp_path: Path) -> None:
    """The tape gets every answer whole, and nothing of the client stays behind."""
    events = [b"data: %d\n\n" % number for number in range(4)]
    tape = tmp_path / "tape.yaml"
    async with Upstream() as up, recording(up.url, tape) as proxy:
        up.script("POST", CHAT, sse(*events, interval=0.002, ttft=0.0))
        whole = len(await raw(proxy, 0, b"first")) - len(b"Connection: close\r\n")
        before = len(asyncio.all_tasks())
        cuts = range(1, whole, 7)
        for cut in cuts:
            await raw(proxy, cut, b"%d" % cut)
        async with asyncio.timeout(PATIENCE_S):
            while len(proxy.journal) < len(cuts) + 1 or len(asyncio.all_tasks()) > before + up.connections:
                await asyncio.sleep(0.01)
    recorded = interactions(tape)
    assert len(recorded) == len(cuts) + 1
    assert {one.response.body for one in recorded} == {b"".join(events)}


async def raw(proxy: Proxy, size: int, body: bytes) -> bytes:
    """Ask, take `size` bytes of the answer (0: all that comes until it ends), and leave."""
    async with Connection(proxy.origin) as client:
        client.write(request(more=b"" if size else b"Connection: close\r\n", body=body), "POST")
        with suppress(Over):
            await client.until(size or sys.maxsize)
        return client.unread


async def test_a_client_that_half_closes_has_left_and_the_tape_gets_the_answer(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml") as proxy:
        up.script("POST", CHAT, [Hold(gate), *plain(b'{"a": 1}')])
        async with Connection(proxy.origin) as client:
            client.write(request(), "POST")
            while not up.requests:
                await asyncio.sleep(0.01)
            client.transport.write_eof()
            await client.closed()
            gate.set()
            async with asyncio.timeout(PATIENCE_S):
                while not proxy.journal:
                    await asyncio.sleep(0.01)
        assert proxy.outcomes == ["recorded"]
        assert (await proxy.ask("GET", "/@/health")).status == 200, "the server goes on"


# ------------------------------------------------------------------------------------------------ slow


async def test_slow_readers_cost_no_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Twenty that read nothing of 8 MB each, while it is played: it is not held once for every one of them."""
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
        assert (await process.ask("POST", CHAT, "hello")).body == body, "others are served beside them"
        grown = process.peak_bytes - before
        with capsys.disabled():
            print(f" [20 readers of {len(body) // MIB} MB that do not read: {grown / MIB:.0f} MB more]", end="")
        assert grown < 10 * len(body)
        clients[0].transport.resume_reading()
        assert (await clients[0].rest()).body == body


async def test_times_are_those_of_the_upstream_and_not_of_a_slow_reader(tmp_path: Path) -> None:
    """The client takes nothing until the upstream is done."""
    tape = tmp_path / "tape.yaml"
    pieces = [b"x" * 200_000] * 30
    async with Upstream() as up, recording(up.url, tape) as proxy:
        up.script("POST", CHAT, sse(*pieces, interval=0.01, ttft=0.01))
        async with Connection(proxy.origin, 4096) as client:
            client.send("POST", CHAT, {})
            client.transport.pause_reading()
            async with asyncio.timeout(PATIENCE_S):
                while len(up.sent) < len(pieces) + 2:
                    await asyncio.sleep(0.01)
            done = asyncio.get_running_loop().time()
            await asyncio.sleep(2)
            client.transport.resume_reading()
            heard = await client.rest()
        assert heard.body == b"".join(pieces)
        response = interactions(tape)[0].response
        took_ms = (up.sent[-1].at - up.requests[0].at) * 1000
        assert response.end_ms < took_ms + 1600, "the two seconds in which nobody read is not on the tape"
        assert asyncio.get_running_loop().time() - done >= 2


# ------------------------------------------------------------------------------------------------ very many


async def test_connections_that_send_nothing_do_not_keep_others_out(tmp_path: Path) -> None:
    """More of them than the process may have files: the oldest are closed. 10,000 in full."""
    count, files = (10_000, 0) if SOAK else (600, 400)
    if SOAK:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        if most < count + 1000:
            pytest.skip(f"this system allows {most} files")
    limit = ("bash", "-c", f'ulimit -n {files} && exec "$@"', "bash") if files else ()
    tape = cassette(tmp_path / "tape.yaml", SAME)
    async with command("play", tape, program=(*limit, *OPENAI_REPLAY)) as process, AsyncExitStack() as stack:
        assert (await process.ask("POST", CHAT, "hello")).json == ANSWER
        before = process.peak_bytes
        clients = []
        for number in range(count):
            clients.append(await stack.enter_async_context(Connection(process.origin)))
            if number % 100 == 0:
                assert (await process.ask("POST", CHAT, "hello")).json == ANSWER, f"beside {number} silent ones"
        assert (await process.ask("POST", CHAT, "hello")).json == ANSWER
        if files:
            await clients[0].closed()
            clients[-1].send("POST", CHAT, "hello")
            assert (await clients[-1].rest()).json == ANSWER, "the newest is still there"
        assert (process.peak_bytes - before) / count < 64 << 10
        assert "Traceback" not in process.stderr
        assert await process.stop() == 0


async def test_a_busy_connection_is_not_closed_for_silent_ones(tmp_path: Path) -> None:
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


async def test_a_limit_is_an_option(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", SAME)
    async with command("play", tape, "--max-head", "1k", "--max-body", "100") as process:
        assert (await process.ask("POST", CHAT, "hello", [("X-Long", "x" * 1000)])).status == 431
        assert (await process.ask("POST", CHAT, "x" * 100)).status == 413
        assert (await process.ask("POST", CHAT, "hello")).json == ANSWER


async def test_what_a_client_sends_after_its_answer_is_no_trouble(tmp_path: Path) -> None:
    async with playing(cassette(tmp_path / "tape.yaml", SAME)) as player:
        async with Connection(player.origin) as client:
            client.write(request(), "POST")
            assert (await client.rest()).json == ANSWER
            client.write(b"\r\n\r\n\0\0 nonsense \xff\r\n\r\n", "POST")
            assert (await client.rest()).status == 400
        await goes_on(player)


async def test_stopping_does_not_wait_for_connections_that_ask_for_nothing(tmp_path: Path) -> None:
    """Not even for those that come at that moment; what is under way may take a minute."""
    tape = cassette(tmp_path / "tape.yaml", SAME)
    for _ in range(3):
        async with command("play", tape) as process:
            address = ("127.0.0.1", int(process.origin.rpartition(":")[2]))
            with ExitStack() as stack:
                for _ in range(100):  # the system takes them at once, the server when it looks
                    stack.enter_context(socket.create_connection(address))
                process.signal(SIGTERM)
                assert await process.ended() == 0


# ------------------------------------------------------------------------------------------------ ends


async def test_a_request_that_comes_while_another_is_answered_counts_from_its_last_byte(tmp_path: Path) -> None:
    first, second = (f"    wire: {{head: {ms}, frames: {ms}+11, end: {ms} complete}}\n" for ms in (400, 300))
    tape = cassette(tmp_path / "tape.yaml", SAME + first, item('{"said": 1}', prompt="again") + second)
    async with playing(tape, pace=parse_pace("original")) as player, Connection(player.origin) as client:
        asked = request(body=b'"again"')
        client.write(request() + asked[:-7], "POST")
        await asyncio.sleep(0.3)
        client.write(asked[-7:], "POST")
        assert (await client.rest()).json == ANSWER
        heard = await client.rest()
        assert heard.json == {"said": 1}
        assert heard.head_at >= 0.3


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01"])
async def test_a_tunnel_is_refused_and_the_connection_ends(tmp_path: Path, sent: bytes) -> None:
    """What comes behind a CONNECT is no HTTP: nothing of it will ever be answered."""
    async with playing(cassette(tmp_path / "tape.yaml", SAME)) as player:
        async with Connection(player.origin) as client:
            client.write(b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: localhost\r\n\r\n" + sent)
            heard = await client.rest()
            assert (heard.status, heard.header("connection")) == (400, "close")
            assert await client.closed() in (Ended.EARLY, Ended.RESET)
        await goes_on(player)


async def test_a_request_that_is_refused_before_its_body_has_come_is_the_last(tmp_path: Path) -> None:
    """The client may keep the body to itself then, and the next request would be taken for it."""
    async with playing(cassette(tmp_path / "tape.yaml", SAME)) as player:
        async with Connection(player.origin) as client:
            expects = request(more=b"Expect: 100-continue\r\nContent-Length: 7\r\n", body=b"", path=b"/@none/v1/models")
            client.write(expects, "POST")
            heard = await client.rest()
            assert (heard.status, heard.header("connection")) == (424, "close")
        async with Connection(player.origin) as client:
            client.write(request(more=b"Transfer-Encoding: chunked\r\n", body=b"7\r\n"), "POST")
            await player.ask("GET", "/@/health")
            client.write(QUESTION + b"\r\nnone\r\n", "POST")
            heard = await client.rest()
            assert (heard.status, heard.header("connection")) == (400, "close")
            assert await client.closed() in (Ended.EARLY, Ended.RESET)
        await goes_on(player)


async def test_stopping_does_not_wait_for_the_rest_of_a_request_that_is_answered(tmp_path: Path) -> None:
    async with asyncio.timeout(PATIENCE_S), AsyncExitStack() as stack:
        async with limited(tmp_path, body=10, linger_s=2 * PATIENCE_S) as proxy:
            client = await stack.enter_async_context(Connection(proxy.origin))
            client.write(request(more=b"Content-Length: 11\r\n"), "POST")
            assert (await client.rest()).status == 413
        assert await client.closed() in (Ended.EARLY, Ended.RESET)


@pytest.mark.parametrize("program", [OPENAI_REPLAY, WITHOUT_UVLOOP], ids=["uvloop", "asyncio"])
async def test_a_slow_reader_gets_the_end_of_an_answer_when_the_server_stops(
    tmp_path: Path, program: tuple[str, ...]
) -> None:
    """Though all of it has been written, most of it is still with the process."""
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


async def test_who_does_not_read_in_time_is_left_when_the_server_stops(tmp_path: Path) -> None:
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


async def test_a_stream_that_a_client_has_left_is_noted_before_the_server_stops(tmp_path: Path) -> None:
    """Or what it played would be taken for unplayed by whoever reads the journal."""
    async with playing(cassette(tmp_path / "tape.yaml", PACED), pace=parse_pace("original")) as player:
        async with Connection(player.origin) as client:
            client.write(request(), "POST")
            await client.head()
        await player.ask("GET", "/@/health")
    assert player.outcomes == ["played"]


PACED = SAME + "    wire: {head: 0, frames: 0+5 300+6, end: 300 complete}\n"


async def test_who_asks_for_more_while_a_stream_is_played_is_read_no_further_than_needed(tmp_path: Path) -> None:
    """Hundreds of requests, some with bodies that are too long to be held for whoever reads them, and one by halves."""
    much, count = b'"%b"' % (b"x" * MIB), 400
    tape = cassette(tmp_path / "tape.yaml", PACED, item("{}", prompt="x" * MIB))
    async with playing(tape, pace=parse_pace("original")) as player, Connection(player.origin) as client:
        client.write(request(), "POST")
        await client.head()
        for _ in range(4):
            client.write(request(path=b"/@/health") * (count // 4), "POST")
            await asyncio.sleep(0.01)
        client.write(request(body=much) + request(body=much)[:-1], "POST")
        assert (await client.rest()).json == ANSWER
        assert [(await client.rest()).status for _ in range(count)] == [405] * count
        assert (await client.rest()).json == {}
        client.write(much[-1:] + request(body=b'"none"'), "POST")
        assert [(await client.rest()).status for _ in range(2)] == [200, 424]


async def test_nonsense_behind_a_request_that_is_being_answered_is_told_when_its_turn_comes(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", PACED)
    async with playing(tape, pace=parse_pace("original")) as player, Connection(player.origin) as client:
        client.write(request(), "POST")
        await client.head()
        for _ in range(3):
            client.write(b"\0\r\n\r\n", "POST")
            await asyncio.sleep(0.01)
        assert (await client.rest()).json == ANSWER
        assert (await client.rest()).status == 400
        assert await client.closed() in (Ended.EARLY, Ended.RESET)


@pytest.mark.parametrize("sent", [b"", request()[:20], request()], ids=["nothing", "half a head", "a request"])
async def test_a_connection_that_is_silent_for_long_is_closed(tmp_path: Path, sent: bytes) -> None:
    async with limited(tmp_path, idle_s=0.2) as player, Connection(player.origin) as client:
        client.write(sent, "POST")
        if sent == request():
            assert (await client.rest()).json == ANSWER
        assert await client.closed() is Ended.EARLY
        await goes_on(player)


@pytest.mark.parametrize("wrong", [b"none\r\n", b"7;a\nb\r\n", b"-7\r\n"])
async def test_a_chunk_that_cannot_be_read_in_a_body_that_has_begun_is_a_400(tmp_path: Path, wrong: bytes) -> None:
    async with playing(cassette(tmp_path / "tape.yaml", SAME)) as player, Connection(player.origin) as client:
        client.write(request(more=b"Transfer-Encoding: chunked\r\n", body=b"1\r\n[\r\n"), "POST")
        await asyncio.sleep(0.05)
        client.write(wrong, "POST")
        heard = await client.rest()
        assert (heard.status, heard.header("connection")) == (400, "close")
        assert "Could not read the request's body: " in heard.json["error"]["message"]
        assert await client.closed() in (Ended.EARLY, Ended.RESET)


async def test_a_body_that_does_not_come_is_a_408(tmp_path: Path) -> None:
    async with limited(tmp_path, idle_s=0.2, linger_s=0.1) as player, Connection(player.origin) as client:
        client.write(request()[:-1], "POST")
        heard = await client.rest()
        assert (heard.status, heard.header("connection")) == (408, "close")
        assert await client.closed() is Ended.EARLY
        await goes_on(player)


async def test_a_refused_request_is_read_to_its_end_so_that_the_answer_is_heard(tmp_path: Path) -> None:
    async with limited(tmp_path, body=1000) as proxy, Connection(proxy.origin) as client:
        client.write(request(more=b"Content-Length: %d\r\n" % MIB, body=b""), "POST")
        heard = await client.rest()
        assert (heard.status, heard.header("connection")) == (413, "close")
        client.write(b"x" * MIB, "POST")
        assert await client.closed() is Ended.EARLY, "in good order"
        assert client.unread == b""


async def test_a_stream_that_does_not_end_in_time_is_broken_off_and_noted_when_the_server_stops(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", PACED)
    rules = Rules(pace=parse_pace("original"))
    async with AsyncExitStack() as stack:
        async with serving(ServerConfig(rules, (tape,), port=0, quiet=True, shutdown_s=0.0)) as (base_url, sessions):
            assert sessions.default is not None
            client = await stack.enter_async_context(Connection(base_url))
            client.write(request(), "POST")
            await client.head()
        assert Proxy(base_url, sessions.default.engine).outcomes == ["played"]
        assert (await client.rest()).ended in (Ended.EARLY, Ended.RESET)


@pytest.mark.parametrize("wanted", ["keep-alive", "close"])
async def test_an_http_1_0_client_may_keep_its_connection(tmp_path: Path, wanted: str) -> None:
    old = request(more=b"Connection: %b\r\n" % wanted.encode()).replace(b"HTTP/1.1", b"HTTP/1.0")
    async with playing(cassette(tmp_path / "tape.yaml", SAME)) as player, Connection(player.origin) as client:
        client.write(request(path=b"/@/none", more=b"Connection: %b\r\n" % wanted.encode()).replace(b"1.1", b"1.0"))
        heard = await client.rest()
        assert (heard.status, heard.framing, heard.header("connection")) == (404, "length", wanted)
        if wanted == "keep-alive":
            client.write(old, "POST")
            heard = await client.rest()
            assert (heard.json, heard.framing, heard.header("connection")) == (ANSWER, "length", "keep-alive")
        else:
            assert await client.closed() is Ended.EARLY


def test_half_of_the_files_are_for_connections() -> None:
    assert max_connections(1000) == 500
    assert max_connections(10) == 16
    assert max_connections(resource.RLIM_INFINITY) > 1 << 30
