"""Big cassettes: where each item lies in its file, and its key, without holding what they say.

A cassette laid out like ours is cut at its items and read a piece at a time, by several processes where that is
worth it. Of each item stays its place, so that it can be read again alone when it is played.
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
from openai_replay.cassette.schema import Edited
from openai_replay.errors import CassetteError, FileChangedError
from openai_replay.model import Interaction, Request
from openai_replay.text import yaml_limits

#: Bytes of text that are read at a time: some hundred items, some 100 MB of memory while they are YAML.
_PIECE = 4 << 20
#: Bytes of a file that are held to look for its items: it may be one line.
_BLOCK = 1 << 20
#: Bytes in all from which other processes are worth their start.
_SHARED_FROM = 64 << 20
_PROCESSES = 4

#: A comment: a line that ends as files do, without what YAML takes for a line's end besides.
_COMMENT = rb"#(?:[^\n\r\0\xc2\xe2]++|\xc2(?!\x85)|\xe2(?!\x80[\xa8\xa9]))*+"
#: What stands before the first item, in the layout that is known.
_HEAD = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:%(comment)b\n|version: 1\n)*+interactions:\n(?:%(comment)b\n)*+" % {b"comment": _COMMENT}
)
_LONGEST_HEAD = 1 << 20
_LONGEST_COMMENT = 1 << 16
#: The start of a line that none inside an item has, nor a comment between two, and of an item, which has two
#: characters more. No text inside one can stand at column 0. To look for it is ten times as fast as to go from line
#: to line.
_OUTSIDE, _LOOKED_AT = re.compile(rb"\n(?:(- )|[^ \n#\r])"), 3
#: What may stand behind the list, where vcrpy writes the version. Anything else is for who reads the whole file.
_TAIL = re.compile(rb"(?:version: 1\r?\n?)?(?:(?:%b)?\n)*+" % _COMMENT)

Key = Callable[[Request], bytes]


class Item(NamedTuple):
    """What is known of an item without reading it: where it lies in its file, in bytes, a digest of what stands there,
    and the key, method and path of its request.
    """

    start: int
    end: int
    digest: bytes
    key: bytes
    method: str
    path: str


class Stamp(NamedTuple):
    """By what a file is known to be the one it was."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """The stamp of the file at `path` now. Raises OSError."""
        found = path.stat()
        return cls(found.st_size, found.st_mtime_ns, found.st_ino)


class Piece(NamedTuple):
    """Items of one file that are read together: where each starts, and where the last one ends."""

    path: Path
    starts: list[int]
    end: int


class Scanned(NamedTuple):
    """A file's items in order, and which of them were edited."""

    items: list[Item]
    edited: list[Edited]


def scan(
    paths: Sequence[Path], key: Key, processes: int = 1, progress: Callable[[int], object] = lambda size: None
) -> Iterator[tuple[Path, Scanned | None]]:
    """The items of every file of `paths`, in that order; None where its layout is another one, or it is no cassette.

    `progress` is called with the bytes that have been read since the last call.
    """
    cut = [(path, _pieces(path)) for path in paths]
    work = [piece for _, pieces in cut for piece in pieces or ()]
    size = sum(piece.end - piece.starts[0] for piece in work)
    with ExitStack() as stack:
        if processes > 1 and size >= _SHARED_FROM:
            others = _read_by_others(work, key, min(processes, _PROCESSES))
            found: Iterator[Scanned | None] = stack.enter_context(closing(others))
        else:
            found = map(_read_piece, work, repeat(key))
        for path, pieces in cut:
            items: list[Item] = []
            edited: list[Edited] = []
            usual = pieces is not None
            for piece in pieces or ():
                scanned = next(found)
                progress(piece.end - piece.starts[0])
                usual = usual and scanned is not None
                if scanned is not None:
                    edited += [one._replace(number=one.number + len(items)) for one in scanned.edited]
                    items += scanned.items
            yield path, Scanned(items, edited) if usual else None


def _read_by_others(work: Sequence[Piece], key: Key, processes: int) -> Generator[Scanned | None, None, None]:
    import multiprocessing
    from concurrent.futures import BrokenExecutor, ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")  # a fork would share sockets and an event loop
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_for_another) as pool:
        found = pool.map(_read_piece, work, repeat(key))
        for piece in work:
            try:
                yield next(found)
            except BrokenExecutor:
                what = "cannot be read: a process that did was killed"
                raise CassetteError(piece.path, None, what, "Is there memory enough? Each takes some 100 MB.") from None


