"""Sessions: several cassettes on one server, each behind a base URL, which every SDK can set.

`http://HOST:PORT/@NAME/v1` is session NAME. Either it was opened (through `/@/sessions`, or by the pytest plugin), or
it is the cassette `NAME.yaml` of the served folder. Each session has its own position on its cassette, its own journal
and its own rules.
"""

from __future__ import annotations

import posixpath
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, unquote

from openai_replay.cassette import reader
from openai_replay.cassette.cassette import Cassette
from openai_replay.cassette.positions import Positions
from openai_replay.cassette.recordings import DEFAULT_READ_OPTIONS, SUFFIXES, ReadOptions
from openai_replay.config.rules import Rules
from openai_replay.errors import CassetteMissError, ControlError, MissReason, ReplayError, UsageError
from openai_replay.journal.exchanges import Exchange, Journal, Outcome
from openai_replay.journal.jsonl import JournalFile
from openai_replay.model import Mode
from openai_replay.playback.pace import INSTANT
from openai_replay.playback.scheduler import Scheduler
from openai_replay.proxy.engine import Engine

if TYPE_CHECKING:
    from openai_replay.proxy.upstream import Upstream

#: The path of the base URL if the cassette has no recording to take it from.
_DEFAULT_BASE_PATH = "/v1"


@dataclass(frozen=True, slots=True)
class ServedSession:
    """An engine, its name in URLs (empty for the server's default session) and the path of its base URL."""

    name: str
    engine: Engine
    base_path: str

    @property
    def path(self) -> str:
        """The part of the session's base URL after the server's origin."""
        return f"/@{quote(self.name, safe='')}{self.base_path}" if self.name else self.base_path

    def unplayed(self) -> list[str]:
        """Return `#3 POST /v1/chat/completions  FILE` for each recording that was not played."""
        unplayed = self.engine.cassette.unplayed()
        return [
            f"#{recording.number} {recording.method} {recording.request_path}  {recording.path}"
            for recording in unplayed
        ]


class PositionStore(Protocol):
    """Keeps the positions of several processes that play the same cassettes, while it is entered."""

    async def __aenter__(self) -> object:
        """Connect to the store. Raises StartError."""

    async def __aexit__(self, *error: object) -> None:
        """Disconnect from the store."""

    def prepare(self, cassette: Cassette) -> None:
        """Note the contents of `cassette`, which has just been read and may change before the next process starts."""

    def positions_for(self, name: str, cassette: Cassette, rules: str) -> Positions:
        """Return the positions on `cassette` of session `name`; `rules` is a fingerprint of what decides its keys."""


