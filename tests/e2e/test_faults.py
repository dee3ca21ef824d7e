"""Faults of the upstream are recorded and played as they were, or refused with a clear error.

    fault x (recorded, played at the original pace, played at once) x (a stream, a plain body)

Every case looks at what the client saw and at what the tape holds, and asks the server for one more answer.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from openai_replay.config.rules import Rules
from openai_replay.model import End, Mode
from openai_replay.playback.pace import INSTANT, ORIGINAL
from openai_replay.server.http.limits import Limits
from openai_replay.server.serve import ServerConfig, serving
from tests.support.proxy import (
    CHAT,
    PATIENCE_S,
    Connection,
    Ended,
    Heard,
    ask,
    command,
    free_port,
    interactions,
    playing,
    recording,
)
from tests.support.upstream import Chunk, Close, Repeat, Reset, Send, Sleep, Step, Upstream, head, plain
from tests.support.upstream import End as LastChunk

#: `make soak` has the time for the full size of everything.
SOAK = bool(os.environ.get("OPENAI_REPLAY_SOAK"))
MIB = 1 << 20
STREAM = [("content-type", "text/event-stream"), ("transfer-encoding", "chunked")]
EVENTS = [b"data: 1\n\n", b"data: 2\n\n"]
LENGTH = [("content-type", "application/json"), ("content-length", "20")]
PART = b'{"a": [1, 2'
HEADS = {"stream": head(200, "OK", STREAM), "plain": head(200, "OK", LENGTH)}
#: What comes before it goes wrong, and what of it is the body.
BEGUN: dict[str, list[Step]] = {
    "stream": [Send(HEADS["stream"]), *map(Chunk, EVENTS)],
    "plain": [Send(HEADS["plain"] + PART)],
}
CAME = {"stream": b"".join(EVENTS), "plain": PART}

# ------------------------------------------------------------------------------------------------ after the head


@dataclass(frozen=True)
class Cut:
    """A fault after the head of an answer: how it ends for the client, and on the tape."""

    steps: Sequence[Step]
    end: End
    ended: Ended
    extra: bytes = b""  # that is part of the body
    only: str = ""  # the one kind of body there is such a thing for


CUTS = {
    "closed in the body": Cut([Sleep(0.02), Close()], End.TRUNCATED, Ended.EARLY),
    "reset in the body": Cut([Sleep(0.02), Reset()], End.RESET, Ended.RESET),
    "stalled": Cut([Sleep(3 * PATIENCE_S)], End.TRUNCATED, Ended.EARLY),
    "no chunk size": Cut([Send(b"no size\r\nabc\r\n")], End.TRUNCATED, Ended.EARLY, only="stream"),
    "a negative chunk size": Cut([Send(b"-5\r\nabcde\r\n")], End.TRUNCATED, Ended.EARLY, only="stream"),
    "a huge chunk size": Cut([Send(b"f" * 17 + b"\r\nabc")], End.TRUNCATED, Ended.EARLY, only="stream"),
    "a chunk longer than its size": Cut(
        [Send(b"3\r\nabcdef\r\n")], End.TRUNCATED, Ended.EARLY, extra=b"abc", only="stream"
    ),
    "a cut chunk": Cut([Send(b"5\r\nab"), Sleep(0.02), Close()], End.TRUNCATED, Ended.EARLY, b"ab", "stream"),
    "a cut chunk size": Cut([Send(b"5"), Sleep(0.02), Close()], End.TRUNCATED, Ended.EARLY, only="stream"),
    "no last chunk's end": Cut([Send(b"0\r\n"), Sleep(0.02), Close()], End.TRUNCATED, Ended.EARLY, only="stream"),
}
CASES = [(name, kind) for name, cut in CUTS.items() for kind in ("stream", "plain") if cut.only in ("", kind)]


def saw(heard: Heard, body: bytes, ended: Ended) -> None:
    assert (heard.status, heard.body, heard.ended) == (200, body, ended)


@pytest.mark.parametrize(("name", "kind"), CASES)
async def test_a_cut_is_recorded_and_played_as_what_it_was(tmp_path: Path, name: str, kind: str) -> None:
    cut, tape = CUTS[name], tmp_path / "tape.yaml"
    body = CAME[kind] + cut.extra
    async with Upstream() as up, recording(up.url, tape, idle_timeout_s=0.3 if name == "stalled" else 60.0) as proxy:
        up.script("POST", CHAT, [*BEGUN[kind], Sleep(0.05), *cut.steps])
        up.script("GET", "/v1/models", plain(b"{}"))
        saw(await proxy.ask("POST", CHAT, {}), body, cut.ended)
        assert (await proxy.ask("GET", "/v1/models")).json == {}, "the server goes on"
        assert len(up.requests) == 2, "and nothing was sent twice"
        assert proxy.outcomes == ["recorded", "recorded"]
    recorded = next(interaction.response for interaction in interactions(tape) if interaction.request.method == "POST")
    assert (recorded.body, recorded.end) == (body, cut.end)
    for pace in (ORIGINAL, INSTANT):
        async with playing(tape, pace=pace) as player:
            saw(await player.ask("POST", CHAT, {}), body, cut.ended)
            assert (await player.ask("GET", "/v1/models")).json == {}, "the server goes on"


# ------------------------------------------------------------------------------------------------ before the head

NO_ANSWER: dict[str, tuple[list[Step], str]] = {
    "closed": ([Close()], "it closed the connection without a response"),
    "reset": ([Reset(0.0)], "Connection reset by peer"),
    "closed in the head": ([Send(b"HTTP/1.1 200 OK\r\ncontent-"), Sleep(0.02), Close()], "without a response"),
    "no HTTP": ([Send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), Close()], "its response is not HTTP"),
    "stalled before the head": ([Sleep(3 * PATIENCE_S)], "it sent nothing for longer than the idle timeout"),
    "two lengths": ([Send(head(200, "OK", [("content-length", "2"), ("content-length", "3")]) + b"abc")], "not HTTP"),
    "two framings": (
        [Send(head(200, "OK", [("content-length", "2"), ("transfer-encoding", "chunked")]) + b"0\r\n\r\n")],
        "not HTTP",
    ),
    "another protocol": (
        [Send(head(101, "Switching Protocols", [("upgrade", "chat"), ("connection", "upgrade")]) + b"hello")],
        "it switched to another protocol without being asked",
    ),
    "a long line": ([Send(b"HTTP/1.1 200 OK\r\nx-secret: " + b"x" * 100_000)], "larger than 64k"),
    "no chunk size in one read with the head": ([Send(HEADS["stream"] + b"no size\r\n")], "is not HTTP"),
    "many lines": ([Send(head(200, "OK", [(f"x-{number}", "1") for number in range(300)]))], "Too many headers"),
}


@pytest.mark.parametrize("name", NO_ANSWER)
async def test_no_answer_is_refused_and_not_recorded(tmp_path: Path, name: str) -> None:
    steps, message = NO_ANSWER[name]
    tape = tmp_path / "tape.yaml"
    async with Upstream() as up, recording(up.url, tape, idle_timeout_s=0.3 if "stalled" in name else 60.0) as proxy:
        up.script("POST", CHAT, steps)
        up.script("GET", "/v1/models", plain(b"{}"))
        heard = await proxy.ask("POST", CHAT, {})
        refused(heard, message)
        assert "xxxx" not in heard.json["error"]["message"], "what it sent stays out of messages"
        assert [request.method for request in up.requests] == ["POST"], "a POST is never sent twice"
        assert not tape.exists()
        assert (await proxy.ask("GET", "/v1/models")).json == {}, "the server goes on"
        assert proxy.outcomes == ["failed", "recorded"]


def refused(heard: Heard, message: str) -> None:
    """With an error in OpenAI's shape that says so."""
    assert (heard.status, heard.ended) == (502, Ended.COMPLETE)
    error = heard.json["error"]
    assert (error["type"], error["code"]) == ("openai_replay", "upstream_unreachable")
    assert message in error["message"]
    assert "Nothing was recorded." in error["message"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:{closed}/v1", "Connection refused"),
        ("https://127.0.0.1:{plain}/v1", "TLS failed"),
        ("http://no-such-host.invalid/v1", "the host name 'no-such-host.invalid' is unknown (DNS)"),
    ],
    ids=["connection refused", "TLS failure", "DNS failure"],
)
async def test_no_connection_is_refused_and_not_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, message: str
) -> None:
    def unknown(host: object, *_: object, **__: object) -> object:
        if host == "no-such-host.invalid":  # nobody is asked: a test does not leave this machine
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return getaddrinfo(host, *_, **__)  # type: ignore[arg-type]

    getaddrinfo = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    async def no_tls(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head(400, "Bad Request"))
        writer.close()

    async with await asyncio.start_server(no_tls, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with recording(url.format(closed=free_port(), plain=port), tmp_path / "tape.yaml") as proxy:
            heard = await proxy.ask("POST", CHAT, {})
            assert heard.status == 502
            assert message in heard.json["error"]["message"]
            assert (await proxy.ask("GET", "/@/health")).status == 200, "the server goes on"
            assert proxy.outcomes == ["failed"]
    assert not (tmp_path / "tape.yaml").exists()


# ------------------------------------------------------------------------------------------------ odd, and in order


async def both(tmp_path: Path, steps: list[Step], method: str = "POST") -> tuple[Heard, Heard, Heard]:
    """The answer as it is recorded, as it is played on time, and as it is played at once."""
    tape = tmp_path / "tape.yaml"
    async with Upstream() as up, recording(up.url, tape) as proxy:
        up.script(method, CHAT, steps)
        recorded = await proxy.ask(method, CHAT)
        assert proxy.outcomes == ["recorded"]
        assert len(up.requests) == 1
    played = []
    for pace in (ORIGINAL, INSTANT):
        async with playing(tape, pace=pace) as player:
            played.append(await player.ask(method, CHAT))
            assert (await player.ask(method, CHAT)).status == played[0].status, "the server goes on"
    return recorded, played[0], played[1]


@pytest.mark.parametrize("status", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
@pytest.mark.parametrize("times", [1, 3])
async def test_informational_answers_are_passed_over(tmp_path: Path, status: bytes, times: int) -> None:
    before = b"HTTP/1.1 %b\r\nlink: </a>\r\n\r\n" % status
    steps: list[Step] = []
    for _ in range(times):
        steps += [Send(before), Sleep(0.01)]
    for heard in await both(tmp_path, [*steps, *plain(b'{"a": 1}')]):
        assert (heard.status, heard.json, heard.ended) == (200, {"a": 1}, Ended.COMPLETE)


@pytest.mark.parametrize(
    ("method", "status", "headers"),
    [
        ("POST", 204, []),
        ("GET", 304, [("etag", '"1"')]),
        ("GET", 304, [("etag", '"1"'), ("content-length", "500")]),
        ("HEAD", 200, [("content-length", "500")]),
        ("HEAD", 200, [("transfer-encoding", "chunked")]),
        ("HEAD", 404, []),
    ],
)
async def test_answers_without_a_body(tmp_path: Path, method: str, status: int, headers: list[tuple[str, str]]) -> None:
    for heard in await both(tmp_path, [Send(head(status, "Said", headers))], method):
        assert (heard.status, heard.body, heard.ended) == (status, b"", Ended.COMPLETE)
        assert heard.header("content-length") == dict(headers).get("content-length")


async def test_trailers_are_left_out_and_the_body_is_whole(tmp_path: Path) -> None:
    last = Send(b"0\r\nx-checksum: 1\r\nx-more: 2\r\n\r\n")
    for heard in await both(tmp_path, [Send(HEADS["stream"]), *map(Chunk, EVENTS), last]):
        assert (heard.cuts, heard.ended) == (EVENTS, Ended.COMPLETE)


async def test_chunk_extensions_are_left_out(tmp_path: Path) -> None:
    steps: list[Step] = [Send(HEADS["stream"]), Send(b"9;name=value\r\ndata: 1\n\n\r\n"), LastChunk()]
    for heard in await both(tmp_path, steps):
        assert (heard.cuts, heard.ended) == (EVENTS[:1], Ended.COMPLETE)


async def test_an_answer_before_the_request_is_read(tmp_path: Path) -> None:
    """A `413` while the request is still being sent on, to an upstream that never reads it."""
    body = b"x" * (8 * MIB)
    tape = tmp_path / "tape.yaml"
    async with Upstream() as up, recording(up.url, tape) as proxy:
        steps = [*plain(b'{"error": {}}', status=413, reason="Too Large"), Sleep(0.3), Close()]
        up.script("POST", "/v1/files", steps, early=True)
        heard = await proxy.ask("POST", "/v1/files", body, [("content-type", "application/octet-stream")])
        assert (heard.status, heard.json, heard.ended) == (413, {"error": {}}, Ended.COMPLETE)
        assert proxy.outcomes == ["recorded"]
        assert (await proxy.ask("GET", "/v1/models")).status == 200
    response = interactions(tape)[0].response
    assert (response.head.status, response.body, response.end) == (413, b'{"error": {}}', End.COMPLETE)


# ------------------------------------------------------------------------------------------------ kept connections


@pytest.mark.parametrize("ending", ["closed", "reset"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("mode", [Mode.ALL, Mode.OFF])
async def test_nothing_that_may_cost_is_sent_twice(tmp_path: Path, ending: str, method: str, mode: Mode) -> None:
    """The upstream drops a connection that it had kept when the next request comes on it: counted there."""
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml", mode=mode) as proxy:
        up.script("GET", "/v1/models", plain(b"{}"))
        up.script(method, CHAT, [Close() if ending == "closed" else Reset(0.0)])
        assert (await proxy.ask("GET", "/v1/models")).json == {}
        heard = await proxy.ask(method, CHAT, {})
        assert heard.status == 502
        assert "not sent again" in heard.json["error"]["message"]
        assert [request.method for request in up.requests] == ["GET", method]
        assert up.connections == 1
        assert (await proxy.ask("GET", "/v1/models")).json == {}, "the server goes on, on a new connection"
        assert up.connections == 2


@pytest.mark.parametrize("ending", ["closed", "reset"])
async def test_a_get_is_sent_again_where_a_kept_connection_was_dropped(tmp_path: Path, ending: str) -> None:
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml", mode=Mode.ALL) as proxy:
        up.script("GET", "/v1/files", plain(b"{}"))
        up.script("GET", "/v1/models", [Close() if ending == "closed" else Reset(0.0)])
        up.script("GET", "/v1/models", plain(b'{"a": 1}'))
        assert (await proxy.ask("GET", "/v1/files")).json == {}
        assert (await proxy.ask("GET", "/v1/models")).json == {"a": 1}
        assert [request.path for request in up.requests] == ["/v1/files", "/v1/models", "/v1/models"]
        assert proxy.outcomes == ["recorded", "recorded"]


async def test_a_get_is_not_sent_again_on_a_new_connection(tmp_path: Path) -> None:
    """A server that drops it at once would get it for ever."""
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml") as proxy:
        up.script("GET", "/v1/models", [Close()])
        assert (await proxy.ask("GET", "/v1/models")).status == 502
        assert len(up.requests) == 1


async def test_a_get_is_not_sent_again_once_an_answer_had_begun(tmp_path: Path) -> None:
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml") as proxy:
        up.script("GET", "/v1/files", plain(b"{}"))
        up.script("GET", "/v1/models", [*BEGUN["plain"], Sleep(0.02), Close()])
        await proxy.ask("GET", "/v1/files")
        heard = await proxy.ask("GET", "/v1/models")
        assert (heard.status, heard.body, heard.ended) == (200, PART, Ended.EARLY)
        assert len(up.requests) == 2


async def test_a_connection_that_the_upstream_closed_while_it_was_idle_is_not_used(tmp_path: Path) -> None:
    """So that a POST does not meet it."""
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml") as proxy:
        up.script("POST", CHAT, [*plain(b"{}"), Close()])
        for number in range(5):
            assert (await proxy.ask("POST", CHAT, {"number": number})).json == {}
            for _ in range(3):  # the proxy runs in this loop: now it has read what lay there
                await proxy.ask("GET", "/@/health")
        assert len(up.requests) == 5


# ------------------------------------------------------------------------------------------------ very much


async def test_a_head_that_never_ends(tmp_path: Path) -> None:
    """100 MB in full; it is refused after the first 64 kB or 128 lines of it."""
    size = 100 * MIB if SOAK else 10 * MIB
    line = b"x-" + b"y" * 1000 + b": " + b"z" * 1000 + b"\r\n"
    async with Upstream() as up:
        for steps in (
            [Send(b"HTTP/1.1 200 OK\r\n"), Repeat(line, size // len(line))],
            [Send(b"HTTP/1.1 200 OK\r\nx-long: "), Repeat(b"x" * 4096, size // 4096)],
            [Repeat(b"x" * 4096, size // 4096)],
        ):
            up.script("POST", CHAT, [*steps])
        async with command("record", tmp_path / "tape.yaml", "--upstream", up.url) as process:
            await process.ask("GET", "/v1/models")
            before = process.peak_bytes
            for number in range(3):
                heard = await process.ask("POST", CHAT, {"number": number})
                assert heard.status == 502
                assert heard.json["error"]["code"] == "upstream_unreachable"
            assert process.peak_bytes - before < 10 * MIB
            assert (await process.ask("GET", "/v1/models")).status == 200


async def test_very_many_tiny_frames(tmp_path: Path) -> None:
    """A million in full: all of them are passed on, recorded and played, cut for cut."""
    count = 1_000_000 if SOAK else 20_000
    at_once = 1000
    tape = tmp_path / "tape.yaml"
    async with Upstream() as up:
        up.script("POST", CHAT, [Send(HEADS["stream"]), Repeat(b"1\r\n.\r\n" * at_once, count // at_once), LastChunk()])
        async with command("record", tape, "--upstream", up.url, "--max-response", "512m") as process:
            heard = await process.ask("POST", CHAT, {})
            assert len(heard.pieces) == count
            assert (set(heard.cuts), heard.ended) == ({b"."}, Ended.COMPLETE)
            assert await process.stop() == 0
    async with command("play", tape) as process:
        heard = await process.ask("POST", CHAT, {})
        assert (len(heard.pieces), set(heard.cuts), heard.ended) == (count, {b"."}, Ended.COMPLETE)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stream", "plain"])
async def test_an_answer_larger_than_max_response(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """1 GB in full. The client gets all of it, the tape keeps nothing, that is said, and memory stays flat."""
    piece = b"x" * (MIB // 4)
    times = 4096 if SOAK else 320
    size = times * len(piece)
    length = [("content-type", "application/octet-stream"), ("content-length", str(size))]
    chunk = b"%x\r\n%b\r\n" % (len(piece), piece)
    steps: list[Step] = (
        [Send(HEADS["stream"]), Repeat(chunk, times), LastChunk()]
        if kind == "stream"
        else [Send(head(200, "OK", length)), Repeat(piece, times)]
    )
    tape = tmp_path / "tape.yaml"
    async with Upstream() as up:
        up.script("POST", "/v1/small", plain(b"{}"))
        up.script("POST", "/v1/large", steps)
        async with command("record", tape, "--upstream", up.url, "--max-response", "4m") as process:
            await process.ask("POST", "/v1/small", {})
            before = process.peak_bytes
            async with Connection(process.origin) as client:
                client.send("POST", "/v1/large", {})
                await client.head()
                arrived = 0
                while (data := await client.piece()) is not None:
                    arrived += len(data)
                    client.heard.pieces.clear()
                    client.forget()
                assert (arrived, client.heard.ended) == (size, Ended.COMPLETE)
            grown = process.peak_bytes - before
            assert (await process.ask("POST", "/v1/small", {"x": 1})).json == {}, "the server goes on"
            assert await process.stop() == 1
            assert (
                "LOST    POST /v1/large  200\n  NOT RECORDED: the response is larger than --max-response"
                in process.stderr
            )
    assert [interaction.request.path for interaction in interactions(tape)] == ["/v1/small", "/v1/small"]
    with capsys.disabled():
        print(f" [{size // MIB} MB, {kind}: {grown / MIB:.0f} MB more]", end="")
    assert grown < 64 * MIB


async def test_an_answer_that_is_exactly_as_large_as_is_recorded(tmp_path: Path) -> None:
    tape = tmp_path / "tape.yaml"
    limits = Limits(response=10_000)
    async with Upstream() as up:
        up.script("POST", "/v1/fits", plain(b"x" * 9_000))
        up.script("POST", "/v1/large", plain(b"x" * 10_001))
        config = ServerConfig(Rules(mode=Mode.ALL), (tape,), up.url, port=0, quiet=True, limits=limits)
        async with serving(config) as (base_url, sessions):
            assert len((await ask(base_url, "POST", "/v1/fits", {})).body) == 9_000
            assert len((await ask(base_url, "POST", "/v1/large", {})).body) == 10_001
            assert sessions.default is not None
            assert [str(exchange.outcome) for exchange in sessions.default.engine.journal.exchanges] == [
                "recorded",
                "lost",
            ]
    assert [exchange.request.path for exchange in interactions(tape)] == ["/v1/fits"]


async def test_a_large_answer_whose_client_leaves_is_not_read_on(tmp_path: Path) -> None:
    """There is nobody left that it is for."""
    async with Upstream() as up:
        up.script("POST", CHAT, [Send(HEADS["stream"]), Repeat(b"40000\r\n%b\r\n" % (b"x" * 0x40000), 1 << 20)])
        limits = Limits(response=MIB)
        config = ServerConfig(
            Rules(mode=Mode.ALL), (tmp_path / "tape.yaml",), up.url, port=0, quiet=True, limits=limits
        )
        async with serving(config) as (base_url, sessions):
            async with Connection(base_url) as client:
                client.send("POST", CHAT, {})
                await client.head()
                for _ in range(20):
                    await client.piece()
            assert sessions.default is not None
            assert await sessions.default.engine.finish(PATIENCE_S), "it is over, long before the drain timeout"
            assert [str(exchange.outcome) for exchange in sessions.default.engine.journal.exchanges] == ["lost"]
