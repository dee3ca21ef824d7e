"""The end gate, without a socket: everything goes on at once but what shows a client that the response is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import pytest

from openai_replay.model import End, Head
from openai_replay.proxy.live_response import LiveResponse
from openai_replay.proxy.relay import EndGate, Relay

DONE = b"data: [DONE]\n\n"
COMPLETED = b'event: response.completed\ndata: {"type":"response.completed"}\n\n'


def held(reads: list[bytes], is_stream: bool = True, has_content_length: bool = False) -> list[int]:
    """Return the numbers of the reads that the gate holds."""
    gate = EndGate(is_stream, has_content_length)
    return [number for number, data in enumerate(reads) if gate.holds(data, number == len(reads) - 1)]


@pytest.mark.parametrize(
    ("reads", "expected"),
    [
        pytest.param([b"data: 1\n\n", DONE], [1], id="the last event in a read of its own"),
        pytest.param([b"data: 1\n\n" + DONE], [0], id="beside another event"),
        pytest.param([b"data: 1\n\n", COMPLETED], [1], id="Responses"),
        pytest.param([b"event: done\ndata: [DONE]\n\n"], [0], id="Assistants"),
        pytest.param([b"data: [DO", b"NE]\n", b"\n"], [2], id="cut inside: held when it is complete"),
        pytest.param([b"data: [DONE]\r\n\r", b"\n"], [0], id="CRLF, cut inside the line end"),
        pytest.param([b"data: [DONE]\r\n", b"\r\n"], [1], id="CRLF, cut between the lines"),
        pytest.param([b"event: response.comp", b"leted\ndata: {", b"}\n\n", b": ping\n\n"], [2], id="cut twice"),
        pytest.param([b'data: {"text": "data: [DONE]"}\n\n'], [], id="the words inside a text"),
        pytest.param([b'data: {"text": "\\nevent: done\\n"}\n\n', b"data: 2\n\n"], [], id="escaped line ends"),
        pytest.param([b"data: " + b"x" * 100, b"event: done\n\n", b"data: 1\n\n"], [], id="in the middle of a line"),
        pytest.param([b"data: 1\n", b"data: [DONE]\n\n"], [1], id="the second line of an event"),
        pytest.param([DONE, b"data: 1\n\n", DONE], [0, 2], id="twice"),
    ],
)
def test_the_gate_holds_the_last_event(reads: list[bytes], expected: list[int]) -> None:
    assert held(reads) == expected


def test_the_gate_holds_the_last_byte_of_a_counted_body() -> None:
    assert held([b"{", b'"a"', b"}"], is_stream=False, has_content_length=True) == [2]
    assert held([b"{", b'"a"', b"}"], is_stream=False) == []
    assert held([b"data: [DONE]\n\n", b"x"], is_stream=False) == [], "not a stream of events"


@pytest.mark.parametrize(
    "event", [b"data: " + b"x" * (16 << 20), b"event: response.completed\ndata: " + b"x" * (16 << 20)]
)
def test_a_long_event_costs_no_more_per_byte(event: bytes) -> None:
    """16 MB in reads of 16 kB: work on all of the event at each read would take minutes of processor time."""
    gate = EndGate(is_stream=True, has_content_length=False)
    start = time.process_time()
    for position in range(0, len(event), 1 << 14):
        assert not gate.holds(event[position : position + (1 << 14)], is_last=False)
    assert gate.holds(b"\n\n", is_last=False) is event.startswith(b"event")
    assert time.process_time() - start < 5


class Sink:
    """A client that always keeps up, and remembers what reached it and when."""

    def __init__(self) -> None:
        self.sent: list[tuple[float, bytes]] = []

    def start(self, head: Head) -> str:
        return ""

    def encode(self, head: Head | None, frames: Sequence[bytes], end: End | None) -> bytes:
        return (b"<head>" if head else b"") + b"".join(frames) + (b"<end>" if end else b"")

    def write(self, data: bytes) -> bool:
        self.sent.append((asyncio.get_running_loop().time(), data))
        return True

    async def drain(self) -> None:
        pass

    async def close(self, end: End) -> None:
        pass

    def notify_disconnect(self, callback: Callable[[], None]) -> None:
        self.leave = callback

    async def send(self, *, head: Head | None = None, frames: Sequence[bytes] = (), end: End | None = None) -> None:
        self.write(self.encode(head, frames, end))


async def test_events_before_the_last_do_not_wait_with_it() -> None:
    """The last event waits for the end of the body, for 0.2 s. The read before it is with the client long before."""
    loop, sink = asyncio.get_running_loop(), Sink()
    live = LiveResponse(lambda: loop.time() * 1000, 1 << 20)
    stored = loop.create_future()
    relay = asyncio.create_task(Relay(live, sink).run(asyncio.create_task(_wait_for(stored))))
    await asyncio.sleep(0)
    start = loop.time()
    live.set_head(Head(200, "OK", (("content-type", "text/event-stream"),)))
    live.feed(b"data: 1\n\n", False)
    live.feed(DONE, False)
    await asyncio.sleep(0.4)
    assert [data for _, data in sink.sent] == [b"<head>data: 1\n\n", DONE], "it went on without a recording"
    assert sink.sent[0][0] - start < 0.1
    assert sink.sent[1][0] - start >= 0.2
    live.feed(b"data: 2\n\n", False)
    assert sink.sent[-1][1] == b"data: 2\n\n", "in the turn of the read"
    live.finish(End.COMPLETE)
    stored.set_result(None)
    await relay
    assert sink.sent[-1][1] == b"<end>"


async def _wait_for(stored: asyncio.Future[None]) -> None:
    await stored