def _for_another() -> None:
    """Be a process that reads for another one, and end with it, even where it is killed."""
    import multiprocessing
    from multiprocessing.connection import wait

    gc.disable()  # what is read holds no circle: to look for some nevertheless takes a fifth of the time
    parent = multiprocessing.parent_process()
    assert parent is not None, "it has been started by one"

    def end() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def read(path: Path, item: Item) -> Interaction:
    """What `item` of `path` says. Raises FileChangedError when something else stands there."""
    try:
        with file_store.opened(path) as file:
            file.seek(item.start)
            text = file.read(item.end - item.start)
    except OSError as error:
        raise FileChangedError(path) from error
    if _digest(text) != item.digest:
        raise FileChangedError(path)
    return _load(text, path).interactions[0]


def _pieces(path: Path) -> list[Piece] | None:
    try:
        with file_store.opened(path) as file:
            return _cut(path, file)
    except OSError:
        return None


def _cut(path: Path, file: BinaryIO) -> list[Piece] | None:
    """The items of `file`, which is not held: where they start."""
    head = _HEAD.match(file.read(_LONGEST_HEAD))
    if head is None:
        return None
    file.seek(head.end() - 1)
    starts: list[int] = []
    for at, is_item in _outside(file):
        if not is_item:
            end = at  # behind the list
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
        if pieces[-1] and start - pieces[-1][0] >= _PIECE:
            pieces.append([])
        pieces[-1].append(start)
    ends = [*(following[0] for following in pieces[1:]), end]
    return [Piece(path, piece, end) for piece, end in zip(pieces, ends, strict=True)]


def _outside(file: BinaryIO) -> Iterator[tuple[int, bool]]:
    """Where each line starts that is not of an item's text, from the line end on at which `file` stands, and whether an
    item starts there. At a NUL, of which a torn end is, nothing does.
    """
    at, text, block = file.tell(), b"", b"\n"
    while block:
        block = file.read(_BLOCK)
        if (torn := block.find(b"\0")) >= 0:
            yield at + len(text) + torn, False
        text += block or b"\n"
        seen = max(len(text) - _LOOKED_AT + 1, 0)  # what starts behind that is seen with the next block
        for line in _OUTSIDE.finditer(text):
            if line.start() < seen:
                yield at + line.start() + 1, line[1] is not None
        at, text = at + seen, text[seen:]


def _read_piece(piece: Piece, key: Key) -> Scanned | None:
    first = piece.starts[0]
    try:
        with file_store.opened(piece.path) as file:
            comment = _comment_above(file, first)
            text = file.read(piece.end - first)
        said = (comment + text).decode()
        document = reader.load(writer.HEADER + said, piece.path)
        above = _line_ends(piece.path, first - len(comment)) - writer.HEADER.count("\n") if document.edited else 0
        if len(document.interactions) != len(piece.starts):
            return None
        texts = [text[start - first : end - first] for start, end in pairwise([*piece.starts, piece.end])]
        if yaml_limits.may_hold_alias(said):  # what another item names is not there when one is read alone
            for one in texts:
                _load(one, piece.path)
    except (CassetteError, UnicodeDecodeError, OSError):
        return None  # whoever reads the whole file says what is wrong, and where
    items = []
    for start, one, interaction in zip(piece.starts, texts, document.interactions, strict=True):
        request = interaction.request
        items.append(Item(start, start + len(one), _digest(one), key(request), request.method, request.path))
    return Scanned(items, [one._replace(line=one.line + above) for one in document.edited])


def _comment_above(file: BinaryIO, at: int) -> bytes:
    """The line that ends at `at`, where `file` stands then, if it is a comment: by one of ours a torn item is known."""
    file.seek(max(0, at - _LONGEST_COMMENT))
    before = file.read(at - file.tell())
    line = before[before.rfind(b"\n", 0, -1) + 1 :]
    return line if line.startswith(b"#") else b""


def _load(items: bytes, path: Path) -> reader.Document:
    return reader.load(writer.HEADER + items.decode(), path)


def _line_ends(path: Path, end: int) -> int:
    with file_store.opened(path) as file:
        return sum(file.read(min(_PIECE, end - at)).count(b"\n") for at in range(0, end, _PIECE))


def _digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=8).digest()


def processes() -> int:
    """How many processes may read at a time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
