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


class Turns:
    """The turns of the running loop. `look` is called between two answers, for what is due meanwhile: a thousand
    answers take a tenth of a second.
    """

    def __init__(self, look: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._look = look
        self._woken = 0.0  # when this turn began
        self._reads = 0  # in this turn
        self._answers: deque[Callable[[], None]] = deque()

    def woken(self) -> float:
        """When what is being read now was there at the latest, in seconds of `time.monotonic()`: to read what others
        have sent, in the same turn, has taken its time.
        """
        if not self._reads % _READS:
            self._woken = time.monotonic()
            if not self._reads:
                self._loop.call_soon(self._answer)
        self._reads += 1
        return self._woken

    def answer(self, answer: Callable[[], None]) -> None:
        """Call `answer` when all has been read."""
        if not self._reads:
            self.woken()
        self._answers.append(answer)

    def _answer(self) -> None:
        self._reads, answers = 0, self._answers
        try:
            while answers:
                answers.popleft()()
                self._look()
        finally:
            if answers:  # a mistake in one stops no other
                self._loop.call_soon(self._answer)
