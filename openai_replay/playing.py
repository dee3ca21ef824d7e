"""A recording played: what is due when, and each of it written at its instant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from time import monotonic
from typing import NamedTuple

from openai_replay import pacing
from openai_replay.api import transcript
from openai_replay.asked import Asked
from openai_replay.clock import Clock
from openai_replay.exchanges import Client, Portion, answered, portions
from openai_replay.journal import Journal, Outcome
from openai_replay.model import End, Head
from openai_replay.recordings import Recording
from openai_replay.rules import Rules

#: Bytes of an answer up to which it is kept as it was encoded: it is held twice then.
_KEPT = 1 << 20
#: In so many ways one is kept: pages may have very many origins (`localhost`, any port).
_MOST_WAYS = 8


class _Due(NamedTuple):
    """A portion, when it is due in seconds, and whether no frame follows it."""

    at_s: float
    portion: Portion
    last: bool


class _Ready(NamedTuple):
    """A recording made ready to be played: what is due when, and what it says.

    `encoded`: the portions from the first on as they were written, by how, if it `is_small` enough to be held twice.
    """

    head: Head
    schedule: list[_Due]
    said: str
    is_small: bool
    encoded: dict[Hashable, list[bytes]]


class Player:
    """Plays recordings at the pace of `rules`."""

    def __init__(self, rules: Rules, journal: Journal, clock: Clock) -> None:
        self._rules = rules
        self._journal = journal
        self._clock = clock

    async def play(self, asked: Asked, found: Recording, client: Client, start: float, note: str = "") -> None:
        """Answer with `found`; its times count from `start`, in seconds of `time.monotonic()`. `note` is what is odd
        about that.

        Raises ConnectionError when the client has left.
        """
        # The recording may be put away meanwhile, and its file changed: this is what is played.
        response, number = found.interaction.response, found.number
        ready: _Ready = found.ready or self._made_ready(found)

        def tell() -> None:
            ms = int((monotonic() - start) * 1000)
            self._journal.add(answered(Outcome.PLAYED, asked, response, ms, ready.said, number, note))

        stream = _Stream(ready, client, self._clock, start, tell)
        try:
            while (due := stream.write()) is not None or not stream.is_over:
                await stream.until(due)
            if response.end is not End.COMPLETE:
                await client.end(response.end)
        finally:
            stream.told()  # it counts as played for a client that left in the middle, too

    def _made_ready(self, found: Recording) -> _Ready:
        response = found.interaction.response
        head = self._rules.played(response.head)
        schedule: list[_Due] = []
        left = len(response.frames)
        for beat in pacing.schedule(response, self._rules.pace):
            for one in portions(head if beat.head else None, beat.frames, response.end if beat.end else None):
                left -= len(one.frames)
                schedule.append(_Due(beat.at_ms / 1000, one, not left))
        is_small = sum(len(frame.data) for frame in response.frames) <= _KEPT
        found.ready = ready = _Ready(head, schedule, transcript.said(response), is_small, {})
        return ready


class _Stream:
    """A recording on its way to `client`, which counts from the instant `start`.

    The clock itself writes what is due: to wake a task for every frame costs more than to write the frame. `tell` is
    called once, before the last frame: a client that has seen the end finds the exchange in the journal.
    """

    __slots__ = (
        "_client",
        "_clock",
        "_encoded",
        "_keeps",
        "_later",
        "_next",
        "_schedule",
        "_start",
        "_tell",
        "is_over",
    )

    def __init__(self, ready: _Ready, client: Client, clock: Clock, start: float, tell: Callable[[], None]) -> None:
        self.is_over = False
        self._schedule = ready.schedule
        self._client = client
        self._clock = clock
        self._start = start
        self._tell: Callable[[], None] | None = tell
        self._next = 0
        self._later: asyncio.Future[None] | None = None
        how = client.begin(ready.head)
        known = ready.encoded.get(how)
        self._keeps = ready.is_small and (known is not None or len(ready.encoded) < _MOST_WAYS)
        if known is None:
            known = []
            if self._keeps:
                ready.encoded[how] = known
        self._encoded: list[bytes] = known

    async def until(self, due: float | None) -> None:
        """Wait for what `write` said, and let the clock write on. Raises ConnectionError."""
        if due is None:
            await self._client.drained()
            return
        self._later = asyncio.get_running_loop().create_future()
        self._clock.at(due, self._write_later)
        await self._later

    def told(self) -> None:
        """See to it that it has been told."""
        if self._tell is not None:
            self._tell()
            self._tell = None

    def write(self) -> float | None:
        """Write what is due by now. The instant at which there is more; None where all is written, or the client is
        behind. Raises ConnectionError.
        """
        schedule, encoded, number = self._schedule, self._encoded, self._next
        while number < len(schedule):
            at_s, portion, last = schedule[number]
            if at_s and (due := self._start + at_s) > monotonic():  # absolute: errors do not add up
                self._next = number
                return due
            if last:
                self.told()
            if number < len(encoded):
                data = encoded[number]
            else:
                data = self._client.encode(*portion)
                if self._keeps:
                    encoded.append(data)
            number += 1
            if not self._client.write(data):
                break
        self._next = number
        self.is_over = number == len(schedule)
        return None

    def _write_later(self) -> float | None:
        later = self._later
        if later is None or later.done():  # nobody waits any more
            return None
        try:
            due = self.write()
        except Exception as error:  # the client has left
            later.set_exception(error)
            return None
        if due is None:
            later.set_result(None)
        return due
