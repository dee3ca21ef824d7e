"""One exchange, from top to bottom: make the key, look for a recording, then play, record, forward or refuse."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from openai_replay.cassette.cassette import Cassette
from openai_replay.cassette.recordings import Recording
from openai_replay.config.rules import ACTIONS, Action, Rules
from openai_replay.errors import CassetteError, CassetteMissError, FileChangedError, ReplayError
from openai_replay.journal.exchanges import Exchange, Journal, Outcome
from openai_replay.model import Fallback, Request
from openai_replay.playback.scheduler import Scheduler, elapsed_ms
from openai_replay.proxy.aio import run_aside
from openai_replay.proxy.client import ResponseSink
from openai_replay.proxy.player import Player
from openai_replay.proxy.request_cache import RequestKey, RequestKeyCache

if TYPE_CHECKING:
    from openai_replay.proxy.recorder import Recorder
    from openai_replay.proxy.upstream import Upstream

T = TypeVar("T")


class Hit(NamedTuple):
    """The recording for a request, in memory, and the request's key."""

    request: RequestKey
    recording: Recording


class Engine:
    """Answers requests from `cassette`, or from `upstream`, whose responses it records.

    Without an upstream it can only play (promise 6).
    """

    def __init__(
        self, rules: Rules, cassette: Cassette, upstream: Upstream | None, journal: Journal, scheduler: Scheduler
    ) -> None:
        self.rules = rules
        self.cassette = cassette
        self.journal = journal
        self.origin = upstream.origin if upstream else "http://cassette"  # a player has none, and `//path` needs one
        self._player = Player(rules, journal, scheduler)
        self._recorder: Recorder | None = None
        if upstream:
            from openai_replay.proxy import recorder  # a player has not even loaded it

            self._recorder = recorder.Recorder(rules, cassette, upstream, journal)
        self._keys = RequestKeyCache(rules)
        self._explained: dict[bytes, frozenset[int]] = {}  # recordings that explanations of misses have read
        self._reload_lock = asyncio.Lock()
        self._actions = ACTIONS[rules.mode]
        self._has_user_patterns = rules.has_user_patterns
        self._on_exhausted = rules.exhaustion_policy(cassette.was_on_disk)

    async def answer(self, request: Request, client: ResponseSink, start: float | None = None) -> None:
        """Answer `request`, which arrived at `start`, in seconds of `time.monotonic()` (None: now).

        Raises CassetteMissError, UpstreamError or LoopError before anything was sent, and ConnectionError when the
        client has left.
        """
        if start is None:
            start = time.monotonic()
        try:
            hit = await self._lookup(request)
            if hit is not None:
                await self._player.play(hit.request, hit.recording, client, start)
                return
            action = self._actions[1 if self.cassette.was_on_disk else 2]
            if action is Action.REFUSE:
                await self._play_fallback(request, client, start)
            elif action is Action.RECORD:
                await self._require_recorder().record(request, client, start)
            else:
                await self._require_recorder().forward(request, client, start)
        except ReplayError as error:
            self._log_error(request, error, start)
            raise

    async def finish(self, timeout_s: float) -> bool:
        """Wait until all running responses are in the cassette.

        A response that takes longer than `timeout_s` is lost, and reported as lost. Return False then.
        """
        return await self._recorder.finish(timeout_s) if self._recorder else True

    async def _lookup(self, request: Request) -> Hit | None:
        """Claim the next recording of `request`. Raises CassetteError or StateError."""
        cassette = self.cassette
        if Action.PLAY not in self._actions:
            return None
        if not cassette.recordings and self._recorder is not None:
            return None  # nothing can match: the request goes to the upstream without a key
        key = self._keys.lookup(request)
        if key is None:
            key = await self._run_aside(request, self._keys.compute)
        index = await cassette.claim(key.key, self._on_exhausted)
        recording = cassette.recording(key.key, index, self._on_exhausted)
        if cassette.is_outdated(recording):
            index, recording = await self._read_again(key.key, index)
        if recording is not None and recording.loaded is None:
            recording = await self._load(recording, key.key, index)
        return None if recording is None else Hit(key, recording)

    async def _read_again(self, key: bytes, index: int | None) -> tuple[int | None, Recording | None]:
        """Return the index of `key`, and its recording, in the files as they are now."""
        await self._reload()
        if index is None:
            index = await self.cassette.claim(key, self._on_exhausted)
        return index, self.cassette.recording(key, index, self._on_exhausted)

    async def _load(self, recording: Recording, key: bytes, index: int | None) -> Recording | None:
        """Read `recording`, or its successor if its file has changed, into memory. Raises CassetteError."""
        try:
            recording.load()
        except FileChangedError:  # size, time and inode of the file are as before
            self.cassette.invalidate(recording)
            successor = (await self._read_again(key, index))[1]
            if successor is not None:
                try:
                    successor.load()
                except FileChangedError:
                    message = "has changed, and cannot be read"
                    raise CassetteError(successor.path, None, message, "Restore it.") from None
            return successor
        return recording

    async def _run_aside(self, request: Request, function: Callable[[Request], T]) -> T:
        """Call `function` with `request`, in a thread if that may take long."""
        return await run_aside(len(request.body), function, request, is_slow=self._has_user_patterns)

    async def _reload(self) -> None:
        """Read the cassette again. If it cannot be read, keep the recordings that were read before."""
        async with self._reload_lock:
            try:
                await asyncio.to_thread(self.cassette.reload)
            except CassetteError as error:
                self.cassette.warn(f"{error.message} The recordings that were read before are still played.")

    async def _play_fallback(self, request: Request, client: ResponseSink, start: float) -> None:
        """Play another recording, if the rules allow one. Raises CassetteMissError with the explanation."""
        # Imported here: these modules take a tenth of the time to start, and most runs have no miss.
        from openai_replay.proxy import miss
        from openai_replay.proxy.fallback import choose

        clean = await self._run_aside(request, self.rules.redactor.redact_request)
        while True:  # another process may claim the recording between the choice and the claim
            await self.cassette.positions.refresh()
            if self.rules.fallback is Fallback.NONE:
                raise miss.miss(self.rules, self.cassette, clean, self._explained)
            try:
                recording, note = choose(clean, self.cassette, self.rules)
            except FileChangedError:
                await self._reload()
                recording, note = choose(clean, self.cassette, self.rules)
            if recording is None:
                raise miss.miss(self.rules, self.cassette, clean, self._explained, note)
            if await self.cassette.claim_out_of_order(recording):
                break
        await self._player.play(clean, recording, client, start, self.rules.redactor.redact_for_log(note))

    def _require_recorder(self) -> Recorder:
        assert self._recorder is not None, "a player has none, and its actions are PLAY and REFUSE only"
        return self._recorder

    def _log_error(self, request: Request, error: ReplayError, start: float) -> None:
        redactor, ms = self.rules.redactor, int(elapsed_ms(start))
        target, text = redactor.redact_target(request), redactor.redact_for_log(error.text)
        reason = error.reason if isinstance(error, CassetteMissError) else None
        outcome = Outcome.FAILED if reason is None else Outcome.MISSED
        self.journal.add(Exchange(outcome, target.method, target.path, error.status, ms=ms, error=text, reason=reason))
