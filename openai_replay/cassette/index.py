"""The index of a large cassette, kept between runs in the user's cache folder.

It has the position and the key of each item of each file. It is only used for a file whose size, time and inode are
unchanged, and each item is checked by its digest when it is read. So an index can be deleted at any time, and a damaged
one is rebuilt.
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

from openai_replay.cassette.scanner import FileVersion, Item

#: Increased when the format of the index changes. Another version of the program has other indexes anyway.
_VERSION = 2
#: Maximum number of indexes. The one that has not been used for the longest time is deleted first.
_MAX_INDEXES = 32
#: All items of a file are one value, which is four times as fast as one row each. An item has its start, end and
#: digest, the key (16 bytes, from `matching`), and the index of its method and path in `targets`, a JSON list of pairs.
_TABLE = """
    CREATE TABLE IF NOT EXISTS files (
        path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, inode INTEGER, targets TEXT, items BLOB
    ) WITHOUT ROWID
"""
_ITEM = struct.Struct("<QQ8s16sI")


class Index:
    """The index of the cassette at `paths`. `rules` is a text of everything that decides its keys.

    Use it in `with`. If `rules` is None, or the cache folder cannot be used, it stays empty.
    """

    def __init__(self, paths: Iterable[Path], rules: str | None) -> None:
        identity = "\0".join(
            [str(_VERSION), version("openai-replay"), rules or "", *(str(path.resolve()) for path in paths)]
        )
        self._is_used = rules is not None
        self.path = (
            cache_folder() / f"{hashlib.sha256(identity.encode(errors='surrogateescape')).hexdigest()[:32]}.sqlite"
        )
        self._database: sqlite3.Connection | None = None

    def __enter__(self) -> Index:
        if not self._is_used:
            return self
        with contextlib.suppress(OSError, sqlite3.Error):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                self._database = self._open()
            except sqlite3.OperationalError:  # another process writes, or the folder is read-only
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

    def entries(self) -> Iterator[tuple[Path, FileVersion, list[Item]]]:
        """Yield each file with its version and its items."""
        if self._database is None:
            return
        try:
            rows = self._database.execute("SELECT path, size, mtime_ns, inode, targets, items FROM files")
            for path, *stamp, targets, items in rows:
                yield Path(path), FileVersion(*stamp), _unpacked(targets, items)
        except (sqlite3.Error, struct.error, LookupError, TypeError, ValueError):
            self._forget()

    def keep(self, scanned: Iterable[tuple[Path, FileVersion, list[Item]]], deleted: Iterable[Path]) -> None:
        """Keep the items of `scanned` files, and drop `deleted` files."""
        if self._database is None:
            return
        try:
            with self._database as database:
                database.executemany(
                    "REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)",
                    ((str(path), *stamp, *_packed(items)) for path, stamp, items in scanned),
                )
                database.executemany("DELETE FROM files WHERE path = ?", ((str(path),) for path in deleted))
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
    """Unpack items. Raises struct.error, LookupError, TypeError or ValueError if the data is damaged."""
    target_list = [(str(method), str(path)) for method, path in json.loads(targets)]
    return [
        Item(start, end, digest, key, *target_list[target])
        for start, end, digest, key, target in _ITEM.iter_unpack(items)
    ]


def cache_folder() -> Path:
    """Return the cache folder of this program for the current user."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "openai-replay"
    except RuntimeError:  # a user without a home, as in containers: no folder can be inside this file
        return Path(os.devnull) / "openai-replay"


def _tidy(folder: Path) -> None:
    with contextlib.suppress(OSError):
        indexes = sorted(folder.glob("*.sqlite"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in indexes[_MAX_INDEXES:]:
            old.unlink()
