"""Positions and counts in memory that the processes of one machine share: the workers of `play --workers`.

The memory is made before they are forked. Positions are a table of slots of three words: two of a digest (of tape and
key), and one that says all: since which rewind, whether turns were taken before they were due, and how many have been
taken. A word is written in one go, and last. So a worker that is killed anywhere leaves a table that is right; and
the lock is one of the system's (fcntl), which takes it back from whoever is gone: nobody waits for the dead.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import tempfile
import weakref
from collections import Counter

from openai_replay.cassette.cassette import Cassette
from openai_replay.cassette.positions import Positions
from openai_replay.errors import StartError, StateError
from openai_replay.journal.exchanges import Outcome

#: Slots of the smallest table: 1.5 MB, of which the system gives what is touched.
_FEWEST = 1 << 16
#: Slots a recording: one for its key on the tape, one for it in a session of its own, and room between them.
_SLOTS_EACH = 4
_TURNS = (1 << 32) - 1
_INSTEAD = 1 << 32  # turns of this key were taken before they were due
_REWINDS = 33  # the bit from which rewinds are counted


class Table:
    """The table, with room for the positions of so many `recordings`. `with` it, nobody else changes it.

    Raises StartError.
    """

    def __init__(self, recordings: int) -> None:
        self._slots = max(_FEWEST, 1 << (_SLOTS_EACH * recordings).bit_length())
        try:
            self._memory = mmap.mmap(-1, 8 + 24 * self._slots)
            self._lock, name = tempfile.mkstemp(prefix="openai-replay-")
            os.unlink(name)
            weakref.finalize(self, os.close, self._lock)
        except OSError as error:
            hint = "Start fewer things beside it, or play without --workers."
            raise StartError(f"the workers' memory cannot be had: {error.strerror}", hint) from None
        self.words = memoryview(self._memory).cast("Q")  # the first says how many slots are in use

    def __enter__(self) -> None:
        fcntl.lockf(self._lock, fcntl.LOCK_EX)

    def __exit__(self, *error: object) -> None:
        fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def find(self, digest: bytes) -> int | None:
        """Where the word of `digest` (16 bytes) is, if it has one."""
        at = self._look(digest)
        return at + 2 if self.words[at] or self.words[at + 1] else None

    def place(self, digest: bytes) -> int:
        """Where the word of `digest` is; it gets one. The table has to be locked. Raises StateError."""
        at, words = self._look(digest), self.words
        if not (words[at] or words[at + 1]):
            if words[0] > self._slots * 3 // 4:
                hint = "It has grown while it was played: start the server again."
                raise StateError("There is no room for more positions on this tape.", hint, "state_full")
            words[0] += 1
            words[at + 2] = 0
            words[at + 1] = int.from_bytes(digest[8:], "little")
            words[at] = int.from_bytes(digest[:8], "little")
        return at + 2

    def _look(self, digest: bytes) -> int:
        words, slots = self.words, self._slots
        low, high = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
        number = low % slots
        while True:
            at = 1 + 3 * number
            one, two = words[at], words[at + 1]
            if not (one or two) or (one == low and two == high):
                return at
            number = (number + 1) % slots


class SharedPositions:
    """The positions on the tape that has this `name` in every worker."""

    def __init__(self, table: Table, name: str) -> None:
        self._table = table
        self._salt = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).digest()
        self._places: dict[bytes, int] = {}  # they never change
        with table:
            self._rewinds = table.place(self._digest(b""))

    def _digest(self, of: bytes) -> bytes:
        return hashlib.blake2b(of, digest_size=16, key=self._salt).digest()

    def _place(self, of: bytes) -> int:
        place = self._places.get(of)
        if place is None:
            place = self._places[of] = self._table.place(self._digest(of))
        return place

    def _now(self, word: int) -> int:
        """What `word` says, if it is of this rewind."""
        return word & ((1 << _REWINDS) - 1) if word >> _REWINDS == self._table.words[self._rewinds] else 0

    def _written(self, value: int) -> int:
        return self._table.words[self._rewinds] << _REWINDS | value

    async def take(self, key: bytes, limit: int | None) -> int | None:
        """See Positions."""
        words = self._table.words
        with self._table:
            place = self._place(key)
            now = self._now(words[place])
            turn, instead = now & _TURNS, now & _INSTEAD
            while instead and self._is_instead(key, turn):
                turn += 1
            if limit is not None and turn >= limit:
                return None
            words[place] = self._written(instead | turn + 1)
        return turn

    async def take_instead(self, key: bytes, turn: int) -> bool:
        """See Positions."""
        words = self._table.words
        with self._table:
            if self.is_played(key, turn):
                return False
            place = self._place(key)
            words[place] = self._written(self._now(words[place]) | _INSTEAD)  # first: who looks for it finds nothing
            words[self._place(_of(key, turn))] = self._written(1)
        return True

    async def rewind(self) -> None:
        """See Positions."""
        with self._table:
            self._table.words[self._rewinds] += 1

    async def look(self) -> None:
        """See Positions."""

    def is_played(self, key: bytes, turn: int) -> bool:
        """See Positions."""
        place = self._table.find(self._digest(key))
        if place is None:
            return False
        now = self._now(self._table.words[place])
        return turn < now & _TURNS or (bool(now & _INSTEAD) and self._is_instead(key, turn))

    def _is_instead(self, key: bytes, turn: int) -> bool:
        place = self._table.find(self._digest(_of(key, turn)))
        return place is not None and bool(self._now(self._table.words[place]))


def _of(key: bytes, turn: int) -> bytes:
    return key + turn.to_bytes(8, "big")


class SharedKeeper:
    """Keeps the positions of every tape in `table`."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def __aenter__(self) -> None:
        """There is nothing to be opened."""

    async def __aexit__(self, *error: object) -> None:
        """There is nothing to be closed."""

    def know(self, tape: Cassette) -> None:
        """What is on it makes no difference."""

    def at(self, name: str, tape: Cassette, told: str) -> Positions:
        """The positions on the tape of session `name`. Raises StateError."""
        return SharedPositions(self._table, name)


class Counts:
    """How many exchanges of each outcome every worker had: a row each, which only it writes. So a worker that is killed
    has been counted.
    """

    def __init__(self, workers: int) -> None:
        self._order = list(Outcome)
        self._words = memoryview(mmap.mmap(-1, 8 * workers * len(self._order))).cast("Q")

    def add(self, worker: int, outcome: Outcome) -> None:
        """Count one."""
        self._words[worker * len(self._order) + self._order.index(outcome)] += 1

    def total(self) -> Counter[Outcome]:
        """Those of all workers."""
        found: Counter[Outcome] = Counter()
        for number, count in enumerate(self._words):
            found[self._order[number % len(self._order)]] += count
        return found
