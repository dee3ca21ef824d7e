"""Cassette files on disk: locked against other processes, read, replaced atomically, and appended to.

An append must survive `kill -9` at any moment, must never leave a file that loads with a wrong body, and must cost the
same for the 10,000th recording as for the tenth. So an item is appended in place, *last page first*: all but its first
bytes are written after a gap, and the gap is filled by one write within one page, which a kill cannot interrupt. Until
then the gap reads as NUL, which YAML forbids, so no loader accepts the file as complete. The next process that opens
the file removes everything from the gap on; the client of that response has not seen its end. After the append, the
kernel has the bytes, and it outlives the process. `sync` makes them survive a power cut, too.

Only regular files are opened, and none that is too large for the memory: a pipe would block, a device never ends.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from openai_replay.errors import CassetteError, CassetteWriteError, StartError, UsageError

#: The smallest page size of supported systems. A write within one page happens completely or not at all.
_PAGE = 4096
_BLOCK = 1 << 20
#: Maximum bytes of a file: a gigabyte takes about five of memory. The environment variable sets another maximum.
_LARGEST = 1 << 30
LARGEST = "OPENAI_REPLAY_LARGEST_CASSETTE"


class _NotReadableError(OSError):
    """The path is not that of a readable file."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(0, reason)
        self.hint = hint


def read_text(path: Path) -> tuple[str, int | None]:
    """Return the text of the cassette at `path`, and the byte position of a torn item, which is left out, or None.

    Raises CassetteError.
    """
    try:
        with locked(path, write=False) as fd, open(fd, "rb", closefd=False) as file:
            data = file.read(_checked_size(fd))
    except FileNotFoundError:
        hint = f"To record it, run:  openai-replay record {path} -- <your command>"
        raise CassetteError(path, None, "does not exist.", hint) from None
    except OSError as error:
        hint = error.hint if isinstance(error, _NotReadableError) else ""
        raise CassetteError(path, None, f"could not read it: {error.strerror}.", hint) from None
    torn_at = _gap(data)
    if torn_at is not None:
        data = data[:torn_at]
    try:
        return data.decode("utf-8-sig"), torn_at
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CassetteError(path, line, "is not UTF-8 text, so it is not a cassette.") from None


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    """Replace the text at `path` by `change(text)` atomically, while no other process adds to it.

    Raises CassetteWriteError, and what `change` raises; the file is unchanged then.
    """
    try:
        path = path.resolve()  # a link stays a link
        with locked(path) as fd:
            _checked_size(fd)
            _replace(path, change(path.read_bytes().decode("utf-8-sig")))  # with its line ends
    except OSError as error:
        raise CassetteWriteError(
            path, None, f"could not write it: {error.strerror}.", "The file has not changed."
        ) from error


def _replace(path: Path, text: str) -> None:
    # No other user may read it (0600) until it has the mode of the file that it replaces.
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(fd, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, path.stat().st_mode & 0o7777)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def create(path: Path, pieces: Iterable[str], *, overwrite: bool) -> None:
    """Write a new cassette atomically, or replace an existing one with `overwrite`.

    Raises FileExistsError or OSError; an existing file is unchanged then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "x", encoding="utf-8", newline="") as file:
            file.writelines(pieces)
        if overwrite:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def drop_torn(path: Path) -> None:
    """Remove an unfinished append from the end of the file. Its writer is gone. Raises StartError."""
    try:
        with locked(path) as fd, open(fd, "rb", closefd=False) as file:
            if (gap := _gap(file.read(_checked_size(fd)))) is not None:
                os.ftruncate(fd, gap)
    except OSError as error:
        hint = error.hint if isinstance(error, _NotReadableError) else "Give the cassette another path."
        raise StartError(f"Could not record to {path}: {error.strerror}.", hint) from None


def check_writable(path: Path) -> None:
    """Check that `path` can be written, before the first request is paid for. Leaves no trace. Raises StartError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # it will be created
            os.close(_opened(path, os.O_RDWR))
        # Not by creating and removing the file itself: another recorder may write to it in between.
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise StartError(f"Could not write {path}: {error.strerror}.", "Give the cassette another path.") from None


