"""Sessions for programs and tests in this process: `with openai_replay.play("chat.yaml") as session:`.

The server runs in a thread with an event loop of its own, so that sync code, async code, threads and subprocesses use
it alike. One thread serves any number of sessions.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, TypedDict, TypeVar, Unpack

from openai_replay.config import files as settings_files
from openai_replay.config import settings as building
from openai_replay.config.rules import Rules
from openai_replay.errors import UsageError
from openai_replay.journal.exchanges import Exchange, Outcome
from openai_replay.matching.suggestions import Advice
from openai_replay.model import Mode, OnExhausted
from openai_replay.proxy.upstream import Upstream
from openai_replay.server import serve
from openai_replay.server.sessions import ServedSession, Sessions

T = TypeVar("T")

DEFAULT_UPSTREAM = "https://api.openai.com/v1"


class Matching(TypedDict, total=False):
    """What matches, and what is secret."""

    match_on: str | Sequence[str]
    match_header: Sequence[str]
    normalize: Sequence[str]
    ignore: Sequence[str]
    redact_header: Sequence[str]
    redact_pattern: Sequence[str]
    redact_pointer: Sequence[str]


class Playing(Matching, total=False):
    """How a cassette is played."""

    pace: str
    on_exhausted: str
    fallback: str
    retry_after: float | None


class Background:
    """A server in a thread. `stop` ends it when everything that is under way is in its cassette.

    `tell` is called with every exchange; without it, what goes wrong is written to stderr. `journal` is a file that
    they are written to.
    """

    def __init__(self, tell: Callable[[Exchange], None] | None = None, journal: Path | None = None) -> None:
        # When it ends, every session is over, and a client that is still there waits for nothing (0 would be no limit).
        self._what = serve.ServerConfig(
            Rules(), port=0, quiet=True, on_exchange=tell, shutdown_s=0.01, journal_path=journal
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
            served = self._loop.run_until_complete(self._stack.enter_async_context(serve.serving(self._what)))
        except BaseException as error:
            self._loop.close()
            started.set_exception(error)
            return
        started.set_result(served.sessions)
        self._loop.run_forever()
        self._loop.close()

    def open(
        self, paths: tuple[Path, ...], rules: Rules, upstream: str | None, may_be_new: bool = False
    ) -> tuple[ServedSession, str]:
        """A new session and its base URL. Raises CassetteError, StartError or UsageError.

        `may_be_new`: a cassette that is not there is played as an empty one.
        """

        async def opened() -> ServedSession:
            through = await self._upstream(upstream) if upstream else None
            return self._sessions.open(paths, rules, upstream=through, may_be_new=may_be_new)

        session = self.call(opened())
        return session, self._sessions.origin + session.path

    async def _upstream(self, url: str) -> Upstream:
        if url not in self._upstreams:
            self._upstreams[url] = await self._stack.enter_async_context(Upstream(url))
        return self._upstreams[url]

    def close(self, session: ServedSession) -> None:
        """End a session when everything that is under way in it is in its cassette."""
        self.call(self._sessions.close(session.name))

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the server's loop, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def stop(self) -> None:
        """Stop serving."""
        try:
            self.call(self._stack.aclose())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()


class Session:
    """A cassette that is being played or recorded: what `play` and `record` give, and the fixture `openai_replay`.

    Use it in `with` or `async with`. `base_url` is what a client has to be told.
    """

    def __init__(
        self,
        cassettes: tuple[Path, ...],
        rules: Rules,
        upstream: str | None,
        on: Background | None = None,
        may_be_new: bool = False,
    ) -> None:
        self.cassettes = cassettes
        self.rules = rules
        self.base_url = ""
        self._upstream = upstream
        self._shared = on
        self._may_be_new = may_be_new
        self._background: Background | None = None  # while it runs
        self._session: ServedSession | None = None

    @property
    def cassette(self) -> Path:
        """The file that is played, or recorded to; the first of several."""
        return self.cassettes[0]

    @property
    def mode(self) -> Mode:
        """The record mode."""
        return self.rules.mode

    @property
    def journal(self) -> list[Exchange]:
        """Every exchange so far, in the order they were over."""
        return list(self.served.engine.journal.exchanges)

    @property
    def misses(self) -> list[str]:
        """The explanation of every request that no recording matched."""
        return [one.error for one in self.journal if one.outcome is Outcome.MISSED]

    @property
    def unplayed(self) -> list[str]:
        """`#3 POST /v1/chat/completions` for every recording that nobody asked for."""
        left = self.served.engine.cassette.unplayed()
        return [f"#{one.number} {one.method} {one.target}" for one in left]

    @property
    def served(self) -> ServedSession:
        """The session that serves it."""
        if self._session is None:
            raise RuntimeError("This session is not running. Use it in a `with` block.")
        return self._session

    def rewind(self) -> None:
        """Everything is unplayed again, and what was recorded can be played."""

        async def rewound() -> None:
            await self.served.engine.cassette.rewind()

        self._running().call(rewound())

    def _running(self) -> Background:
        if self._background is None:
            raise RuntimeError("This session is not running. Use it in a `with` block.")
        return self._background

    def __enter__(self) -> Session:
        """Start serving. Raises CassetteError, StartError or UsageError."""
        if self._background is not None:
            raise RuntimeError("This session is already running. Call `play` or `record` again for another one.")
        background = self._shared or Background()
        try:
            self._session, self.base_url = background.open(self.cassettes, self.rules, self._upstream, self._may_be_new)
        except BaseException:
            if background is not self._shared:
                background.stop()
            raise
        self._background = background
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving, when everything that is under way is in the cassette."""
        background = self._running()
        self._background = None
        try:
            background.close(self.served)
        finally:
            if background is not self._shared:
                background.stop()

    async def __aenter__(self) -> Session:
        """Start serving."""
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving."""
        await asyncio.to_thread(self.__exit__, kind, error, trace)


def play(*cassettes: str | Path, **settings: Unpack[Playing]) -> Session:
    """Play `cassettes`, files or folders, from a server in this process.

    What is not among the `settings` is as the openai-replay.toml of the first cassette's folder says;
    `retry_after=None` keeps what was recorded. Raises UsageError at once, CassetteError when the session is entered.
    """
    if not cassettes:
        raise UsageError("there is no cassette to play", 'Name one: openai_replay.play("cassettes/chat.yaml")')
    first = Path(cassettes[0])
    if "mode" in settings:
        raise UsageError('play is mode="none"', 'To record: openai_replay.record("cassette.yaml", mode="all")')
    given = rules({**_beside(first), **settings, "mode": "none"}, _in_a_program(str(first)))
    return Session(tuple(Path(one) for one in cassettes), given, None)


def record(
    cassette: str | Path, upstream: str | None = None, mode: str = "new_episodes", **settings: Unpack[Matching]
) -> Session:
    """Record what `upstream` answers to `cassette`, from a server in this process. Where it is not given, it is
    `OPENAI_REPLAY_UPSTREAM` or https://api.openai.com/v1.

    What is not among the `settings` is as the openai-replay.toml of the cassette's folder says. Raises UsageError at
    once, CassetteError or StartError when the session is entered.
    """
    given = rules({**_beside(Path(cassette)), **settings, "mode": mode})
    upstream = upstream or os.environ.get("OPENAI_REPLAY_UPSTREAM") or DEFAULT_UPSTREAM
    return Session((Path(cassette),), given, upstream)


def rules(settings: Mapping[str, Any], advice: Advice | None = None) -> Rules:
    """The engine's rules with the defaults of tests: at once, an exhausted queue is an error, no sleeping.

    Raises UsageError.
    """
    return building.rules(settings, Rules(on_exhausted=OnExhausted.ERROR, retry_after_s=0.0, advice=advice))


def _beside(cassette: Path) -> dict[str, Any]:
    """What is the same for a cassette whoever plays it: what matches, and what is secret."""
    found = settings_files.from_folder((cassette if cassette.is_dir() else cassette.parent).absolute())
    return settings_files.shared({name: one.value for name, one in found.items()})


def _in_a_program(cassette: str) -> Advice:
    return Advice(
        f"openai_replay.record({json.dumps(cassette, ensure_ascii=False)})",
        lambda settings: ", ".join(f"{name}={json.dumps(one, ensure_ascii=False)}" for name, one in settings.items()),
        'on_exhausted="repeat" (the last one) or "cycle" (from the first)',
    )
