"""`record`: what comes from the upstream reaches the client as it came and when it came, and the tape keeps it."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import re
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals
from typing import Any

import pytest

from openai_replay.cassette.cassette import Cassette
from openai_replay.config.rules import Rules
from openai_replay.journal.exchanges import Exchange
from openai_replay.model import End as Ending
from openai_replay.model import Mode, Request
from openai_replay.playback.pace import INSTANT, ORIGINAL
from openai_replay.proxy import upstream, upstream_body
from openai_replay.proxy.aio import LARGE as LARGE_BODY
from openai_replay.proxy.live_response import LiveResponse
from openai_replay.redaction.redactor import Redactor
from openai_replay.server.serve import ServerConfig, serving
from tests.support.proxy import (
    CHAT,
    KEY,
    PATIENCE_S,
    Connection,
    Ended,
    Heard,
    ask,
    cassette,
    command,
    free_port,
    interactions,
    invoke,
    item,
    on_tape,
    passed_on,
    playing,
    recording,
    run,
)
from tests.support.upstream import Chunk, Close, End, Hold, Reset, Send, Sleep, Step, Upstream, head, plain, sse

JSON = ("content-type", "application/json")
CHUNKED = ("transfer-encoding", "chunked")
SMILE = "🙂".encode()
EVERY_BYTE = bytes(range(256)) * 3

# ------------------------------------------------------------------------------------------------ law 1 and 5: verbatim


@dataclass(frozen=True, slots=True)
class Case:
    """An answer of the upstream. `same_cuts`: the client sees the upstream's own chunks, not those of single reads."""

    steps: Sequence[Step]
    method: str = "POST"
    same_cuts: bool = True
    framing: str = ""  # where it is not the upstream's own
    ended: Ended = Ended.COMPLETE
    requests: tuple[tuple[str, str], ...] = ()


def chunked(*steps: Step, status: int = 200, reason: str = "OK", headers: Sequence[tuple[str, str]] = ()) -> list[Step]:
    return [Send(head(status, reason, [*headers, CHUNKED])), *steps]


def sized(size: int, *steps: Step, headers: Sequence[tuple[str, str]] = (JSON,)) -> list[Step]:
    return [Send(head(200, "OK", [*headers, ("content-length", str(size))])), *steps]


def empty(status: int, reason: str, *headers: tuple[str, str]) -> list[Step]:
    return [Send(head(status, reason, headers))]