def _gap(data: bytes) -> int | None:
    """Return the start of the gap of an unfinished append: NUL from the start of a line to the end of the page.

    NUL anywhere else is an error in the file, and nothing may be removed.
    """
    gap = data.find(b"\0")
    if gap < 0 or (gap and data[gap - 1 : gap] != b"\n"):
        return None
    return None if data[gap : gap + _PAGE - gap % _PAGE].strip(b"\0") else gap


@contextmanager
def locked(path: Path, *, write: bool = True, create: bool = False) -> Iterator[int]:
    """Yield a descriptor of `path`, locked against other processes: for one writer, or for readers."""
    while True:
        fd = _opened(path, (os.O_RDWR if write else os.O_RDONLY) | (os.O_CREAT if create else 0))
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if write else fcntl.LOCK_SH)
            # Meanwhile, another process may have replaced the file: then the lock of the new one counts.
            if not _is_at(fd, path):
                continue
            yield fd
            return
        finally:
            os.close(fd)


def opened(path: Path) -> BinaryIO:
    """Open the regular file at `path` for reading. Raises OSError."""
    return open(_opened(path, os.O_RDONLY), "rb")


def _opened(path: Path, flags: int) -> int:
    """Return a descriptor of the regular file at `path`. A new file has the mode of a source file. Raises OSError."""
    # Opening a pipe would wait for its other end without this flag, which does nothing for regular files.
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY, 0o666)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _NotReadableError("it is not a regular file", "A cassette cannot be a pipe, a device or a folder.")
    return fd


def _checked_size(fd: int) -> int:
    """Return the size of the file in bytes, if it may be read. Raises OSError."""
    size = os.fstat(fd).st_size
    limit_text = os.environ.get(LARGEST, "") or str(_LARGEST)
    if not re.fullmatch("[0-9]{1,18}", limit_text):
        raise UsageError(
            f"{LARGEST}={limit_text!r} is not a number of bytes.", f"Write for example {LARGEST}={4 << 30}"
        )
    largest = int(limit_text)
    if size > largest:
        raise _NotReadableError(
            f"it has {size:,} bytes, and one file may have {largest:,}",
            f"Split it: `play` takes several files. Or set {LARGEST}=BYTES, and have five times that memory.",
        )
    return size


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def append(fd: int, size: int, start: str, pieces: Iterable[str], indent: int) -> None:
    """Append `start` and the `pieces` of an item at `size`, with each line indented by `indent` spaces.

    The module's docstring describes the order of the writes. On any error the file is truncated to `size`.
    """
    try:
        at = size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            at += os.pwrite(fd, b"\n", size)  # alone: a gap is recognized by its position at the start of a line
        _last_page_first(fd, at, _encoded(start, pieces, " " * indent))
    except BaseException:
        os.ftruncate(fd, size)
        raise


def sync(path: Path) -> None:
    """Sync the file to the disk, so that it survives a power cut. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _encoded(start: str, pieces: Iterable[str], indent: str) -> Iterator[bytes]:
    """Yield the pieces as UTF-8 in blocks of about a megabyte, with each line indented that is not empty."""
    gathered, length = [start], 0
    for piece in pieces:
        gathered.append(piece)
        length += len(piece)
        if length >= _BLOCK and piece.endswith("\n"):  # only complete lines, because each block is indented on its own
            yield _indented("".join(gathered), indent)
            gathered, length = [], 0
    yield _indented("".join(gathered), indent)


def _indented(text: str, indent: str) -> bytes:
    return (re.sub(r"(?m)^(?=.)", indent, text) if indent else text).encode("utf-8")


def _last_page_first(fd: int, size: int, blocks: Iterator[bytes]) -> None:
    first = next(blocks)
    room = min(_PAGE - size % _PAGE, len(first))
    position = size + room
    for block in chain([first[room:]], blocks):
        _write_all(fd, block, position)
        position += len(block)
    _write_all(fd, first[:room], size)


def _write_all(fd: int, data: bytes, position: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, position)
        view, position = view[written:], position + written
