"""Turns of the event loop: what has come is read, and when all of it has been read, all is answered.

To read and answer each by itself costs half as much again: the processor knows by heart what it has just done.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

#: Reads after which it may have looked for more in the middle of a turn: libuv does when it has found 1,024.
_READS = 512
#: Seconds of answers after which it is all others' turn: frames that are due, and requests that go on to the API.
_SLICE_S = 0.001


class Turns:
    """The turns of the running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._woken = 0.0  # when this turn began
        self._reads = 0  # in this turn
        self._answers: deque[Callable[[], None]] = deque()
        self._answers_soon = False
        self._stopped = 0.0  # when it last let others have their turn before it went on

    def woken(self) -> float:
        """When what is being read now was there at the latest, in seconds of `time.monotonic()`: to read what others
        have sent, in the same turn, has taken its time.
        """
        if not self._reads % _READS:
            self._woken = time.monotonic()
            self._answer_soon()
        self._reads += 1
        return self._woken

    def answer(self, answer: Callable[[], None]) -> None:
        """Call `answer` when all has been read."""
        self._answers.append(answer)
        self._answer_soon()

    def _answer_soon(self) -> None:
        if not self._answers_soon:
            self._answers_soon = True
            self._loop.call_soon(self._answer)

    def _answer(self) -> None:
        self._reads, self._answers_soon, answers = 0, False, self._answers
        now = time.monotonic()
        # Where there is more to do than can be done, the others get as much time as the answers.
        until = now + max(_SLICE_S, now - self._stopped) if self._stopped else now + _SLICE_S
        self._stopped = 0.0
        try:
            while answers and now < until:
                answers.popleft()()
                now = time.monotonic()
        finally:
            if answers:
                self._stopped = now
                self._answer_soon()
