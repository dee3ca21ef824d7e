"""The recordings of a tape, read from its cassette files.

Small tapes are read whole. Of a big one stay the places and keys of its items (`scanning`, `index`), and what is
played is read when it is asked for and held as long as there is room. A file that somebody has changed since is read
again: there is no other truth than the file.
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
from openai_replay.cassette.scanner import Item, Key, Stamp
from openai_replay.cassette.schema import Edited
from openai_replay.errors import CassetteError
from openai_replay.model import Interaction

#: Bytes of files from which a tape is a big one.
_BIG = 32 << 20
#: Bytes of recordings of a big tape that are held, as they are in the file.
_HELD = 32 << 20

#: Seconds for which a file is taken to be what it was: to look takes a tenth of what playing costs.
LOOK_EVERY_S = 0.1
#: Bytes of a first line that is read.
_FIRST_LINE = 4096
SUFFIXES = (".yaml", ".yml")


@dataclass(slots=True, eq=False)
class Recording:
    """An interaction on the tape: `number` counts over all its files, from 1; `method` and `target`, its path, are
    those of its request. `turn`: how many of its key stand before it.

    `ready` is what whoever plays it has made of it, kept for the next time.
    """

    number: int
    path: Path
    key: bytes
    method: str
    target: str
    held: Interaction | None  # None: it is read when it is asked for
    item: Item | None = None
    shelf: Shelf | None = None
    turn: int = 0
    ready: Any = None

    @property
    def interaction(self) -> Interaction:
        """What was recorded. Raises FileChangedError when something else stands in the file now."""
        self.hold()
        assert self.held is not None
        return self.held

    def hold(self) -> None:
        """Read it, if it is not in memory. Raises FileChangedError."""
        if self.held is None:
            assert self.shelf is not None, "what is not held is on a shelf"
            self.shelf.fetch(self)


class Shelf:
    """What of a big tape is held in memory: what was fetched last."""

    def __init__(self) -> None:
        self._held: OrderedDict[int, Recording] = OrderedDict()
        self._size = 0

    def fetch(self, recording: Recording) -> None:
        """Read `recording`, and put others away where there is no room. Raises FileChangedError."""
        item = recording.item
        assert item is not None, "what is on a shelf has a place"
        recording.held = scanner.read(recording.path, item)
        self._held[id(recording)] = recording
        self._size += item.end - item.start
        while self._size > _HELD and len(self._held) > 1:
            _, oldest = self._held.popitem(last=False)
            oldest.held = oldest.ready = None
            assert oldest.item is not None
            self._size -= oldest.item.end - oldest.item.start


class Reading(NamedTuple):
    """How a big tape is read: `told` is a text of all that decides its keys (None: nothing is remembered for the next
    run), `processes` how many may read it, and `progress` is called with the bytes that are read and those there are.
    """

    told: str | None = None
    processes: int = 1
    progress: Callable[[int, int], object] = lambda done, size: None


READING = Reading()


class Source:
    """The cassette files at `paths` that a tape is played from, files or folders of them.

    `key` makes the key of a request. `warn` is called with what is odd about a file, `look` with every file and how it
    starts.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        key: Key,
        warn: Callable[[str], object],
        look: Callable[[Path, str], object] = lambda file, start: None,
        reading: Reading = READING,
    ) -> None:
        self.found: list[Path] = []
        self._paths = paths
        self._key = key
        self._warn = warn
        self._look = look
        self._reading = reading
        self._stamps: dict[Path, Stamp | None] = {}
        self._distrusted: set[Path] = set()
        self._look_again: dict[Path, float] = {}  # when, on the monotonic clock, in seconds
        self._shelf = Shelf()  # of all that is ever read: what was there before a file changed makes room, too

    def read(self) -> list[Recording]:
        """Everything on the tape, in order. Raises CassetteError."""
        self.found = found = [file for path in self._paths for file in files(path, self._warn)]
        self._stamps = {file: _stamp(file) for file in found}
        size = sum(stamp.size for stamp in self._stamps.values() if stamp)
        if size < _BIG:
            return [one for file in found for one in self._whole(file)]
        return self._big(found, size)

    def is_outdated(self, recording: Recording | None) -> bool:
        """Whether the file of `recording` is not what was read; of None, whether any is not, or another is there."""
        if recording is not None:
            path, at = recording.path, time.monotonic()
            if at < self._look_again.get(path, 0.0):
                return False
            self._look_again[path] = at + LOOK_EVERY_S
            return _stamp(path) != self._stamps.get(path)
        try:
            now = {file: _stamp(file) for path in self._paths for file in files(path)}
        except CassetteError:
            return True
        return now != self._stamps

    def distrust(self, file: Path) -> None:
        """Nothing that is remembered of `file` is believed when it is read again."""
        self._distrusted.add(file)

    def _whole(self, file: Path) -> Iterator[Recording]:
        text, document = read_document(file, self._warn)
        self._look(file, text)
        if not document.interactions and not text.strip():
            raise CassetteError(
                file, None, "is empty", f"To record it, run:  openai-replay record {file} -- <your command>"
            )
        return held(file, document.interactions, self._key)

    def _big(self, found: list[Path], size: int) -> list[Recording]:
        from openai_replay.cassette.index import Index  # with a database that small tapes do not need

        with Index(self._paths, self._reading.told) as index:
            remembered = list(index.known())
            known = {
                path: items
                for path, stamp, items in remembered
                if self._stamps.get(path) == stamp and path not in self._distrusted
            }
            self._distrusted.clear()
            done = sum(stamp.size for file, stamp in self._stamps.items() if stamp and file in known)

            def progress(more: int) -> None:
                nonlocal done
                done += more
                self._reading.progress(done, size)

            new: list[Path] = []
            unusual: dict[Path, list[Recording]] = {}
            if unread := [file for file in found if file not in known]:
                self._reading.progress(done, size)
            for file, scanned in scanner.scan(unread, self._key, self._reading.processes, progress):
                if scanned is None:
                    unusual[file] = list(self._whole(file))
                    continue
                known[file] = scanned.items
                for one in scanned.edited:
                    self._warn(_cut_anew(file, one))
                if not scanned.edited:  # what is remembered gives no warnings
                    new.append(file)
            if unread:
                self._reading.progress(size, size)
            gone = [path for path, _, _ in remembered if path not in self._stamps]
            if new or gone:
                index.keep(((file, stamp, known[file]) for file in new if (stamp := self._stamps[file])), gone)
        for file in known:
            with suppress(OSError), file_store.opened(file) as text:
                self._look(file, text.readline(_FIRST_LINE).decode("utf-8", "replace"))
        return [
            one
            for file in found
            for one in (
                unusual[file] if file in unusual else (_placed(file, item, self._shelf) for item in known[file])
            )
        ]


