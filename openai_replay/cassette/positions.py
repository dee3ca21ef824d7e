"""How far a tape has been played: of each key, how many of its recordings have been taken.

A recording is known by its key and its turn, counted from 0: the how manieth of its key it is. So a tape that is read
again, by this process or another, goes on where it was. Here it is kept in memory; `fleet.shared` keeps it for the
processes of one machine, `fleet.store` for those of several.
"""

from __future__ import annotations

from typing import Protocol


class Positions(Protocol):
    """The positions on one tape. All but `is_played` may raise StateError where they are kept elsewhere."""

    async def take(self, key: bytes, limit: int | None) -> int | None:
        """The next turn of `key`, which nobody else gets from now on; None where it would be `limit`, or above."""

    async def take_instead(self, key: bytes, turn: int) -> bool:
        """Take this `turn` of `key` before it is due. Whether it was still there."""

    async def rewind(self) -> None:
        """Nothing has been taken."""

    async def look(self) -> None:
        """Let `is_played` know what others have taken until now."""

    def is_played(self, key: bytes, turn: int) -> bool:
        """Whether this `turn` of `key` has been taken."""


class InMemory:
    """Positions of a tape that only this process plays."""

    def __init__(self) -> None:
        self._taken: dict[bytes, int] = {}
        self._instead: set[tuple[bytes, int]] = set()

    async def take(self, key: bytes, limit: int | None) -> int | None:
        """See Positions."""
        turn = self._taken.get(key, 0)
        while self._instead and (key, turn) in self._instead:
            turn += 1
        if limit is not None and turn >= limit:
            return None
        self._taken[key] = turn + 1
        return turn

    async def take_instead(self, key: bytes, turn: int) -> bool:
        """See Positions."""
        if self.is_played(key, turn):
            return False
        self._instead.add((key, turn))
        return True

    async def rewind(self) -> None:
        """See Positions."""
        self._taken.clear()
        self._instead.clear()

    async def look(self) -> None:
        """See Positions."""

    def is_played(self, key: bytes, turn: int) -> bool:
        """See Positions."""
        return turn < self._taken.get(key, 0) or (key, turn) in self._instead
