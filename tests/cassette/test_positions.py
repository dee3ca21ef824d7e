"""Positions in a cassette: the same rules for each kind of store."""

from __future__ import annotations

from openai_replay.cassette.positions import LocalPositions, Positions

A, B = b"a" * 16, b"b" * 16


async def holds_the_rules(positions: Positions) -> None:
    """The behaviour of each kind of positions."""
    assert not positions.is_played(A, 0)
    assert [await positions.claim(A, 2), await positions.claim(B, None), await positions.claim(A, 2)] == [0, 0, 1]
    assert await positions.claim(A, 2) is None, "used up"
    assert await positions.claim(A, 3) == 2, "what was refused was not taken"
    assert [await positions.claim(B, None) for _ in range(3)] == [1, 2, 3], "repeated without end"
    await positions.refresh()
    assert [positions.is_played(A, turn) for turn in range(4)] == [True, True, True, False]
    await positions.rewind()
    await positions.refresh()
    assert not positions.is_played(A, 0)
    assert [await positions.claim_out_of_order(A, 1), await positions.claim_out_of_order(A, 1)] == [True, False]
    await positions.refresh()
    assert [positions.is_played(A, turn) for turn in range(3)] == [False, True, False]
    assert [await positions.claim(A, 3), await positions.claim(A, 3), await positions.claim(A, 3)] == [0, 2, None]
    assert not await positions.claim_out_of_order(A, 0)
    assert await positions.claim_out_of_order(A, 3)
    assert await positions.claim(A, 4) is None, "the last one was taken before it was due"
    await positions.rewind()
    assert [await positions.claim(A, 1), await positions.claim(B, 1), await positions.claim(A, 1)] == [0, 0, None]


async def test_in_memory() -> None:
    await holds_the_rules(LocalPositions())
