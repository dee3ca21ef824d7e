"""Sessions for programs and tests in this process: `with openai_replay.play("chat.yaml") as session:`.

Each session runs on a server in a thread (`background`), so that sync code, async code, threads and subprocesses can
all use it.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypedDict, Unpack

from openai_replay.config import files
from openai_replay.config.build import build_rules
from openai_replay.config.rules import Rules
from openai_replay.config.setting import Scope, unknown_setting
from openai_replay.config.settings import DEFAULT_UPSTREAM, SETTINGS, in_scope
from openai_replay.errors import UsageError
from openai_replay.journal.exchanges import Exchange, Outcome
from openai_replay.matching.suggestions import Wording
from openai_replay.model import Mode, OnExhausted
from openai_replay.server.background import Background
from openai_replay.server.sessions import ServedSession


class RecordSettings(TypedDict, total=False):
    """Keywords of `record`: the matching and the redaction. They repeat the registry of settings, for editors."""

    match_on: str | Sequence[str]
    match_header: Sequence[str]
    normalize: Sequence[str]
    ignore: Sequence[str]
    redact_header: Sequence[str]
    redact_pattern: Sequence[str]
    redact_pointer: Sequence[str]


class PlaySettings(RecordSettings, total=False):
    """Keywords of `play`: also the playback."""

    pace: str
    on_exhausted: str
    fallback: str
    retry_after: float | None


class Session:
    """A cassette that is being played or recorded. `play` and `record` return it, and so does the pytest fixture.

    Use it in `with` or `async with`, and give `base_url` to the client.
    """

    def __init__(
        self,
        cassettes: tuple[Path, ...],
        rules: Rules,
        upstream: str | None,
        background: Background | None = None,
        may_be_new: bool = False,
    ) -> None:
        self.cassettes = cassettes
        self.rules = rules
        self.base_url = ""
        self._upstream = upstream
        self._shared = background
        self._may_be_new = may_be_new
        self._background: Background | None = None  # while it runs
        self._served: ServedSession | None = None

    @property
    def cassette(self) -> Path:
        """The file that is played or recorded to; the first of several."""
        return self.cassettes[0]

    @property
    def mode(self) -> Mode:
        """The record mode."""
        return self.rules.mode

    @property
    def journal(self) -> list[Exchange]:
        """Every exchange so far, in the order in which they ended."""
        return list(self.served.engine.journal.exchanges)

    @property
    def misses(self) -> list[str]:
        """The explanation of every request that no recording matched."""
        return [exchange.error for exchange in self.journal if exchange.outcome is Outcome.MISSED]

    @property
    def unplayed(self) -> list[str]:
        """`#3 POST /v1/chat/completions` for every recording that no request has played."""
        recordings = self.served.engine.cassette.unplayed()
        return [f"#{recording.number} {recording.method} {recording.request_path}" for recording in recordings]

    @property
    def served(self) -> ServedSession:
        """The server's side of this session; it stays readable after the end."""
        if self._served is None:
            raise _not_running()
        return self._served

    def rewind(self) -> None:
        """Start again: all recordings are unplayed, and new ones can be played."""

        async def rewind() -> None:
            await self.served.engine.cassette.rewind()

        self._running().call(rewind())

    def _running(self) -> Background:
        if self._background is None:
            raise _not_running()
        return self._background

    def __enter__(self) -> Session:
        """Start serving. Raise CassetteError, StartError or UsageError."""
        if self._background is not None:
            raise RuntimeError("This session is already running. Call `play` or `record` again for another one.")
        background = self._shared or Background()
        try:
            self._served, self.base_url = background.open(self.cassettes, self.rules, self._upstream, self._may_be_new)
        except BaseException:
            if background is not self._shared:
                background.stop()
            raise
        self._background = background
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving, after the last recording is in the cassette."""
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


def _not_running() -> RuntimeError:
    return RuntimeError("This session is not running. Use it in a `with` block.")


def play(*cassettes: str | Path, **settings: Unpack[PlaySettings]) -> Session:
    """Play `cassettes`, files or folders, from a server in this process.

    The matching and the redaction that `settings` leave out come from the openai-replay.toml of the first cassette's
    folder. `retry_after=None` keeps the recorded header. Raise UsageError at once; entering the session may raise
    CassetteError.
    """
    if not cassettes:
        raise UsageError("`play` needs a cassette.", 'Name one: openai_replay.play("cassettes/chat.yaml")')
    if "mode" in settings:
        raise UsageError(
            '`play` always has mode="none".', 'To record: openai_replay.record("cassette.yaml", mode="all")'
        )
    _check_names(settings, Scope.PYTHON_PLAY)
    first = Path(cassettes[0])
    rules = rules_of_tests({**_folder_settings(first), **settings, "mode": "none"}, _advice(str(first)))
    return Session(tuple(map(Path, cassettes)), rules, None)


def record(
    cassette: str | Path,
    upstream: str | None = None,
    mode: str = "new_episodes",
    **settings: Unpack[RecordSettings],
) -> Session:
    """Record the responses of `upstream` to `cassette`, from a server in this process.

    Without `upstream`, it is `OPENAI_REPLAY_UPSTREAM` or https://api.openai.com/v1. The `settings` that you leave out
    come from the openai-replay.toml of the cassette's folder. Raise UsageError at once; entering the session may raise
    CassetteError or StartError.
    """
    _check_names(settings, Scope.PYTHON_RECORD)
    rules = rules_of_tests({**_folder_settings(Path(cassette)), **settings, "mode": mode})
    upstream = upstream or os.environ.get(SETTINGS["upstream"].variable) or DEFAULT_UPSTREAM
    return Session((Path(cassette),), rules, upstream)


def rules_of_tests(settings: Mapping[str, Any], advice: Wording | None = None) -> Rules:
    """Return rules with the defaults of tests: an exhausted recording is an error, and `retry-after` is 0 seconds.

    Raise UsageError.
    """
    return build_rules(settings, Rules(on_exhausted=OnExhausted.ERROR, retry_after_s=0.0, advice=advice))


def _check_names(settings: Mapping[str, Any], scope: Scope) -> None:
    names = in_scope(scope)
    for name in settings:
        if name not in names:
            raise unknown_setting(name, name, names)


def _folder_settings(cassette: Path) -> dict[str, Any]:
    """Return the matching and the redaction of the settings file nearest to `cassette`."""
    folder = cassette if cassette.is_dir() else cassette.parent
    return files.cassette_settings({name: value for name, (value, _) in files.from_folder(folder.absolute()).items()})


def _advice(cassette: str) -> Wording:
    """Return the suggestions after a miss, as a Python program would follow them."""
    return Wording(
        f"openai_replay.record({json.dumps(cassette, ensure_ascii=False)})",
        lambda settings: ", ".join(
            f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in settings.items()
        ),
        'on_exhausted="repeat" (the last one) or "cycle" (from the first)',
    )
