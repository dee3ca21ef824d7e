"""A recording played: what is due when, and each of it written at its instant."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterable
from time import monotonic
from typing import NamedTuple

from openai_replay.cassette.recordings import Recording
from openai_replay.config.rules import Rules
from openai_replay.journal.exchanges import Journal, Outcome
from openai_replay.model import End, Head, Request
from openai_replay.openai_api import transcript
from openai_replay.playback import pace
from openai_replay.playback.scheduler import Scheduler
from openai_replay.proxy.client import ResponseSink, WriteBatch, journal_entry, write_batches
from openai_replay.proxy.request_cache import RequestKey

#: Bytes of an answer up to which it is kept as it was encoded: it is held twice then.
_KEPT = 1 << 20
#: Bytes after which what is late is not held for more.
_HELD = 1 << 16
#: In so many ways one is kept: pages may have very many origins (`localhost`, any port).
_MOST_WAYS = 8


class _Due(NamedTuple):
    """A portion, when it is due in seconds, and whether no frame follows it."""

    at_s: float
    portion: WriteBatch
    last: bool


class _Encoded(NamedTuple):
    """The same, as it is written."""

    at_s: float
    data: bytes
    last: bool


class _Ready(NamedTuple):
    """A recording made ready to be played: what is due when, and what it says.

    `encoded`: the same by how it was written, if it `is_small` enough to be held twice.
    """

    head: Head
    schedule: list[_Due]
    said: str
    is_small: bool
    encoded: dict[Hashable, list[_Encoded]]

    def written_to(self, client: ResponseSink) -> Iterable[_Encoded]:
        """What `client` gets."""
        how = client.start(self.head)
        known = self.encoded.get(how)
        if known is not None:
            return known
        made = (_Encoded(at_s, client.encode(*portion), last) for at_s, portion, last in self.schedule)
        if not self.is_small or len(self.encoded) >= _MOST_WAYS:
            return made
        self.encoded[how] = known = list(made)
        return known


class Player:
    """Plays recordings at the pace of `rules`."""

    def __init__(self, rules: Rules, journal: Journal, clock: Scheduler) -> None:
        self._rules = rules
        self._journal = journal
        self._clock = clock

    async def play(
        self, asked: RequestKey | Request, found: Recording, client: ResponseSink, start: float, note: str = ""
    ) -> None:
        """Answer with `found`; its times count from `start`, in seconds of `time.monotonic()`. `note` is what is odd
        about that.

        Raises ConnectionError when the client has left.
        """
        # The recording may be put away meanwhile, and its file changed: this is what is played.
        response, number = found.interaction.response, found.number
        ready: _Ready = found.ready or self._made_ready(found)

        def tell() -> None:
            ms = int((monotonic() - start) * 1000)
            self._journal.add(journal_entry(Outcome.PLAYED, asked, response, ms, ready.said, number, note))

        steps = _written(ready, client, start, tell)
        try:
            for due in steps:
                if due is None or await self._clock.follow(due, steps):
                    await client.drain()
            if response.end is not End.COMPLETE:
                await client.close(response.end)
        finally:
            steps.close()

    def _made_ready(self, found: Recording) -> _Ready:
        response = found.interaction.response
        head = self._rules.rewrite_retry_after(response.head)
        schedule: list[_Due] = []
        left = len(response.frames)
        for beat in pace.schedule(response, self._rules.pace):
            for one in write_batches(head if beat.head else None, beat.frames, response.end if beat.end else None):
                left -= len(one.frames)
                schedule.append(_Due(beat.at_ms / 1000, one, not left))
        is_small = sum(len(frame.data) for frame in response.frames) <= _KEPT
        found.ready = ready = _Ready(head, schedule, transcript.said(response), is_small, {})
        return ready


def _written(
    ready: _Ready, client: ResponseSink, start: float, tell: Callable[[], None]
) -> Generator[float | None, None, None]:
    """Write to `client` what is due, counted from the instant `start`. Yields the instant before which the next step is
    not to be taken; None where the client has to take some first. Raises ConnectionError when it has left.

    The clock itself takes the steps: to wake a task for every frame costs more than to write the frame. And what is
    late already goes out in one write, so that who has more to do than can be done does not fall behind for good.

    `tell` is called once, before the last frame: a client that has seen the end finds the exchange in the journal. It
    is called for a client that left in the middle, too.
    """
    write, told, held = client.write, False, b""
    try:
        for at_s, data, last in ready.written_to(client):
            due = start + at_s  # absolute: errors do not add up
            waits = at_s and due > monotonic()
            if held and (waits or len(held) >= _HELD):
                if not write(held):
                    yield None
                held = b""
            if waits:
                yield due
            if last and not told:
                told = True
                tell()
            held = held + data if held else data
        if held:
            write(held)
    finally:
        if not told:
            tell()