@contextmanager
def uncollected() -> Iterator[None]:
    """Without garbage collections meanwhile: what is read holds no circles, and a hundred thousand recordings that stay
    would be gone through again and again, which is half of a start. (A server that reads again has raised the
    thresholds, and answers meanwhile.)
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def read_document(file: Path, warn: Callable[[str], object]) -> tuple[str, reader.Document]:
    """The text of `file`, and what it holds; `warn` is told what is odd about it. Raises CassetteError."""
    text, torn_at = file_store.read_text(file)
    if torn_at is not None:
        warn(f"{file}: a recorder was killed while it added the last recording: that one is left out")
    is_empty = not text or text.isspace()  # not `strip`: no copy of what may be a gigabyte
    document = reader.Document([], [], 0, 0) if is_empty else reader.load(text, file)
    for one in document.edited:
        warn(_cut_anew(file, one))
    return text, document


def held(file: Path, interactions: Iterable[Interaction], key: Key) -> Iterator[Recording]:
    """Recordings of `file` that are in memory already."""
    for interaction in interactions:
        request = interaction.request
        yield Recording(0, file, key(request), request.method, request.path, interaction)


def files(path: Path, warn: Callable[[str], object] = lambda warning: None) -> list[Path]:
    """The cassettes at `path`: the file itself, or all in the folder, in order of their names. Raises CassetteError.

    A link in the folder that leads out of it is left out, and `warn` is told: what is found is read and mended.
    """
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
    folder = path.resolve()
    # Folders that are links are not entered. To resolve what is none takes a tenth of the start with a big tape.
    for file in [file for file in found if file.is_symlink() and not file.resolve().is_relative_to(folder)]:
        warn(f"{file}: a link that leads out of its folder is left out; name the file itself")
        found.remove(file)
    if not found:
        raise CassetteError(path, None, "there is no cassette in this folder", "Cassettes end in .yaml or .yml.")
    return found


def _cut_anew(file: Path, one: Edited) -> str:
    hint = "cut anew for this run (openai-replay lint --fix mends the file)"
    return f"{file}:{one.line}: {one.what}; {hint}"


def _placed(file: Path, item: Item, shelf: Shelf) -> Recording:
    return Recording(0, file, item.key, item.method, item.path, None, item, shelf)


def _stamp(file: Path) -> Stamp | None:
    try:
        return Stamp.of(file)
    except OSError:
        return None
