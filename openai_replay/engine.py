"""One exchange, from top to bottom: redact, make the key, decide, then play, record, forward or refuse."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol, TypeVar
from weakref import WeakSet

from openai_replay import missing, pacing, sse, transcript
from openai_replay.arriving import Arriving
from openai_replay.asked import LARGE, Asked, Asking
from openai_replay.cassette import Cassette
from openai_replay.clock import Clock, Stopwatch
from openai_replay.errors import ERROR_HEADER, CassetteError, LoopError, Miss, ReplayError
from openai_replay.fallback import instead
from openai_replay.headers import kept
from openai_replay.journal import Exchange, Journal, Outcome
from openai_replay.logs import bare, log
from openai_replay.model import (
    End,
    Fallback,
    Head,
    Interaction,
    Mode,
    Request,
    Response,
    header,
    media_type,
)
from openai_replay.recordings import Recording
from openai_replay.rules import DECISIONS, Do, Rules
from openai_replay.scanning import Changed
from openai_replay.upstream import VIA, Upstream

T = TypeVar("T")


#: SDKs stop reading at `[DONE]` and the like. The tape has it first (law 4) if the end follows within this many
#: seconds, as it does.
_LAST_EVENT_WAITS_S = 0.2
#: Bytes of an event after which nobody looks for its end any more: no SDK stops reading at such a one.
_LONGEST_EVENT = 1 << 24
_TOO_LARGE = "the answer is larger than --max-recorded, so the tape keeps nothing of it"


class Client(Protocol):
    """Whoever asked. `send` writes what is due at one instant; it raises ConnectionError once the client has left."""

    async def send(
        self,
        *,
        head: Head | None = None,
        frames: Sequence[bytes] = (),
        end: End | None = None,
        encoded: dict[Hashable, bytes] | None = None,
    ) -> None:
        """Write the head, each of `frames` as a chunk of its own, and the end.

        `encoded`: what the same call may have made of the three before, by how; here it is kept for the next one.
        """


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


class Engine:
    """Answers requests from `cassette`, or from `upstream` for the tape.

    Without an upstream it can only play (law 6).
    """

    def __init__(
        self, rules: Rules, cassette: Cassette, upstream: Upstream | None, journal: Journal, clock: Clock
    ) -> None:
        self._clock = clock
        self.rules = rules
        self.cassette = cassette
        self.journal = journal
        self.origin = upstream.origin if upstream else "http://tape"  # a player has none, and `//path` needs one
        self._upstream = upstream
        self._asking = Asking(rules)
        self._seen: dict[bytes, frozenset[int]] = {}  # what explanations have read of the tape
        self._writing = asyncio.Lock()
        self._unsynced = False
        self._syncing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._arriving: WeakSet[Arriving] = WeakSet()

    async def answer(self, request: Request, client: Client) -> None:
        """Answer `request`, which has just been read whole.

        Raises Miss, UpstreamError or LoopError before anything was sent, ConnectionError when the client has left.
        """
        now_ms = Stopwatch()
        asked = self._asking.known(request)
        if asked is None:
            asked = await _aside(len(request.body), self._asking.read, request)
        mode = self.rules.mode
        plays = Do.PLAY in DECISIONS[mode]
        try:
            found = await self._take(asked.key) if plays else None
            do = DECISIONS[mode][0 if found else 1 if self.cassette.was_on_disk else 2]
            if do is Do.PLAY:
                assert found is not None
                await self._play(asked, found, client, now_ms)
                return
            clean = asked.clean
            if clean is None:
                clean = await _aside(len(request.body), self.rules.redactor.request, request)
            match do:
                case Do.RECORD:
                    await self._record(request, clean, client, now_ms)
                case Do.FORWARD:
                    await self._forward(request, clean, client, now_ms)
                case Do.REFUSE:
                    await self._play_instead(asked, clean, client, now_ms)
        except ReplayError as error:
            outcome = Outcome.MISSED if isinstance(error, Miss) else Outcome.FAILED
            said = self.rules.redactor.text(error.text)
            self.journal.add(Exchange(outcome, asked.method, asked.path, error.status, ms=int(now_ms()), error=said))
            raise

    # -------------------------------------------------------------------------------------- play

    async def _take(self, key: bytes) -> Recording | None:
        """The next recording of `key`, as the files are now. Raises CassetteError where its file is no longer one."""
        tape, used_up = self.cassette, self.rules.when_used_up(self.cassette.was_on_disk)
        found = tape.next(key, used_up)
        if tape.is_outdated(found):
            await self._reload()
            found = tape.next(key, used_up)
        for again in (True, False):
            if found is None or found.held is not None:
                break
            try:
                found.interaction  # noqa: B018 - it is read
            except Changed:  # and from the outside nobody could tell
                if not again:
                    raise CassetteError(found.path, None, "has changed, and cannot be read", "Restore it.") from None
                tape.distrust(found)
                await self._reload()
                found = tape.next(key, used_up)
        if found is not None:
            tape.taken(found)
        return found

    async def _reload(self) -> None:
        """Read again what somebody has changed; where that is no cassette now, what was there is played on."""
        async with self._writing:
            try:
                await asyncio.to_thread(self.cassette.reload)
            except CassetteError as error:
                self.cassette.warn(f"{error.message}; what was there before is played on")

    async def _play_instead(self, asked: Asked, clean: Request, client: Client, now_ms: Stopwatch) -> None:
        if self.rules.fallback is Fallback.NONE:
            raise missing.miss(self.rules, self.cassette, clean, self._seen)
        try:
            found, note = instead(clean, self.cassette, self.rules)
        except Changed:
            await self._reload()
            found, note = instead(clean, self.cassette, self.rules)
        if found is None:
            raise missing.miss(self.rules, self.cassette, clean, self._seen, note)
        self.cassette.take_instead(found)
        await self._play(asked, found, client, now_ms, self.rules.redactor.text(note))

    async def _play(self, asked: Asked, found: Recording, client: Client, now_ms: Stopwatch, note: str = "") -> None:
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
                    self._played(asked, found, ready.said, now_ms, note)
                await client.send(head=due.head, frames=due.frames, end=due.end, encoded=due.encoded)
        finally:
            if not noted:  # it counts as played for a client that left in the middle, too
                self._played(asked, found, ready.said, now_ms, note)

    def _made_ready(self, found: Recording) -> _Ready:
        response = found.interaction.response
        head = self.rules.played(response.head)
        schedule = [
            _Due(beat.at_ms, head if beat.head else None, beat.frames, response.end if beat.end else None, {})
            for beat in pacing.schedule(response, self.rules.pace)
        ]
        found.ready = ready = _Ready(schedule, transcript.said(response))
        return ready

    def _played(self, asked: Asked, found: Recording, said: str, now_ms: Stopwatch, note: str) -> None:
        self._done(Outcome.PLAYED, asked, found.interaction.response, int(now_ms()), said, found.number, note)

    # -------------------------------------------------------------------------------------- record

    async def _record(self, request: Request, clean: Request, client: Client, now_ms: Stopwatch) -> None:
        arriving = self._send(request, now_ms)
        try:
            await self._pass_on(arriving, client, self._spawn(self._keep(clean, arriving)))
        except ConnectionError:
            self._spawn(self._drain(arriving))
            raise

    async def _forward(self, request: Request, clean: Request, client: Client, now_ms: Stopwatch) -> None:
        arriving = self._send(request, now_ms)
        try:
            await self._pass_on(arriving, client, self._spawn(self._note(clean, arriving)))
        except ConnectionError:
            arriving.cancel("the client left")
            raise

    async def _note(self, clean: Request, arriving: Arriving) -> None:
        await arriving.over()
        response = arriving.response
        if response is not None:
            shown = await _aside(len(response.body), self.rules.redactor.response, response)
            self._done(Outcome.FORWARDED, clean, shown, response.end_ms, transcript.said(shown))
        elif arriving.head is not None:  # the client left, or it is very large
            end, status = arriving.end or End.TRUNCATED, arriving.head.status
            said = Exchange(Outcome.FORWARDED, clean.method, clean.path, status, arriving.count, arriving.end_ms, end)
            self.journal.add(said)

    def _send(self, request: Request, now_ms: Stopwatch) -> Arriving:
        if any(name.lower() == "via" and VIA in value for name, value in request.headers):
            raise LoopError(
                "This request has been forwarded by openai-replay before: the upstream is this proxy itself.",
                "Check --upstream. It is not read from OPENAI_BASE_URL, which is where the app finds the proxy.",
            )
        assert self._upstream is not None, "only a player has no upstream, and it never comes here"
        arriving = self._upstream.send(request, lambda: int(now_ms()))
        self._arriving.add(arriving)
        return arriving

    async def _pass_on(self, arriving: Arriving, client: Client, kept: asyncio.Task[None]) -> None:
        """Each read goes to the client at once (law 3); the last one waits until the answer is `kept` (law 4)."""
        head_sent = False
        frames: list[bytes] = []
        begun = b""  # of an event that is not whole yet
        while True:
            await arriving.news()
            if arriving.error is not None:
                raise arriving.error
            frames += arriving.take()
            enough = False  # for an SDK to stop reading
            if (
                arriving.head
                and len(begun) < _LONGEST_EVENT
                and media_type(arriving.head.headers) == "text/event-stream"
            ):
                events = b"".join([begun, *frames])
                end = sse.whole(events)
                enough = sse.ends_stream(events[:end])
                if enough and not arriving.is_over and await _within(_LAST_EVENT_WAITS_S, arriving.over()):
                    continue
                begun = events[end:]
            head = None if head_sent else arriving.head
            if arriving.is_over:
                early = 0 if enough else max(0, len(frames) - 1)
                if frames and (head or early):  # where nothing follows the head, the head is the end
                    await client.send(head=head, frames=frames[:early])
                    head = None
                await asyncio.shield(kept)
                await client.send(
                    head=head, frames=frames[early:], end=arriving.end or End.TRUNCATED
                )  # no end: it was cancelled
                return
            await client.send(head=head, frames=frames)
            head_sent, frames = True, []

    async def _keep(self, clean: Request, arriving: Arriving) -> None:
        """Put the answer on the tape when it is whole.

        Never raises: the client gets its answer whatever becomes of the file.
        """
        await arriving.over()
        response = arriving.response
        if response is None:
            if arriving.too_large:
                self._lost(clean, arriving.head.status if arriving.head else 0, _TOO_LARGE)
            elif arriving.error is None:
                self._lost(clean, arriving.head.status if arriving.head else 0, arriving.cancelled)
            return
        if code := header(response.head.headers, ERROR_HEADER):
            why = f"the upstream is an openai-replay, and answered {code}"
            self.journal.add(Exchange(Outcome.FAILED, clean.method, clean.path, response.head.status, error=why))
            return
        headers = kept(clean.headers, self.rules.all_headers, self.rules.matcher.headers)
        stored = Request(clean.method, clean.uri, headers, clean.body)
        try:
            async with self._writing:
                clean_response, number = await asyncio.to_thread(self._append, stored, response)
        except (ReplayError, OSError) as error:
            self._lost(clean, response.head.status, str(error))
            return
        except Exception as error:  # a mistake of ours: the answer goes on all the same
            log.error("openai-replay failed to keep an answer\n%s", bare(error))
            self._lost(clean, response.head.status, f"openai-replay failed: {type(error).__name__}")
            return
        said = transcript.said(clean_response)
        self._done(Outcome.RECORDED, clean, clean_response, response.end_ms, said, number)
        self._unsynced = True
        if self._syncing is None or self._syncing.done():
            self._syncing = self._spawn(self._sync(clean))

    def _append(self, request: Request, response: Response) -> tuple[Response, int]:
        clean = self.rules.redactor.response(response)
        clean = replace(clean, head=replace(clean.head, headers=kept(clean.head.headers, self.rules.all_headers)))
        return clean, self.cassette.append(Interaction(request, clean))

    async def _sync(self, clean: Request) -> None:
        """Bring what was appended through a power cut, beside the exchanges and as rarely as the disk is slow."""
        while self._unsynced:
            self._unsynced = False
            try:
                await asyncio.to_thread(self.cassette.sync)
            except OSError as error:
                self._lost(clean, 0, f"the disk refused to keep it: {error}")

    async def _drain(self, arriving: Arriving) -> None:
        """The client has left in the middle: read on, so that the tape gets the whole answer, but not for ever."""
        limit_s = self.rules.drain_limit_s
        arriving.leave()
        if not await _within(limit_s, arriving.over()):
            arriving.cancel(f"the client left, and the answer went on for more than --drain-limit {limit_s:g}s")

    async def finish(self, limit_s: float) -> bool:
        """Wait until everything that is under way is on the tape.

        What takes longer than `limit_s` is lost, and said to be: then the answer is False.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + limit_s
        while self._tasks and (left := until - loop.time()) > 0:  # one that ends may leave another behind
            await asyncio.wait(self._tasks, timeout=left)
        late = bool(self._tasks)
        for arriving in list(self._arriving):
            arriving.cancel(f"openai-replay was stopped, and the answer went on for more than {limit_s:g}s")
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self.rules.mode is Mode.ALL and self.cassette.added:
            await asyncio.to_thread(self.cassette.replace_recorded)
        return not late

    # -------------------------------------------------------------------------------------- both

    def _lost(self, clean: Request, status: int, why: str) -> None:
        self.journal.add(Exchange(Outcome.LOST, clean.method, clean.path, status, error=f"NOT RECORDED: {why}"))

    def _done(
        self,
        outcome: Outcome,
        asked: Asked | Request,
        response: Response,
        ms: int,
        said: str,
        recording: int | None = None,
        note: str = "",
    ) -> None:
        self.journal.add(
            Exchange(
                outcome,
                asked.method,
                asked.path,
                response.head.status,
                len(response.frames),
                ms,
                response.end,
                said,
                recording,
                note=note,
            )
        )

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)  # the loop holds tasks weakly
        task.add_done_callback(self._tasks.discard)
        return task


async def _within(seconds: float, work: Awaitable[None]) -> bool:
    """Whether `work` was over within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        return False
    return True


async def _aside(size: int, function: Callable[..., T], *args: object) -> T:
    """Call `function` here, or in a thread: a second of regular expressions would stop every other stream."""
    if size <= LARGE:
        return function(*args)
    return await asyncio.to_thread(function, *args)
