"""A request forwarded: its answer goes to the client as it arrives, and to the tape when it is whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from weakref import WeakSet

from openai_replay.cassette.cassette import Cassette
from openai_replay.config.rules import Rules
from openai_replay.errors import ERROR_HEADER, LoopError, ReplayError, UpstreamError
from openai_replay.journal.exchanges import Exchange, Journal, Outcome
from openai_replay.journal.log import bare, log
from openai_replay.model import End, Head, Interaction, Mode, Request, Response, header
from openai_replay.openai_api import transcript
from openai_replay.playback.scheduler import Stopwatch
from openai_replay.proxy.aio import LARGE, run_aside, completes_within
from openai_replay.proxy.client import ResponseSink, journal_entry
from openai_replay.proxy.live_response import LiveResponse
from openai_replay.proxy.upstream import VIA, Upstream
from openai_replay.text import sse
from openai_replay.text.http_headers import kept

#: SDKs stop reading at `[DONE]` and the like. The tape has it first (law 4) if the end follows within this many
#: seconds, as it does.
_LAST_EVENT_WAITS_S = 0.2
#: Bytes of an event after which nobody looks for its end any more: no SDK stops reading at such a one.
_LONGEST_EVENT = 1 << 24
#: Seconds after which what was appended is brought through a power cut, at most: where 50 answers end in a second, to
#: wait for the disk after each takes a tenth of all that recording takes.
_SYNCED_EVERY_S = 0.5
#: What is done with an answer that is over.
_Then = Callable[[Request, LiveResponse], Coroutine[None, None, None]]
_TOO_LARGE = "the answer is larger than --max-response, so the tape keeps nothing of it"


class _Passing:
    """What a client has got of an answer. A read that need not wait goes `at_once`, in the turn of the event loop that
    it came in: to wake a task for it takes as long as to write it.
    """

    def __init__(self, arriving: LiveResponse, client: ResponseSink) -> None:
        self._arriving = arriving
        self._client = client
        self._behind = False  # whether the client does not keep up
        self.begun = b""  # of an event that is not whole yet
        self.head_sent = False

    def at_once(self, data: bytes) -> bool:
        """Pass `data` on. False where it has to wait: for the client, or for the tape to have it first."""
        if self._behind:
            return False
        enough, begun = self.read(data)
        if enough:
            return False
        self.begun = begun
        try:
            head = self.head()
            if head is not None:
                self._client.start(head)
            self._behind = not self._client.write(self._client.encode(head, (data,), None))
        except ConnectionError:  # who sends what waits finds that out, too
            return False
        return True

    def head(self) -> Head | None:
        """The head, where it is to be sent now."""
        if self.head_sent:
            return None
        self.head_sent = True
        return self._arriving.head

    async def caught_up(self) -> None:
        """Wait until the client keeps up. Raises ConnectionError when it has left."""
        if self._behind:
            await self._client.drain()
            self._behind = False

    def read(self, data: bytes) -> tuple[bool, bytes]:
        """Whether `data`, which comes next, is enough for an SDK to stop reading, and what has `begun` behind it."""
        if len(self.begun) >= _LONGEST_EVENT or not self._arriving.is_stream:
            return False, self.begun
        events = self.begun + data if self.begun else data
        end = sse.whole(events)
        return sse.ends_stream(events[:end]), events[end:]


class Recorder:
    """Asks `upstream`, and keeps what it answers on `cassette`."""

    def __init__(self, rules: Rules, cassette: Cassette, upstream: Upstream, journal: Journal) -> None:
        self._rules = rules
        self._cassette = cassette
        self._upstream = upstream
        self._journal = journal
        self._writing = asyncio.Lock()
        self._unsynced = False
        self._syncing: asyncio.Task[None] | None = None
        self._finishing = asyncio.Event()  # whether nothing is put off any more
        self._tasks: set[asyncio.Task[None]] = set()
        self._arriving: WeakSet[LiveResponse] = WeakSet()

    async def record(self, request: Request, client: ResponseSink, now_ms: Stopwatch) -> None:
        """Forward `request`, pass its answer on, and keep both, without secrets.

        Raises UpstreamError or LoopError before anything was sent, ConnectionError when the client has left.
        """
        arriving, kept = self._send(request, now_ms, self._keep)
        try:
            await self._pass_on(arriving, client, kept)
        except ConnectionError:
            self._spawn(self._drain(arriving))
            raise
        except asyncio.CancelledError:  # the server stops, and the answer may come in time for the tape
            arriving.detach()
            raise

    async def forward(self, request: Request, client: ResponseSink, now_ms: Stopwatch) -> None:
        """As `record`, and nothing is kept."""
        arriving, noted = self._send(request, now_ms, self._note)
        try:
            await self._pass_on(arriving, client, noted)
        except ConnectionError:
            arriving.cancel("the client left")
            raise

    def _send(self, request: Request, now_ms: Stopwatch, then: _Then) -> tuple[LiveResponse, asyncio.Task[None]]:
        """Send `request`: the answer, and the task that reads it, and does `then` what is to be done with it."""
        if any(name.lower() == "via" and VIA in value for name, value in request.headers):
            raise LoopError(
                "This request has been forwarded by openai-replay before: the upstream is this proxy itself.",
                "Check --upstream. It is not read from OPENAI_BASE_URL, which is where the app finds the proxy.",
            )
        arriving = LiveResponse(now_ms, self._upstream.max_bytes)
        self._arriving.add(arriving)
        return arriving, self._spawn(self._fetch(request, arriving, then))

    async def _fetch(self, request: Request, arriving: LiveResponse, then: _Then) -> None:
        try:
            await self._upstream.fetch(request, arriving)
        except Exception as error:  # a mistake of ours: what was asked is noted all the same
            log.error("openai-replay failed to read an answer\n%s", bare(error))
            arriving.cancelled = f"openai-replay failed: {type(error).__name__}"
            if arriving.head is None:
                arriving.error = UpstreamError(f"{arriving.cancelled}.", "Its terminal says more.")
        await then(request, arriving)

    async def _note(self, request: Request, arriving: LiveResponse) -> None:
        """Say of an answer that is over that it was passed on."""
        response, named = arriving.response, self._rules.redactor.named(request)
        if response is not None:
            shown = await run_aside(len(response.body), self._rules.redactor.response, response)
            said = transcript.said(shown)
            self._journal.add(journal_entry(Outcome.FORWARDED, named, shown, response.end_ms, said))
        elif arriving.head is not None:  # the client left, or it is very large
            end, status = arriving.end or End.TRUNCATED, arriving.head.status
            part = Exchange(Outcome.FORWARDED, named.method, named.path, status, arriving.frame_count, arriving.end_ms, end)
            self._journal.add(part)

    async def _pass_on(self, arriving: LiveResponse, client: ResponseSink, kept: asyncio.Task[None]) -> None:
        """Each read goes to the client at once (law 3); the end waits until the answer is `kept` (law 4), and with it
        what shows the client that it is the end.
        """
        passing = _Passing(arriving, client)
        arriving.on_data = passing.at_once
        frames: list[bytes] = []
        while True:
            await arriving.wait_for_data()
            arriving.on_data = None  # nothing overtakes what is sent here
            if arriving.error is not None:
                raise arriving.error
            await passing.caught_up()
            frames += arriving.take_data()
            enough, begun = passing.read(b"".join(frames))
            if enough and not arriving.closed and await completes_within(_LAST_EVENT_WAITS_S, arriving.wait_closed()):
                continue
            passing.begun = begun
            head = passing.head()
            if arriving.closed:
                early = 0 if enough else max(0, len(frames) - arriving.has_content_length)
                if frames and (head or early):  # where nothing follows the head, the head is the end
                    await client.send(head=head, frames=frames[:early])
                    head = None
                await asyncio.shield(kept)
                await client.send(
                    head=head, frames=frames[early:], end=arriving.end or End.TRUNCATED
                )  # no end: it was cancelled
                return
            if head or frames:  # what came just before may have gone out with the head
                await client.send(head=head, frames=frames)
            frames = []
            arriving.on_data = passing.at_once

    async def _keep(self, request: Request, arriving: LiveResponse) -> None:
        """Put an answer that is over on the tape, if it is whole.

        Never raises: the client gets its answer whatever becomes of the file.
        """
        response = arriving.response
        if response is None:
            status = arriving.head.status if arriving.head else 0
            if arriving.too_large:
                self._lost(request, status, _TOO_LARGE)
            elif arriving.error is None:
                self._lost(request, status, arriving.cancelled)
            elif arriving.detached:  # nobody is told of it
                self._lost(request, status, arriving.error.message)
            return
        status = response.head.status
        if code := header(response.head.headers, ERROR_HEADER):
            named = self._rules.redactor.named(request)
            why = f"the upstream is an openai-replay, and answered {code}"
            self._journal.add(Exchange(Outcome.FAILED, named.method, named.path, status, error=why))
            return
        try:
            cleaned = None
            if max(len(request.body), len(response.body)) > LARGE:  # what else is to be kept does not wait for that
                cleaned = await asyncio.to_thread(self._cleaned, request, response)
            async with self._writing:
                clean, said, number = await asyncio.to_thread(self._append, request, response, cleaned)
        except (ReplayError, OSError) as error:
            self._lost(request, status, str(error))
            return
        except Exception as error:  # a mistake of ours: the answer goes on all the same
            log.error("openai-replay failed to keep an answer\n%s", bare(error))
            self._lost(request, status, f"openai-replay failed: {type(error).__name__}")
            return
        self._journal.add(journal_entry(Outcome.RECORDED, clean.request, clean.response, response.end_ms, said, number))
        self._unsynced = True
        if self._syncing is None or self._syncing.done():
            self._syncing = self._spawn(self._sync(request))

    def _cleaned(self, request: Request, response: Response) -> Interaction:
        """Both as they are put on the tape, without secrets."""
        redactor, everything = self._rules.redactor, self._rules.all_headers
        asked, answer = redactor.request(request), redactor.response(response)
        headers = kept(asked.headers, everything, self._rules.matcher.headers)
        answer = replace(answer, head=replace(answer.head, headers=kept(answer.head.headers, everything)))
        return Interaction(Request(asked.method, asked.uri, headers, asked.body), answer)

    def _append(self, request: Request, response: Response, clean: Interaction | None) -> tuple[Interaction, str, int]:
        """Put both on the tape, `clean` if that has been done: what is there, what the answer says, and its number."""
        clean = clean or self._cleaned(request, response)
        said = transcript.said(clean.response)
        return clean, said, self._cassette.append(clean, said)

    async def _sync(self, request: Request) -> None:
        """Bring what was appended through a power cut, beside the exchanges: at once, but then not again for a
        while, which the disk would need more than we.
        """
        while self._unsynced:
            self._unsynced = False
            try:
                await asyncio.to_thread(self._cassette.sync)
            except OSError as error:
                self._lost(request, 0, f"the disk refused to keep it: {error}")
            await completes_within(_SYNCED_EVERY_S, self._finishing.wait())

    async def _drain(self, arriving: LiveResponse) -> None:
        """The client has left in the middle: read on, so that the tape gets the whole answer, but not for ever."""
        limit_s = self._rules.drain_timeout_s
        arriving.detach()
        if not await completes_within(limit_s, arriving.wait_closed()):
            arriving.cancel(f"the client left, and the answer went on for more than --drain-timeout {limit_s:g}s")

    async def finish(self, limit_s: float) -> bool:
        """Wait until everything that is under way is on the tape.

        What takes longer than `limit_s` is lost, and said to be: then the answer is False.
        """
        self._finishing.set()
        loop = asyncio.get_running_loop()
        until = loop.time() + limit_s
        while self._tasks and (left := until - loop.time()) > 0:  # one that ends may leave another behind
            await asyncio.wait(self._tasks, timeout=left)
        late = bool(self._tasks)
        for arriving in list(self._arriving):
            arriving.cancel(f"openai-replay was stopped, and the answer went on for more than {limit_s:g}s")
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._rules.mode is Mode.ALL and self._cassette.added:
            await asyncio.to_thread(self._cassette.replace_recorded)
        return not late

    def _lost(self, request: Request, status: int, why: str) -> None:
        named = self._rules.redactor.named(request)
        self._journal.add(Exchange(Outcome.LOST, named.method, named.path, status, error=f"NOT RECORDED: {why}"))

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)  # the loop holds tasks weakly
        task.add_done_callback(self._tasks.discard)
        return task
