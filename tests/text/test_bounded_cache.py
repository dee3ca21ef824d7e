"""The bounded cache: it never holds more than its limits, and forgets the oldest first."""

from __future__ import annotations

from openai_replay.text.bounded_cache import BoundedCache


def test_the_oldest_entry_makes_room() -> None:
    cache: BoundedCache[str, int] = BoundedCache(max_entries=2)
    for number, key in enumerate("abc"):
        cache.put(key, number)
    assert [cache.get(key) for key in "abc"] == [None, 1, 2]
    assert len(cache) == 2


def test_large_values_push_out_several() -> None:
    cache: BoundedCache[str, int] = BoundedCache(max_bytes=10)
    for key, size in [("a", 4), ("b", 4), ("c", 9)]:
        cache.put(key, size, size)
    assert [cache.get(key) for key in "abc"] == [None, None, 9]


def test_a_value_larger_than_the_cache_pushes_nothing_out() -> None:
    cache: BoundedCache[str, int] = BoundedCache(max_bytes=10)
    cache.put("a", 1, 10)
    cache.put("b", 2, 11)
    assert cache.get("a") == 1
    assert cache.get("b") is None


def test_a_value_that_is_there_stays() -> None:
    cache: BoundedCache[str, int] = BoundedCache(max_bytes=10)
    cache.put("a", 1, 10)
    cache.put("a", 2, 1)
    cache.put("b", 3, 1)
    assert cache.get("a") is None, "its ten bytes counted once, and the next entry took its room"
    assert cache.get("b") == 3
