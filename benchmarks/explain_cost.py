"""What explaining a miss costs: `python benchmarks/explain_cost.py`.

A tape of an agent's turns, about 10 kB each, and requests that nothing on it matches. Times are absolute, and in keys:
what it takes to make the key of one request, which every request costs. Exit 1 if a bar is missed.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from openai_replay.matching.diff import Recorded
from openai_replay.matching.explain import MissContext, explain
from openai_replay.matching.matcher import Matcher
from openai_replay.matching.suggestions import at_the_command_line
from openai_replay.model import Request
from openai_replay.redaction.redactor import Redactor

RECORDINGS = 1000
RUNS = 5
JSON = (("content-type", "application/json"), ("authorization", "Bearer REDACTED"))
WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "lazy",
    "dogs",
    "while",
    "seven",
    "wise",
    "wizards",
    "brew",
    "strong",
    "black",
    "coffee",
]
MATCHER, CLEAN = Matcher(), Redactor().redact_request


class Cost(NamedTuple):
    """One line of the table; `bar_ms` is what it may be at most."""

    what: str
    ms: float
    bar_ms: float


def tool(number: int) -> dict[str, Any]:
    """A tool with a schema of a common size."""
    fields = {f"field_{n}": {"type": "string", "description": " ".join(WORDS[n : n + 8])} for n in range(6)}
    parameters = {"type": "object", "properties": fields, "required": list(fields)}
    return {"type": "function", "function": {"name": f"tool_{number}", "parameters": parameters}}


def turn(number: int, messages: int = 20) -> Request:
    """A request of 20 messages and 5 tools. Every tenth is another conversation; each has texts of its own."""
    said = [{"role": "system", "content": "You are an agent. " + " ".join(WORDS * 4)}]
    for place in range(messages - 1):
        text = " ".join(WORDS[(number * 7 + place * 3 + n) % len(WORDS)] for n in range(55))
        said.append({"role": ("user", "assistant")[place % 2], "content": f"{number // 10} {place}: {text}"})
    said[-1]["content"] += f" {number}"
    body = {"model": "gpt-4o", "messages": said, "tools": [tool(n) for n in range(5)], "temperature": 0.2}
    return Request("POST", "https://api.openai.com/v1/chat/completions", JSON, json.dumps(body).encode())


def ms(work: Callable[[], object]) -> float:
    """The median of some runs."""
    times = []
    for _ in range(RUNS):
        start = time.process_time()
        work()
        times.append((time.process_time() - start) * 1000)
    return statistics.median(times)


def main() -> int:
    """Measure, print the table. 0 if every bar holds."""
    requests = [turn(number) for number in range(RECORDINGS)]
    recorded = [Recorded(number, one, MATCHER.key(one)) for number, one in enumerate(requests, 1)]
    advice = at_the_command_line("tape.yaml")

    def missed(now: Request, seen: dict[bytes, frozenset[int]]) -> str:
        tape = MissContext("tape.yaml", "none", recorded, lambda names: (), seen)
        return "\n".join(explain(now, tape, advice, MATCHER, CLEAN))

    changed = Request("POST", requests[0].uri, JSON, requests[777].body.replace(b"You are an agent", b"You are one"))
    longer = turn(777, 22)
    assert "Closest is #778;" in missed(changed, {}), missed(changed, {})
    seen: dict[bytes, frozenset[int]] = {}
    missed(changed, seen)
    key_ms = ms(lambda: [MATCHER.key(requests[0]) for _ in range(100)]) / 100
    costs = [
        Cost("the first miss", ms(lambda: missed(changed, {})), 100),
        Cost("the first miss, of a turn with two messages more", ms(lambda: missed(longer, {})), 100),
        Cost("a further miss", ms(lambda: missed(changed, seen)), 100),
        Cost("to take the secrets out of all, which it spares", ms(lambda: [*map(CLEAN, requests)]), float("inf")),
    ]
    print(f"{RECORDINGS} recordings of {len(requests[0].body)} bytes; one key takes {key_ms:.3f} ms\n")
    print("| explaining | ms | may be at most | in keys |\n|---|---:|---:|---:|")
    for cost in costs:
        bar = f"{cost.bar_ms:.0f}" if cost.bar_ms < float("inf") else ""
        print(f"| {cost.what} | {cost.ms:.1f} | {bar} | {cost.ms / key_ms:.0f} |")
    return 0 if all(cost.ms <= cost.bar_ms for cost in costs) else 1


if __name__ == "__main__":
    raise SystemExit(main())