class Sessions:
    """The sessions of one server.

    Names lead to cassettes in `folder`, and `rules_for` gives the rules of such a cassette (without it, `rules`).
    `on_exchange` is called with every exchange, and `warn` with every oddity of a cassette that is opened. Without an
    `upstream` the sessions can only play. `position_store` keeps positions that other processes share.
    """

    def __init__(
        self,
        rules: Rules,
        folder: Path | None,
        on_exchange: Callable[[Exchange], None],
        warn: Callable[[str], None] = lambda warning: None,
        rules_for: Callable[[Path], Rules] | None = None,
        upstream: Upstream | None = None,
        read_options: ReadOptions = DEFAULT_READ_OPTIONS,
        position_store: PositionStore | None = None,
        journal_file: JournalFile | None = None,
    ) -> None:
        self.rules = rules
        self.rules_for = rules_for or (lambda path: rules)
        self.folder = folder
        self.position_store = position_store
        self.journal_file = journal_file
        self.default: ServedSession | None = None  # the session of requests without a name
        self.origin = ""  # http://HOST:PORT, as soon as the server listens
        self.scheduler = Scheduler()  # of all paced sessions
        self.has_paced_session = False  # also of one that has ended
        self._on_exchange = on_exchange
        self._warn = warn
        self._upstream = upstream
        self._read_options = read_options
        self._unrouted = Journal(self._add_to_journal)  # of requests that belong to no session
        self._ended: Counter[Outcome] = Counter()
        self._ended_unplayed: list[str] = []
        self._has_closed = False  # True once a session has ended
        self._open: dict[str, ServedSession] = {}

    def open(
        self,
        paths: tuple[Path, ...],
        rules: Rules,
        name: str | None = None,
        upstream: Upstream | None = None,
        may_be_new: bool = False,
        loaded: Cassette | None = None,
    ) -> ServedSession:
        """Open a session of the cassettes at `paths`, from their beginning, and return it.

        With `may_be_new`, a cassette to play may be missing: then every request is a miss. `loaded` is the cassette if
        it has been read already. Raises CassetteError, StartError or UsageError.
        """
        upstream = upstream or self._upstream
        if rules.mode is not Mode.NONE and upstream is None:
            raise UsageError(
                f"Mode {rules.mode} needs an upstream, and this server only plays.", "Start `openai-replay record`."
            )
        if rules.mode is Mode.NONE:
            upstream = None
        cassette = loaded or self._read(paths, rules, may_be_new)
        cassette.set_warning_handler(self._warn)
        self.has_paced_session |= rules.pace != INSTANT
        if self.journal_file is not None and rules.mode is not Mode.OFF:
            self.journal_file.opened(cassette)
        name = secrets.token_hex(8) if name is None else name
        if self.position_store is not None:
            cassette.positions = self.position_store.positions_for(name, cassette, rules.key_fingerprint)
        journal = Journal(partial(self._add_to_journal, cassette=cassette))
        engine = Engine(rules, cassette, upstream, journal, self.scheduler)
        session = ServedSession(name, engine, base_path(upstream, cassette))
        if name:
            self._open[name] = session
        else:
            self.default = session
        return session

    def _read(self, paths: tuple[Path, ...], rules: Rules, may_be_new: bool) -> Cassette:
        if rules.mode is Mode.OFF or (rules.mode is Mode.NONE and may_be_new and not paths[0].exists()):
            return Cassette(rules.key, paths[0], rules.matching_summary)
        if rules.mode is Mode.NONE:
            options = self._read_options._replace(key_fingerprint=rules.key_fingerprint)
            return Cassette.for_play(paths, rules.key, rules.matching_summary, options)
        return Cassette.for_record(paths[0], rules.key, rules.matching_summary)

    def _add_to_journal(self, exchange: Exchange, cassette: Cassette | None = None) -> None:
        self._on_exchange(exchange)
        if self.journal_file is not None:
            self.journal_file.exchange(exchange, cassette)

    def get_or_open(self, name: str) -> ServedSession:
        """Return session `name`, and open it first if it is a cassette in the folder. Raises ControlError."""
        if name in self._open:
            return self._open[name]
        path = self.cassette_path(name, self.rules.mode)
        normal_name = posixpath.normpath(name)
        if normal_name != name:  # each spelling would be a session, and their number has no end
            raise ControlError(f"The session name {name!r} is not in its normal form.", f"Write {normal_name!r}.")
        return self.open((path,), self.rules_for(path), name)

    def get(self, name: str) -> ServedSession:
        """Return the open session `name`. Raises ControlError."""
        if name not in self._open:
            raise ControlError(f"No session {name!r} is open.", "Open it with POST /@/sessions.")
        return self._open[name]

    def cassette_path(self, name: str, mode: Mode) -> Path:
        """Return the path of the cassette `name` in the folder.

        Raises ControlError if the file is missing, or if the name leads out of the folder.
        """
        if self.folder is None:
            raise ControlError(
                "This server does not serve a folder of cassettes.", "Start it with a folder instead of a file."
            )
        path = self.folder / (name if name.endswith(SUFFIXES) else f"{name}.yaml")
        try:
            is_inside = "\0" not in name and path.resolve().is_relative_to(self.folder.resolve())
            exists = is_inside and path.is_file()
        except OSError as error:
            raise ControlError(f"{name!r} is not a valid file name: {error.strerror}.", "Use another name.") from None
        if not is_inside:
            raise ControlError(
                f"{name!r} leads out of the served folder.", "Name a cassette in it.", HTTPStatus.FORBIDDEN
            )
        if mode is Mode.NONE and not exists:
            raise ControlError(f"The folder {self.folder} has no cassette {name!r}.", "Check the name in the base URL.")
        return path

    def route(self, method: str, target: str) -> tuple[Engine, str]:
        """Return the engine of the session that a request belongs to, and its target without the session's name.

        Raises CassetteMissError if the session is unknown or its cassette cannot be read: as loud as any other miss.
        """
        try:
            if target.startswith("/@"):
                name, slash, remainder = target[2:].partition("/")
                return self.get_or_open(unquote(name)).engine, slash + remainder
            if self.default is None:
                raise ControlError(
                    "This server has named sessions only.", "Set the base URL to http://HOST:PORT/@NAME/v1."
                )
        except ReplayError as error:
            miss = CassetteMissError(error.message, error.hint, MissReason.NO_SESSION)
            path = target.partition("?")[0]
            self._unrouted.add(Exchange(Outcome.MISSED, method, path, miss.status, error=miss.text, reason=miss.reason))
            raise miss from None
        return self.default.engine, target

    async def close(self, name: str) -> ServedSession:
        """End session `name` as soon as its cassette has all its recordings. Raises ControlError."""
        session = self.get(name)
        del self._open[name]
        try:
            await session.engine.finish(session.engine.rules.drain_timeout_s)
        finally:
            self._has_closed = True
            self._ended.update(session.engine.journal.counts)
            self._ended_unplayed += session.unplayed()
        return session

    async def finish(self) -> None:
        """Wait until the cassettes of all sessions have their recordings. Raises the first ReplayError."""
        errors: list[ReplayError] = []
        for session in self.all():
            try:
                await session.engine.finish(session.engine.rules.drain_timeout_s)
            except ReplayError as error:  # the other sessions still have to finish
                errors.append(error)
        if errors:
            raise errors[0]

    def all(self) -> list[ServedSession]:
        """Return every open session, the default one first."""
        return [*([self.default] if self.default else []), *self._open.values()]

    def counts(self) -> Counter[Outcome]:
        """Return the number of exchanges of each outcome, in all sessions, also in ended ones."""
        return sum((session.engine.journal.counts for session in self.all()), self._ended + self._unrouted.counts)

    def failures(self) -> list[str]:
        """Return the failures that are not misses, one line each."""
        exchanges = (exchange for session in self.all() for exchange in session.engine.journal.exchanges)
        return [exchange.failure for exchange in exchanges if exchange.failure]

    async def refresh(self) -> None:
        """Let `unplayed` know what other processes have played. Raises StateError."""
        for session in self.all():
            await session.engine.cassette.positions.refresh()

    def unplayed(self) -> list[str]:
        """Return the recordings that were not played, one line each, in all sessions, also in ended ones.

        The session of a whole folder counts only if it was used: its cassettes may be played by name.
        """
        used = [session for session in self.all() if session.name or session.engine.journal.counts or not self.folder]
        if not used and not self._has_closed:
            used = self.all()
        return [*self._ended_unplayed, *(line for session in used for line in session.unplayed())]


def base_path(upstream: Upstream | None, cassette: Cassette) -> str:
    """Return the path of the base URL for `cassette`: that of the upstream, or of its first recording."""
    if upstream is not None:
        return upstream.base_path
    if cassette.recordings:
        return reader.base_path(cassette.recordings[0].interaction.request.uri)
    return _DEFAULT_BASE_PATH
