"""Work beside the event loop does not stop it."""

from __future__ import annotations

import asyncio
import sys
import threading
import time

import pytest

from openai_replay.redaction import stream_text
from openai_replay.text.cooperate import LARGE, aside, pause

EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"word"}}]}\n\n'


async def test_only_what_is_large_is_read_in_a_thread() -> None:
    here = threading.get_ident()
    assert await aside(LARGE, threading.get_ident) == here
    assert await aside(LARGE + 1, threading.get_ident) != here


@pytest.mark.parametrize("events", [1, 1000])
def test_a_stream_is_searched_for_keys_with_pauses(monkeypatch: pytest.MonkeyPatch, events: int) -> None:
    pauses = list[int]()
    monkeypatch.setattr(stream_text, "pause", lambda: pauses.append(1))
    assert not stream_text.may_hold(EVENT * events)
    assert events / 40 <= len(pauses) <= max(1, events / 20)


async def test_a_pause_lets_another_thread_compute() -> None:
    """Python by itself would have it wait: the interval is a minute here."""
    ended = threading.Event()

    def computes() -> None:
        while not ended.is_set():
            pause()

    before = asyncio.get_running_loop().time()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(60)
    try:
        thread = threading.Thread(target=computes)
        thread.start()
        for _ in range(10):
            await asyncio.sleep(0.001)
        ended.set()
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert asyncio.get_running_loop().time() - before < 30


async def test_the_event_loop_itself_does_not_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its turn would come back after 5 ms only, where a thread computes."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    pause()
    assert slept == []
    await asyncio.to_thread(pause)
    assert len(slept) == 1


def test_who_is_alone_does_not_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    for others in (0, 1):
        monkeypatch.setattr(threading, "active_count", lambda others=others: 1 + others)
        pause()
        assert len(slept) == others
