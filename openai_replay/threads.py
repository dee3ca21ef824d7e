"""Work that goes on beside the event loop, and how it does not stop it.

One thread at a time computes in Python. Who wants its turn waits until the other one pauses, or for 5 ms: to ask sooner
(`sys.setswitchinterval`) gained nothing where it was tried, to pause halved what recording adds to the latest frames.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
#: Bytes of a body past which it is read in a thread.
LARGE = 1 << 18


async def aside(size: int, function: Callable[..., T], *args: object) -> T:
    """Call `function` here, or in a thread: a second of regular expressions would stop every other stream."""
    if size <= LARGE:
        return function(*args)
    return await asyncio.to_thread(function, *args)


def pause() -> None:
    """Let another thread compute, if one waits for that."""
    time.sleep(0)
