"""Recording: bytes, frames, headers and requests are recorded and forwarded as they are."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from openai_replay.playback.pace import INSTANT, ORIGINAL
from tests.e2e.samples import CHUNKED, JSON, chunked, sized
from tests.support.proxy import (
    CHAT,
    KEY,
    PATIENCE_S,
    Connection,
    Ended,
    Heard,
    ask,
    interactions,
    on_tape,
    passed_on,
    playing,
    recording,
)
from tests.support.upstream import Chunk, Close, End, Reset, Send, Sleep, Step, Upstream, head, plain, sse

SMILE = "🙂".encode()
EVERY_BYTE = bytes(range(256)) * 3


# ------------------------------------------------------------------------------------------- promise 1 and 5: verbatim


@dataclass(frozen=True, slots=True)
class Case:
    """An answer of the upstream. `same_cuts`: the client sees the upstream's own chunks, not those of single reads."""

    steps: Sequence[Step]
    method: str = "POST"
    same_cuts: bool = True
    framing: str = ""  # where it is not the upstream's own
    ended: Ended = Ended.COMPLETE
    requests: tuple[tuple[str, str], ...] = ()


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
