"""One timer for all that waits, on any event loop and any system."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import pytest

from openai_replay.clock import Clock, LoopTimer, SystemTimer, Timer, best_timer

TIMERS: list[Callable[[Callable[[], None]], Timer]] = [SystemTimer, LoopTimer]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[asyncio.Future[None]], None]:
    if request.param == "asyncio":
        return asyncio.run  # type: ignore[return-value]
    uvloop = pytest.importorskip("uvloop", reason="the extra `speed` is not installed")
    return uvloop.run  # type: ignore[no-any-return]


@pytest.mark.parametrize("timer", TIMERS)
def test_nothing_comes_early_and_all_comes_in_order(run: Callable[..., None], timer: Callable[..., Timer]) -> None:
    came: list[tuple[float, float]] = []

    async def waits(clock: Clock, at: float) -> None:
        await clock.until(at)
        came.append((at, time.monotonic()))

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
def test_who_stops_waiting_holds_up_nobody(run: Callable[..., None], timer: Callable[..., Timer]) -> None:
    async def main() -> None:
        clock = Clock(timer)
        now = time.monotonic()
        gone = asyncio.create_task(clock.until(now + 0.02))
        others = [asyncio.create_task(clock.until(now + seconds)) for seconds in (0.05, 0.03, 0.02)]
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait_for(asyncio.gather(*others), 10)
        assert gone.cancelled()
        await asyncio.wait_for(clock.until(time.monotonic() + 0.01), 10)  # and it goes off again afterwards
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
