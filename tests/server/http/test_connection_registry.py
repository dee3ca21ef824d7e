"""Connections that are idle are closed, and those that are busy finish."""

from __future__ import annotations

import asyncio

import pytest

from openai_replay.server.http.connection_registry import ConnectionRegistry


class Connection:
    """A connection that notes the calls of its registry."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.calls: list[str] = []

    def close(self) -> None:
        self.calls.append("close")

    def hang_up(self) -> None:
        self.calls.append("hang_up")

    def abort(self) -> None:
        self.calls.append("abort")
        if self.task is not None:
            self.task.cancel()


def start_task(connection: Connection, seconds: float) -> None:
    """Have `connection` work on a request for some seconds."""

    async def work() -> None:
        await asyncio.sleep(seconds)

    connection.task = asyncio.get_running_loop().create_task(work())


async def test_one_connection_too_many_closes_the_one_that_was_idle_longest() -> None:
    registry = ConnectionRegistry(60, max_open=2)
    first, second, third = Connection(), Connection(), Connection()
    registry.add(first)
    registry.add(second)
    registry.mark_busy(first)
    registry.mark_idle(first)
    registry.add(third)
    assert (first.calls, second.calls, third.calls) == ([], ["hang_up"], [])


async def test_busy_connections_are_never_closed_for_new_ones() -> None:
    registry = ConnectionRegistry(60, max_open=1)
    busy, new = Connection(), Connection()
    registry.add(busy)
    registry.mark_busy(busy)
    registry.add(new)
    assert (busy.calls, new.calls) == ([], ["hang_up"])


async def test_an_idle_connection_is_closed_and_a_busy_one_is_not() -> None:
    registry = ConnectionRegistry(0.02)
    idle, busy = Connection(), Connection()
    registry.add(idle)
    registry.add(busy)
    registry.mark_busy(busy)
    async with asyncio.timeout(60):
        while not idle.calls:
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    assert (idle.calls, busy.calls) == (["hang_up"], [])


async def test_shutdown_waits_until_running_responses_are_finished() -> None:
    registry = ConnectionRegistry(60)
    idle, busy = Connection(), Connection()
    registry.add(idle)
    registry.add(busy)
    registry.mark_busy(busy)
    start_task(busy, 60)
    shutdown = asyncio.create_task(registry.shutdown(60))
    await asyncio.sleep(0)
    registry.remove(idle)
    registry.remove(busy)  # the client left, and the response is not finished
    await asyncio.sleep(0)
    assert not shutdown.done()
    registry.mark_idle(busy)
    await shutdown
    assert (idle.calls, busy.calls) == (["close"], ["close"])
    late = Connection()
    registry.add(late)
    assert late.calls == ["hang_up"]


async def test_shutdown_cancels_responses_that_take_too_long() -> None:
    registry = ConnectionRegistry(60)
    busy = Connection()
    registry.add(busy)
    registry.mark_busy(busy)
    start_task(busy, 60)
    await registry.shutdown(0.01)
    assert busy.calls == ["close", "abort"]
    assert busy.task is not None
    with pytest.raises(asyncio.CancelledError):
        await busy.task
