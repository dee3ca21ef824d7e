"""Work beside the event loop."""

from __future__ import annotations

import asyncio
import threading

from openai_replay.proxy.aio import LARGE, completes_within, run_aside


async def test_only_large_bodies_are_read_in_a_thread() -> None:
    event_loop = threading.get_ident()
    assert await run_aside(LARGE, threading.get_ident) == event_loop
    assert await run_aside(LARGE + 1, threading.get_ident) != event_loop


async def test_a_timeout_is_a_result_and_no_error() -> None:
    assert await completes_within(60, asyncio.sleep(0))
    assert not await completes_within(0.001, asyncio.sleep(60))
