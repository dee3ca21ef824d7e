"""A lock per cassette among the processes of this user: workers of pytest-xdist record to it one after the other."""

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

_WAIT_S = 60.0
_POLL_EVERY_S = 0.02


@contextmanager
def exclusive_recording(
    cassette: Path, holder_name: str, rewrite_for: str | None = None, wait_s: float = _WAIT_S
) -> Iterator[None]:
    """Keep other processes from recording to `cassette` during the block. Their messages show `holder_name`.

    With `rewrite_for`, the name of a run, the cassette is deleted first, but only once in that run.

    The lock is a file in the temporary folder. Its first line is the last run that rewrote the cassette, its second the
    holder. Raise StartError if another process holds the lock for more than `wait_s`, or if other users can write to
    the folder.
    """
    with _lock_file(hashlib.sha256(os.fsencode(cassette.resolve())).hexdigest()) as lock:
        deadline = time.monotonic() + wait_s
        while not _locked(lock.fileno()):
            if time.monotonic() > deadline:
                lock.seek(0)
                holder = [*lock.read().splitlines(), "", ""][1]
                raise StartError(
                    f"{cassette}: another process has been recording to it for more than {wait_s:g} s: {holder}.",
                    "Give each test its own cassette, or record without the option -n of xdist.",
                )
            time.sleep(_POLL_EVERY_S)
        try:
            lock.seek(0)
            rewritten_for = [*lock.read().splitlines(), ""][0]
            if rewrite_for is not None and rewrite_for != rewritten_for:
                _delete(cassette)
                rewritten_for = rewrite_for
            lock.truncate(0)
            lock.write(f"{rewritten_for}\n{holder_name} (process {os.getpid()})\n")
            lock.flush()
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # a forked child may still hold the file open


def _lock_file(name: str) -> TextIO:
    """Open the file `name` in a temporary folder of this user. Other users can guess its name, so check its owner."""
    folder = Path(tempfile.gettempdir(), f"openai-replay-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise StartError(
                f"The folder {folder} does not belong to this user alone (mode 0700), so its locks cannot be trusted.",
                "Remove it, or set TMPDIR to a folder of your own.",
            )
        fd = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StartError(
            f"Could not use {folder} for locks: {error.strerror}.", "Set TMPDIR to a folder of your own."
        ) from None
    return open(fd, "a+", encoding="utf-8")


def _delete(cassette: Path) -> None:
    try:
        cassette.unlink(missing_ok=True)
    except OSError as error:
        raise StartError(
            f"Could not rewrite {cassette}: {error.strerror}.", "Give the cassette another name or folder."
        ) from None


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
