"""Cassette files on disk: locked against other processes, read, replaced at one stroke, and appended to.

Adding must survive `kill -9` at any moment, must never leave a file that loads with a wrong body, and must cost the
same for the 10,000th recording as for the tenth. So an item is appended in place, *last page first*: all but its
first bytes are written behind a gap, and the gap is filled by one write inside one page, which a kill cannot cut.
Until then the gap reads as NUL, which YAML forbids: no loader takes the file for whole. Whoever opens it next drops
what lies behind the gap; the client of that answer never saw its end. The kernel has the bytes then, which outlives
the process; `sync` brings them through a power cut as well.

Only regular files are opened, and none that is larger than memory bears: a pipe would wait, a device never ends.
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

#: The smallest page of the systems we run on: a write inside one is there whole or not at all.
_PAGE = 4096
_BLOCK = 1 << 20
#: Bytes of a file that is read: a gigabyte takes some five of memory. More can be said in this variable.
_LARGEST = 1 << 30
LARGEST = "OPENAI_REPLAY_LARGEST_CASSETTE"


class _Unfit(OSError):
    """What is at the path is nothing that can be read as a cassette."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(0, why)
        self.hint = hint


def read_text(path: Path) -> tuple[str, int | None]:
    """The text of the cassette at `path`, and where, in bytes, an item was left out because its writer was killed.

    Raises CassetteError.
    """
    try:
        with locked(path, write=False) as fd, open(fd, "rb", closefd=False) as file:
            data = file.read(_checked_size(fd))
    except FileNotFoundError:
        hint = f"To record it, run:  openai-replay record {path} -- <your command>"
        raise CassetteError(path, None, "there is no such cassette", hint) from None
    except OSError as error:
        hint = error.hint if isinstance(error, _Unfit) else ""
        raise CassetteError(path, None, f"cannot be read: {error.strerror}", hint) from None
    torn_at = _gap(data)
    if torn_at is not None:
        data = data[:torn_at]
    try:
        return data.decode("utf-8-sig"), torn_at
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CassetteError(path, line, "is not UTF-8 text, so not a cassette") from None


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    """Put `change(text)` in the place of the text at `path` at one stroke, while no other process adds to it.

    Raises NotWritten, and what `change` raises; the file is then what it was.
    """
    try:
        path = path.resolve()  # a link stays one
        with locked(path) as fd:
            _checked_size(fd)
            _replace(path, change(path.read_bytes().decode("utf-8-sig")))  # line ends as they are
    except OSError as error:
        raise CassetteWriteError(
            path, None, f"cannot be written: {error.strerror}", "It is as it was before."
        ) from error


def _replace(path: Path, text: str) -> None:
    # Nobody else may read it (0600) until it has the mode of the file whose place it takes.
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
    """Write a cassette that is not there yet, or with `overwrite` in the place of what is, at one stroke.

    Raises FileExistsError, and OSError; the file is then what it was.
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
    """Take an unfinished append off the end of the file, now that its writer cannot come back to it.

    Raises StartError.
    """
    try:
        with locked(path) as fd, open(fd, "rb", closefd=False) as file:
            if (gap := _gap(file.read(_checked_size(fd)))) is not None:
                os.ftruncate(fd, gap)
    except OSError as error:
        hint = error.hint if isinstance(error, _Unfit) else "Give the cassette another place."
        raise StartError(f"{path}: cannot be recorded to: {error.strerror}", hint) from None


def check_writable(path: Path) -> None:
    """Find out before the first request is paid for. Leaves no trace. Raises StartError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # it will be made
            os.close(_opened(path, os.O_RDWR))
        # Not by making and removing the file itself: another recorder may have begun to fill it in between.
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise StartError(f"{path}: cannot be written: {error.strerror}", "Give the cassette another place.") from None


def _gap(data: bytes) -> int | None:
    """Where the gap of an unfinished append starts: NUL from the start of a line to the end of the page.

    Anywhere else it makes the file no YAML, and nothing of it may be taken away.
    """
    gap = data.find(b"\0")
    if gap < 0 or (gap and data[gap - 1 : gap] != b"\n"):
        return None
    return None if data[gap : gap + _PAGE - gap % _PAGE].strip(b"\0") else gap


@contextmanager
def locked(path: Path, *, write: bool = True, create: bool = False) -> Iterator[int]:
    """A descriptor of `path`, locked against other processes: for one writer, or for readers."""
    while True:
        fd = _opened(path, (os.O_RDWR if write else os.O_RDONLY) | (os.O_CREAT if create else 0))
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if write else fcntl.LOCK_SH)
            # While we waited, another process may have put a new file in its place: its lock is the one that counts.
            if not _is_at(fd, path):
                continue
            yield fd
            return
        finally:
            os.close(fd)


def opened(path: Path) -> BinaryIO:
    """The regular file at `path`, to be read as it is. Raises OSError."""
    return open(_opened(path, os.O_RDONLY), "rb")


def _opened(path: Path, flags: int) -> int:
    """A descriptor of the regular file at `path`; a new one has the mode of any source file. Raises OSError."""
    # To open a pipe waits for its other end, unless one says not to; for regular files that means nothing.
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY, 0o666)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _Unfit("it is no regular file", "A cassette is a file of its own: no pipe, no device, no folder.")
    return fd


def _checked_size(fd: int) -> int:
    """The size of the file in bytes, if it may be read. Raises OSError."""
    size = os.fstat(fd).st_size
    said = os.environ.get(LARGEST, "") or str(_LARGEST)
    if not re.fullmatch("[0-9]{1,18}", said):
        raise UsageError(f"{LARGEST}={said!r} is no number of bytes", f"Write for example {LARGEST}={4 << 30}")
    largest = int(said)
    if size > largest:
        raise _Unfit(
            f"its {size:,} bytes are more than the {largest:,} that one file may have",
            f"Split it: play takes many files, and folders. Or set {LARGEST}=BYTES; memory has to be five times that.",
        )
    return size


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def append(fd: int, size: int, start: str, pieces: Iterable[str], indent: int) -> None:
    """Add `start` and the `pieces` of an item at `size`, every line behind `indent` spaces, as the module's docstring
    says.

    On any error the file is cut back to `size`.
    """
    try:
        at = size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            at += os.pwrite(fd, b"\n", size)  # by itself: a gap is known by standing at the start of a line
        _last_page_first(fd, at, _encoded(start, pieces, " " * indent))
    except BaseException:
        os.ftruncate(fd, size)
        raise


def sync(path: Path) -> None:
    """Bring what was added through a power cut, too. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _encoded(start: str, pieces: Iterable[str], indent: str) -> Iterator[bytes]:
    """The pieces as UTF-8 in blocks of about a megabyte, every line that is not empty behind `indent`."""
    gathered, length = [start], 0
    for piece in pieces:
        gathered.append(piece)
        length += len(piece)
        if length >= _BLOCK and piece.endswith("\n"):  # whole lines only: they are indented block by block
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
