"""Several tapes on one server: a base URL is the one knob every SDK has, so a session is a base URL of its own.

`http://HOST:PORT/@NAME/v1` is session NAME: one that was opened (over `/@/sessions`, or by the pytest plugin), or
else the cassette `NAME.yaml` of the served folder. Each has its own place on its tape, its own journal and its own
rules.
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
from openai_replay.cassette.recordings import READING, SUFFIXES
from openai_replay.config.rules import Rules
from openai_replay.errors import CassetteMissError, ControlError, MissReason, ReplayError, UsageError
from openai_replay.journal.exchanges import Exchange, Journal, Outcome
from openai_replay.journal.jsonl import JournalFile
from openai_replay.model import Mode
from openai_replay.playback.pace import INSTANT
from openai_replay.playback.scheduler import Clock
from openai_replay.proxy.engine import Engine

if TYPE_CHECKING:
    from openai_replay.proxy.upstream import Upstream

#: The path that clients are told where a tape does not say.
_DEFAULT_BASE_PATH = "/v1"


@dataclass(frozen=True, slots=True)
class ServedSession:
    """An engine, the name it has in URLs (empty for the server's own) and the path that clients are told."""

    name: str
    engine: Engine
    base_path: str

    @property
    def path(self) -> str:
        """What follows the server's origin in the session's base URL."""
        return f"/@{quote(self.name, safe='')}{self.base_path}" if self.name else self.base_path

    def unplayed(self) -> list[str]:
        """`#3 POST /v1/chat/completions  FILE` for every recording that nobody asked for."""
        left = self.engine.cassette.unplayed()
        return [f"#{one.number} {one.method} {one.target}  {one.path}" for one in left]


class PositionStore(Protocol):
    """Who keeps positions for several processes that play the same tapes, while it is entered."""

    async def __aenter__(self) -> object:
        """Raises StartError where it cannot."""

    async def __aexit__(self, *error: object) -> None:
        """Let go of it."""

    def prepare(self, cassette: Cassette) -> None:
        """Note what is on `tape`, now that it has been read: processes that begin later find it changed, maybe."""

    def positions_for(self, name: str, cassette: Cassette, rules: str) -> Positions:
        """The positions on `tape`, that of the session `name`; `told` is all that decides its keys."""


class Sessions:
    """The sessions of one server.

    `folder` is where names lead, `rules_at` what a session of such a file is like that nobody opened by hand (as
    `rules`, if it is not given). `tell` is called with every exchange, `warn` with what is odd about a cassette that is
    opened.
    """

    def __init__(
        self,
        rules: Rules,
        folder: Path | None,
        tell: Callable[[Exchange], None],
        warn: Callable[[str], None] = lambda warning: None,
        rules_at: Callable[[Path], Rules] | None = None,
    ) -> None:
        self.rules = rules
        self.rules_at = rules_at or (lambda path: rules)
        self.folder = folder
        self.upstream: Upstream | None = None
        self.own: ServedSession | None = None
        self.origin = ""  # http://HOST:PORT, once the server listens
        self.reading = READING  # how big tapes are read
        self.keeper: PositionStore | None = None  # of positions that other processes share
        self.clock = Clock()  # of all that is played
        self.paced = False  # whether there has been a session that is played by it
        self._tell = tell
        self._warn = warn
        self.journal_file: JournalFile | None = None  # where exchanges are written, too
        self._astray = Journal(self._note)  # requests that belong to no session
        self._ended: Counter[Outcome] = Counter()
        self._ended_unplayed: list[str] = []
        self._closed = False  # whether there has been a session that is ended
        self._open: dict[str, ServedSession] = {}

    def open(
        self,
        paths: tuple[Path, ...],
        rules: Rules,
        name: str | None = None,
        upstream: Upstream | None = None,
        may_be_new: bool = False,
        tape: Cassette | None = None,
    ) -> ServedSession:
        """A new session of the cassettes at `paths`, rewound. Raises CassetteError, StartError or UsageError.

        `may_be_new`: to play a cassette that is not there is to miss every request. `tape`: they are read already.
        """
        upstream = upstream or self.upstream
        if rules.mode is not Mode.NONE and upstream is None:
            raise UsageError(
                f"mode {rules.mode} needs an upstream, and this server only plays", "Start `openai-replay record`."
            )
        if rules.mode is Mode.NONE:
            upstream = None
        if tape is not None:
            pass
        elif rules.mode is Mode.OFF or (rules.mode is Mode.NONE and may_be_new and not paths[0].exists()):
            tape = Cassette(rules.key, paths[0], rules.described)
        elif rules.mode is Mode.NONE:
            tape = Cassette.for_play(paths, rules.key, rules.described, self.reading._replace(told=rules.told))
        else:
            tape = Cassette.for_record(paths[0], rules.key, rules.described)
        tape.hear(self._warn)
        self.paced |= rules.pace != INSTANT
        if self.journal_file is not None and rules.mode is not Mode.OFF:
            self.journal_file.opened(tape)
        name = secrets.token_hex(8) if name is None else name
        if self.keeper is not None:
            tape.positions = self.keeper.positions_for(name, tape, rules.told)
        journal = Journal(partial(self._note, tape=tape))
        session = ServedSession(name, Engine(rules, tape, upstream, journal, self.clock), base_path(upstream, tape))
        if name:
            self._open[name] = session
        else:
            self.own = session
        return session

    def _note(self, exchange: Exchange, tape: Cassette | None = None) -> None:
        self._tell(exchange)
        if self.journal_file is not None:
            self.journal_file.exchange(exchange, tape)

    def at(self, name: str) -> ServedSession:
        """The session `name`, which is opened if it is that of a cassette in the folder. Raises ControlError."""
        if name in self._open:
            return self._open[name]
        path = self.file(name, self.rules.mode)
        if (
            plain := posixpath.normpath(name)
        ) != name:  # every spelling would be a session, and there is no end to them
            raise ControlError(f"{name!r} is an odd spelling of a name.", f"Write {plain!r}.")
        return self.open((path,), self.rules_at(path), name)

    def opened(self, name: str) -> ServedSession:
        """The session `name`, if it is open. Raises ControlError."""
        if name not in self._open:
            raise ControlError(f"There is no session {name!r}.", "Open one with POST /@/sessions.")
        return self._open[name]

    def file(self, name: str, mode: Mode) -> Path:
        """The cassette `name` of the folder.

        Raises ControlError where there is none, or the name leads out of the folder.
        """
        if self.folder is None:
            raise ControlError(
                "This server serves no folder of cassettes.", "Start it with a folder in the place of the file."
            )
        path = self.folder / (name if name.endswith(SUFFIXES) else f"{name}.yaml")
        try:
            inside = "\0" not in name and path.resolve().is_relative_to(self.folder.resolve())
            there = inside and path.is_file()
        except OSError as error:
            raise ControlError(f"{name!r} is no name of a file: {error.strerror}", "Take another one.") from None
        if not inside:
            raise ControlError(
                f"{name!r} leads out of the served folder.", "Name a cassette in it.", HTTPStatus.FORBIDDEN
            )
        if mode is Mode.NONE and not there:
            raise ControlError(f"There is no cassette {name!r} in {self.folder}.", "Is the name in the base URL right?")
        return path

    def route(self, method: str, target: str) -> tuple[Engine, str]:
        """Whose request this is, and its target without the session's name.

        Raises CassetteMissError where there is no such session, or its cassette cannot be read: as loud as any other.
        """
        try:
            if target.startswith("/@"):
                name, slash, rest = target[2:].partition("/")
                return self.at(unquote(name)).engine, slash + rest
            if self.own is None:
                raise ControlError("This server has sessions only.", "Set the base URL to http://HOST:PORT/@NAME/v1")
        except ReplayError as error:
            miss = CassetteMissError(error.message, error.hint, MissReason.NO_SESSION)
            path = target.partition("?")[0]
            self._astray.add(Exchange(Outcome.MISSED, method, path, miss.status, error=miss.text, reason=miss.reason))
            raise miss from None
        return self.own.engine, target

    async def close(self, name: str) -> ServedSession:
        """End the session `name`, when everything that is under way in it is on its tape. Raises ControlError."""
        session = self.opened(name)
        del self._open[name]
        try:
            await session.engine.finish(session.engine.rules.drain_timeout_s)
        finally:
            self._closed = True
            self._ended.update(session.engine.journal.counts)
            self._ended_unplayed += session.unplayed()
        return session

    async def finish(self) -> None:
        """Wait for all that is under way, in every session. Raises the first ReplayError there is."""
        errors: list[ReplayError] = []
        for session in self.all():
            try:
                await session.engine.finish(session.engine.rules.drain_timeout_s)
            except ReplayError as error:  # the others have recordings of their own to bring home
                errors.append(error)
        if errors:
            raise errors[0]

    def all(self) -> list[ServedSession]:
        """Every session that is open, the server's own first."""
        return [*([self.own] if self.own else []), *self._open.values()]

    def counts(self) -> Counter[Outcome]:
        """How many exchanges there were of each outcome, in all sessions, ended ones too."""
        return sum((session.engine.journal.counts for session in self.all()), self._ended + self._astray.counts)

    def failures(self) -> list[str]:
        """What went wrong and was no miss, a line each."""
        exchanges = (one for session in self.all() for one in session.engine.journal.exchanges)
        return [one.failure for one in exchanges if one.failure]

    async def look(self) -> None:
        """Let `unplayed` know what others have played. Raises StateError."""
        for session in self.all():
            await session.engine.cassette.positions.refresh()

    def unplayed(self) -> list[str]:
        """What nobody asked for, a line each, in all sessions, ended ones too.

        The tape of a whole folder counts only where it was used: its cassettes may be played by name.
        """
        used = [one for one in self.all() if one.name or one.engine.journal.counts or not self.folder]
        if not used and not self._closed:
            used = self.all()
        return [*self._ended_unplayed, *(line for session in used for line in session.unplayed())]


def base_path(upstream: Upstream | None, tape: Cassette) -> str:
    """The path of the base URL that clients of `tape` are told."""
    if upstream is not None:
        return upstream.base_path
    if tape.recordings:
        return reader.base_path(tape.recordings[0].interaction.request.uri)
    return _DEFAULT_BASE_PATH
