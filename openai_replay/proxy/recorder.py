"""The recorder: it forwards a request, relays the response as it arrives, and stores both in the cassette."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from functools import partial
from weakref import WeakSet

from openai_replay.cassette.cassette import Cassette
from openai_replay.config.rules import Rules
from openai_replay.errors import ERROR_HEADER, LoopError, PatternTimeoutError, ReplayError, UpstreamError
from openai_replay.journal.exchanges import Exchange, Journal, Outcome
from openai_replay.journal.log import log, safe_traceback
from openai_replay.model import End, Interaction, Mode, Request, Response, header
from openai_replay.openai_api import transcript
from openai_replay.playback.scheduler import elapsed_ms
from openai_replay.proxy.aio import LARGE, completes_within, run_aside
from openai_replay.proxy.client import ResponseSink, journal_entry
from openai_replay.proxy.live_response import LiveResponse
from openai_replay.proxy.relay import Relay
from openai_replay.proxy.upstream import VIA, Upstream
from openai_replay.text.http_headers import filter_headers

#: Seconds between two syncs to the disk, which protect against a power cut. With 50 responses a second, a sync after
#: each takes a tenth of all that recording takes.
_SYNC_INTERVAL_S = 0.5
#: The work on a response that has ended.
_Finish = Callable[[Request, LiveResponse], Coroutine[None, None, None]]
_TOO_LARGE = "the response is larger than --max-response, so nothing of it is recorded"


class Recorder:
    """Sends requests to `upstream`, and records its responses on `cassette`."""

    def __init__(self, rules: Rules, cassette: Cassette, upstream: Upstream, journal: Journal) -> None:
        self._rules = rules
        self._cassette = cassette
        self._upstream = upstream
        self._journal = journal
        self._append_lock = asyncio.Lock()
        self._unsynced = False
        self._sync_task: asyncio.Task[None] | None = None
        self._finishing = asyncio.Event()  # the server stops: nothing is put off any more
        self._tasks: set[asyncio.Task[None]] = set()
        self._live: WeakSet[LiveResponse] = WeakSet()

    async def record(self, request: Request, client: ResponseSink, start: float) -> None:
        """Forward `request`, relay the response, and store both without secrets.

        Times count from `start`, in seconds of `time.monotonic()`. Raises UpstreamError or LoopError before anything
        was sent, and ConnectionError when the client has left.
        """
        live, stored = self._send(request, start, self._store)
        try:
            await Relay(live, client).run(stored)
        except ConnectionError:
            self._spawn(self._drain(live))
            raise
        except asyncio.CancelledError:  # the server stops, and the response may still end in time for the cassette
            live.detach()
            raise

    async def forward(self, request: Request, client: ResponseSink, start: float) -> None:
        """Forward `request` and relay the response, without storing anything. Raises as `record` does."""
        live, logged = self._send(request, start, self._log_forwarded)
        try:
            await Relay(live, client).run(logged)
        except ConnectionError:
            live.cancel("the client left")
            raise

    def _send(self, request: Request, start: float, finish: _Finish) -> tuple[LiveResponse, asyncio.Task[None]]:
        """Send `request`. Return the response, and the task that reads it and then does the `finish` work."""
        if any(name.lower() == "via" and VIA in value for name, value in request.headers):
            raise LoopError(
                "This request was forwarded by openai-replay before: the upstream is this proxy itself.",
                "Check --upstream. It is not read from OPENAI_BASE_URL, where the app finds the proxy.",
            )
        live = LiveResponse(partial(elapsed_ms, start), self._upstream.max_bytes)
        self._live.add(live)
        return live, self._spawn(self._fetch(request, live, finish))

    async def _fetch(self, request: Request, live: LiveResponse, finish: _Finish) -> None:
        try:
            await self._upstream.fetch(request, live)
        except Exception as error:  # our own mistake: the request goes to the journal all the same
            log.error("openai-replay failed to read a response\n%s", safe_traceback(error))
            live.cancelled = f"openai-replay failed: {type(error).__name__}"
            if live.head is None:
                live.error = UpstreamError(f"{live.cancelled}.", "See the openai-replay log for details.")
        await finish(request, live)

    async def _log_forwarded(self, request: Request, live: LiveResponse) -> None:
        """Add a response that has ended to the journal."""
        response, target = live.response, self._rules.redactor.redact_target(request)
        if response is not None:
            redact, is_slow = self._rules.redactor.redact_response, self._rules.has_user_patterns
            clean, preview = response, ""
            with suppress(PatternTimeoutError):  # then the journal goes without the preview
                clean = await run_aside(len(response.body), redact, response, is_slow=is_slow)
                preview = transcript.preview(clean)
            self._journal.add(journal_entry(Outcome.FORWARDED, target, clean, response.end_ms, preview))
        elif live.head is not None:  # the client left, or the response is too large to keep
            end, status, count = live.end or End.TRUNCATED, live.head.status, live.frame_count
            self._journal.add(Exchange(Outcome.FORWARDED, target.method, target.path, status, count, live.end_ms, end))

    async def _store(self, request: Request, live: LiveResponse) -> None:
        """Append a response that has ended to the cassette, if it is complete.

        Never raises: the client gets its response whatever happens to the file.
        """
        response = live.response
        if response is None:
            self._report_incomplete(request, live)
            return
        status = response.head.status
        if code := header(response.head.headers, ERROR_HEADER):
            target = self._rules.redactor.redact_target(request)
            reason = f"The upstream is an openai-replay, and answered {code}."
            self._journal.add(Exchange(Outcome.FAILED, target.method, target.path, status, error=reason))
            return
        try:
            redacted = None
            if max(len(request.body), len(response.body)) > LARGE:  # before the lock: other recordings need not wait
                redacted = await asyncio.to_thread(self._redacted, request, response)
            async with self._append_lock:
                clean, preview, number = await asyncio.to_thread(self._append, request, response, redacted)
        except (ReplayError, OSError) as error:
            self._report_lost(request, status, str(error))
            return
        except Exception as error:  # our own mistake: the response goes on all the same
            log.error("openai-replay failed to store a recording\n%s", safe_traceback(error))
            self._report_lost(request, status, f"openai-replay failed: {type(error).__name__}")
            return
        self._journal.add(
            journal_entry(Outcome.RECORDED, clean.request, clean.response, response.end_ms, preview, number)
        )
        self._unsynced = True
        if self._sync_task is None or self._sync_task.done():
            self._sync_task = self._spawn(self._sync(request))

    def _report_incomplete(self, request: Request, live: LiveResponse) -> None:
        status = live.head.status if live.head else 0
        if live.too_large:
            self._report_lost(request, status, _TOO_LARGE)
        elif live.error is None:
            self._report_lost(request, status, live.cancelled)
        elif live.detached:  # without a client, nobody else hears of the error
            self._report_lost(request, status, live.error.message)

    def _redacted(self, request: Request, response: Response) -> Interaction:
        """Return both as they are stored, without secrets."""
        redactor, all_headers = self._rules.redactor, self._rules.all_headers
        clean_request, clean_response = redactor.redact_request(request), redactor.redact_response(response)
        request_headers = filter_headers(clean_request.headers, all_headers, self._rules.matcher.headers)
        head = replace(clean_response.head, headers=filter_headers(clean_response.head.headers, all_headers))
        return Interaction(
            Request(clean_request.method, clean_request.uri, request_headers, clean_request.body),
            replace(clean_response, head=head),
        )

    def _append(
        self, request: Request, response: Response, redacted: Interaction | None
    ) -> tuple[Interaction, str, int]:
        """Append both to the cassette. Return them without secrets, the preview of the response, and their number."""
        clean = redacted or self._redacted(request, response)
        preview = transcript.preview(clean.response)
        return clean, preview, self._cassette.append(clean, preview)

    async def _sync(self, request: Request) -> None:
        """Sync the cassette to the disk now, and again as long as recordings are added."""
        while self._unsynced:
            self._unsynced = False
            try:
                await asyncio.to_thread(self._cassette.sync)
            except OSError as error:
                self._report_lost(request, 0, f"the disk did not accept it: {error}")
            await completes_within(_SYNC_INTERVAL_S, self._finishing.wait())

    async def _drain(self, live: LiveResponse) -> None:
        """Read the response on after its client has left, but not for ever, so that the cassette gets all of it."""
        timeout_s = self._rules.drain_timeout_s
        live.detach()
        if not await completes_within(timeout_s, live.wait_closed()):
            live.cancel(f"the client left, and the response went on for more than --drain-timeout {timeout_s:g}s")

    async def finish(self, timeout_s: float) -> bool:
        """Wait until all running responses are in the cassette.

        A response that takes longer than `timeout_s` is lost, and reported as lost. Return False then.
        """
        self._finishing.set()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while self._tasks and (remaining_s := deadline - loop.time()) > 0:  # a task may start another one at its end
            await asyncio.wait(self._tasks, timeout=remaining_s)
        in_time = not self._tasks
        for live in list(self._live):
            live.cancel(f"openai-replay was stopped, and the response went on for more than {timeout_s:g}s")
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._rules.mode is Mode.ALL and self._cassette.added:
            await asyncio.to_thread(self._cassette.replace_recorded)
        return in_time

    def _report_lost(self, request: Request, status: int, reason: str) -> None:
        target = self._rules.redactor.redact_target(request)
        self._journal.add(Exchange(Outcome.LOST, target.method, target.path, status, error=f"NOT RECORDED: {reason}"))

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)  # the loop holds tasks weakly
        task.add_done_callback(self._tasks.discard)
        return task
