"""Instants that streams wait for: one heap and one timer, however many streams there are.

With a timer a stream, an event loop spends its time on timers: at 2,000 streams of 50 frames a second frames are late
by a tenth of a second and more. And loops count in milliseconds (uvloop), or wait by `epoll` in whole ones; a timer of
the system's own (timerfd, Linux) goes off on the microsecond, and is read like a socket. Who waits for it is woken up a
tenth of a millisecond later, in a virtual machine several, and now and then more: that is learned, and the timer set so
much earlier. What is left until the instant is spent looking at the clock, which has the processor at full speed then.
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Protocol

#: Seconds in which nothing is gained by a timer: to set it and to be woken up takes longer than that.
_NEAR_S = 50e-6
#: The most by which a timer goes off before its instant, and a process looks at the clock until it has come.
_MOST_LEAD_S = 1e-3
_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_NANO = 1_000_000_000


class Stopwatch:
    """Milliseconds since `start`, in seconds of `time.monotonic()`; None: since now."""

    __slots__ = ("start",)

    def __init__(self, start: float | None = None) -> None:
        self.start = time.monotonic() if start is None else start

    def __call__(self) -> float:
        """How many there are now."""
        return (time.monotonic() - self.start) * 1000


class Timer(Protocol):
    """Something that goes off once, at `set`'s instant, in seconds of `time.monotonic()`."""

    def set(self, at: float) -> None:
        """Go off then, and not when it was to before."""

    def close(self) -> None:
        """Never go off again."""


class Scheduler:
    """Steps at their instants, in the running event loop. `close` it when nothing waits for one any more."""

    def __init__(self, timer: Callable[[Callable[[], None]], Timer] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[float, int, Iterator[float | None], asyncio.Future[bool]]] = []
        self._count = 0
        self._next = math.inf  # when it looks whether something is due
        self._rests_until = -math.inf  # it has been late, and others have not had their turn
        self._looks_soon = False  # without the timer
        self._wakes = Wakes()
        self._timer = (timer or best_timer)(self._go_off)

    async def follow(self, due: float, steps: Iterator[float | None]) -> bool:
        """Take the next of `steps` at `due`, in seconds of `time.monotonic()`, and each further one at the instant that
        the one before it yielded: never before, and as soon after as can be.

        Ends with a step that yields None, and with the last: whether there may be more. Raises what a step raises.
        """
        ended: asyncio.Future[bool] = self._loop.create_future()
        self._count += 1
        heapq.heappush(self._waiting, (due, self._count, steps, ended))
        if due < self._next:
            self._wait_for(due)
        return await ended

    def run_due(self) -> None:
        """Take the steps that are due by now, for who is at work for long. Where there is more to do than can be done,
        both get half of the time.
        """
        if self._next <= time.monotonic() >= self._rests_until:
            self._look()

    def close(self) -> None:
        """Let go of the timer."""
        self._waiting.clear()
        self._timer.close()

    def _wait_for(self, when: float) -> None:
        self._next = when
        if self._looks_soon:
            return
        early = when - self._wakes.lead
        if early - time.monotonic() > _NEAR_S:
            self._timer.set(early)
        else:
            self._looks_soon = True
            self._loop.call_soon(self._look_soon)

    def _go_off(self) -> None:
        self._wakes.note(time.monotonic() - (self._next - self._wakes.lead))
        if not self._looks_soon:
            self._look()

    def _look_soon(self) -> None:
        self._looks_soon = False
        self._look()

    def _look(self) -> None:
        """Take the steps that are due."""
        waiting = self._waiting
        self._next = -math.inf  # a step may have others follow
        began = time.monotonic()
        while waiting and waiting[0][0] <= began:
            _, number, steps, ended = heapq.heappop(waiting)
            try:
                due = next(steps)
            except StopIteration:
                _tell(ended, ended.set_result, False)
            except Exception as error:
                _tell(ended, ended.set_exception, error)
            else:
                if due is None:
                    _tell(ended, ended.set_result, True)
                else:
                    heapq.heappush(waiting, (due, number, steps, ended))
        self._next = math.inf
        if waiting:
            due, now = waiting[0][0], time.monotonic()
            if due <= now:
                self._rests_until = now + (now - began)
            self._wait_for(due)


class Wakes:
    """How late timers wake a process up, as TCP learns how long an answer takes (RFC 6298): on average, and four times
    what it is off by on average.
    """

    __slots__ = ("_late", "_off", "lead")

    def __init__(self) -> None:
        self._late = self._off = 0.0
        self.lead = 0.0  # seconds before an instant at which a timer goes off in time, as good as ever

    def note(self, late: float) -> None:
        """It was `late` seconds this time."""
        off = min(max(late, 0.0), _MOST_LEAD_S) - self._late
        self._late += off / 8
        self._off += (abs(off) - self._off) / 4
        self.lead = min(self._late + 4 * self._off, _MOST_LEAD_S)


def _tell(ended: asyncio.Future[bool], how: Callable[[Any], None], what: object) -> None:
    """Say what became of steps, to who may wait for it no more."""
    if not ended.done():
        how(what)


def best_timer(go_off: Callable[[], None]) -> Timer:
    """The system's own timer where it has one."""
    with suppress(OSError, AttributeError):
        return SystemTimer(go_off)
    return LoopTimer(go_off)


class LoopTimer:
    """A timer of the event loop."""

    def __init__(self, go_off: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._go_off = go_off
        self._handle: asyncio.TimerHandle | None = None

    def set(self, at: float) -> None:
        """See `Timer`."""
        self.close()
        # Loops round down to their own resolution; what goes off too early is set again.
        self._handle = self._loop.call_later(max(0.0, at - time.monotonic()), self._go_off)

    def close(self) -> None:
        """See `Timer`."""
        if self._handle is not None:
            self._handle.cancel()


class SystemTimer:
    """A timerfd (Linux; `os.timerfd_create` only from Python 3.13 on). Raises OSError or AttributeError elsewhere."""

    def __init__(self, go_off: Callable[[], None]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._settime = self._libc.timerfd_settime
        self._settime.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        # struct itimerspec: no interval, and the instant, each in seconds and nanoseconds.
        self._value = (ctypes.c_long * 4)()
        self._address = ctypes.addressof(self._value)
        self._go_off = go_off
        self._is_set = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._read)

    def set(self, at: float) -> None:
        """See `Timer`."""
        nanoseconds = max(1, int(at * _NANO) + 1)  # all zeros would disarm it
        self._value[2], self._value[3] = divmod(nanoseconds, _NANO)
        self._settime(self._fd, _TFD_TIMER_ABSTIME, self._address, None)
        self._is_set = True

    def close(self) -> None:
        """See `Timer`."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _read(self) -> None:
        self._is_set = False
        self._go_off()
        if not self._is_set:  # a timer that is set anew has nothing to be read
            with suppress(BlockingIOError):  # it has been set between going off and now
                os.read(self._fd, 8)
