"""One exchange, from top to bottom: make the key of what may be on the tape, decide, then play, record, forward or
refuse.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from openai_replay.cassette.cassette import Cassette
from openai_replay.cassette.recordings import Recording
from openai_replay.config.rules import ACTIONS, Action, Rules
from openai_replay.errors import CassetteError, CassetteMissError, FileChangedError, ReplayError
from openai_replay.journal.exchanges import Exchange, Journal, Outcome
from openai_replay.model import Fallback, Request
from openai_replay.playback.scheduler import Scheduler, Stopwatch
from openai_replay.proxy.aio import run_aside
from openai_replay.proxy.client import ResponseSink
from openai_replay.proxy.player import Player
from openai_replay.proxy.request_cache import RequestKeyCache

if TYPE_CHECKING:
    from openai_replay.proxy.recorder import Recorder
    from openai_replay.proxy.upstream import Upstream


class Engine:
    """Answers requests from `cassette`, or from `upstream` for the tape.

    Without an upstream it can only play (law 6).
    """

    def __init__(
        self, rules: Rules, cassette: Cassette, upstream: Upstream | None, journal: Journal, clock: Scheduler
    ) -> None:
        self.rules = rules
        self.cassette = cassette
        self.journal = journal
        self.origin = upstream.origin if upstream else "http://tape"  # a player has none, and `//path` needs one
        self._player = Player(rules, journal, clock)
        self._recorder: Recorder | None = None
        if upstream:
            from openai_replay.proxy import recorder  # a player has not even loaded it

            self._recorder = recorder.Recorder(rules, cassette, upstream, journal)
        self._asking = RequestKeyCache(rules)
        self._seen: dict[bytes, frozenset[int]] = {}  # what explanations have read of the tape
        self._reloading = asyncio.Lock()
        self._decisions = ACTIONS[rules.mode]
        self._plays = Action.PLAY in self._decisions
        self._used_up = rules.exhaustion_policy(cassette.was_on_disk)

    async def answer(self, request: Request, client: ResponseSink, start: float | None = None) -> None:
        """Answer `request`, which was there at `start`, in seconds of `time.monotonic()`; None: just now.

        Raises CassetteMissError, UpstreamError or LoopError before anything was sent, ConnectionError when the client
        has left.
        """
        if start is None:
            start = time.monotonic()
        tape, asked, found = self.cassette, None, None
        try:
            # What goes on whatever it is does so at once: nothing of it is looked for, and what it is without secrets
            # is only asked when it is put on the tape.
            if self._plays and (tape.recordings or self._recorder is None):
                asked = self._asking.lookup(request)
                if asked is None:
                    asked = await run_aside(len(request.body), self._asking.compute, request)
                turn = await tape.take(asked.key, self._used_up)
                found = tape.at(asked.key, turn, self._used_up)
                if tape.is_outdated(found):
                    turn, found = await self._read_again(asked.key, turn)
                if found is not None and found.held is None:
                    found = await self._held(found, asked.key, turn)
            if asked is not None and found is not None:
                await self._player.play(asked, found, client, start)
                return
            do = self._decisions[1 if tape.was_on_disk else 2]
            if do is Action.REFUSE:
                await self._play_instead(request, client, start)
            else:
                assert self._recorder is not None, "only a player has none, and it never comes here"
                work = self._recorder.record if do is Action.RECORD else self._recorder.forward
                await work(request, client, Stopwatch(start))
        except ReplayError as error:
            outcome = Outcome.MISSED if isinstance(error, CassetteMissError) else Outcome.FAILED
            redactor, ms = self.rules.redactor, int(Stopwatch(start)())
            named, said = redactor.named(request), redactor.text(error.text)
            reason = error.reason if isinstance(error, CassetteMissError) else None
            self.journal.add(
                Exchange(outcome, named.method, named.path, error.status, ms=ms, error=said, reason=reason)
            )
            raise

    async def _read_again(self, key: bytes, turn: int | None) -> tuple[int | None, Recording | None]:
        """The turn of `key`, and its recording, as the files are now."""
        await self._reload()
        if turn is None:
            turn = await self.cassette.take(key, self._used_up)
        return turn, self.cassette.at(key, turn, self._used_up)

    async def _held(self, found: Recording, key: bytes, turn: int | None) -> Recording | None:
        """`found`, or what is in its place now, in memory. Raises CassetteError where there is no cassette any more."""
        try:
            found.hold()
        except FileChangedError:  # and from the outside nobody could tell
            self.cassette.distrust(found)
            now = (await self._read_again(key, turn))[1]
            if now is not None:
                try:
                    now.hold()
                except FileChangedError:
                    raise CassetteError(now.path, None, "has changed, and cannot be read", "Restore it.") from None
            return now
        return found

    async def _reload(self) -> None:
        """Read again what somebody has changed; where that is no cassette now, what was there is played on."""
        async with self._reloading:
            try:
                await asyncio.to_thread(self.cassette.reload)
            except CassetteError as error:
                self.cassette.warn(f"{error.message}; what was there before is played on")

    async def _play_instead(self, request: Request, client: ResponseSink, start: float) -> None:
        # What explains a miss takes a tenth of the time to start, and most runs have none.
        from openai_replay.proxy import miss
        from openai_replay.proxy.fallback import choose

        clean = await run_aside(len(request.body), self.rules.redactor.request, request)
        found: Recording | None = None
        while found is None:  # another process may take it between being chosen and being taken
            await self.cassette.positions.refresh()
            if self.rules.fallback is Fallback.NONE:
                raise miss.miss(self.rules, self.cassette, clean, self._seen)
            try:
                chosen, note = choose(clean, self.cassette, self.rules)
            except FileChangedError:
                await self._reload()
                chosen, note = choose(clean, self.cassette, self.rules)
            if chosen is None:
                raise miss.miss(self.rules, self.cassette, clean, self._seen, note)
            found = chosen if await self.cassette.take_instead(chosen) else None
        await self._player.play(clean, found, client, start, self.rules.redactor.text(note))

    async def finish(self, limit_s: float) -> bool:
        """Wait until everything that is under way is on the tape.

        What takes longer than `limit_s` is lost, and said to be: then the answer is False.
        """
        return await self._recorder.finish(limit_s) if self._recorder else True
