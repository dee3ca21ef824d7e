"""Coroutines that are begun at once, in no task, and go on in one."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from openai_replay.proxy.aio import begun, in_task


async def in_callback(work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None] | None:
    """Begin `work` where event loops call protocols: in no task."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[asyncio.Task[None] | None] = loop.create_future()
    loop.call_soon(lambda: made.set_result(begun(work(), loop)))
    return await made


async def test_what_need_not_wait_is_done_without_a_task() -> None:
    done: list[object] = []

    async def work() -> None:
        done.append(asyncio.current_task())

    assert await in_callback(work) is None
    assert done == [None]


@pytest.mark.parametrize("first", ["a turn", "a future", "a thread"])
async def test_what_waits_becomes_a_task_and_keeps_its_results_and_its_context(first: str) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    done: list[object] = []

    async def work() -> None:
        variable.set("mine")
        if first == "a turn":
            await asyncio.sleep(0)
        elif first == "a future":
            future = asyncio.get_running_loop().create_future()
            future.set_result("result")  # before anybody waits for it
            done.append(await future)
            await in_task()
        else:
            done.append(await asyncio.to_thread(lambda: "result"))
        async with asyncio.timeout(60):
            await asyncio.sleep(0.001)
        done.append(variable.get())

    task = await in_callback(work)
    assert task is not None
    await task
    assert done == (["mine"] if first == "a turn" else ["result", "mine"])


async def test_errors_are_those_of_the_task_and_come_where_something_is_awaited() -> None:
    caught: list[str] = []

    async def work() -> None:
        future = asyncio.get_running_loop().create_future()
        future.get_loop().call_soon(future.set_exception, ValueError("awaited"))
        try:
            await future
        except ValueError as error:
            caught.append(str(error))
        raise LookupError

    task = await in_callback(work)
    assert task is not None
    with pytest.raises(LookupError):
        await task
    assert caught == ["awaited"]


async def test_an_error_before_anything_is_awaited_is_the_callers() -> None:
    async def work() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        begun(work(), asyncio.get_running_loop())


async def test_a_task_that_is_cancelled_is_so_where_it_waits_and_cleans_up() -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned up")

    task = await in_callback(work)
    assert task is not None
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled", "cleaned up"]


async def test_in_a_task_nothing_waits_for_one() -> None:
    work = in_task()
    with pytest.raises(StopIteration):
        work.send(None)
