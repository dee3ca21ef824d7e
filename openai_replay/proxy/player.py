"""The player: a recording becomes scheduled writes, and each is written at its instant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable
from functools import partial
from time import monotonic
from typing import NamedTuple

from openai_replay.cassette.recordings import Recording
from openai_replay.config.rules import Rules
from openai_replay.journal.exchanges import Journal, Outcome
from openai_replay.model import End, Head, Request
from openai_replay.openai_api import transcript
from openai_replay.playback import pace
from openai_replay.playback.scheduler import Next, Pause, Scheduler, elapsed_ms
from openai_replay.proxy.client import ResponseSink, WriteBatch, journal_entry, write_batches
from openai_replay.proxy.request_cache import RequestKey

#: Bytes of a response up to which its encoded form is cached: it is in memory twice then.
_MAX_CACHED_BYTES = 1 << 20
#: Bytes of overdue writes that are joined into one write.
_MAX_JOINED_BYTES = 1 << 16
#: Maximum number of encoded variants per recording: pages may have very many origins (`localhost`, any port).
_MAX_VARIANTS = 8


class ScheduledWrite(NamedTuple):
    """A batch, when it is due (seconds after the request), and True if no frame follows it."""

    at_s: float
    batch: WriteBatch
    is_last: bool


class EncodedWrite(NamedTuple):
    """A `ScheduledWrite` as bytes on the wire."""

    at_s: float
    data: bytes
    is_last: bool


class PreparedRecording(NamedTuple):
    """A recording, ready to be played: its scheduled writes, and the preview of its text for the journal.

    `encoded` caches the writes per framing, if the response `is_small` enough to be in memory twice.
    """

    head: Head
    schedule: list[ScheduledWrite]
    preview: str
    is_small: bool
    encoded: dict[Hashable, list[EncodedWrite]]

    def writes_for(self, client: ResponseSink) -> Iterable[EncodedWrite]:
        """Return the writes for `client`."""
        framing = client.start(self.head)
        cached = self.encoded.get(framing)
        if cached is not None:
            return cached
        writes = (EncodedWrite(at_s, client.encode(*batch), is_last) for at_s, batch, is_last in self.schedule)
        if not self.is_small or len(self.encoded) >= _MAX_VARIANTS:
            return writes
        self.encoded[framing] = cached = list(writes)
        return cached


class Player:
    """Plays recordings at the pace of `rules`."""

    def __init__(self, rules: Rules, journal: Journal, scheduler: Scheduler) -> None:
        self._rules = rules
        self._journal = journal
        self._scheduler = scheduler

    async def play(
        self, request: RequestKey | Request, recording: Recording, client: ResponseSink, start: float, note: str = ""
    ) -> None:
        """Answer `request` with `recording`. Its times count from `start`, in seconds of `time.monotonic()`.

        `note` goes to the journal. Raises ConnectionError when the client has left.
        """
        # Taken now: the recording may leave the memory while it is played, and its file may change.
        response, number = recording.interaction.response, recording.number
        prepared: PreparedRecording = recording.prepared or self._prepare(recording)

        def log_exchange() -> None:
            ms = int(elapsed_ms(start))
            self._journal.add(journal_entry(Outcome.PLAYED, request, response, ms, prepared.preview, number, note))

        playback = ScheduledPlayback(prepared.writes_for(client), client, start, log_exchange)
        try:
            step = playback.write_due()
            while step is not Pause.DONE:
                if isinstance(step, float):
                    waiting = self._scheduler.run(playback, step)
                    client.notify_disconnect(partial(_fail, waiting))
                    step = await waiting
                else:
                    await client.drain()
                    step = playback.write_due()
            if response.end is not End.COMPLETE:
                await client.close(response.end)
        finally:
            playback.close()

    def _prepare(self, recording: Recording) -> PreparedRecording:
        response = recording.interaction.response
        head = self._rules.rewrite_retry_after(response.head)
        schedule: list[ScheduledWrite] = []
        remaining = len(response.frames)
        for beat in pace.schedule(response, self._rules.pace):
            for batch in write_batches(head if beat.head else None, beat.frames, response.end if beat.end else None):
                remaining -= len(batch.frames)
                schedule.append(ScheduledWrite(beat.at_ms / 1000, batch, not remaining))
        is_small = sum(len(frame.data) for frame in response.frames) <= _MAX_CACHED_BYTES
        recording.prepared = prepared = PreparedRecording(head, schedule, transcript.preview(response), is_small, {})
        return prepared


def _fail(waiting: asyncio.Future[Pause]) -> None:
    """End the wait of a playback whose client has left: nobody reads what it would write."""
    if not waiting.done():
        waiting.set_exception(ConnectionResetError("the client has left"))


class ScheduledPlayback:
    """One response on its way to one client.

    Overdue writes are joined into one, so that a stream that is late catches up. `log_exchange` is called once, before
    the last frame: a client that has seen the end finds the exchange in the journal. It is also called for a client
    that left in the middle.
    """

    def __init__(
        self, writes: Iterable[EncodedWrite], client: ResponseSink, start: float, log_exchange: Callable[[], None]
    ) -> None:
        self._writes = iter(writes)
        self._next = next(self._writes, None)
        self._client = client
        self._start = start
        self._log_exchange = log_exchange
        self._logged = False

    def write_due(self) -> Next:
        """Write all that is due by now, and return the next step. Raises ConnectionError when the client has left."""
        client, joined = self._client, b""
        while (write := self._next) is not None:
            due = self._start + write.at_s  # absolute, so errors do not add up
            if write.at_s and due > monotonic():
                return due if not joined or client.write(joined) else Pause.DRAIN
            if len(joined) >= _MAX_JOINED_BYTES:
                if not client.write(joined):
                    return Pause.DRAIN
                joined = b""
            if write.is_last:
                self._log()
            joined = joined + write.data if joined else write.data
            self._next = next(self._writes, None)
        if joined:
            client.write(joined)
        return Pause.DONE

    def close(self) -> None:
        """Write no more, and log the exchange if that has not been done."""
        self._next = None
        self._log()

    def _log(self) -> None:
        if not self._logged:
            self._logged = True
            self._log_exchange()
