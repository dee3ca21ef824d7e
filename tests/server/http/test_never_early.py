"""Promise 2 by the client's own clock: no frame arrives before its recorded offset has passed since the request."""

from __future__ import annotations

import asyncio
import json
import selectors
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.proxy import CHAT, OPENAI_REPLAY, PATIENCE_S, WITHOUT_UVLOOP, cassette, command, item

BODY = b'"hello"'
REQUEST = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (CHAT.encode(), len(BODY), BODY)
#: Milliseconds at which the frames were recorded.
OFFSETS_MS = range(10, 250, 10)


def markers() -> list[bytes]:
    """Return the frames: each tells its own number."""
    return [b"data: frame %03d\n\n" % number for number in range(len(OFFSETS_MS))]


def recorded_stream(path: Path) -> Path:
    """Write a cassette with one stream whose frames are recorded at `OFFSETS_MS`."""
    frames = markers()
    wire = " ".join(f"{at_ms}+{len(frame)}" for at_ms, frame in zip(OFFSETS_MS, frames, strict=True))
    text = item("BODY", headers=(("content-type", "text/event-stream"),))
    text = text.replace("'BODY'", json.dumps(b"".join(frames).decode()))
    last_ms = OFFSETS_MS[-1]
    return cassette(path, f"{text}    wire: {{head: {OFFSETS_MS[0]}, frames: {wire}, end: {last_ms} complete}}\n")


def earliness_ms(origin: str, clients: int, sent_last: int) -> list[float]:
    """Play the stream to `clients` at once, over sockets of their own. Return how many milliseconds each frame was
    early, by the clock of the client: below zero if it was not.

    Each client sends the last `sent_last` bytes of its request some time after the bytes before them. It looks at its
    clock before it sends them, and after each read.
    """
    address = (urlsplit(origin).hostname, urlsplit(origin).port)
    selector = selectors.DefaultSelector()
    starts: list[float] = []
    streams = [bytearray() for _ in range(clients)]
    arrivals_s: list[list[float]] = [[] for _ in range(clients)]
    sockets = [socket.create_connection(address, PATIENCE_S) for _ in range(clients)]
    for number, client in enumerate(sockets):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(REQUEST[:-sent_last])
        selector.register(client, selectors.EVENT_READ, number)
    time.sleep(0.02)
    for client in sockets:
        starts.append(time.monotonic())
        client.sendall(REQUEST[-sent_last:])
    while any(len(arrived) < len(OFFSETS_MS) for arrived in arrivals_s):
        for key, _ in selector.select(PATIENCE_S):
            stream, arrived = streams[key.data], arrivals_s[key.data]
            data = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
            read_at = time.monotonic()
            assert data, "the stream ended before its last frame"
            stream += data
            arrived += [read_at] * (stream.count(b"data: frame ") - len(arrived))
    for client in sockets:
        client.close()
    return [
        offset_ms - (arrived_at - start) * 1000
        for start, arrived in zip(starts, arrivals_s, strict=True)
        for offset_ms, arrived_at in zip(OFFSETS_MS, arrived, strict=True)
    ]


@pytest.mark.parametrize("sent_last", [len(REQUEST), 1], ids=["in one piece", "last byte later"])
@pytest.mark.parametrize("clients", [1, 32])
@pytest.mark.parametrize("program", [OPENAI_REPLAY, WITHOUT_UVLOOP], ids=["uvloop", "asyncio"])
async def test_no_frame_arrives_before_its_recorded_offset(
    tmp_path: Path, program: tuple[str, ...], clients: int, sent_last: int
) -> None:
    tape = recorded_stream(tmp_path / "tape.yaml")
    async with command("play", tape, "--pace", "original", program=program) as process:
        early_ms = await asyncio.to_thread(earliness_ms, process.origin, clients, sent_last)
    assert max(early_ms) <= 0, f"{sum(early > 0 for early in early_ms)} of {len(early_ms)} frames were early"
