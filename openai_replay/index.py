"""What is on a big tape, remembered between runs in the user's cache folder.

An index says of every item of every file where it lies and what its key is. It is only believed of a file that has
the size, the time and the inode it had, and every item is checked by its digest when it is read; so it can be deleted
at any time, and one that is damaged is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from sys import intern

from openai_replay.scanning import Item, Place, Stamp

#: Changes with the index itself. What keys are may change with the program.
_VERSION = 1
#: So many tapes are remembered; the one that was not used for the longest time goes first.
_KEPT = 32
_TABLES = """
    CREATE TABLE IF NOT EXISTS files (
        path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, inode INTEGER, id INTEGER UNIQUE
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS items (
        file INTEGER, number INTEGER, start INTEGER, stop INTEGER, digest BLOB, key BLOB, method TEXT, path TEXT,
        PRIMARY KEY (file, number)
    ) WITHOUT ROWID;
"""


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
        database.executescript(_TABLES)
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
            files = self._database.execute("SELECT path, size, mtime_ns, inode, id FROM files").fetchall()
            rows = self._database.execute(
                "SELECT file, start, stop, digest, key, method, path FROM items ORDER BY file, number"
            )
            items: dict[int, list[Item]] = {number: [] for *_, number in files}
            for file, start, stop, digest, key, method, target in rows:
                items[file].append(Item(Place(start, stop, digest), key, intern(method), intern(target)))
        except (sqlite3.Error, KeyError, TypeError, ValueError):
            self._forget()
            return
        for path, size, mtime_ns, inode, number in files:
            yield Path(path), Stamp(size, mtime_ns, inode), items[number]

    def keep(self, found: Iterable[tuple[Path, Stamp, list[Item]]], gone: Iterable[Path]) -> None:
        """Remember what has been found, and forget the files that are gone."""
        if self._database is None:
            return
        try:
            with self._database as database:
                for path, stamp, items in found:
                    number = int.from_bytes(hashlib.sha256(os.fsencode(path)).digest()[:6], "big")
                    database.execute("DELETE FROM items WHERE file = ?", (number,))
                    database.execute("REPLACE INTO files VALUES (?, ?, ?, ?, ?)", (str(path), *stamp, number))
                    database.executemany(
                        "INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                        ((number, at, *one.place, one.key, one.method, one.path) for at, one in enumerate(items)),
                    )
                for path in gone:
                    database.execute(
                        "DELETE FROM items WHERE file = (SELECT id FROM files WHERE path = ?)", (str(path),)
                    )
                    database.execute("DELETE FROM files WHERE path = ?", (str(path),))
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
