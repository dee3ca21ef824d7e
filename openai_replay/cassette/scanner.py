"""The scanner of large cassettes: it finds the position and the key of each item without keeping the items.

A cassette in this program's layout is split at its items and read piece by piece, by several processes if that is
faster. Later, each item is read alone when it is played.
"""

from __future__ import annotations

import gc
import hashlib
import os
import re
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import pairwise, repeat
from pathlib import Path
from typing import BinaryIO, NamedTuple

from openai_replay.cassette import file_store, reader, writer
from openai_replay.cassette.schema import EditedBody
from openai_replay.errors import CassetteError, FileChangedError
from openai_replay.model import Interaction, Request
from openai_replay.text import yaml_limits

_PROCESSES = 4
#: Bytes that are searched for line ends at a time.
_COUNTED = 4 << 20

#: A comment: a line without the further characters that end a line in YAML.
_COMMENT = rb"#(?:[^\n\r\0\xc2\xe2]++|\xc2(?!\x85)|\xe2(?!\x80[\xa8\xa9]))*+"
#: The lines before the first item, in the known layout.
_HEAD = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:%(comment)b\n|version: 1\n)*+interactions:\n(?:%(comment)b\n)*+" % {b"comment": _COMMENT}
)
_LONGEST_HEAD = 1 << 20
_LONGEST_COMMENT = 1 << 16
#: The start of an item, or of a line that is neither inside an item nor a comment: no text inside an item can start at
#: column 0. This search is ten times as fast as reading line by line. The second value is the length of a match.
_OUTSIDE, _LOOKED_AT = re.compile(rb"\n(?:(- )|[^ \n#\r])"), 3
#: The lines that may follow the list, where vcrpy writes the version. Other files are read completely.
_TAIL = re.compile(rb"(?:version: 1\r?\n?)?(?:(?:%b)?\n)*+" % _COMMENT)

Key = Callable[[Request], bytes]


class Item(NamedTuple):
    """An item of a file that is not in memory: its position in bytes, the digest of its text, and the key, method and
    path of its request.
    """

    start: int
    end: int
    digest: bytes
    key: bytes
    method: str
    path: str


