"""The tape: cassette files read into a dictionary of keys, and the one file that recordings are added to."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from openai_replay.cassette import file_store, reader, writer
from openai_replay.cassette.positions import LocalPositions, Positions
from openai_replay.cassette.recordings import READING, Reading, Recording, Source, held, read_document, uncollected
from openai_replay.cassette.scanner import Key
from openai_replay.errors import CassetteError, CassetteWriteError, FileChangedError
from openai_replay.matching import matcher
from openai_replay.model import Interaction, OnExhausted

#: Recordings of a big tape that are read to explain a miss.
_COMPARED = 1000


class Cassette:
    """What is on the tape, what of it has been played, and where more is added.

    `key` turns a request into its key; recorded requests go through it as well, so both sides are treated alike.
    `described` is that in words, for the first line of a new file; empty where it is as ever.
    """

    def __init__(self, key: Key, path: Path, described: str = "") -> None:
        self.path = path
        self.name = str(path)
        self.recordings: list[Recording] = []
        self.warnings: list[str] = []
        self.mismatches: list[str] = []  # files that were recorded with another matching
        self.on_warning: Callable[[str], object] = lambda warning: None  # what is odd from now on
        self._unheard = True
        self.was_on_disk = False
        self.positions: Positions = LocalPositions()
        # Since it was opened or rewound; read back by `rewind`, so that memory does not grow with the tape.
        self.added = 0
        self._key = key
        self._described = described
        self._queues: dict[bytes, list[Recording]] = defaultdict(list)
        self._items = 0  # in `path`
        self._size = 0  # of `path` in bytes, when last looked at
        self._indent = 0
        self._source: Source | None = None  # of a tape that is played

    # -------------------------------------------------------------------------------------- open

    @classmethod
    def for_play(cls, paths: Sequence[Path], key: Key, described: str = "", reading: Reading = READING) -> Cassette:
        """Read all `paths`, files or folders of them, as one tape. Raises CassetteError."""
        tape = cls(key, paths[0], described)
        tape._source = Source(paths, key, tape.warn, tape._look, reading)
        with uncollected():
            tape._put(tape._source.read())
        found = tape._source.found
        tape.path = found[0]
        tape.name = str(tape.path)
        if len(found) > 1:
            tape.name = f"{len(found)} cassettes ({', '.join(str(path) for path in paths)})"
        return tape

    @classmethod
    def for_record(cls, path: Path, key: Key, described: str = "") -> Cassette:
        """Read `path` if it is there, and make sure that it can be added to. Raises CassetteError or StartError."""
        tape = cls(key, path, described)
        file_store.check_writable(path)
        if path.exists():
            file_store.drop_torn(path)
            text, document = tape._read(path)
            tape.was_on_disk = bool(text.strip())
            tape._put(held(path, document.interactions, key))
            if document.indent is None:
                raise CassetteError(
                    path,
                    None,
                    "cannot be added to: its list is in flow style, [...]",
                    "Record to a file of its own; play takes both.",
                )
            tape._indent = document.indent
            if tape.was_on_disk and not _can_append(text, document):
                file_store.rewrite(path, tape._appendable)
            tape._items, tape._size = len(document.interactions), path.stat().st_size
        return tape

    def hear(self, on_warning: Callable[[str], object]) -> None:
        """Tell `on_warning` what is odd: what nobody has been told, and from now on."""
        for warning in self.warnings if self._unheard else ():
            on_warning(warning)
        self._unheard = False
        self.on_warning = on_warning

    @property
    def files(self) -> list[Path]:
        """The files that a tape is played from."""
        return list(self._source.found) if self._source else [self.path]

    def warn(self, warning: str) -> None:
        """Note what is odd about a file."""
        self.warnings.append(warning)
        self.on_warning(warning)

    def _look(self, path: Path, start: str) -> None:
        """See by what matching the cassette at `path`, which starts so, was recorded."""
        said = writer.declared(start)
        if said and not matcher.same_matching(said, self._described):
            now = self._described or "the default one"
            mismatch = f"{path}: was recorded with another matching: {said}; this run's is {now}"
            if mismatch not in self.mismatches:
                self.mismatches.append(mismatch)
                self.warn(mismatch)

    def _read(self, path: Path) -> tuple[str, reader.Document]:
        text, document = read_document(path, self.warn)
        self._look(path, text)
        return text, document

    def _put(self, recordings: Iterable[Recording]) -> None:
        for recording in recordings:
            recording.number = len(self.recordings) + 1
            self.recordings.append(recording)
            queue = self._queues[recording.key]
            recording.turn = len(queue)
            queue.append(recording)

    def is_outdated(self, recording: Recording | None) -> bool:
        """Whether somebody has changed the file of `recording` since it was read; of None, any file of the tape."""
        return self._source is not None and self._source.is_outdated(recording)

    @property
    def is_held(self) -> bool:
        """Whether all of the tape is in memory."""
        return all(one.held is not None for one in self.recordings)

    def candidates(self, method: str, target: str) -> list[tuple[Recording, Interaction]]:
        """Recordings that a request of `method` and `target` may be compared with; of a big tape, so many only."""
        if self.is_held:
            return [(one, one.interaction) for one in self.recordings]
        alike = [one for one in self.recordings if (one.method, one.target) == (method, target)] or self.recordings
        found = []
        for one in alike[:_COMPARED]:
            with suppress(FileChangedError):
                found.append((one, one.interaction))
        return found

    def distrust(self, recording: Recording) -> None:
        """What is remembered of the file of `recording` turned out to be wrong."""
        assert self._source is not None, "only what is played is read again"
        self._source.distrust(recording.path)

    def reload(self) -> None:
        """Read the files again; what has been played stays played. Raises CassetteError and changes nothing then."""
        assert self._source is not None, "only what is played is read again"
        anew = Cassette(self._key, self.path)
        anew._put(self._source.read())
        self.recordings, self._queues = anew.recordings, anew._queues  # at once: others play on meanwhile

    # -------------------------------------------------------------------------------------- play

    def take(self, key: bytes, on_exhausted: OnExhausted = OnExhausted.ERROR) -> Awaitable[int | None]:
        """Take the next turn of `key`, for `at`; None if there is no recording, or none left. Raises StateError."""
        queue = self._queues.get(key)
        if not queue:
            return _none()
        return self.positions.claim(key, len(queue) if on_exhausted is OnExhausted.ERROR else None)

    def at(self, key: bytes, turn: int | None, on_exhausted: OnExhausted = OnExhausted.ERROR) -> Recording | None:
        """The recording of `key` whose `turn` it is, in recorded order."""
        queue = self._queues.get(key)
        if not queue or turn is None:
            return None
        if turn >= len(queue):
            if on_exhausted is OnExhausted.ERROR:
                return None
            turn = turn % len(queue) if on_exhausted is OnExhausted.CYCLE else len(queue) - 1
        return queue[turn]

    async def take_instead(self, recording: Recording) -> bool:
        """Use `recording` up like any other, though it is played for another request than its own. Whether nobody has
        since it was chosen. Raises StateError.
        """
        return self.is_played(recording) or await self.positions.claim_out_of_order(recording.key, recording.turn)

    def is_played(self, recording: Recording) -> bool:
        """Whether `recording` has been played since the last rewind."""
        return self.positions.is_played(recording.key, recording.turn)

    async def rewind(self) -> None:
        """Everything is unplayed again, and what was recorded since the last time can be played (law 10).

        Raises StateError.
        """
        if self.added:
            known = sum(one.path == self.path for one in self.recordings)
            _, document = self._read(self.path)
            self._put(held(self.path, document.interactions[known:], self._key))
            self.added = 0
        await self.positions.rewind()

    def unplayed(self) -> list[Recording]:
        """What has been on the tape since the last rewind and was never played."""
        return [one for queue in self._queues.values() for one in queue if not self.is_played(one)]

    # -------------------------------------------------------------------------------------- record

    def append(self, interaction: Interaction, said: str | None = None) -> int:
        """Add `interaction` to the file: when this returns, `kill -9` cannot lose it. Returns its number on the tape.
        `said`: see `layout.dump`.

        Not to be called by two threads at once. Raises NotWritten; the file is then what it was.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            was_there = self.path.exists()
            with file_store.locked(self.path, create=True) as fd:
                size = self._look_at_others(fd)
                pieces = writer.dump(interaction, self._items + 1, said)
                try:
                    file_store.append(fd, size, "" if size else writer.header(self._described), pieces, self._indent)
                except OSError:
                    if not (was_there or size):  # an empty file is no cassette
                        self.path.unlink(missing_ok=True)
                    raise
                self._size = os.fstat(fd).st_size
        except OSError as error:
            raise CassetteWriteError(
                self.path, None, f"a recording could not be added: {error.strerror}", "The file is as it was before."
            ) from error
        self._items += 1
        self.added += 1
        return len(self.recordings) + self.added

    def replace_recorded(self) -> None:
        """Put what was added since the file was opened into the places of what it records anew (mode `all`).

        So a re-recording is a small diff, and what it replaces is not played before it. Texts are moved, not written
        anew. Where another process has added to the file as well, nothing is: neither loses a recording.
        Raises NotWritten or CassetteError.
        """
        file_store.rewrite(self.path, self._with_recorded_in_place)
        self.recordings.clear()
        self._queues.clear()
        _, document = self._read(self.path)
        self._put(held(self.path, document.interactions, self._key))
        self.added = 0

    def _with_recorded_in_place(self, text: str) -> str:
        from openai_replay.cassette import rerecord  # only who records needs it, and all that it imports

        known = len(self.recordings)
        if len(reader.load(text, self.path).interactions) != known + self.added:
            return text
        return rerecord.in_place(text, self.path, known, self._key, self._described)

    def sync(self) -> None:
        """Bring what was added through a power cut, too. Raises OSError."""
        if self.added:
            file_store.sync(self.path)

    def _look_at_others(self, fd: int) -> int:
        """The size to append at. What another process has added since is counted, what it left torn is taken away."""
        size = os.fstat(fd).st_size
        if size > self._size:
            added = os.pread(fd, size - self._size, self._size)
            if (gap := added.find(b"\0")) >= 0:
                size = self._size + gap
                os.ftruncate(fd, size)
            self._items += len(re.findall(rb"(?m)^ *- request:", added[: size - self._size]))
        elif size < self._size:  # somebody put another file in its place
            self._items = len(re.findall(rb"(?m)^ *- request:", os.pread(fd, size, 0)))
        return size

    def _appendable(self, text: str) -> str:
        """`text` with what stands behind the list (vcrpy's `version: 1`) before it; the items' own text stays."""
        document = reader.load(text, self.path)
        if _can_append(text, document):
            return text
        head, tail = text[: document.tail], text[document.tail :]
        if not document.interactions:
            head = re.sub(r"(?m)^interactions:.*$", "interactions:", head)
        tail = re.sub(r"(?m)^\.\.\.\s*\Z", "", tail)
        new = tail + ("\n" if tail and not tail.endswith("\n") else "") + head
        if reader.load(new, self.path).interactions != document.interactions:
            raise CassetteError(
                self.path, None, "cannot be added to: its layout is unusual", "Record to a file of its own."
            )
        return new


async def _none() -> None:
    """Nothing is taken."""


def _can_append(text: str, document: reader.Document) -> bool:
    return document.tail == len(text) and (bool(document.interactions) or text.rstrip().endswith("interactions:"))
