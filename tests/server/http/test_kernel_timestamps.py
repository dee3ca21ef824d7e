"""The arrival of a request, by the clock of the kernel, although the event loop was busy."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from openai_replay.model import Request
from openai_replay.playback.pace import INSTANT, ORIGINAL, Pace
from openai_replay.proxy.client import ResponseSink
from openai_replay.server.http.kernel_timestamps import KernelTimestamps, c_recvmsg, enable, kernel_timestamps
from tests.support.proxy import CHAT, Connection, cassette, item, playing

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has them")


class Transport(asyncio.Transport):
    """A transport that has a socket and nothing else."""

    def __init__(self, connection: socket.socket | None) -> None:
        super().__init__({"socket": connection})


class Pair(NamedTuple):
    """A client's socket, and that of the server, which accepted it from a socket with time stamps."""

    client: socket.socket
    accepted: socket.socket


@pytest.fixture
def pair() -> Iterator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        enable(server)
        with socket.create_connection(server.getsockname()) as client, server.accept()[0] as accepted:
            yield Pair(client, accepted)


class Read(NamedTuple):
    """One read: when it began, when its bytes are said to have arrived, and the bytes."""

    began_at: float
    received_at: float
    data: bytes

    @property
    def has_timestamp(self) -> bool:
        return self.received_at < self.began_at


def read(connection: socket.socket, timestamps: KernelTimestamps | None = None) -> Read:
    """Read from `connection` as an event loop does."""
    timestamps = timestamps or KernelTimestamps()
    began_at = time.monotonic()
    timestamps.peek(Transport(connection))
    size = 0
    if connection.fileno() >= 0:
        connection.setblocking(False)
        try:
            size = connection.recv_into(timestamps.buffer)
        except (BlockingIOError, ConnectionResetError):
            size = 0
    reads: list[Read] = []
    timestamps.pass_on(size, lambda data: reads.append(Read(began_at, timestamps.received_at(), data)))
    return reads[0]


@pytest.mark.parametrize("size", [1, 50_000])
def test_the_last_byte_decides_and_all_of_them_stay(pair: Pair, size: int) -> None:
    """The system joins small packets and not large ones."""
    pair.client.sendall(b"G" * size)
    time.sleep(0.05)
    before = time.monotonic()
    pair.client.sendall(b"/" * size)
    sent = time.monotonic()
    time.sleep(0.05)
    last = read(pair.accepted)
    assert before <= last.received_at <= sent + 0.001
    assert last.data == b"G" * size + b"/" * size


def test_the_time_of_the_system_call_does_not_count_as_waiting(pair: Pair) -> None:
    """A frame would leave early by the time that the process did not run in between."""
    recvmsg = c_recvmsg()

    def slow_recvmsg(*arguments: int) -> int:
        time.sleep(0.02)
        result = recvmsg(*arguments)
        time.sleep(0.02)
        return result

    before = time.monotonic()
    pair.client.sendall(b"GET")
    assert read(pair.accepted, KernelTimestamps(slow_recvmsg)).received_at >= before


def test_bytes_that_arrive_after_the_peek_are_not_older_than_the_read(pair: Pair) -> None:
    """Their time stamp is not known, and that of the bytes before them may be much earlier."""
    timestamps = KernelTimestamps()
    pair.client.sendall(b"GE")
    time.sleep(0.02)
    timestamps.peek(Transport(pair.accepted))
    before = time.monotonic()
    pair.client.sendall(b"T")
    size = pair.accepted.recv_into(timestamps.buffer)
    arrivals: list[float] = []
    timestamps.pass_on(size, lambda data: arrivals.append(timestamps.received_at()))
    assert (size, arrivals[0] >= before) == (3, True)


@pytest.mark.parametrize("state", ["nothing was sent", "closed by the client", "reset", "closed here"])
def test_a_connection_without_bytes_has_no_time_stamp(pair: Pair, state: str) -> None:
    pair.client.sendall(b"GET")
    time.sleep(0.01)
    assert read(pair.accepted).has_timestamp
    if state == "reset":
        pair.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if state in ("closed by the client", "reset"):
        pair.client.close()
    if state == "closed here":
        pair.accepted.close()
    assert not read(pair.accepted).has_timestamp


def test_a_transport_without_a_socket_has_no_time_stamp() -> None:
    timestamps = KernelTimestamps()
    timestamps.peek(Transport(None))
    before = time.monotonic()
    timestamps.pass_on(3, lambda data: None)
    assert timestamps.received_at() >= before


def test_time_stamps_have_to_be_enabled() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        client.sendall(b"GET")
        time.sleep(0.01)
        with server.accept()[0] as accepted:
            assert not read(accepted).has_timestamp


@pytest.mark.parametrize("shift_s", [-3600, 3600])
def test_a_clock_that_is_set_does_not_count_as_waiting(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, shift_s: int
) -> None:
    real = time.time_ns
    pair.client.sendall(b"GET")
    time.sleep(0.01)
    monkeypatch.setattr(time, "time_ns", lambda: real() + shift_s * 1_000_000_000)
    assert not read(pair.accepted).has_timestamp


@pytest.mark.parametrize("size", [0, 100_000])
@pytest.mark.parametrize("is_new", [True, False])
async def test_a_busy_event_loop_does_not_delay_the_start_of_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_new: bool, size: int
) -> None:
    """Its times count from its arrival, a fifth of a second before it is read."""
    starts: list[float] = []
    async with playing(cassette(tmp_path / "tape.yaml", item("hello")), pace=ORIGINAL) as player:
        answer = player.engine.answer

        async def note_start(request: Request, sink: ResponseSink, start: float | None = None) -> None:
            assert start is not None
            starts.append(start)
            await answer(request, sink, start)

        monkeypatch.setattr(player.engine, "answer", note_start)
        async with Connection(player.origin) as client:
            if not is_new:
                await client.ask("POST", CHAT, "hello")
            before = time.monotonic()
            client.send("POST", CHAT, "x" * size)
            sent = time.monotonic()
            time.sleep(0.2)  # noqa: ASYNC251 - the event loop is busy
            await client.rest()
    assert before <= starts[-1] <= sent + 0.05


@pytest.mark.parametrize("pace", [INSTANT, ORIGINAL])
async def test_only_paced_sessions_pay_for_time_stamps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pace: Pace
) -> None:
    peeks: list[object] = []
    monkeypatch.setattr(KernelTimestamps, "peek", lambda *arguments: peeks.append(arguments))
    async with playing(cassette(tmp_path / "tape.yaml", item("hello")), pace=pace) as player:
        assert (await player.ask("POST", CHAT, "hello")).status == 200
    assert bool(peeks) is (pace != INSTANT)


def test_a_c_library_without_recvmsg_has_no_time_stamps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert kernel_timestamps() is None
