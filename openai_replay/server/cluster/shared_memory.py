"""Positions and counts in memory that the workers of one machine share (`play --workers`).

The memory is made before the workers are forked. Positions are a hash table whose slots have three 64-bit words. Two
words are a digest of the cassette and the key. The third word is the position: the number of the rewind it belongs to,
a flag for claims out of order, and the number of claims. A word is written in one store, and the position last, so a
worker that is killed anywhere leaves a valid table. The lock is the system's (fcntl), which takes it back from a
process that ended: nobody waits for a dead worker.
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

#: Slots of the smallest table: 1.5 MB, of which the system gives the pages that are touched.
_MIN_SLOTS = 1 << 16
#: Slots per recording: one for its key on the cassette, one for it in a session of its own, and room between them.
_SLOTS_PER_RECORDING = 4
_COUNT_MASK = (1 << 32) - 1
_OUT_OF_ORDER = 1 << 32  # recordings of this key were claimed before their turn
_REWIND_SHIFT = 33


class PositionTable:
    """The table, with room for the positions of `recordings`. `with` it, no other process changes it.

    Raises StartError.
    """

    def __init__(self, recordings: int) -> None:
        self._slots = max(_MIN_SLOTS, 1 << (_SLOTS_PER_RECORDING * recordings).bit_length())
        try:
            self._memory = mmap.mmap(-1, 8 + 24 * self._slots)
            self._lock, name = tempfile.mkstemp(prefix="openai-replay-")
            os.unlink(name)
            weakref.finalize(self, os.close, self._lock)
        except OSError as error:
            hint = "Free some memory, or play without --workers."
            raise StartError(f"Could not allocate memory for the workers: {error.strerror}.", hint) from None
        self.words = memoryview(self._memory).cast("Q")  # the first is the number of slots in use

    def __enter__(self) -> None:
        fcntl.lockf(self._lock, fcntl.LOCK_EX)

    def __exit__(self, *error: object) -> None:
        fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def find(self, digest: bytes) -> int | None:
        """Return the offset of the position of `digest` (16 bytes), or None if it has none."""
        slot = self._slot(digest)
        return slot + 2 if self.words[slot] or self.words[slot + 1] else None

    def find_or_add(self, digest: bytes) -> int:
        """Return the offset of the position of `digest`, and give it one first if need be.

        The table must be locked. Raises StateError.
        """
        slot, words = self._slot(digest), self.words
        if not (words[slot] or words[slot + 1]):
            if words[0] > self._slots * 3 // 4:
                hint = "The cassette has grown while it was played. Start the server again."
                raise StateError("The workers have no room for more positions on this cassette.", hint, "state_full")
            words[0] += 1
            words[slot + 2] = 0
            words[slot + 1] = int.from_bytes(digest[8:], "little")
            words[slot] = int.from_bytes(digest[:8], "little")
        return slot + 2

    def _slot(self, digest: bytes) -> int:
        """Return the offset of the slot of `digest`, or of the free slot for it."""
        words, slots = self.words, self._slots
        low, high = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
        number = low % slots
        while True:
            slot = 1 + 3 * number
            first, second = words[slot], words[slot + 1]
            if not (first or second) or (first == low and second == high):
                return slot
            number = (number + 1) % slots


class SharedPositions:
    """The positions on the cassette that has this `name` in every worker."""

    def __init__(self, table: PositionTable, name: str) -> None:
        self._table = table
        self._salt = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).digest()
        self._offsets: dict[bytes, int] = {}  # they never change
        with table:
            self._rewinds = table.find_or_add(self._digest(b""))

    def _digest(self, key: bytes) -> bytes:
        return hashlib.blake2b(key, digest_size=16, key=self._salt).digest()

    def _offset(self, key: bytes) -> int:
        offset = self._offsets.get(key)
        if offset is None:
            offset = self._offsets[key] = self._table.find_or_add(self._digest(key))
        return offset

    def _current(self, word: int) -> int:
        """Return the flag and the count in `word`, or 0 if they are from before the last rewind."""
        return word & ((1 << _REWIND_SHIFT) - 1) if word >> _REWIND_SHIFT == self._table.words[self._rewinds] else 0

    def _word(self, value: int) -> int:
        return self._table.words[self._rewinds] << _REWIND_SHIFT | value

    async def claim(self, key: bytes, end: int | None) -> int | None:
        """Claim the next recording of `key`."""
        words = self._table.words
        with self._table:
            offset = self._offset(key)
            current = self._current(words[offset])
            index, out_of_order = current & _COUNT_MASK, current & _OUT_OF_ORDER
            while out_of_order and self._is_claimed_out_of_order(key, index):
                index += 1
            if end is not None and index >= end:
                return None
            words[offset] = self._word(out_of_order | index + 1)
        return index

    async def claim_out_of_order(self, key: bytes, index: int) -> bool:
        """Claim the recording `index` of `key` before its turn."""
        words = self._table.words
        with self._table:
            if self.is_played(key, index):
                return False
            offset = self._offset(key)
            # The flag first: a worker that is killed in between leaves a flag without a claim, which is valid.
            words[offset] = self._word(self._current(words[offset]) | _OUT_OF_ORDER)
            words[self._offset(_key_and_index(key, index))] = self._word(1)
        return True

    async def rewind(self) -> None:
        """Forget all claims."""
        with self._table:
            self._table.words[self._rewinds] += 1

    async def refresh(self) -> None:
        """Do nothing: the table has the claims of all workers."""

    def is_played(self, key: bytes, index: int) -> bool:
        """Return True if the recording `index` of `key` has been claimed."""
        offset = self._table.find(self._digest(key))
        if offset is None:
            return False
        current = self._current(self._table.words[offset])
        if index < current & _COUNT_MASK:
            return True
        return bool(current & _OUT_OF_ORDER) and self._is_claimed_out_of_order(key, index)

    def _is_claimed_out_of_order(self, key: bytes, index: int) -> bool:
        offset = self._table.find(self._digest(_key_and_index(key, index)))
        return offset is not None and bool(self._current(self._table.words[offset]))


def _key_and_index(key: bytes, index: int) -> bytes:
    return key + index.to_bytes(8, "big")


class SharedPositionStore:
    """Keeps the positions of every cassette in `table`."""

    def __init__(self, table: PositionTable) -> None:
        self._table = table

    async def __aenter__(self) -> None:
        """Do nothing: the table is there since before the workers were forked."""

    async def __aexit__(self, *error: object) -> None:
        """Do nothing: the table goes with the processes."""

    def prepare(self, cassette: Cassette) -> None:
        """Do nothing: the positions do not depend on the contents of `cassette`."""

    def positions_for(self, name: str, cassette: Cassette, rules: str) -> Positions:
        """Return the positions on the cassette of session `name`. Raises StateError."""
        return SharedPositions(self._table, name)


class Counts:
    """The number of exchanges of each outcome, in a row per worker that only this worker writes.

    So the exchanges of a worker that is killed are counted.
    """

    def __init__(self, workers: int) -> None:
        self._outcomes = list(Outcome)
        self._words = memoryview(mmap.mmap(-1, 8 * workers * len(self._outcomes))).cast("Q")

    def add(self, worker: int, outcome: Outcome) -> None:
        """Count an exchange of `worker`."""
        self._words[worker * len(self._outcomes) + self._outcomes.index(outcome)] += 1

    def total(self) -> Counter[Outcome]:
        """Return the counts of all workers together."""
        totals: Counter[Outcome] = Counter()
        for number, count in enumerate(self._words):
            totals[self._outcomes[number % len(self._outcomes)]] += count
        return totals
