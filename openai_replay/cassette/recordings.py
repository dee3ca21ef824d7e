"""Recordings, read from cassette files.

Small cassettes are read completely. Of a large one, only the positions and keys of its items are in memory (`scanner`,
`index`). Its recordings are read when they are played, and cached as long as there is room. A changed file is read
again: the file is the only source of truth.
"""

from __future__ import annotations

import gc
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from openai_replay.cassette import file_store, reader, scanner
from openai_replay.cassette.scanner import DEFAULT_SCAN_SIZES, FileVersion, Item, Key, ScanSizes
from openai_replay.cassette.schema import EditedBody
from openai_replay.errors import CassetteError
from openai_replay.model import Interaction

#: Bytes of a first line that is read.
_FIRST_LINE = 4096
SUFFIXES = (".yaml", ".yml")


@dataclass(slots=True, eq=False)
class Recording:
    """One recording of a cassette.

    `number` counts over all files, from 1. `index` is its index among the recordings with the same key. `prepared` is
    its form for playback, which the player caches here.
    """

    number: int
    path: Path
    key: bytes
    method: str
    request_path: str
    loaded: Interaction | None  # None: it is read on demand
    item: Item | None = None
    cache: RecordingCache | None = None
    index: int = 0
    prepared: Any = None

    @property
    def interaction(self) -> Interaction:
        """The recorded request and response. Raises FileChangedError if the file has changed."""
        self.load()
        assert self.loaded is not None
        return self.loaded

    def load(self) -> None:
        """Read it into memory if it is not there. Raises FileChangedError."""
        if self.loaded is None:
            assert self.cache is not None, "a recording that is not loaded has a cache"
            self.cache.fetch(self)


class RecordingCache:
    """The recordings of a large cassette that are in memory: those that were read last."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes  # of text in the files
        self._loaded: OrderedDict[int, Recording] = OrderedDict()
        self._size = 0

    def fetch(self, recording: Recording) -> None:
        """Read `recording`, and drop others if there is no room. Raises FileChangedError."""
        item = recording.item
        assert item is not None, "a recording with a cache has a position"
        recording.loaded = scanner.read(recording.path, item)
        self._loaded[id(recording)] = recording
        self._size += item.end - item.start
        while self._size > self._max_bytes and len(self._loaded) > 1:
            _, oldest = self._loaded.popitem(last=False)
            oldest.loaded = oldest.prepared = None
            assert oldest.item is not None
            self._size -= oldest.item.end - oldest.item.start


class ReadOptions(NamedTuple):
    """Options for reading cassettes.

    `key_fingerprint` is a text of everything that decides the keys (None: no index is kept for the next run).
    `processes` is how many processes may read. `progress` is called with the bytes read and the bytes in total. A
    cassette of `large_bytes` or more is large, and `cached_bytes` of its text are cached as recordings. Between two
    checks whether a file has changed are at least `check_interval_s` seconds: a check takes a tenth of playing.
    """

    key_fingerprint: str | None = None
    processes: int = 1
    progress: Callable[[int, int], object] = lambda read_bytes, size: None
    large_bytes: int = 32 << 20
    cached_bytes: int = 32 << 20
    check_interval_s: float = 0.1
    scan_sizes: ScanSizes = DEFAULT_SCAN_SIZES


DEFAULT_READ_OPTIONS = ReadOptions()


class CassetteReader:
    """Reads the recordings of `paths`, files or folders of them.

    `key` makes the key of a request. `warn` is called with each warning about a file, and `on_start` with each file and
    the text that it begins with.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        key: Key,
        warn: Callable[[str], object],
        on_start: Callable[[Path, str], object] = lambda file, start: None,
        options: ReadOptions = DEFAULT_READ_OPTIONS,
    ) -> None:
        self.files: list[Path] = []
        self._paths = paths
        self._key = key
        self._warn = warn
        self._on_start = on_start
        self._options = options
        self._versions: dict[Path, FileVersion | None] = {}
        self._invalidated: set[Path] = set()
        self._next_check: dict[Path, float] = {}  # in seconds of `time.monotonic()`
        self._cache = RecordingCache(options.cached_bytes)  # of all recordings, also those of files as they were before

    def read(self) -> list[Recording]:
        """Return all recordings, in order. Raises CassetteError."""
        self.files = paths = [file for path in self._paths for file in cassette_files(path, self._warn)]
        self._versions = {file: _version(file) for file in paths}
        size = sum(stamp.size for stamp in self._versions.values() if stamp)
        if size < self._options.large_bytes:
            return [recording for file in paths for recording in self._read_whole(file)]
        return self._read_indexed(paths, size)

    def is_outdated(self, recording: Recording | None) -> bool:
        """Return True if the file of `recording` has changed; for None, if any file has changed, is new or is gone."""
        if recording is not None:
            path, at = recording.path, time.monotonic()
            if at < self._next_check.get(path, 0.0):
                return False
            self._next_check[path] = at + self._options.check_interval_s
            return _version(path) != self._versions.get(path)
        try:
            current = {file: _version(file) for path in self._paths for file in cassette_files(path)}
        except CassetteError:
            return True
        return current != self._versions

    def invalidate(self, file: Path) -> None:
        """Ignore the index of `file` when it is read again."""
        self._invalidated.add(file)

    def _read_whole(self, file: Path) -> Iterator[Recording]:
        text, document = read_document(file, self._warn)
        self._on_start(file, text)
        if not document.interactions and not text.strip():
            raise CassetteError(
                file, None, "is empty.", f"To record it, run:  openai-replay record {file} -- <your command>"
            )
        return loaded_recordings(file, document.interactions, self._key)

    def _read_indexed(self, paths: list[Path], size: int) -> list[Recording]:
        from openai_replay.cassette.index import Index  # with a database that small cassettes do not need

        with Index(self._paths, self._options.key_fingerprint) as index:
            entries = list(index.entries())
            items_of = self._unchanged(entries)
            unread = [file for file in paths if file not in items_of]
            complete, new = self._scan(unread, items_of, size)
            deleted = [path for path, _, _ in entries if path not in self._versions]
            if new or deleted:
                index.keep(
                    ((file, version, items_of[file]) for file in new if (version := self._versions[file])), deleted
                )
        for file in items_of:
            with suppress(OSError), file_store.opened(file) as text:
                self._on_start(file, text.readline(_FIRST_LINE).decode("utf-8", "replace"))
        recordings: list[Recording] = []
        for file in paths:
            if file in complete:
                recordings += complete[file]
            else:
                recordings += (_indexed_recording(file, item, self._cache) for item in items_of[file])
        return recordings

    def _unchanged(self, entries: Iterable[tuple[Path, FileVersion, list[Item]]]) -> dict[Path, list[Item]]:
        """Return the items of each file that is as it was when it was indexed."""
        invalidated, self._invalidated = self._invalidated, set()
        return {
            path: items
            for path, version, items in entries
            if self._versions.get(path) == version and path not in invalidated
        }

    def _scan(
        self, unread: list[Path], items_of: dict[Path, list[Item]], size: int
    ) -> tuple[dict[Path, list[Recording]], list[Path]]:
        """Scan the files that no index has, and add them to `items_of`.

        Return the recordings of files in another layout, which are read completely, and the files to index. `size` is
        that of all files in bytes.
        """
        read_bytes = sum(version.size for file, version in self._versions.items() if version and file in items_of)

        def progress(count: int) -> None:
            nonlocal read_bytes
            read_bytes += count
            self._options.progress(read_bytes, size)

        complete: dict[Path, list[Recording]] = {}
        new: list[Path] = []
        if unread:
            progress(0)
        options = self._options
        for file, scanned in scanner.scan(unread, self._key, options.processes, progress, options.scan_sizes):
            if scanned is None:
                complete[file] = list(self._read_whole(file))
                continue
            items_of[file] = scanned.items
            for edited in scanned.edited:
                self._warn(_edited_warning(file, edited))
            if not scanned.edited:  # an index entry gives no warnings
                new.append(file)
        if unread:
            self._options.progress(size, size)
        return complete, new


