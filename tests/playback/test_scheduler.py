"""The scheduler writes in order and never early, on any event loop and with any timer."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any

import pytest

from openai_replay.playback.scheduler import Next, Pause, Scheduler
from openai_replay.playback.timers import LoopTimer, SystemTimer, Timer, best_timer

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
    """Keep the event loop busy."""
    time.sleep(seconds)


class Steps:
    """A playback whose steps come from an iterator."""

    def __init__(self, steps: Iterator[Next]) -> None:
        self._steps = steps

    def write_due(self) -> Next:
        return next(self._steps, Pause.DONE)


def once(write: Callable[[], object]) -> Steps:
    """A playback that calls `write` once."""

    def steps() -> Iterator[Next]:
        write()
        yield Pause.DONE

    return Steps(steps())


@pytest.mark.parametrize("timer", TIMERS)
def test_writes_are_in_order_and_never_early(run: Callable[..., None], timer: Callable[..., Timer]) -> None:
    written: list[tuple[float, float]] = []

    def write(due: float) -> None:
        written.append((due, time.monotonic()))

    async def main() -> None:
        scheduler = Scheduler(timer)
        start = time.monotonic()
        instants = [start + random.uniform(-0.05, 0.3) for _ in range(200)]
        playbacks = [scheduler.run(once(partial(write, due)), due) for due in instants]
        await asyncio.sleep(0)
        started = time.monotonic()  # an instant before that was overdue from the start
        assert set(await asyncio.gather(*playbacks)) == {Pause.DONE}
        assert len(written) == len(instants)
        due = [due for due, _ in written if due > started]
        assert due == sorted(due)
        scheduler.close()

    run(main())
    assert min(written_at - due for due, written_at in written) >= 0


@pytest.mark.parametrize("timer", TIMERS)
def test_a_playback_goes_on_at_the_instants_it_returns_until_it_pauses(
    run: Callable[..., None], timer: Callable[..., Timer]
) -> None:
    async def main() -> None:
        scheduler = Scheduler(timer)
        start = time.monotonic()
        written: list[float] = []

        def five() -> Iterator[Next]:
            for number in range(1, 6):
                written.append(time.monotonic())
                yield start + 0.01 * number if number != 3 else Pause.DRAIN

        playback = Steps(five())
        assert await scheduler.run(playback, start) is Pause.DRAIN
        assert len(written) == 3
        assert await scheduler.run(playback, start + 0.03) is Pause.DONE
        assert min(at - start - 0.01 * number for number, at in enumerate(written)) >= 0
        scheduler.close()

    run(main())


def test_an_error_in_one_playback_stops_no_other(run: Callable[..., None]) -> None:
    async def main() -> None:
        scheduler = Scheduler()
        start = time.monotonic()

        def failing() -> Iterator[Next]:
            yield start + 0.005
            raise ValueError("a mistake")

        failed = scheduler.run(Steps(failing()), start)
        assert await scheduler.run(once(lambda: None), start + 0.02) is Pause.DONE
        with pytest.raises(ValueError, match="a mistake"):
            await failed
        scheduler.close()

    run(main())


def test_playbacks_whose_tasks_were_cancelled_do_no_harm(run: Callable[..., None]) -> None:
    async def main() -> None:
        reported: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
        scheduler = Scheduler()
        start = time.monotonic()

        def fail() -> None:
            raise OSError

        tasks = [scheduler.run(once(write), start + 0.01) for write in (lambda: None, fail)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await scheduler.run(once(lambda: None), start + 0.02)
        assert [task.cancelled() for task in tasks] == [True] * 2
        assert reported == []
        scheduler.close()

    run(main())


def test_other_work_gets_its_turns_while_more_is_due_than_can_be_written(run: Callable[..., None]) -> None:
    async def main() -> None:
        scheduler = Scheduler()
        start = time.monotonic()
        writes = turns = 0

        def endless() -> Iterator[Next]:
            nonlocal writes
            while time.monotonic() < start + 0.2:
                time.sleep(0.002)
                writes += 1
                yield time.monotonic()  # due again at once

        playback = scheduler.run(Steps(endless()), start)
        await asyncio.sleep(0)
        while not playback.done() and time.monotonic() < start + 0.2:
            scheduler.run_due()
            turns += 1
        await playback
        assert writes > 1, "the playback gets its turns"
        assert turns > writes, "the other work gets more turns than one per write"
        scheduler.close()

    run(main())


def test_long_work_leaves_one_pending_run_behind(run: Callable[..., None]) -> None:
    """Each pending run would schedule another one, and the loop would do little else."""
    runs: list[float] = []

    async def main() -> None:
        scheduler = Scheduler()
        end = time.monotonic() + 0.2

        def endless() -> Iterator[Next]:
            while time.monotonic() < end:
                runs.append(time.monotonic())
                yield time.monotonic()

        playback = scheduler.run(Steps(endless()), end - 0.2)
        await asyncio.sleep(0)
        while time.monotonic() < end - 0.1:
            work(0.0005)
            scheduler.run_due()
        await asyncio.sleep(0)
        runs.clear()
        turns = 0
        while not playback.done():
            await asyncio.sleep(0)
            turns += 1
        assert 0 < len(runs) <= turns + 1
        scheduler.close()

    run(main())


def test_run_due_writes_what_is_due_and_nothing_else(run: Callable[..., None]) -> None:
    async def main() -> None:
        scheduler = Scheduler()
        start = time.monotonic()
        written: list[float] = []
        playback = scheduler.run(once(lambda: written.append(time.monotonic())), start + 0.01)
        await asyncio.sleep(0)
        scheduler.run_due()
        assert [at for at in written if at < start + 0.01] == []
        work(0.02)
        scheduler.run_due()
        assert len(written) == 1
        assert await playback is Pause.DONE
        scheduler.close()

    run(main())


def test_a_paced_second_takes_little_processor_time(run: Callable[..., None]) -> None:
    """Looking at the clock until the instant comes would take all of it."""

    async def main() -> None:
        scheduler = Scheduler()
        start, used = time.monotonic(), time.process_time()
        await asyncio.gather(*(scheduler.run(once(lambda: None), start + 0.01 * number) for number in range(100)))
        assert time.process_time() - used < 0.5
        scheduler.close()

    run(main())


def test_a_system_without_timerfd_uses_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        timer = best_timer(lambda: None)
        assert isinstance(timer, LoopTimer)
        timer.close()

    monkeypatch.setattr("openai_replay.playback.timers.ctypes.CDLL", lambda *_, **__: object())
    asyncio.run(main())
    monkeypatch.undo()
