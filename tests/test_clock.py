"""One timer for all that waits, on any event loop and any system."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from openai_replay.clock import Clock, LoopTimer, SystemTimer, Timer, best_timer

TIMERS: list[Callable[[Callable[[], None]], Timer]] = [SystemTimer, LoopTimer]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    factory = asyncio.new_event_loop
    if request.param == "uvloop":
        factory = pytest.importorskip("uvloop", reason="the extra `speed` is not installed").new_event_loop

    def in_loop(work: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(work)

    return in_loop


@pytest.mark.parametrize("timer", TIMERS)
def test_nothing_comes_early_and_all_comes_in_order(run: Callable[..., None], timer: Callable[..., Timer]) -> None:
    came: list[tuple[float, float]] = []

    async def waits(clock: Clock, at: float) -> None:
        called: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        clock.at(at, lambda: called.set_result(time.monotonic()))
        came.append((at, await called))

    async def main() -> None:
        clock = Clock(timer)
        start = time.monotonic()
        instants = [start + random.uniform(-0.05, 0.3) for _ in range(200)]
        waiting = [asyncio.create_task(waits(clock, at)) for at in instants]
        await asyncio.sleep(0)
        begun = time.monotonic()  # what was due before has not waited
        await asyncio.gather(*waiting)
        assert len(came) == len(instants)
        due = [at for at, _ in came if at > begun]
        assert due == sorted(due)
        clock.close()

    run(main())
    assert min(now - at for at, now in came) >= 0


@pytest.mark.parametrize("timer", TIMERS)
def test_what_is_called_may_ask_to_be_called_again_and_a_mistake_in_one_stops_no_other(
    run: Callable[..., None], timer: Callable[..., Timer]
) -> None:
    async def main() -> None:
        failed: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: failed.append(context["exception"]))
        clock = Clock(timer)
        over = asyncio.Event()
        start = time.monotonic()
        came: list[float] = []

        def again() -> float | None:
            came.append(time.monotonic())
            if len(came) < 5:
                return start + 0.01 * len(came)
            over.set()
            return None

        def mistaken() -> None:
            raise ValueError("a mistake")

        clock.at(start, again)
        clock.at(start + 0.005, mistaken)
        await asyncio.wait_for(over.wait(), 10)
        assert [type(one) for one in failed] == [ValueError]
        assert min(at - start - 0.01 * number for number, at in enumerate(came)) >= 0
        clock.close()

    run(main())


def test_a_system_without_a_timer_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        timer = best_timer(lambda: None)
        assert isinstance(timer, LoopTimer)
        timer.close()

    monkeypatch.setattr("openai_replay.clock.ctypes.CDLL", lambda *of, **more: object())
    asyncio.run(main())
    monkeypatch.undo()