class FileVersion(NamedTuple):
    """The version of a file: if it is equal, the file has not changed."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> FileVersion:
        """Return the version of the file at `path`. Raises OSError."""
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


class ScanSizes(NamedTuple):
    """Sizes in bytes: of the text that is read at a time (about a hundred items, and 100 MB of memory while they are
    YAML), of a block of a file that is searched for items, and the total from which starting other processes pays off.
    """

    piece: int = 4 << 20
    block: int = 1 << 20
    parallel_from: int = 64 << 20


DEFAULT_SCAN_SIZES = ScanSizes()


class Piece(NamedTuple):
    """Items of one file that are read together: the start of each, and the end of the last."""

    path: Path
    starts: list[int]
    end: int


class Scanned(NamedTuple):
    """The items of a file in order, and the edited bodies."""

    items: list[Item]
    edited: list[EditedBody]


def scan(
    paths: Sequence[Path],
    key: Key,
    processes: int = 1,
    progress: Callable[[int], object] = lambda size: None,
    sizes: ScanSizes = DEFAULT_SCAN_SIZES,
) -> Iterator[tuple[Path, Scanned | None]]:
    """Yield the items of each file in `paths`, in order; None for another layout, or if it is not a cassette.

    `progress` is called with the number of bytes since the last call.
    """
    pieces_of = [(path, _pieces(path, sizes)) for path in paths]
    work = [piece for _, pieces in pieces_of for piece in pieces or ()]
    size = sum(piece.end - piece.starts[0] for piece in work)
    with ExitStack() as stack:
        if processes > 1 and size >= sizes.parallel_from:
            results = _read_in_processes(work, key, min(processes, _PROCESSES))
            scanned_pieces: Iterator[Scanned | None] = stack.enter_context(closing(results))
        else:
            scanned_pieces = map(_read_piece, work, repeat(key))
        for path, pieces in pieces_of:
            items: list[Item] = []
            edited: list[EditedBody] = []
            usual = pieces is not None
            for piece in pieces or ():
                scanned = next(scanned_pieces)
                progress(piece.end - piece.starts[0])
                usual = usual and scanned is not None
                if scanned is not None:
                    edited += [entry._replace(number=entry.number + len(items)) for entry in scanned.edited]
                    items += scanned.items
            yield path, Scanned(items, edited) if usual else None


def _read_in_processes(work: Sequence[Piece], key: Key, processes: int) -> Generator[Scanned | None, None, None]:
    import multiprocessing
    from concurrent.futures import BrokenExecutor, ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")  # a forked process would share sockets and the event loop
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_start_worker) as pool:
        results = pool.map(_read_piece, work, repeat(key))
        for piece in work:
            try:
                yield next(results)
            except BrokenExecutor:
                problem = "could not read it: a reading process was killed."
                raise CassetteError(
                    piece.path, None, problem, "Check the memory: each process takes about 100 MB."
                ) from None


def _start_worker() -> None:
    """Prepare a reading process, and let it end with its parent, even if that is killed."""
    import multiprocessing
    from multiprocessing.connection import wait

    gc.disable()  # recordings have no cycles, and looking for some takes a fifth of the time
    parent = multiprocessing.parent_process()
    assert parent is not None, "the pool started this process"

    def end() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def read(path: Path, item: Item) -> Interaction:
    """Read `item` of `path`. Raises FileChangedError if the text at its position has changed."""
    try:
        with file_store.opened(path) as file:
            file.seek(item.start)
            text = file.read(item.end - item.start)
    except OSError as error:
        raise FileChangedError(path) from error
    if _digest(text) != item.digest:
        raise FileChangedError(path)
    return _load(text, path).interactions[0]


def _pieces(path: Path, sizes: ScanSizes) -> list[Piece] | None:
    try:
        with file_store.opened(path) as file:
            return split(path, file, sizes)
    except OSError:
        return None


def split(path: Path, file: BinaryIO, sizes: ScanSizes) -> list[Piece] | None:
    """Find the items of `file` without reading it into memory. Return None for an unknown layout."""
    head = _HEAD.match(file.read(_LONGEST_HEAD))
    if head is None:
        return None
    file.seek(head.end() - 1)
    starts: list[int] = []
    for at, is_item in _lines_outside_items(file, sizes.block):
        if not is_item:
            end = at  # after the list
            break
        starts.append(at)
    else:
        end = file.seek(0, os.SEEK_END)
    file.seek(end)
    tail = file.read(_LONGEST_HEAD + 1)
    if starts[:1] != [head.end()] or len(tail) > _LONGEST_HEAD or _TAIL.fullmatch(tail) is None:
        return None
    pieces: list[list[int]] = [[]]
    for start in starts:
        if pieces[-1] and start - pieces[-1][0] >= sizes.piece:
            pieces.append([])
        pieces[-1].append(start)
    ends = [*(following[0] for following in pieces[1:]), end]
    return [Piece(path, piece, end) for piece, end in zip(pieces, ends, strict=True)]


def _lines_outside_items(file: BinaryIO, block_bytes: int) -> Iterator[tuple[int, bool]]:
    """Yield the start of each line outside the items' text, and True if an item starts there.

    `file` is at a line end. A NUL, which a torn end has, is such a line without an item.
    """
    at, text, block = file.tell(), b"", b"\n"
    while block:
        block = file.read(block_bytes)
        if (torn := block.find(b"\0")) >= 0:
            yield at + len(text) + torn, False
        text += block or b"\n"
        searched = max(len(text) - _LOOKED_AT + 1, 0)  # a match after that needs the next block
        for line in _OUTSIDE.finditer(text):
            if line.start() < searched:
                yield at + line.start() + 1, line[1] is not None
        at, text = at + searched, text[searched:]


def _read_piece(piece: Piece, key: Key) -> Scanned | None:
    first = piece.starts[0]
    try:
        with file_store.opened(piece.path) as file:
            comment = _comment_above(file, first)
            text = file.read(piece.end - first)
        piece_text = (comment + text).decode()
        document = reader.load(writer.HEADER + piece_text, piece.path)
        above = _line_ends(piece.path, first - len(comment)) - writer.HEADER.count("\n") if document.edited else 0
        if len(document.interactions) != len(piece.starts):
            return None
        texts = [text[start - first : end - first] for start, end in pairwise([*piece.starts, piece.end])]
        if yaml_limits.may_hold_alias(piece_text):  # an alias to another item fails when the item is read alone
            for item_text in texts:
                _load(item_text, piece.path)
    except (CassetteError, UnicodeDecodeError, OSError):
        return None  # the reader of the whole file reports the error with its line
    items = []
    for start, item_text, interaction in zip(piece.starts, texts, document.interactions, strict=True):
        request = interaction.request
        items.append(
            Item(start, start + len(item_text), _digest(item_text), key(request), request.method, request.path)
        )
    return Scanned(items, [edited._replace(line=edited.line + above) for edited in document.edited])


def _comment_above(file: BinaryIO, at: int) -> bytes:
    """Return the line that ends at `at` if it is a comment: a torn item is recognized by its numbered comment."""
    file.seek(max(0, at - _LONGEST_COMMENT))
    before = file.read(at - file.tell())
    line = before[before.rfind(b"\n", 0, -1) + 1 :]
    return line if line.startswith(b"#") else b""


def _load(items: bytes, path: Path) -> reader.Document:
    return reader.load(writer.HEADER + items.decode(), path)


def _line_ends(path: Path, end: int) -> int:
    with file_store.opened(path) as file:
        return sum(file.read(min(_COUNTED, end - at)).count(b"\n") for at in range(0, end, _COUNTED))


def _digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=8).digest()


def processes() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
