"""Recording while clients read: each read goes on at once, and a client that leaves loses no recording."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from openai_replay.cassette.cassette import Cassette
from openai_replay.config.rules import Rules
from openai_replay.journal.exchanges import Exchange
from openai_replay.model import End as Ending
from openai_replay.model import Mode, Request
from openai_replay.proxy import upstream, upstream_body
from openai_replay.proxy.aio import LARGE as LARGE_BODY
from openai_replay.proxy.live_response import LiveResponse
from openai_replay.redaction.redactor import Redactor
from openai_replay.server.serve import ServerConfig, serving
from tests.e2e.samples import chunked, sized
from tests.support.proxy import (
    CHAT,
    KEY,
    PATIENCE_S,
    Connection,
    Ended,
    cassette,
    interactions,
    item,
    recording,
)
from tests.support.upstream import Chunk, Close, End, Hold, Send, Sleep, Step, Upstream, plain

SMILE = "🙂".encode()
EVERY_BYTE = bytes(range(256)) * 3


# ------------------------------------------------------------------------------------------------ promise 3: live


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
