"""One recorder a cassette at a time, among the processes of this user: pytest-xdist's workers take turns."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from openai_replay.errors import StartError

#: Seconds to wait for another process.
WAIT_S = 60.0
_LOOK_EVERY_S = 0.02


@contextmanager
def turn(cassette: Path, who: str, rewrite_for: str | None = None) -> Iterator[None]:
    """While the block lasts, no other process has its turn at `cassette`. `who` is what others are told.

    `rewrite_for`: the cassette is taken away first, once for all turns that name the same run here.

    The lock is a file in the temporary folder: its first line is the run that had the cassette rewritten, its second
    who holds it. Raises StartError when another process does not end its turn, or that folder is not ours alone.
    """
    with _lock_file(hashlib.sha256(os.fsencode(cassette.resolve())).hexdigest()) as lock:
        deadline = time.monotonic() + WAIT_S
        while not _locked(lock.fileno()):
            if time.monotonic() > deadline:
                lock.seek(0)
                holder = [*lock.read().splitlines(), "", ""][1]
                raise StartError(
                    f"{cassette}: another process has been recording to it for more than {WAIT_S:g} s: {holder}",
                    "Give each its own cassette, or record without xdist's -n.",
                )
            time.sleep(_LOOK_EVERY_S)
        try:
            lock.seek(0)
            rewritten_for = [*lock.read().splitlines(), ""][0]
            if rewrite_for is not None and rewrite_for != rewritten_for:
                _take_away(cassette)
                rewritten_for = rewrite_for
            lock.truncate(0)
            lock.write(f"{rewritten_for}\n{who} (process {os.getpid()})\n")
            lock.flush()
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # a forked child may still hold the file open


def _lock_file(name: str) -> TextIO:
    """The file `name` in a folder of the temporary one, whose name anybody can guess: nobody else may have made it."""
    folder = Path(tempfile.gettempdir(), f"openai-replay-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        seen = folder.lstat()
        if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.getuid() or seen.st_mode & 0o077:
            raise StartError(
                f"{folder}: is not a folder of this user's alone (mode 0700), so its locks are not to be trusted",
                "Remove it, or set TMPDIR to a folder of your own.",
            )
        fd = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StartError(
            f"{folder}: cannot be used for locks: {error.strerror}", "Set TMPDIR to a folder of your own."
        ) from None
    return open(fd, "a+", encoding="utf-8")


def _take_away(cassette: Path) -> None:
    try:
        cassette.unlink(missing_ok=True)
    except OSError as error:
        raise StartError(
            f"{cassette}: cannot be rewritten: {error.strerror}", "Give the cassette another place."
        ) from None


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
