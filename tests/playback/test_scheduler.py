"""One timer for all that waits, on any event loop and any system."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any

import pytest

from openai_replay.playback.scheduler import Scheduler, LoopTimer, SystemTimer, Timer, Wakes, best_timer

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


def work(seconds: float) -> None:
    """What the loop has to wait for."""
    time.sleep(seconds)


@pytest.mark.parametrize("timer", TIMERS)
def test_nothing_comes_early_and_all_comes_in_order(run: Callable[..., None], timer: Callable[..., Timer]) -> None:
    came: list[tuple[float, float]] = []

    async def waits(clock: Scheduler, at: float) -> None:
        def steps() -> Iterator[float | None]:
            came.append((at, time.monotonic()))
            return
            yield

        assert not await clock.follow(at, steps())

    async def main() -> None:
        clock = Scheduler(timer)
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
def test_steps_name_their_next_instant_and_a_mistake_in_one_stops_no_other(
    run: Callable[..., None], timer: Callable[..., Timer]
) -> None:
    async def main() -> None:
        clock = Scheduler(timer)
        start = time.monotonic()
        came: list[float] = []

        def five() -> Iterator[float | None]:
            for number in range(1, 6):
                came.append(time.monotonic())
                yield start + 0.01 * number if number != 3 else None

        def mistaken() -> Iterator[float | None]:
            yield start + 0.005
            raise ValueError("a mistake")

        steps = five()
        other = asyncio.create_task(clock.follow(start, mistaken()))
        assert await clock.follow(start, steps), "there are more, but not at an instant"
        assert len(came) == 3
        assert not await clock.follow(start + 0.03, steps)
        with pytest.raises(ValueError, match="a mistake"):
            await other
        assert min(at - start - 0.01 * number for number, at in enumerate(came)) >= 0
        clock.close()

    run(main())


def test_a_timer_is_set_as_much_earlier_as_it_wakes_late() -> None:
    chance = random.Random(1)
    wakes = Wakes()
    assert wakes.lead == 0
    for _ in range(100):
        wakes.note(0.0002)
    assert wakes.lead == pytest.approx(0.0002, rel=0.01), "nothing is looked at for longer than needed"
    missed = 0
    for _ in range(1000):
        late = chance.gauss(0.0002, 0.00005)
        missed += late > wakes.lead
        wakes.note(late)
    assert missed < 50
    for late in (0.5, -0.5):  # a busy loop; an instant that was put off
        for _ in range(100):
            wakes.note(late)
        assert 0 <= wakes.lead <= 0.001


def test_steps_that_nobody_waits_for_any_more_do_no_harm(run: Callable[..., None]) -> None:
    async def main() -> None:
        failed: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: failed.append(context))
        clock = Scheduler()
        start = time.monotonic()
        came: list[float] = []

        def steps(error: Exception | None = None) -> Generator[float | None, None, None]:
            came.append(start)
            if error is not None:
                raise error
            yield None

        closed = steps()
        left = [asyncio.create_task(clock.follow(start + 0.01, one)) for one in (steps(), steps(OSError()), closed)]
        await asyncio.sleep(0)
        for one in left:
            one.cancel()
        closed.close()
        await clock.follow(start + 0.02, steps())
        assert [one.cancelled() for one in left] == [True] * 3
        assert len(came) == 3, "all but those that were closed"
        assert failed == []
        clock.close()

    run(main())


def test_who_is_at_work_has_half_of_the_time_where_more_is_due_than_can_be_done(run: Callable[..., None]) -> None:
    async def main() -> None:
        clock = Scheduler()
        start = time.monotonic()
        steps_s = work_s = 0.0

        def endless() -> Iterator[float | None]:
            nonlocal steps_s
            while time.monotonic() < start + 0.2:
                time.sleep(0.002)
                steps_s += 0.002
                yield time.monotonic()  # again, and at once

        waiting = asyncio.create_task(clock.follow(start, endless()))
        await asyncio.sleep(0)
        while not waiting.done() and time.monotonic() < start + 0.2:
            work(0.0001)
            work_s += 0.0001
            clock.run_due()
        await waiting
        assert steps_s > 0.02, "what is due has its turn"
        assert work_s > 0.02, "and so has who is at work"
        clock.close()

    run(main())


def test_who_is_at_work_for_long_leaves_no_more_looks_behind(run: Callable[..., None]) -> None:
    """Each look that is still to come would have another one follow: the loop would do little else."""
    looks: list[float] = []

    class Counted(Scheduler):
        def _look_soon(self) -> None:
            looks.append(time.monotonic())
            super()._look_soon()

    async def main() -> None:
        clock = Counted()
        until = time.monotonic() + 0.2

        def endless() -> Iterator[float | None]:
            while time.monotonic() < until:
                work(0.0002)
                yield time.monotonic()

        waiting = asyncio.create_task(clock.follow(until - 0.2, endless()))
        await asyncio.sleep(0)
        while time.monotonic() < until - 0.1:
            work(0.0005)
            clock.run_due()
        await asyncio.sleep(0)
        looks.clear()
        turns = 0
        while not waiting.done():
            await asyncio.sleep(0)
            turns += 1
        assert 0 < len(looks) <= turns + 1
        clock.close()

    run(main())


def test_who_is_at_work_lets_what_is_due_go_first(run: Callable[..., None]) -> None:
    async def main() -> None:
        clock = Scheduler()
        start = time.monotonic()
        came: list[float] = []

        def one() -> Iterator[float | None]:
            came.append(time.monotonic())
            yield None

        waiting = asyncio.create_task(clock.follow(start + 0.01, one()))
        await asyncio.sleep(0)
        clock.run_due()
        assert came == [], "it is not due"
        work(0.02)
        clock.run_due()
        assert len(came) == 1
        assert await waiting
        clock.close()

    run(main())


def test_a_system_without_a_timer_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        timer = best_timer(lambda: None)
        assert isinstance(timer, LoopTimer)
        timer.close()

    monkeypatch.setattr("openai_replay.playback.scheduler.ctypes.CDLL", lambda *of, **more: object())
    asyncio.run(main())
    monkeypatch.undo()
