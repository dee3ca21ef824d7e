"""Positions on a cassette: for each key, how many of its recordings have been claimed.

A recording is identified by its key and its index among the recordings with that key, from 0. So a cassette that is
read again, by this process or another, goes on where it was. This module keeps positions in memory. The cluster has
stores for the processes of one machine (`shared_memory`) and of several machines (`redis`).
"""

from __future__ import annotations

from typing import Protocol


class Positions(Protocol):
    """The positions on one cassette. All methods but `is_played` may raise StateError if another process keeps them."""

    async def claim(self, key: bytes, end: int | None) -> int | None:
        """Claim the next recording of `key` and return its index, or None if that would be `end` or more."""

    async def claim_out_of_order(self, key: bytes, index: int) -> bool:
        """Claim the recording `index` of `key` before its turn. Return False if it was claimed already."""

    async def rewind(self) -> None:
        """Forget all claims."""

    async def refresh(self) -> None:
        """Let `is_played` know the claims of other processes until now."""

    def is_played(self, key: bytes, index: int) -> bool:
        """Return True if the recording `index` of `key` has been claimed."""


class LocalPositions:
    """Positions on a cassette that only this process plays."""

    def __init__(self) -> None:
        self._claimed: dict[bytes, int] = {}
        self._out_of_order: set[tuple[bytes, int]] = set()

    async def claim(self, key: bytes, end: int | None) -> int | None:
        """Claim the next recording of `key`."""
        index = self._claimed.get(key, 0)
        while self._out_of_order and (key, index) in self._out_of_order:
            index += 1
        if end is not None and index >= end:
            return None
        self._claimed[key] = index + 1
        return index

    async def claim_out_of_order(self, key: bytes, index: int) -> bool:
        """Claim the recording `index` of `key` before its turn."""
        if self.is_played(key, index):
            return False
        self._out_of_order.add((key, index))
        return True

    async def rewind(self) -> None:
        """Forget all claims."""
        self._claimed.clear()
        self._out_of_order.clear()

    async def refresh(self) -> None:
        """Do nothing: no other process claims anything."""

    def is_played(self, key: bytes, index: int) -> bool:
        """Return True if the recording `index` of `key` has been claimed."""
        return index < self._claimed.get(key, 0) or (key, index) in self._out_of_order
