"""Shared parts of the Python client programs: scenarios run in a fixed order, and their results are printed as JSON.

    OPENAI_BASE_URL=http://127.0.0.1:PORT/v1 OPENAI_API_KEY=sk-test python PROGRAM

No times and no ids that the library makes up: what a run against the simulated upstream prints, one through a recording
proxy and one through a replay can be compared for equality.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

Scenario = Callable[[], Any]

SCENARIOS: list[Scenario] = []

GREET = "Greet the world. Où est-ce? 🌍"
ASK_WEATHER = "What is the weather in Oslo?"


def scenario(function: Scenario) -> Scenario:
    """Have `function`, sync or async, run by `run_all`. It returns what was seen, as JSON values."""
    SCENARIOS.append(function)
    return function


def weather(city: str) -> str:
    """The weather in a city."""
    return f"-3 °C and snow in {city}"


def failure(error: BaseException) -> list[Any]:
    """Return an error as a user sees it: its class, status and text, and those of its causes."""
    chain: list[Any] = []
    current: BaseException | None = error
    while current is not None:
        status = getattr(current, "status_code", None)
        chain.append({"class": type(current).__name__, "status": status, "message": str(current)})
        current = current.__cause__
    return chain


async def failing(call: Callable[[], Any]) -> Any:
    """The error that `call` raises; what it returned if it raises none, for the comparison to show."""
    try:
        value = call()
        return {"unexpected": repr(await value if inspect.isawaitable(value) else value)}
    except Exception as error:
        return failure(error)


def run_all() -> None:
    """Run all scenarios in one event loop, and print {scenario: what was seen}."""

    async def run() -> dict[str, Any]:
        results = {}
        for function in SCENARIOS:
            print(function.__name__, file=sys.stderr, flush=True)
            value = function()
            results[function.__name__] = await value if inspect.isawaitable(value) else value
        return results

    print(json.dumps(asyncio.run(run()), ensure_ascii=False, indent=1))
