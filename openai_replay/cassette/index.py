"""What is on a big tape, remembered between runs in the user's cache folder.

An index says of every item of every file where it lies and what its key is. It is only believed of a file that has
the size, the time and the inode it had, and every item is checked by its digest when it is read; so it can be deleted
at any time, and one that is damaged is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import struct
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path

from openai_replay.cassette.scanner import Item, Stamp

#: Changes with the index itself. What keys are may change with the program.
_VERSION = 2
#: So many tapes are remembered; the one that was not used for the longest time goes first.
_KEPT = 32
#: All items of a file are one value, which is four times as fast as a row each: of every item the start, the end, the
#: digest, the key (of 16 bytes, as `matching` makes it), and which of the file's `targets`, a JSON list of pairs, its
#: method and path are.
_TABLE = """
    CREATE TABLE IF NOT EXISTS files (
        path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, inode INTEGER, targets TEXT, items BLOB
    ) WITHOUT ROWID
"""
_ITEM = struct.Struct("<QQ8s16sI")


class Index:
    """The index of one tape: `files` by name, and `rules`, a text of all that decides its keys.

    Use it in `with`. Where `rules` is None, or the cache folder cannot be used, it knows nothing and keeps nothing.
    """

    def __init__(self, name: Iterable[Path], rules: str | None) -> None:
        told = "\0".join(
            [str(_VERSION), version("openai-replay"), rules or "", *(str(path.resolve()) for path in name)]
        )
        self._used = rules is not None
        self.path = cache_folder() / f"{hashlib.sha256(told.encode(errors='surrogateescape')).hexdigest()[:32]}.sqlite"
        self._database: sqlite3.Connection | None = None

    def __enter__(self) -> Index:
        if not self._used:
            return self
        with contextlib.suppress(OSError, sqlite3.Error):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                self._database = self._open()
            except sqlite3.OperationalError:  # another process writes, or nobody may
                raise
            except sqlite3.DatabaseError:  # damaged
                self.path.unlink()
                self._database = self._open()
            os.utime(self.path)
        return self

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=5)
        database.execute(_TABLE)
        return database

    def __exit__(self, *error: object) -> None:
        if self._database is not None:
            self._database.close()
        self._database = None

    def known(self) -> Iterator[tuple[Path, Stamp, list[Item]]]:
        """Every file that is known, the stamp it had and its items."""
        if self._database is None:
            return
        try:
            rows = self._database.execute("SELECT path, size, mtime_ns, inode, targets, items FROM files")
            for path, *stamp, targets, items in rows:
                yield Path(path), Stamp(*stamp), _unpacked(targets, items)
        except (sqlite3.Error, struct.error, LookupError, TypeError, ValueError):
            self._forget()

    def keep(self, found: Iterable[tuple[Path, Stamp, list[Item]]], gone: Iterable[Path]) -> None:
        """Remember what has been found, and forget the files that are gone."""
        if self._database is None:
            return
        try:
            with self._database as database:
                database.executemany(
                    "REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)",
                    ((str(path), *stamp, *_packed(items)) for path, stamp, items in found),
                )
                database.executemany("DELETE FROM files WHERE path = ?", ((str(path),) for path in gone))
        except (sqlite3.Error, UnicodeEncodeError, OverflowError):
            # A full disk, another process, an inode of 64 bits: the next run reads the files again.
            self._forget()
        _tidy(self.path.parent)

    def _forget(self) -> None:
        if self._database is not None:
            self._database.close()
        self._database = None
        with contextlib.suppress(OSError):
            self.path.unlink()


def _packed(items: Iterable[Item]) -> tuple[str, bytes]:
    targets: dict[tuple[str, str], int] = {}
    packed = [
        _ITEM.pack(start, end, digest, key, targets.setdefault((method, path), len(targets)))
        for start, end, digest, key, method, path in items
    ]
    return json.dumps(list(targets)), b"".join(packed)


def _unpacked(targets: str, items: bytes) -> list[Item]:
    """Raises struct.error, LookupError, TypeError or ValueError where that was not packed here."""
    found = [(str(method), str(path)) for method, path in json.loads(targets)]
    return [
        Item(start, end, digest, key, *found[target]) for start, end, digest, key, target in _ITEM.iter_unpack(items)
    ]


def cache_folder() -> Path:
    """The user's, for this program."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "openai-replay"
    except RuntimeError:  # nobody's home, as in a container that runs as any user: no folder can be there
        return Path(os.devnull) / "openai-replay"


def _tidy(folder: Path) -> None:
    with contextlib.suppress(OSError):
        indexes = sorted(folder.glob("*.sqlite"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in indexes[_KEPT:]:
            old.unlink()
