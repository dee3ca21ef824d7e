"""Work that goes on beside the event loop, and how it does not stop it.

One thread at a time computes in Python. Who wants its turn waits until the other one pauses, or for 5 ms: to ask sooner
(`sys.setswitchinterval`) gained nothing where it was tried, to pause took a third of what recording adds to the latest
frames.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
#: Bytes of a body past which it is read in a thread.
LARGE = 1 << 18
#: Seconds of a pause: who waits has to be woken up in it, or else the one that paused goes on.
_PAUSE_S = 20e-6


async def aside(size: int, function: Callable[..., T], *args: object) -> T:
    """Call `function` here, or in a thread: a second of regular expressions would stop every other stream."""
    if size <= LARGE:
        return function(*args)
    return await asyncio.to_thread(function, *args)


def pause() -> None:
    """Let the event loop compute, if there is one and this is not it: its own thread would get its turn back after
    5 ms only, where another one computes as well.
    """
    if threading.active_count() == 1:
        return
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        time.sleep(_PAUSE_S)
