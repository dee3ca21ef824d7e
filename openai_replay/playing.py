"""A recording played: what is due when, and each of it written at its instant."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from openai_replay import pacing
from openai_replay.api import transcript
from openai_replay.asked import Asked
from openai_replay.clock import Clock, Stopwatch
from openai_replay.exchanges import Client, answered
from openai_replay.journal import Journal, Outcome
from openai_replay.model import End, Head, Response
from openai_replay.recordings import Recording
from openai_replay.rules import Rules


class _Ready(NamedTuple):
    """A recording made ready to be played: what is due when, and what it says."""

    schedule: list[_Due]
    said: str


class _Due(NamedTuple):
    at_ms: float
    head: Head | None
    frames: tuple[bytes, ...]
    end: End | None
    encoded: dict[Hashable, bytes]


class Player:
    """Plays recordings at the pace of `rules`."""

    def __init__(self, rules: Rules, journal: Journal, clock: Clock) -> None:
        self._rules = rules
        self._journal = journal
        self._clock = clock

    async def play(self, asked: Asked, found: Recording, client: Client, now_ms: Stopwatch, note: str = "") -> None:
        """Answer with `found`, from the instant on that `now_ms` counts from; `note` is what is odd about that.

        Raises ConnectionError when the client has left.
        """
        response = found.interaction.response
        ready: _Ready = found.ready or self._made_ready(found)
        noted, left = False, len(response.frames)
        try:
            for due in ready.schedule:
                if due.at_ms:
                    await self._clock.until(now_ms.start + due.at_ms / 1000)  # absolute: errors do not add up
                left -= len(due.frames)
                # A client that has seen the end, which the length may have told it, finds the exchange in the journal.
                if not (left or noted):
                    noted = True
                    self._played(asked, found.number, response, ready.said, now_ms, note)
                await client.send(head=due.head, frames=due.frames, end=due.end, encoded=due.encoded)
        finally:
            if not noted:  # it counts as played for a client that left in the middle, too
                self._played(asked, found.number, response, ready.said, now_ms, note)

    def _made_ready(self, found: Recording) -> _Ready:
        response = found.interaction.response
        head = self._rules.played(response.head)
        schedule = [
            _Due(beat.at_ms, head if beat.head else None, beat.frames, response.end if beat.end else None, {})
            for beat in pacing.schedule(response, self._rules.pace)
        ]
        found.ready = ready = _Ready(schedule, transcript.said(response))
        return ready

    def _played(self, asked: Asked, number: int, response: Response, said: str, now_ms: Stopwatch, note: str) -> None:
        # `response` is what was played: the recording may have been put away meanwhile, and its file changed.
        self._journal.add(answered(Outcome.PLAYED, asked, response, int(now_ms()), said, number, note))
