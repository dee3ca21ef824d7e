"""Cassettes: files of recordings, looked up by the keys of requests, and the one file that new recordings go to."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from openai_replay.cassette import editor, file_store, reader, writer
from openai_replay.cassette.positions import LocalPositions, Positions
from openai_replay.cassette.recordings import (
    DEFAULT_READ_OPTIONS,
    CassetteReader,
    ReadOptions,
    Recording,
    gc_disabled,
    loaded_recordings,
    read_document,
)
from openai_replay.cassette.scanner import Key
from openai_replay.errors import CassetteError, CassetteWriteError, FileChangedError
from openai_replay.matching import matcher
from openai_replay.model import Interaction, OnExhausted

#: Recordings of a large cassette that are read to explain a miss.
_COMPARED = 1000


class Cassette:
    """The recordings of one or several files, which of them have been played, and the file that new ones go to.

    `key` makes the key of a request, of recorded requests as well. `described` is the description of the matching for
    the first line of a new file; empty for the default.
    """

    def __init__(self, key: Key, path: Path, described: str = "") -> None:
        self.path = path
        self.name = str(path)
        self.recordings: list[Recording] = []
        self.warnings: list[str] = []
        self.mismatches: list[str] = []  # warnings about files that were recorded with another matching
        self.on_warning: Callable[[str], object] = lambda warning: None  # called with each further warning
        self._has_unreported_warnings = True
        self.was_on_disk = False
        self.positions: Positions = LocalPositions()
        # Since it was opened or rewound. `rewind` reads them from the file, so that memory does not grow meanwhile.
        self.added = 0
        self._key = key
        self._described = described
        self._queues: dict[bytes, list[Recording]] = defaultdict(list)
        self._items = 0  # in `path`
        self._size = 0  # of `path` in bytes, at the last append
        self._indent = 0
        self._reader: CassetteReader | None = None  # of a cassette that is played

    # -------------------------------------------------------------------------------------- open

    @classmethod
    def for_play(
        cls, paths: Sequence[Path], key: Key, described: str = "", options: ReadOptions = DEFAULT_READ_OPTIONS
    ) -> Cassette:
        """Read all `paths`, files or folders of them, as one cassette. Raises CassetteError."""
        cassette = cls(key, paths[0], described)
        cassette._reader = CassetteReader(paths, key, cassette.warn, cassette._check_matching, options)
        with gc_disabled():
            cassette._add(cassette._reader.read())
        paths_read = cassette._reader.files
        cassette.path = paths_read[0]
        cassette.name = str(cassette.path)
        if len(paths_read) > 1:
            cassette.name = f"{len(paths_read)} cassettes ({', '.join(str(path) for path in paths)})"
        return cassette

    @classmethod
    def for_record(cls, path: Path, key: Key, described: str = "") -> Cassette:
        """Read `path` if it exists, and make sure that recordings can be added. Raises CassetteError or StartError."""
        cassette = cls(key, path, described)
        file_store.check_writable(path)
        if path.exists():
            file_store.drop_torn(path)
            text, document = cassette._read(path)
            cassette.was_on_disk = bool(text.strip())
            cassette._add(loaded_recordings(path, document.interactions, key))
            if document.indent is None:
                raise CassetteError(
                    path,
                    None,
                    "no recording can be added: its list is in flow style, [...].",
                    "Record to another file. `play` accepts both together.",
                )
            cassette._indent = document.indent
            if cassette.was_on_disk and not editor.can_append(text, document):
                file_store.rewrite(path, partial(editor.make_appendable, path=path))
            cassette._items, cassette._size = len(document.interactions), path.stat().st_size
        return cassette

    def set_warning_handler(self, on_warning: Callable[[str], object]) -> None:
        """Call `on_warning` with the unreported warnings now, and with each further one."""
        for warning in self.warnings if self._has_unreported_warnings else ():
            on_warning(warning)
        self._has_unreported_warnings = False
        self.on_warning = on_warning

    @property
    def files(self) -> list[Path]:
        """The files of the cassette."""
        return list(self._reader.files) if self._reader else [self.path]

    def warn(self, warning: str) -> None:
        """Add a warning about a file."""
        self.warnings.append(warning)
        self.on_warning(warning)

    def _check_matching(self, path: Path, start: str) -> None:
        """Warn if the file at `path`, which begins with `start`, was recorded with another matching."""
        recorded_with = writer.matching_comment(start)
        if recorded_with and not matcher.same_matching(recorded_with, self._described):
            current = self._described or "the default"
            mismatch = f"{path} was recorded with another matching: {recorded_with}. This run uses {current}."
            if mismatch not in self.mismatches:
                self.mismatches.append(mismatch)
                self.warn(mismatch)

    def _read(self, path: Path) -> tuple[str, reader.Document]:
        text, document = read_document(path, self.warn)
        self._check_matching(path, text)
        return text, document

    def _add(self, recordings: Iterable[Recording]) -> None:
        for recording in recordings:
            recording.number = len(self.recordings) + 1
            self.recordings.append(recording)
            queue = self._queues[recording.key]
            recording.index = len(queue)
            queue.append(recording)

    def is_outdated(self, recording: Recording | None) -> bool:
        """Return True if the file of `recording` has changed since it was read; for None, if any file has."""
        return self._reader is not None and self._reader.is_outdated(recording)

    @property
    def is_loaded(self) -> bool:
        """True if all recordings are in memory."""
        return all(recording.loaded is not None for recording in self.recordings)

    def candidates(self, method: str, request_path: str) -> list[tuple[Recording, Interaction]]:
        """Return the recordings to compare a missed request with. Of a large cassette, only some are read."""
        if self.is_loaded:
            return [(recording, recording.interaction) for recording in self.recordings]
        same_target = [
            recording
            for recording in self.recordings
            if (recording.method, recording.request_path) == (method, request_path)
        ] or self.recordings
        readable = []
        for recording in same_target[:_COMPARED]:
            with suppress(FileChangedError):
                readable.append((recording, recording.interaction))
        return readable

    def invalidate(self, recording: Recording) -> None:
        """Forget the index of the file of `recording`, which turned out to be wrong."""
        assert self._reader is not None, "only a cassette to play is read again"
        self._reader.invalidate(recording.path)

    def reload(self) -> None:
        """Read the files again. Played recordings stay played. Raises CassetteError, and changes nothing then."""
        assert self._reader is not None, "only a cassette to play is read again"
        fresh = Cassette(self._key, self.path)
        fresh._add(self._reader.read())
        self.recordings, self._queues = fresh.recordings, fresh._queues  # in one step: other requests play meanwhile

    # -------------------------------------------------------------------------------------- play

    def claim(self, key: bytes, on_exhausted: OnExhausted = OnExhausted.ERROR) -> Awaitable[int | None]:
        """Claim the next index among the recordings of `key`. Return None if there is none. Raises StateError."""
        queue = self._queues.get(key)
        if not queue:
            return _none()
        return self.positions.claim(key, len(queue) if on_exhausted is OnExhausted.ERROR else None)

    def recording(
        self, key: bytes, index: int | None, on_exhausted: OnExhausted = OnExhausted.ERROR
    ) -> Recording | None:
        """Return the recording at `index` among those of `key`, in recorded order."""
        queue = self._queues.get(key)
        if not queue or index is None:
            return None
        if index >= len(queue):
            if on_exhausted is OnExhausted.ERROR:
                return None
            index = index % len(queue) if on_exhausted is OnExhausted.CYCLE else len(queue) - 1
        return queue[index]

    async def claim_out_of_order(self, recording: Recording) -> bool:
        """Claim `recording` for a request with another key. Return False if another request has claimed it meanwhile.

        Raises StateError.
        """
        return self.is_played(recording) or await self.positions.claim_out_of_order(recording.key, recording.index)

    def is_played(self, recording: Recording) -> bool:
        """Return True if `recording` has been played since the last rewind."""
        return self.positions.is_played(recording.key, recording.index)

    async def rewind(self) -> None:
        """Make all recordings unplayed again, also those that were added since the last rewind (promise 10).

        Raises StateError.
        """
        if self.added:
            count = sum(recording.path == self.path for recording in self.recordings)
            _, document = self._read(self.path)
            self._add(loaded_recordings(self.path, document.interactions[count:], self._key))
            self.added = 0
        await self.positions.rewind()

    def unplayed(self) -> list[Recording]:
        """Return the recordings that have not been played since the last rewind."""
        return [recording for queue in self._queues.values() for recording in queue if not self.is_played(recording)]

    # -------------------------------------------------------------------------------------- record

    def append(self, interaction: Interaction, preview: str | None = None) -> int:
        """Add `interaction` to the file, and return its number in the cassette. `kill -9` cannot lose it then.

        `preview` is that of the response, if it is known. Only one thread may append at a time. Raises
        CassetteWriteError; the file is unchanged then.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            was_there = self.path.exists()
            with file_store.locked(self.path, create=True) as fd:
                size = self._append_position(fd)
                pieces = writer.write_interaction(interaction, self._items + 1, preview)
                try:
                    file_store.append(fd, size, "" if size else writer.header(self._described), pieces, self._indent)
                except OSError:
                    if not (was_there or size):  # an empty file is not a cassette
                        self.path.unlink(missing_ok=True)
                    raise
                self._size = os.fstat(fd).st_size
        except OSError as error:
            raise CassetteWriteError(
                self.path, None, f"could not add a recording: {error.strerror}.", "The file has not changed."
            ) from error
        self._items += 1
        self.added += 1
        return len(self.recordings) + self.added

    def replace_recorded(self) -> None:
        """Replace recordings by those that have re-recorded them since the file was opened (mode `all`).

        So a re-recording is a small diff, and replaced recordings are not played. The texts are moved as they are. If
        another process has added recordings as well, nothing changes, so that none is lost. Raises CassetteWriteError
        or CassetteError.
        """
        file_store.rewrite(self.path, self._with_replacements)
        self.recordings.clear()
        self._queues.clear()
        _, document = self._read(self.path)
        self._add(loaded_recordings(self.path, document.interactions, self._key))
        self.added = 0

    def _with_replacements(self, text: str) -> str:
        from openai_replay.cassette import rerecord  # only recorders need it, and its imports

        old_count = len(self.recordings)
        if len(reader.load(text, self.path).interactions) != old_count + self.added:
            return text
        return rerecord.replace_recorded(text, self.path, old_count, self._key, self._described)

    def sync(self) -> None:
        """Sync the added recordings to the disk, so that they survive a power cut. Raises OSError."""
        if self.added:
            file_store.sync(self.path)

    def _append_position(self, fd: int) -> int:
        """Return the position to append at. Count what other processes added, and remove a torn recording."""
        size = os.fstat(fd).st_size
        if size > self._size:
            added = os.pread(fd, size - self._size, self._size)
            if (gap := added.find(b"\0")) >= 0:
                size = self._size + gap
                os.ftruncate(fd, size)
            self._items += len(re.findall(rb"(?m)^ *- request:", added[: size - self._size]))
        elif size < self._size:  # another file has replaced it
            self._items = len(re.findall(rb"(?m)^ *- request:", os.pread(fd, size, 0)))
        return size


async def _none() -> None:
    """Claim nothing."""
