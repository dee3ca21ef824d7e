"""Coroutines begun at once, and made a task only if they have to wait: most answers from a tape never do.

Python 3.12 has eager tasks, which are tasks all the same: to make one, and to forget it again, costs a tenth of what
an answer costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Generator
from contextlib import suppress
from types import coroutine
from typing import Any


def begun(work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> asyncio.Task[None] | None:
    """Do `work` until it has to wait for something. The task of what is left; None if nothing is."""
    try:
        awaited = work.send(None)
    except StopIteration:
        return None
    return loop.create_task(_rest(work, awaited))


async def in_task() -> None:
    """Wait until this is a task: timeouts, and libraries that set some, ask for the one they are in."""
    if asyncio.current_task() is None:
        await asyncio.sleep(0)


async def within(seconds: float, work: Awaitable[object]) -> bool:
    """Whether `work` was over within `seconds`."""
    try:
        await in_task()
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        return False
    return True


async def _rest(work: Coroutine[Any, Any, None], awaited: Any) -> None:
    """What `work`, which waits for `awaited`, does from then on."""
    await _resumed(work, awaited)  # from Python 3.12 on no task takes a generator


@coroutine
def _resumed(work: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    with suppress(StopIteration):
        while True:
            try:
                value = yield awaited
            except BaseException as error:  # a task that is cancelled, among others
                awaited = work.throw(error)
            else:
                awaited = work.send(value)
