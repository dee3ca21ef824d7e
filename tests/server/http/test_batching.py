"""What is read in a turn of the loop, and answered at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from openai_replay.server.http.batching import Turns


@pytest.fixture(params=["asyncio", "uvloop"])
def new_loop(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    factory = asyncio.new_event_loop
    if request.param == "uvloop":
        factory = pytest.importorskip("uvloop", reason="the extra `speed` is not installed").new_event_loop
    return factory


def test_all_is_read_before_any_is_answered(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    came: list[str] = []

    async def main() -> None:
        turns = Turns(lambda: came.append("look"))
        for turn in range(2):
            for name in "ab":
                came.append(f"read {name}")
                turns.answer(lambda name=name: came.append(f"answer {name}"))  # type: ignore[misc]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert came == ["read a", "read b", "answer a", "look", "answer b", "look"] * (turn + 1)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


def test_a_mistake_in_one_stops_no_other(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    failed: list[object] = []
    came: list[str] = []

    def mistaken() -> None:
        raise ValueError("a mistake")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: failed.append(context["exception"]))
        turns = Turns(lambda: None)
        turns.answer(mistaken)
        turns.answer(lambda: came.append("answered"))
        await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    assert ([type(one) for one in failed], came) == ([ValueError], ["answered"])
