"""A server in a thread with its own event loop, which serves any number of sessions of a program or a test run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

from openai_replay.config.rules import Rules
from openai_replay.journal.exchanges import Exchange
from openai_replay.proxy.upstream import Upstream
from openai_replay.server import serve
from openai_replay.server.sessions import ServedSession, Sessions

T = TypeVar("T")


class Background:
    """A server in a thread, which `stop` ends after all recordings are in their cassettes.

    `on_exchange` is called with every exchange; without it, failures are written to stderr. `journal` is a file that
    gets a line of JSON for every exchange.
    """

    def __init__(self, on_exchange: Callable[[Exchange], None] | None = None, journal: Path | None = None) -> None:
        # All sessions are closed before the server stops, so no client waits for a response (0 would mean no limit).
        self._config = serve.ServerConfig(
            Rules(), port=0, quiet=True, on_exchange=on_exchange, shutdown_s=0.01, journal_path=journal
        )
        self._loop = asyncio.new_event_loop()
        self._upstreams: dict[str, Upstream] = {}
        self._stack = AsyncExitStack()
        started: Future[Sessions] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name="openai-replay", daemon=True)
        self._thread.start()
        self._sessions = started.result()

    def _run(self, started: Future[Sessions]) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            server = self._loop.run_until_complete(self._stack.enter_async_context(serve.serving(self._config)))
        except BaseException as error:
            self._loop.close()
            started.set_exception(error)
            return
        started.set_result(server.sessions)
        self._loop.run_forever()
        self._loop.close()

    def open(
        self, paths: tuple[Path, ...], rules: Rules, upstream: str | None, may_be_new: bool = False
    ) -> tuple[ServedSession, str]:
        """Return a new session and its base URL. Raise CassetteError, StartError or UsageError.

        With `may_be_new`, a cassette that does not exist is played as an empty one.
        """

        async def open_session() -> ServedSession:
            client = await self._upstream(upstream) if upstream else None
            return self._sessions.open(paths, rules, upstream=client, may_be_new=may_be_new)

        session = self.call(open_session())
        return session, self._sessions.origin + session.path

    async def _upstream(self, url: str) -> Upstream:
        if url not in self._upstreams:
            self._upstreams[url] = await self._stack.enter_async_context(Upstream(url))
        return self._upstreams[url]

    def close(self, session: ServedSession) -> None:
        """End `session` after its last recording is in the cassette."""
        self.call(self._sessions.close(session.name))

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the server's loop, and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def stop(self) -> None:
        """Stop serving."""
        try:
            self.call(self._stack.aclose())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
