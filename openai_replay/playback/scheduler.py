"""The scheduler: it lets each playback write at its instants, with one heap and one timer for all of them.

With a timer per stream, an event loop spends its time on timers: at 2,000 streams of 50 frames a second, frames are a
tenth of a second late and more. Rules:

1. Nothing is written before its instant. The timer fires at the instant, and the clock is read again before a write.
2. Overdue playbacks run in the order of their instants, and then the event loop gets its turn.
3. The scheduler calls playbacks itself: waking a task for every frame costs more than writing the frame.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from openai_replay.playback.timers import Timer, best_timer


class Pause(Enum):
    """A reason for a playback to leave the scheduler."""

    DRAIN = auto()  # the client does not keep up: let it read before the next write
    DONE = auto()  # all is written


#: The next step of a playback: the instant of its next write, in seconds of `time.monotonic()`, or a pause.
Next = float | Pause


class Playback(Protocol):
    """A response on its way to a client."""

    def write_due(self) -> Next:
        """Write all that is due by now, and return the next step. May raise, for example ConnectionError."""


class Scheduler:
    """Runs playbacks in the running event loop. `close` it when none waits any more."""

    def __init__(self, timer: Callable[[Callable[[], None]], Timer] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[float, int, Playback, asyncio.Future[Pause]]] = []
        self._count = 0
        self._next = math.inf  # when it looks for due playbacks again
        self._yield_until = -math.inf  # it was late: the event loop has its turn until then
        self._runs_soon = False  # in the next turn of the event loop, without the timer
        self._timer = (timer or best_timer)(self._on_timer)

    def run(self, playback: Playback, due: float) -> asyncio.Future[Pause]:
        """Let `playback` write at `due` and at each instant that it returns, until it returns a pause.

        Return a future of the pause, or of what the playback raises. A future that is done before lets the playback
        write no more.
        """
        result: asyncio.Future[Pause] = self._loop.create_future()
        self._count += 1
        heapq.heappush(self._waiting, (due, self._count, playback, result))
        if due < self._next:
            self._wait_until(due)
        return result

    def run_due(self) -> None:
        """Let the playbacks write that are due, in the middle of other long work.

        If more is due than can be written, the playbacks and the other work get half of the time each.
        """
        if self._next <= time.monotonic() >= self._yield_until:
            self._run_due()

    def close(self) -> None:
        """Release the timer, and forget all playbacks."""
        self._waiting.clear()
        self._timer.close()

    def _wait_until(self, due: float) -> None:
        self._next = due
        if self._runs_soon:
            return
        if due > time.monotonic():
            self._timer.set(due)
        else:
            self._runs_soon = True
            self._loop.call_soon(self._run_soon)

    def _on_timer(self) -> None:
        if not self._runs_soon:
            self._run_due()

    def _run_soon(self) -> None:
        self._runs_soon = False
        self._run_due()

    def _run_due(self) -> None:
        waiting = self._waiting
        self._next = -math.inf  # a playback may start another one meanwhile
        start = time.monotonic()
        while waiting and waiting[0][0] <= start:
            _, number, playback, result = heapq.heappop(waiting)
            if result.done():  # its client has left, or its task was cancelled
                continue
            try:
                step = playback.write_due()
            except Exception as error:
                result.set_exception(error)
                continue
            if isinstance(step, float):
                heapq.heappush(waiting, (step, number, playback, result))
            else:
                result.set_result(step)
        self._next = math.inf
        if waiting:
            due, end = waiting[0][0], time.monotonic()
            if due <= end:
                self._yield_until = end + (end - start)
            self._wait_until(due)


def elapsed_ms(start: float) -> float:
    """Return the milliseconds since `start`, in seconds of `time.monotonic()`."""
    return (time.monotonic() - start) * 1000