ANSWERS = {
    "json with a length": Case(plain(b'{"ok": true}')),
    "json in chunks": Case(chunked(Chunk(b'{"a":'), Sleep(0.02), Chunk(b" 1}"), End(), headers=[JSON])),
    "a stream": Case(sse(b"data: 1\n\n", b"data: 2\n\n", b"data: [DONE]\n\n")),
    "CRLF": Case(sse(b"data: 1\r\n\r\n", b"data: [DONE]\r\n\r\n")),
    "comments, CR, no line end": Case(sse(b": ping\n\n", b"data: 1\r\r", b"event: x\ndata: 2")),
    "a character between two chunks": Case(sse(b"data: " + SMILE[:1], SMILE[1:3], SMILE[3:] + b"\n\n")),
    "several chunks in one segment": Case(sse(Chunk(b"data: 1\n\n", b"da", b"ta: 2\n\n"), Chunk(b"a", b"b", b"c"))),
    "head, chunks and end in one segment": Case([Send(head(200, "OK", [CHUNKED]) + b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n")]),
    "a chunk over several segments": Case(
        chunked(Send(b"a\r\n01234"), Sleep(0.03), Send(b"56789\r"), Sleep(0.03), Send(b"\n"), End()), same_cuts=False
    ),
    "a size line over several segments": Case(
        chunked(Send(b"1"), Sleep(0.03), Send(b"0\r"), Sleep(0.03), Send(b"\n" + b"x" * 16 + b"\r\n"), End())
    ),
    "a body over several segments": Case(sized(9, Send(b"012"), Sleep(0.03), Send(b"345"), Sleep(0.03), Send(b"678"))),
    "chunk extensions and trailers": Case(chunked(Send(b"3;name=value\r\nabc\r\n0\r\nx-trailer: 1\r\n\r\n"))),
    "until the connection closes": Case(
        [Send(head(200, "OK", [JSON]) + b'{"a"'), Sleep(0.03), Send(b": 1}"), Close()],
        framing="chunked",
        same_cuts=False,
    ),
    "HTTP/1.0": Case([Send(b"HTTP/1.0 200 OK\r\n\r\nold"), Close()], framing="chunked", same_cuts=False),
    "no chunk at all": Case(chunked(End(), headers=[JSON])),
    "HEAD with a length": Case(empty(200, "OK", JSON, ("content-length", "1234")), "HEAD"),
    "HEAD of chunks": Case(empty(200, "OK", JSON, CHUNKED), "HEAD"),
    "204": Case(empty(204, "No Content", ("x-request-id", "req_1")), "DELETE"),
    "304": Case(empty(304, "Not Modified", ("etag", '"abc"')), "GET", requests=(("If-None-Match", '"abc"'),)),
    "404": Case(plain(b'{"error": {"message": "no"}}', status=404, reason="Not Found")),
    "429": Case(
        plain(
            b"{}",
            status=429,
            reason="Too Many Requests",
            headers=[JSON, ("retry-after", "1"), ("retry-after-ms", "998")],
        )
    ),
    "an empty 500": Case(empty(500, "Internal Server Error", ("content-length", "0"))),
    "an empty 500 in chunks": Case(chunked(End(), status=500, reason="Internal Server Error")),
    "a reason of its own": Case(plain(b"{}", status=529, reason="Site is overloaded; (try later)")),
    "no reason": Case([Send(b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\n{}")]),
    "a reason beyond ASCII": Case([Send(b"HTTP/1.1 200 Tr\xe8s bien\r\ncontent-length: 2\r\n\r\n{}")]),
    "early hints": Case([Send(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"), *plain(b"{}")]),
    "a redirect": Case(
        plain(b"gone", status=307, reason="Temporary Redirect", headers=[("location", "/v1/elsewhere")])
    ),
    "binary": Case(plain(EVERY_BYTE, headers=[("content-type", "audio/mpeg")])),
    "binary in chunks": Case(chunked(Chunk(EVERY_BYTE[:300]), Sleep(0.02), Chunk(EVERY_BYTE[300:]), End())),
    "a large chunk": Case(chunked(Chunk(EVERY_BYTE * 2000), End()), same_cuts=False),
    "gzip all the same": Case(plain(gzip.compress(b'{"a": 1}', mtime=0), headers=[JSON, ("content-encoding", "gzip")])),
    "repeated headers": Case(
        plain(
            b"{}",
            headers=[
                ("X-B", "2"),
                ("x-a", "1"),
                ("set-cookie", "__cf_bm=secret; path=/"),
                ("access-control-expose-headers", "X-Request-ID"),
                JSON,
                ("access-control-expose-headers", "CF-Ray, x"),
                ("set-cookie", "_cfuvid=secret; path=/"),
                ("X-Empty", ""),
                ("x-latin", "caf\xe9"),
                ("x-utf8", "café".encode().decode("latin-1")),
                ("X-Quoted", 'a "b" \\c: d # e'),
                ("x-yes", "yes"),
                ("Date", "Thu, 20 Nov 2025 12:00:00 GMT"),
                ("server", "cloudflare"),
            ],
        )
    ),
    "noise": Case(
        plain(
            b"{}",
            headers=[
                JSON,
                ("cf-ray", "1-FRA"),
                ("CF-Cache-Status", "DYNAMIC"),
                ("alt-svc", "h3"),
                ("nel", "{}"),
                ("report-to", "{}"),
                ("strict-transport-security", "max-age=1"),
                ("openai-organization", "org-secret"),
                ("openai-project", "proj_secret"),
                ("openai-version", "2020-10-01"),
                ("x-request-id", "req_1"),
                ("x-ratelimit-limit-requests", "10000"),
            ],
        )
    ),
    "hop-by-hop headers": Case(
        plain(
            b"{}",
            headers=[
                JSON,
                ("Connection", "keep-alive, X-Only-Here"),
                ("X-Only-Here", "1"),
                ("Keep-Alive", "timeout=5"),
                ("x-stays", "1"),
            ],
        )
    ),
    "closed between two chunks": Case([*sse(b"data: 1\n\n", b"data: 2\n\n")[:-1], Close()], ended=Ended.EARLY),
    "closed inside a chunk": Case(chunked(Chunk(b"abc"), Send(b"8\r\n0123"), Close()), ended=Ended.EARLY),
    "closed right after the head": Case(chunked(Close(), headers=[JSON]), ended=Ended.EARLY),
    "closed before the length is reached": Case(sized(10, Send(b"0123456"), Close()), ended=Ended.EARLY),
    "closed where a body with a length should begin": Case(sized(10, Close()), ended=Ended.EARLY),
    "reset between two chunks": Case([*sse(b"data: 1\n\n", b"data: 2\n\n")[:-1], Reset()], ended=Ended.RESET),
    "reset inside a chunk": Case(chunked(Chunk(b"abc"), Send(b"8\r\n0123"), Reset()), ended=Ended.RESET),
    "reset inside a character": Case([*sse(b"data: " + SMILE[:2])[:-1], Reset()], ended=Ended.RESET),
    "reset before the length is reached": Case(sized(10, Send(b"0123456"), Reset()), ended=Ended.RESET),
    "reset right after the head": Case(chunked(Reset(), headers=[JSON]), ended=Ended.RESET),
    "reset where the end of the connection is that of the body": Case(
        [Send(head(200, "OK", [JSON]) + b"abc"), Reset()], framing="chunked", same_cuts=False, ended=Ended.RESET
    ),
}


def same_answer(entry: Heard, second: Heard) -> None:
    """Return everything that must be equal in the response of the upstream, the recorded and the played one."""
    assert (entry.status, entry.reason, entry.body, entry.ended) == (
        second.status,
        second.reason,
        second.body,
        second.ended,
    )


@pytest.mark.parametrize("case", ANSWERS.values(), ids=ANSWERS.keys())
async def test_live_recorded_and_played_are_the_same(case: Case, tmp_path: Path) -> None:
    tape = tmp_path / "tape.yaml"
    request = (case.method, CHAT, {"n": 1} if case.method == "POST" else b"", case.requests)
    async with Upstream() as up:
        up.script(case.method, CHAT, case.steps)
        direct = await ask(up.origin, *request)
        async with recording(up.url, tape) as proxy:
            live = await proxy.ask(*request)
    assert direct.ended == case.ended, "the simulated upstream did as the case says"

    same_answer(live, direct)
    assert live.framing == (case.framing or direct.framing)
    names = {token.strip().lower() for value in direct.all("connection") for token in value.split(",")}
    end_to_end = [entry for entry in passed_on(direct.headers) if entry[0].lower() not in names]
    assert passed_on(live.headers) == end_to_end
    assert live.header("content-length") == direct.header("content-length")
    if case.same_cuts and live.framing == "chunked":
        assert live.cuts == direct.cuts

    for pace in (INSTANT, ORIGINAL):
        async with playing(tape, pace=pace) as player:
            played = await player.ask(*request)
            assert player.outcomes == ["played"]
        same_answer(played, live)
        assert played.framing == live.framing
        assert on_tape(played.headers) == on_tape(end_to_end)
        assert played.header("content-length") == live.header("content-length")
        if played.framing == "chunked":
            assert played.cuts == live.cuts


async def test_played_headers_hold_no_noise_and_no_secret(tmp_path: Path) -> None:
    tape = tmp_path / "tape.yaml"
    async with Upstream() as up:
        up.script("POST", CHAT, ANSWERS["noise"].steps)
        async with recording(up.url, tape) as proxy:
            await proxy.ask("POST", CHAT, {})
    async with playing(tape) as player:
        played = await player.ask("POST", CHAT, {})
    assert sorted(played.headers) == [
        ("Content-Length", "2"),
        JSON,
        ("openai-organization", "REDACTED"),
        ("openai-project", "REDACTED"),
        ("openai-version", "2020-10-01"),
        ("x-ratelimit-limit-requests", "10000"),
        ("x-request-id", "req_1"),
    ]


async def test_all_headers_are_kept_when_asked_for(tmp_path: Path) -> None:
    tape = tmp_path / "tape.yaml"
    async with Upstream() as up:
        up.script("POST", CHAT, ANSWERS["noise"].steps)
        async with recording(up.url, tape, all_headers=True) as proxy:
            live = await proxy.ask("POST", CHAT, {}, [("User-Agent", "test/1")])
    async with playing(tape) as player:
        played = await player.ask("POST", CHAT, {})
    secret = {"openai-organization", "openai-project"}
    assert [entry for entry in passed_on(played.headers) if entry[0] not in secret] == [
        entry for entry in passed_on(live.headers) if entry[0] not in secret
    ]
    assert ("User-Agent", "test/1") in interactions(tape)[0].request.headers


async def test_keep_alive_carries_one_answer_after_the_other(tmp_path: Path) -> None:
    tape = tmp_path / "tape.yaml"
    names = ["json with a length", "a stream", "204", "no chunk at all", "an empty 500", "json in chunks"]
    async with Upstream() as up:
        for number, name in enumerate(names):
            up.script("POST", f"/v1/{number}", ANSWERS[name].steps)
        async with recording(up.url, tape) as proxy, Connection(proxy.origin) as client:
            live = [await client.ask("POST", f"/v1/{number}", {}) for number in range(len(names))]
            assert client.unread == b""
    async with playing(tape) as player, Connection(player.origin) as client:
        for number, entry in enumerate(live):
            same_answer(await client.ask("POST", f"/v1/{number}", {}), entry)


# ------------------------------------------------------------------------------------------------ the request


async def test_the_request_goes_on_as_it_came(tmp_path: Path) -> None:
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml") as proxy:
        up.script("PATCH", "/v1//odd/p%C3%A4th%2F", plain(b"{}"))
        body = b'{"b": 1.0,\t"a": "\xc3\xa9" }\n'
        headers = [
            JSON,
            ("X-Twice", "1"),
            ("X-Twice", "2"),
            ("x-utf8", "café".encode().decode("latin-1")),
            ("Accept-Encoding", "gzip, br"),
            ("OpenAI-Organization", "org-1"),
            ("Connection", "keep-alive, x-mine"),
            ("x-mine", "hop"),
        ]
        await proxy.ask("PATCH", "/v1//odd/p%C3%A4th%2F?b=2&a=%20x&c", body, headers)
        (got,) = up.requests
    assert (got.method, got.target, got.body) == ("PATCH", "/v1//odd/p%C3%A4th%2F?b=2&a=%20x&c", body)
    assert got.header("accept-encoding") == "identity"
    assert got.header("via") == "1.1 openai-replay"
    assert got.header("host") == up.origin.removeprefix("http://")
    assert got.header("authorization") == f"Bearer {KEY}"
    custom = {"host", "accept-encoding", "via", "content-length"}
    assert [entry for entry in got.headers if entry[0].lower() not in custom] == [
        ("Authorization", f"Bearer {KEY}"),
        *headers[:4],
        headers[5],
    ]


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
        (b"Content-Length: 3\r\n\r\nabc", b"abc"),
        (b"Content-Length: 0\r\n\r\n", b""),
        (b"\r\n", b""),
    ],
    ids=["chunked", "length", "length 0", "none"],
)
async def test_request_bodies(tmp_path: Path, sent: bytes, received: bytes) -> None:
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml") as proxy:
        up.script("POST", CHAT, plain(b"{}"))
        async with Connection(proxy.origin) as client:
            client.write(b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: localhost\r\n" + sent, "POST")
            assert (await client.rest()).status == 200
        assert up.requests[0].body == received


async def test_a_compressed_request_goes_on_as_it_came(tmp_path: Path) -> None:
    body = gzip.compress(b'{"a": 1}', mtime=0)
    tape = tmp_path / "tape.yaml"
    async with Upstream() as up, recording(up.url, tape) as proxy:
        up.script("POST", CHAT, plain(b"{}"))
        await proxy.ask("POST", CHAT, body, [JSON, ("Content-Encoding", "gzip")])
        assert up.requests[0].body == body
        assert up.requests[0].header("content-encoding") == "gzip"
    async with playing(tape) as player:
        assert (await player.ask("POST", CHAT, {"a": 1})).status == 200


async def test_expect_100_continue(tmp_path: Path) -> None:
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml") as proxy:
        up.script("POST", CHAT, plain(b"{}"))
        async with Connection(proxy.origin) as client:
            client.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
            )
            async with asyncio.timeout(PATIENCE_S):
                while not client.unread:
                    await asyncio.sleep(0.01)
            assert client.unread.startswith(b"HTTP/1.1 100 Continue")
            client.write(b"abc", "POST")
            assert (await client.rest()).status == 200
        assert up.requests[0].body == b"abc"


# ------------------------------------------------------------------------------------------------ law 3: live


@pytest.mark.parametrize("framing", ["chunked", "length"])
async def test_every_read_goes_on_at_once(tmp_path: Path, framing: str) -> None:
    pieces = [b"data: 1\n\n", b"da", b"ta: 2\n\n", b": ping\n\n", b"data: 3\n\n"]
    holds = [asyncio.Event() for _ in range(len(pieces) + 1)]
    steps: list[Step] = chunked() if framing == "chunked" else sized(sum(map(len, pieces)))
    for hold, piece in zip(holds, pieces, strict=False):
        steps += [Hold(hold), Chunk(piece) if framing == "chunked" else Send(piece)]
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml") as proxy:
        up.script("POST", CHAT, [*steps, Hold(holds[-1]), *([End()] if framing == "chunked" else [])])
        async with Connection(proxy.origin) as client:
            client.send("POST", CHAT, {})
            assert (await client.head()).status == 200
            for hold, piece in zip(holds, pieces, strict=False):
                hold.set()  # the upstream says the next piece only now
                assert await client.piece() == piece
            holds[-1].set()
            assert (await client.rest()).ended == Ended.COMPLETE
    (recorded,) = interactions(tmp_path / "tape.yaml")
    assert [frame.data for frame in recorded.response.frames] == pieces


async def test_a_part_of_a_chunk_goes_on_at_once(tmp_path: Path) -> None:
    hold = asyncio.Event()
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml") as proxy:
        up.script("POST", CHAT, chunked(Send(b"a\r\n01234"), Hold(hold), Send(b"56789\r\n"), End()))
        async with Connection(proxy.origin) as client:
            client.send("POST", CHAT, {})
            await client.head()
            assert await client.piece() == b"01234"
            hold.set()
            assert (await client.rest()).cuts == [b"01234", b"56789"]


@pytest.mark.parametrize(
    "last",
    [b"data: [DONE]\n\n", b"event: response.completed\ndata: {}\n\n", b"event: done\ndata: [DONE]\n\n"],
    ids=["chat", "responses", "assistants"],
)
async def test_the_last_event_does_not_wait_for_an_upstream_that_keeps_the_connection(
    tmp_path: Path, last: bytes
) -> None:
    hold = asyncio.Event()
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml") as proxy:
        up.script("POST", CHAT, chunked(Chunk(b"data: 1\n\n"), Chunk(last), Hold(hold), End()))
        async with Connection(proxy.origin) as client:
            client.send("POST", CHAT, {})
            await client.head()
            assert [await client.piece(), await client.piece()] == [b"data: 1\n\n", last]
            hold.set()
            assert (await client.rest()).ended == Ended.COMPLETE


async def test_the_last_read_goes_on_at_once_and_the_end_when_the_tape_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, append = threading.Event(), Cassette.append

    def when_the_disk_is_ready(*wrap: Any) -> int:
        assert disk.wait(PATIENCE_S)
        return append(*wrap)

    monkeypatch.setattr(Cassette, "append", when_the_disk_is_ready)
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml") as proxy:
        up.script("POST", CHAT, chunked(Send(b"7\r\ndata: 1\r\n7\r\ndata: 2\r\n0\r\n\r\n")))
        async with Connection(proxy.origin) as client:
            client.send("POST", CHAT, {})
            assert (await client.head()).status == 200
            assert [await client.piece(), await client.piece()] == [b"data: 1", b"data: 2"]
            remaining = asyncio.create_task(client.rest())
            await asyncio.sleep(0.05)
            assert not remaining.done()
            disk.set()
            assert (await remaining).ended == Ended.COMPLETE


@pytest.mark.parametrize("is_blank", [True, False])
async def test_a_request_is_read_before_it_goes_on_only_if_the_tape_may_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_blank: bool
) -> None:
    tape, hold, read = tmp_path / "tape.yaml", asyncio.Event(), list[Request]()
    without_secrets = Redactor.redact_request

    def noted(redactor: Redactor, request: Request) -> Request:
        read.append(request)
        return without_secrets(redactor, request)

    async with Upstream() as up:
        up.script("POST", CHAT, [Hold(hold), *plain(b"{}")])
        if not is_blank:
            cassette(tape, item("hello"))
        async with recording(up.url, tape) as proxy:
            monkeypatch.setattr(Redactor, "redact_request", noted)
            requests = asyncio.create_task(proxy.ask("POST", CHAT, {"key": KEY}))
            async with asyncio.timeout(PATIENCE_S):
                while not up.requests:
                    await asyncio.sleep(0.005)
            assert bool(read) is not is_blank
            hold.set()
            assert (await requests).status == 200
    assert KEY not in tape.read_text("utf-8")
    assert b"REDACTED" in interactions(tape)[-1].request.body


@pytest.mark.parametrize("location", ["head", "body"])
async def test_a_mistake_of_ours_while_an_answer_is_read_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    def mistaken(*wrap: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(*((upstream, "_head") if location == "head" else (upstream_body, "read_body")), mistaken)
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml") as proxy:
        up.script("POST", CHAT, plain(b"{}"))
        heard = await proxy.ask("POST", CHAT, {})
        assert (heard.status, heard.ended == Ended.COMPLETE) == ((502, True) if location == "head" else (200, False))
        (noted,) = proxy.engine.journal.exchanges
        assert noted.outcome == ("failed" if location == "head" else "lost")
        assert "openai-replay failed: RuntimeError" in noted.error


async def test_an_answer_that_fails_when_nobody_waits_for_it_is_a_loss(tmp_path: Path) -> None:
    reported: list[Exchange] = []
    async with Upstream() as up:
        up.script("POST", CHAT, [Sleep(1.0), Close()])
        expected = ServerConfig(
            Rules(mode=Mode.NEW_EPISODES),
            (tmp_path / "tape.yaml",),
            up.url,
            port=0,
            shutdown_s=0.1,
            on_exchange=reported.append,
        )
        async with serving(expected) as (base_url, _), Connection(base_url.removesuffix("/v1")) as client:
            client.send("POST", CHAT, {})
            async with asyncio.timeout(PATIENCE_S):
                while not up.requests:
                    await asyncio.sleep(0.005)
    (noted,) = reported
    assert noted.outcome == "lost"
    assert "it closed the connection without a response" in noted.error


async def test_what_is_small_is_kept_while_what_is_large_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, go_on, without_secrets = "x" * (LARGE_BODY + 1), threading.Event(), Redactor.redact_request

    def waits(redactor: Redactor, request: Request) -> Request:
        if len(request.body) > LARGE_BODY:
            assert go_on.wait(PATIENCE_S)
        return without_secrets(redactor, request)

    monkeypatch.setattr(Redactor, "redact_request", waits)
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml") as proxy:
        up.script("POST", CHAT, plain(b"{}"))
        first = asyncio.create_task(proxy.ask("POST", CHAT, large))
        await asyncio.sleep(0.1)
        assert (await proxy.ask("POST", CHAT, "small")).ended == Ended.COMPLETE
        assert not first.done()
        go_on.set()
        assert (await first).ended == Ended.COMPLETE
    assert len(interactions(tmp_path / "tape.yaml")) == 2


async def test_a_request_that_is_cancelled_before_it_was_sent_is_not_sent() -> None:
    async with Upstream() as up, upstream.Upstream(up.url) as method:
        live = LiveResponse(lambda: 0.0, 1000)
        live.cancel("stopped")
        await method.fetch(Request("GET", f"{up.url}/models"), live)
        assert (live.closed, live.response, live.cancelled) == (True, None, "stopped")
    assert up.requests == []


async def test_a_slow_client_does_not_slow_the_recording(tmp_path: Path) -> None:
    """Times on the tape are the upstream's; the answer waits for the client, not the upstream."""
    tape = tmp_path / "tape.yaml"
    piece = b"x" * 100_000
    async with Upstream() as up, recording(up.url, tape) as proxy:
        up.script("POST", CHAT, chunked(*[Chunk(piece)] * 200, End()))
        async with Connection(proxy.origin) as client:
            client.send("POST", CHAT, {})
            await client.head()
            client.transport.pause_reading()
            async with asyncio.timeout(PATIENCE_S):
                while not tape.exists() or not tape.read_text().endswith("complete\n"):
                    await asyncio.sleep(0.02)
            client.transport.resume_reading()
            heard = await client.rest()
        assert heard.ended == Ended.COMPLETE
        assert heard.body == piece * 200


# ------------------------------------------------------------------------------------------------ the client leaves


async def test_when_the_client_leaves_the_tape_gets_the_whole_answer(tmp_path: Path) -> None:
    tape = tmp_path / "tape.yaml"
    hold = asyncio.Event()
    chunks = [b"data: %d\n\n" % number for number in range(20)]
    async with Upstream() as up:
        later: list[Step] = [step for chunk in chunks[1:] for step in (Sleep(0.01), Chunk(chunk))]
        up.script("POST", CHAT, chunked(Chunk(chunks[0]), Hold(hold), *later, End()))
        async with recording(up.url, tape) as proxy:
            async with Connection(proxy.origin) as client:
                client.send("POST", CHAT, {})
                await client.head()
                assert await client.piece() == chunks[0]
            await asyncio.sleep(0.05)
            hold.set()
        assert up.abandoned == []
    (recorded,) = interactions(tape)
    assert [frame.data for frame in recorded.response.frames] == chunks
    assert recorded.response.end is Ending.COMPLETE


async def test_when_the_client_leaves_before_the_head_the_tape_gets_the_answer(tmp_path: Path) -> None:
    tape = tmp_path / "tape.yaml"
    hold = asyncio.Event()
    async with Upstream() as up:
        up.script("POST", CHAT, [Hold(hold), *sized(8, Send(b'{"a"'), Sleep(0.05), Send(b": 1}"))])
        async with recording(up.url, tape) as proxy:
            async with Connection(proxy.origin) as client:
                client.send("POST", CHAT, {})
                async with asyncio.timeout(PATIENCE_S):
                    while not up.requests:
                        await asyncio.sleep(0.01)
            hold.set()
            await asyncio.sleep(0.05)
            assert await proxy.engine.finish(PATIENCE_S)
    assert interactions(tape)[0].response.body == b'{"a": 1}'


async def test_the_drain_timeout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tape = tmp_path / "tape.yaml"
    hold = asyncio.Event()
    endless: list[Step] = [Sleep(0.02), Chunk(b"x")] * 500
    async with Upstream() as up:
        up.script("POST", CHAT, chunked(Chunk(b"data: 1\n\n"), Hold(hold), *endless))
        async with recording(up.url, tape, drain_timeout_s=0.3) as proxy:
            async with Connection(proxy.origin) as client:
                client.send("POST", CHAT, {})
                await client.head()
                await client.piece()
            hold.set()
            async with asyncio.timeout(PATIENCE_S):
                while proxy.outcomes != ["lost"]:
                    await asyncio.sleep(0.02)
    assert not tape.exists()
    assert (
        "NOT RECORDED: the client left, and the response went on for more than --drain-timeout 0.3s"
        in capsys.readouterr().err
    )


# ------------------------------------------------------------------------------------------------ no answer


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


# ------------------------------------------------------------------------------------------------ modes

OLD, NEW = '{"said": "old"}', b'{"said": "new"}'


@pytest.mark.parametrize(
    ("mode", "existing", "requests", "status", "heard", "on_tape"),
    [
        # mode, the cassette was there, what is asked: what comes, and what is said on the tape afterwards
        (Mode.NEW_EPISODES, False, "hello", 200, "new", ["new"]),
        (Mode.NEW_EPISODES, True, "hello", 200, "old", ["old"]),
        (Mode.NEW_EPISODES, True, "other", 200, "new", ["old", "new"]),
        (Mode.ONCE, False, "hello", 200, "new", ["new"]),
        (Mode.ONCE, True, "hello", 200, "old", ["old"]),
        (Mode.ONCE, True, "other", 424, None, ["old"]),
        (Mode.ALL, False, "hello", 200, "new", ["new"]),
        (Mode.ALL, True, "hello", 200, "new", ["new"]),
        (Mode.OFF, False, "hello", 200, "new", []),
        (Mode.OFF, True, "hello", 200, "new", ["old"]),
    ],
)
async def test_modes(
    tmp_path: Path, mode: Mode, existing: bool, requests: str, status: int, heard: str | None, on_tape: list[str]
) -> None:
    tape = tmp_path / "tape.yaml"
    if existing:
        cassette(tape, item(OLD))
    async with Upstream() as up:
        up.script("POST", CHAT, plain(NEW))
        async with recording(up.url, tape, mode) as proxy:
            answer = await proxy.ask("POST", CHAT, requests)
        assert len(up.requests) == (heard == "new")
    assert answer.status == status
    assert answer.json.get("said") == heard
    text = (
        [json.loads(interaction.response.body)["said"] for interaction in interactions(tape)] if tape.exists() else []
    )
    assert text == on_tape


@pytest.mark.parametrize("mode", [Mode.NEW_EPISODES, Mode.ONCE])
async def test_what_was_recorded_a_second_ago_is_not_played_before_rewind(tmp_path: Path, mode: Mode) -> None:
    """Law 10: or retries and n-sampling would collapse into one answer."""
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml", mode) as proxy:
        for number in range(3):
            up.script("POST", CHAT, plain(b'{"n": %d}' % number))
        first = [(await proxy.ask("POST", CHAT, {})).json["n"] for _ in range(3)]
        assert proxy.outcomes == ["recorded"] * 3
        assert (await proxy.ask("POST", "/@/rewind")).status == 200
        second_run = [(await proxy.ask("POST", CHAT, {})).json["n"] for _ in range(3)]
        assert proxy.outcomes[3:] == ["played"] * 3
        assert len(up.requests) == 3
    assert first == second_run == [0, 1, 2]


async def test_a_used_up_recording_is_a_new_episode(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", item(OLD))
    async with Upstream() as up, recording(up.url, tape) as proxy:
        up.script("POST", CHAT, plain(NEW))
        text = [(await proxy.ask("POST", CHAT, "hello")).json["said"] for _ in range(2)]
    assert text == ["old", "new"]


# ------------------------------------------------------------------------------------------------ law 7: secrets

SECRET = "sk-proj-" + "Ab0_" * 12
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="key"\r\n\r\n' + SECRET.encode() + b"\r\n"
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n\xff\xfe '
    + SECRET.encode()
    + b"\r\n--b--\r\n"
)
SPLIT = [
    b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % SECRET[at : at + 7].encode()
    for at in range(0, len(SECRET), 7)
]


@pytest.mark.parametrize(
    ("target", "body", "headers", "steps"),
    [
        (CHAT, {}, [("Authorization", f"Bearer {SECRET}")], plain(b"{}")),
        (CHAT, {}, [("api-key", SECRET), ("x-api-key", SECRET), ("Cookie", SECRET)], plain(b"{}")),
        (CHAT, {}, [("X-Forwarded-Key", f"Bearer {SECRET}")], plain(b"{}")),
        (f"{CHAT}?api-key={SECRET}&api_key={SECRET}&x=1", {}, [], plain(b"{}")),
        (f"/v1/keys/{SECRET}", {}, [], plain(b"{}")),
        (CHAT, {"user": SECRET, SECRET: 1}, [], plain(b"{}")),
        (CHAT, SECRET.encode(), [("Content-Type", "text/plain")], plain(b"{}")),
        (CHAT, b"key=" + SECRET.encode(), [("Content-Type", "application/x-www-form-urlencoded")], plain(b"{}")),
        ("/v1/files", FORM, [("Content-Type", "multipart/form-data; boundary=b")], plain(b"{}")),
        (CHAT, gzip.compress(SECRET.encode()), [("Content-Encoding", "gzip")], plain(b"{}")),
        (CHAT, {}, [], plain(b"{}", headers=[("set-cookie", SECRET), ("x-echo", SECRET), ("openai-project", SECRET)])),
        (CHAT, {}, [], plain(json.dumps({"value": SECRET}).encode())),
        (CHAT, {}, [], plain(b"\xff\xfe " + SECRET.encode(), headers=[("content-type", "audio/mpeg")])),
        (CHAT, {}, [], plain(gzip.compress(SECRET.encode()), headers=[JSON, ("content-encoding", "gzip")])),
        (CHAT, {}, [], sse(b"data: " + SECRET[:9].encode(), SECRET[9:].encode() + b"\n\n")),
        (CHAT, {}, [], sse(*SPLIT, b"data: [DONE]\n\n")),
    ],
    ids=[
        "authorization", "key headers", "any header", "query", "path", "json", "text", "form", "multipart",
        "gzip request", "answer header", "answer json", "answer binary", "answer gzip", "cut inside", "token by token",
    ],
)  # fmt: skip
async def test_no_secret_reaches_the_disk(
    tmp_path: Path, target: str, body: Any, headers: list[tuple[str, str]], steps: list[Step]
) -> None:
    tape = tmp_path / "tape.yaml"
    async with Upstream() as up:
        up.script("POST", target.partition("?")[0], steps)
        async with recording(up.url, tape) as proxy:
            live = await proxy.ask("POST", target, body, headers)
            assert live.status == 200
            on_disk = tape.read_bytes()
    assert SECRET.encode() not in on_disk
    assert SECRET[8:].encode() not in on_disk
    assert not any(SECRET.encode() in frame for frame in (b"".join(re.findall(rb'content":"([^"]*)', on_disk)),))
    async with playing(tape) as player:
        played = await player.ask("POST", target, body, headers)
        assert player.outcomes == ["played"], "the same request, redacted, still matches"
    if live.header("content-encoding") is None:
        assert [len(cut) for cut in played.cuts] == [len(cut) for cut in live.cuts]


async def test_ones_own_secrets(tmp_path: Path) -> None:
    tape = tmp_path / "tape.yaml"
    rules = ["--redact-header", "X-Tenant", "--redact-pattern", r"acct-\d+", "--redact-pointer", "/user"]
    async with Upstream() as up:
        up.script("POST", CHAT, plain(b'{"account": "acct-4711", "user": "ada"}'))
        async with command("record", tape, "--upstream", up.url, *rules) as process:
            requests = {"user": "ada", "prompt": "look at acct-4711"}
            live = await process.ask("POST", CHAT, requests, [("X-Tenant", "secret-tenant")])
            assert live.body == b'{"account": "acct-4711", "user": "ada"}'
            assert await process.stop() == 0
    text = tape.read_text("utf-8")
    assert not re.search("secret-tenant|acct-4711|ada", text)
    async with command("play", tape, *rules) as process:
        played = await process.ask("POST", CHAT, requests, [("X-Tenant", "another")])
        assert played.json == {"account": "REDACTED*", "user": "***"}, "of the same length"


# ------------------------------------------------------------------------------------------------ adding to cassettes

VCRPY_STYLE = """interactions:
- request:
    body: '"hello"'
    headers:
      Content-Type:
      - application/json
    method: POST
    uri: https://api.openai.com/v1/chat/completions
  response:
    body:
      string: '{"said": "old"}'
    headers:
      Content-Type:
      - application/json
    status:
      code: 200
      message: OK
"""
INDENTED = "version: 1\ninteractions:\n" + "".join(f"    {line}\n" for line in item(OLD).splitlines())

BEFORE = {
    "ours with comments": "version: 1\n# why we have this\ninteractions:\n# looked at by Ada\n"
    + item(OLD)
    + "# more below\n",
    "vcrpy": VCRPY_STYLE + "version: 1\n",
    "vcrpy without version": VCRPY_STYLE,
    "indented list": INDENTED,
    "no line feed at the end": ("version: 1\ninteractions:\n" + item(OLD)).rstrip("\n"),
    "CRLF": ("version: 1\ninteractions:\n" + item(OLD)).replace("\n", "\r\n"),
    "document marks": "---\nversion: 1\ninteractions:\n" + item(OLD),
    "document end": "version: 1\ninteractions:\n" + item(OLD) + "...\n",
    "byte order mark": "\ufeffversion: 1\ninteractions:\n" + item(OLD),
    "no items": "version: 1\ninteractions: []\n",
    "no items, vcrpy's order": "interactions: []\nversion: 1\n",
    "nothing behind interactions": "version: 1\ninteractions:\n",
    "an empty file": "",
}


@pytest.mark.parametrize("mode", [Mode.NEW_EPISODES, Mode.ALL])
@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE.keys())
async def test_old_text_stays_as_it_is(tmp_path: Path, before: str, mode: Mode) -> None:
    tape = tmp_path / "tape.yaml"
    tape.write_bytes(before.encode())
    async with Upstream() as up, recording(up.url, tape, mode) as proxy:
        up.script("POST", CHAT, plain(NEW))
        for requests in ("first", "second"):
            assert (await proxy.ask("POST", CHAT, requests)).body == NEW
    after = tape.read_bytes().decode()
    old = re.search(r"(?s) *- request:.*?(?=\n?(?:version: 1\n|\.\.\.\n)?\Z)", before)
    if old:
        assert old[0] in after
        assert after.count(old[0]) == 1
    for comment in re.findall("(?m)^#.*", before):
        assert comment in after
    loaded = interactions(tape)
    asked_for = [json.loads(entry.request.body) for entry in loaded]
    assert asked_for == [*(["hello"] if old else []), "first", "second"]
    async with playing(tape) as player:
        for requests in asked_for:
            assert (await player.ask("POST", CHAT, requests)).status == 200


async def test_mode_all_puts_the_new_in_the_place_of_the_old(tmp_path: Path) -> None:
    """A small diff: what was not asked for stays where and as it is, comments and all."""
    tape = tmp_path / "tape.yaml"
    unchanged = [f"# about {word}\n{item(OLD, prompt=word)}" for word in ("first", "last")]
    tape.write_text(
        "version: 1\ninteractions:\n" + unchanged[0] + item(OLD) + item(OLD, prompt="third") + item(OLD) + unchanged[1]
    )
    async with Upstream() as up, recording(up.url, tape, Mode.ALL) as proxy:
        for number in range(3):
            up.script("POST", CHAT, plain(b'{"said": %d}' % number))
        for requests in ("hello", "brand new", "third"):
            await proxy.ask("POST", CHAT, requests)
        assert len(interactions(tape)) == 8, "until it is over, what is new stands at the end: nothing can be lost"
    reported = [
        (json.loads(interaction.request.body), json.loads(interaction.response.body)["said"])
        for interaction in interactions(tape)
    ]
    assert reported == [("first", "old"), ("hello", 0), ("third", 2), ("last", "old"), ("brand new", 1)]
    text = tape.read_text()
    assert all(interaction in text for interaction in unchanged)


async def test_a_flow_style_list_is_refused(tmp_path: Path) -> None:
    tape = tmp_path / "tape.yaml"
    tape.write_text(
        '{"version": 1, "interactions": [{"request": {"method": "GET", "uri": "http://x/"}, '
        '"response": {"status": {"code": 200}}}]}'
    )
    before = tape.read_bytes()
    result = await run("record", tape, "--port", "0")
    assert result.code == 3
    assert f"Error: {tape}: no recording can be added" in result.stderr
    assert tape.read_bytes() == before
    async with playing(tape) as player:
        assert (await player.ask("GET", "/")).status == 200


async def test_a_new_folder_is_made(tmp_path: Path) -> None:
    tape = tmp_path / "a" / "b" / "tape.yaml"
    async with Upstream() as up, recording(up.url, tape) as proxy:
        up.script("POST", CHAT, plain(NEW))
        assert not tape.exists(), "nothing is left behind by one who records nothing"
        await proxy.ask("POST", CHAT, {})
    assert len(interactions(tape)) == 1


# ------------------------------------------------------------------------------------------------ large bodies

LARGE = 200 << 20


def blob(size: int) -> bytes:
    """Bytes that no text format likes, and no two megabytes alike."""
    return b"".join(number.to_bytes(4) + EVERY_BYTE[:252] for number in range(size >> 8))


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["upload", "download"])
async def test_a_large_body(tmp_path: Path, direction: str, capsys: pytest.CaptureFixture[str]) -> None:
    body = blob(LARGE)
    kind = [("content-type", "application/octet-stream")]
    async with Upstream() as up:
        answer = body if direction == "download" else b"{}"
        up.script("POST", "/v1/files", plain(answer, headers=kind))
        async with command("record", tmp_path / "tape.yaml", "--upstream", up.url) as process:
            heard = await process.ask("POST", "/v1/files", body if direction == "upload" else b"x", kind)
            peak = process.peak_bytes
            assert await process.stop() == 0
        assert up.requests[0].body == (body if direction == "upload" else b"x")
        assert heard.body == answer
    with capsys.disabled():
        print(f" [{direction} of {LARGE >> 20} MB: peak {peak >> 20} MB]", end="")
    assert peak < 5 * LARGE
    size = (tmp_path / "tape.yaml").stat().st_size
    assert LARGE * 4 / 3 < size < LARGE * 1.5, "in base64, once"


async def test_a_large_body_does_not_stop_the_others(tmp_path: Path) -> None:
    """Law 3 holds beside it, too: the work on it is done in slices that nobody notices."""
    events = [b"data: %d\n\n" % number for number in range(100)]
    async with Upstream() as up:
        up.script("POST", CHAT, sse(*events, interval=0.02))
        up.script("POST", "/v1/files", plain(b"{}"))
        async with command("record", tmp_path / "tape.yaml", "--upstream", up.url) as process:
            small = asyncio.create_task(process.ask("POST", CHAT, {}))
            await asyncio.sleep(0.3)
            await process.ask("POST", "/v1/files", blob(64 << 20), [("content-type", "application/octet-stream")])
            heard = await small
        sent = [entry.at for entry in up.answers[0]][1:-1]
    late = [piece.at - (at - sent[0]) for piece, at in zip(heard.pieces, sent, strict=True)]
    assert heard.cuts == events
    assert max(late) - min(late) < 1.5


# ------------------------------------------------------------------------------------------------ the command

CHILD_ASKS = """
import json, os, sys, urllib.request
keys = ("OPENAI_BASE_URL", "OPENAI_API_KEY", "NO_PROXY", "no_proxy")
print(json.dumps({key: os.environ.get(key) for key in keys}))
url, headers = os.environ["OPENAI_BASE_URL"] + "/chat/completions", {"Content-Type": "application/json"}
request = urllib.request.Request(url, b"{}", headers)
print(urllib.request.urlopen(request).read().decode())
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize("code", [0, 7])
async def test_the_child_command(tmp_path: Path, code: int) -> None:
    tape = tmp_path / "tape.yaml"
    async with Upstream() as up:
        up.script("POST", CHAT, plain(NEW))
        env = {"OPENAI_API_KEY": "sk-mine", "NO_PROXY": "corp.example"}
        result = await run(
            "record", tape, "--upstream", up.url, "--", sys.executable, "-c", CHILD_ASKS, str(code), env=env
        )
    observed, text = result.stdout.splitlines()
    assert result.code == code
    assert text.encode() == NEW
    value = json.loads(observed)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", value["OPENAI_BASE_URL"])
    assert value["OPENAI_API_KEY"] == "sk-mine"
    assert value["NO_PROXY"] == "corp.example,127.0.0.1,localhost,::1"
    assert value["no_proxy"] == value["NO_PROXY"]
    assert len(interactions(tape)) == 1
    assert "1 recorded, 0 played" in result.stderr


async def test_the_upstream_is_not_taken_from_openai_base_url(tmp_path: Path) -> None:
    async with Upstream() as up:
        up.script("POST", CHAT, plain(NEW))
        env = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
        async with command("record", tmp_path / "tape.yaml", "--upstream", up.url, env=env) as process:
            assert (await process.ask("POST", CHAT, {})).body == NEW


async def test_the_upstreams_path_is_what_clients_are_told(tmp_path: Path) -> None:
    async with Upstream() as up:
        up.script("POST", "/api/v1/chat/completions", plain(NEW))
        async with command("record", tmp_path / "tape.yaml", "--upstream", f"{up.origin}/api/v1/") as process:
            assert process.base_url == f"{process.origin}/api/v1"
            assert (await process.ask("POST", "/api/v1/chat/completions", {})).body == NEW
    async with command("play", tmp_path / "tape.yaml") as process:
        assert process.base_url == f"{process.origin}/api/v1"


@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
async def test_a_signal_lets_finish_what_is_under_way(tmp_path: Path, number: Signals) -> None:
    tape = tmp_path / "tape.yaml"
    hold, never = asyncio.Event(), asyncio.Event()
    async with Upstream() as up:
        up.script("POST", CHAT, chunked(Chunk(b"data: 1\n\n"), Hold(hold), Chunk(b"data: 2\n\n"), End()))
        up.script("POST", "/v1/left", chunked(Chunk(b"a"), Hold(hold), Chunk(b"b"), End()))
        async with (
            command("record", tape, "--upstream", up.url) as process,
            Connection(process.origin) as client,
            Connection(process.origin) as idle,
        ):
            idle.send("GET", "/@/health")
            await idle.rest()
            async with Connection(process.origin) as leaves:
                leaves.send("POST", "/v1/left", {})
                await leaves.head()
                await leaves.piece()
            client.send("POST", CHAT, {})
            await client.head()
            assert await client.piece() == b"data: 1\n\n"
            process.signal(number)
            assert await idle.closed() == Ended.EARLY
            with pytest.raises(ConnectionRefusedError):
                await process.ask("GET", "/@/health")
            assert process.popen.poll() is None
            hold.set()
            heard = await client.rest()
            assert (heard.body, heard.ended) == (b"data: 1\n\ndata: 2\n\n", Ended.COMPLETE)
            assert await process.ended() == 0
        never.set()
    assert sorted(interaction.response.body for interaction in interactions(tape)) == [b"ab", b"data: 1\n\ndata: 2\n\n"]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (
            ["--upstream", "api.openai.com/v1"],
            2,
            "Error: --upstream 'api.openai.com/v1' is not the URL of an API.\nWrite for example https://",
        ),
        (["--upstream", "http://"], 2, "is not the URL of an API"),
        (["--upstream", "http://x:notaport/v1"], 2, "is not the URL of an API"),
        (["--upstream", "http://user:pw@x/v1"], 2, "is not the URL of an API"),
        (["--upstream", "http://x/v1?a=1"], 2, "is not the URL of an API"),
        (["--mode", "sometimes"], 2, "--mode"),
        (["--drain-timeout", "long"], 2, "'long' is not a duration"),
        (["--idle-timeout", "5"], 2, "'5' is not a duration"),
        (["--redact-pattern", "("], 2, "is not a regular expression"),
        (["--ignore", "messages"], 2, "is not a JSON pointer"),
        (["--"], 2, "There is no COMMAND after `--`"),
        (["--", "/no/such/program"], 3, "Could not run '/no/such/program': No such file or directory"),
    ],
)
def test_usage(tmp_path: Path, arguments: list[str], code: int, text: str) -> None:
    result = invoke("record", tmp_path / "tape.yaml", *arguments)
    assert result.code == code, result.stderr
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    tape = tmp_path / "file" / "tape.yaml"
    result = invoke("record", tape, "--port", "0")
    assert result.code == 3
    assert f"Error: Could not write {tape}: " in result.stderr
    assert "Give the cassette another path." in result.stderr
    assert (tmp_path / "file").read_text() == "not a folder"


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        port = used.getsockname()[1]
        result = invoke("record", tmp_path / "tape.yaml", "--port", str(port))
    assert result.code == 3
    assert f"Error: Could not listen on 127.0.0.1:{port}: Address already in use.\n" in result.stderr


async def test_stdout_carries_one_line_and_quiet_is_quiet(tmp_path: Path) -> None:
    async with Upstream() as up:
        up.script("POST", CHAT, plain(b"{}"))
        for quiet in ([], ["-q"]):
            async with command(
                "record", tmp_path / "tape.yaml", "--upstream", up.url, "--mode", "all", *quiet
            ) as process:
                await process.ask("POST", CHAT, {})
                assert await process.stop() == 0
                assert process.stdout == process.base_url + "\n"
                assert (
                    process.stderr == ""
                    if quiet
                    else "record  POST /v1/chat/completions  200  1 frame" in process.stderr
                )


async def test_what_has_been_recorded_is_not_held(tmp_path: Path) -> None:
    """Neither by the connections that it came on, nor by timers: answers may be large."""
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml") as proxy:
        for number in range(6):
            up.script("POST", f"/v1/{number}", plain(b"%d" % number))
        await asyncio.gather(*(proxy.ask("POST", f"/v1/{number}", "hello") for number in range(6)))
        assert len(interactions(tmp_path / "tape.yaml")) == 6
        gc.collect()
        assert [entry for entry in gc.get_objects() if isinstance(entry, LiveResponse) and entry.closed] == []
