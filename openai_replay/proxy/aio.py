"""Work beside the event loop, and waiting with a timeout."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
#: Bytes of a body above which it is read in a thread.
LARGE = 1 << 18


async def run_aside(size: int, function: Callable[..., T], *args: object, is_slow: bool = False) -> T:
    """Call `function` in the event loop, or in a thread if it has more than `LARGE` bytes to read.

    A second of regular expressions would stop every other stream. `is_slow`: it may take that long for any size, as
    users' patterns may.
    """
    if size <= LARGE and not is_slow:
        return function(*args)
    return await asyncio.to_thread(function, *args)


async def completes_within(seconds: float, work: Awaitable[object]) -> bool:
    """Wait for `work`. Return False if it takes longer than `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        return False
    return True