@contextmanager
def gc_disabled() -> Iterator[None]:
    """Collect no garbage meanwhile: recordings have no cycles, and looking through a hundred thousand of them again and
    again takes half of the start. (A server that reads again has raised the thresholds, and plays meanwhile.)
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def read_document(file: Path, warn: Callable[[str], object]) -> tuple[str, reader.Document]:
    """Return the text and the contents of `file`. `warn` is called with each warning. Raises CassetteError."""
    text, torn_at = file_store.read_text(file)
    if torn_at is not None:
        warn(f"{file}: a recorder was killed while it added the last recording, which is left out.")
    is_empty = not text or text.isspace()  # not `strip`, which copies up to a gigabyte
    document = reader.Document([], [], 0, 0) if is_empty else reader.load(text, file)
    for edited in document.edited:
        warn(_edited_warning(file, edited))
    return text, document


def loaded_recordings(file: Path, interactions: Iterable[Interaction], key: Key) -> Iterator[Recording]:
    """Yield recordings of `file` that are already in memory."""
    for interaction in interactions:
        request = interaction.request
        yield Recording(0, file, key(request), request.method, request.path, interaction)


def cassette_files(path: Path, warn: Callable[[str], object] = lambda warning: None) -> list[Path]:
    """Return the cassette at `path`, or all cassettes in the folder, sorted by name. Raises CassetteError.

    A symbolic link that leads out of the folder is left out with a warning, because cassettes are read and repaired.
    """
    if not path.is_dir():
        return [path]
    cassettes = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
    folder = path.resolve()
    # Folders that are links are not entered. Resolving each path would take a tenth of the start of a large cassette.
    for file in [file for file in cassettes if file.is_symlink() and not file.resolve().is_relative_to(folder)]:
        warn(f"{file}: this link leads out of its folder and is left out. Name the file itself.")
        cassettes.remove(file)
    if not cassettes:
        raise CassetteError(path, None, "has no cassettes.", "Cassettes end in .yaml or .yml.")
    return cassettes


def _edited_warning(file: Path, edited: EditedBody) -> str:
    hint = "The frames are adjusted for this run. `openai-replay lint --fix` repairs the file."
    return f"{file}:{edited.line}: {edited.problem}. {hint}"


def _indexed_recording(file: Path, item: Item, shelf: RecordingCache) -> Recording:
    return Recording(0, file, item.key, item.method, item.path, None, item, shelf)


def _version(file: Path) -> FileVersion | None:
    try:
        return FileVersion.of(file)
    except OSError:
        return None
