"""Timers that fire once at an instant of `time.monotonic()`, and never before it on Linux.

Event loops count in milliseconds (uvloop), or wait by `epoll` in whole ones. A timer of the system (timerfd, Linux)
fires on the microsecond, and is read like a socket. The process wakes up a tenth of a millisecond later; in a virtual
machine now and then several.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_NANOSECONDS = 1_000_000_000


class Timer(Protocol):
    """A timer of the running event loop."""

    def set(self, due: float) -> None:
        """Fire at `due`, in seconds of `time.monotonic()`, and not at an instant that was set before."""

    def close(self) -> None:
        """Never fire again."""


def best_timer(on_fire: Callable[[], None]) -> Timer:
    """Return a timer of the system if it has one, else one of the event loop."""
    with suppress(OSError, AttributeError):
        return SystemTimer(on_fire)
    return LoopTimer(on_fire)


class LoopTimer:
    """A timer of the event loop. It may fire early, by the resolution of the loop."""

    def __init__(self, on_fire: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_fire = on_fire
        self._handle: asyncio.TimerHandle | None = None

    def set(self, due: float) -> None:
        """Fire at `due`."""
        self.close()
        self._handle = self._loop.call_later(max(0.0, due - time.monotonic()), self._on_fire)

    def close(self) -> None:
        """Never fire again."""
        if self._handle is not None:
            self._handle.cancel()


class SystemTimer:
    """A timerfd (Linux; `os.timerfd_create` exists only since Python 3.13).

    Raises OSError or AttributeError on other systems.
    """

    def __init__(self, on_fire: Callable[[], None]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._settime = self._libc.timerfd_settime
        self._settime.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        # struct itimerspec: no interval, then the instant, each in seconds and nanoseconds.
        self._value = (ctypes.c_long * 4)()
        self._address = ctypes.addressof(self._value)
        self._on_fire = on_fire
        self._is_set = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._read)

    def set(self, due: float) -> None:
        """Fire at `due`."""
        nanoseconds = max(1, int(due * _NANOSECONDS) + 1)  # all zeros would disarm it
        self._value[2], self._value[3] = divmod(nanoseconds, _NANOSECONDS)
        self._settime(self._fd, _TFD_TIMER_ABSTIME, self._address, None)
        self._is_set = True

    def close(self) -> None:
        """Never fire again."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _read(self) -> None:
        self._is_set = False
        self._on_fire()
        if not self._is_set:  # a timer that was set again has nothing to read
            with suppress(BlockingIOError):  # it was set between firing and now
                os.read(self._fd, 8)
