"""What recordings cost when they were made, and what every replay of them saves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from openai_replay.errors import UsageError
from openai_replay.model import End, Interaction
from openai_replay.openai_api import transcript
from openai_replay.openai_api.requests import asked
from openai_replay.openai_api.usage import Usage, usage
from openai_replay.text import escape

_PRICE = re.compile(r"(.+)=(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)(?:/(\d+(?:\.\d+)?))?")


class Price(NamedTuple):
    """What a million tokens cost: in, out, and cached ones among those in. The currency is the user's."""

    tokens_in: float
    tokens_out: float
    cached: float

    def cost_of(self, used: Usage) -> float:
        """What `used` costs."""
        fresh = max(used.tokens_in - used.cached, 0)
        return (fresh * self.tokens_in + used.cached * self.cached + used.tokens_out * self.tokens_out) / 1e6


@dataclass(slots=True)
class Totals:
    """What was counted, of one model or of all: `ms` of waiting, `sent` and `received` bytes of bodies."""

    interactions: int = 0
    streams: int = 0
    errors: int = 0
    without_usage: int = 0
    ms: int = 0
    sent: int = 0
    received: int = 0
    usage: Usage = field(default_factory=Usage)
    cost: float | None = None

    def add(self, other: Totals) -> None:
        """Add what `other` counted."""
        for name in ("interactions", "streams", "errors", "without_usage", "ms", "sent", "received"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.usage = self.usage.plus(other.usage)
        if other.cost is not None:
            self.cost = (self.cost or 0.0) + other.cost

    def as_json(self) -> dict[str, Any]:
        """For machines. `cost` is there where a price was given."""
        counts = {name: getattr(self, name) for name in self.__slots__ if name not in ("usage", "cost")}
        return {**counts, **self.usage._asdict(), **({} if self.cost is None else {"cost": round(self.cost, 6)})}


def parse_price(text: str) -> tuple[str, Price]:
    """Model and price of `gpt-4o-mini=0.15/0.60`, per million tokens in and out; a third number is for cached ones.

    Raises UsageError.
    """
    match = _PRICE.fullmatch(text)
    if match is None:
        raise UsageError(
            f"--price {text!r} is no price",
            "Write MODEL=IN/OUT, or MODEL=IN/OUT/CACHED, per million tokens: --price gpt-4o-mini=0.15/0.60",
        )
    return match[1], Price(float(match[2]), float(match[3]), float(match[4] or match[2]))


def count_by_model(interactions: Iterable[Interaction], prices: Mapping[str, Price]) -> dict[str, Totals]:
    """A count a model, in the order of their first appearance; `-` where a request names none.

    The usage of an answer counts once, however often that answer was asked for again by its id. `prices` are by the
    model's name as the request has it, or the answer.
    """
    found: dict[str, Totals] = {}
    seen: set[str] = set()
    for one in interactions:
        answer = transcript.answer(one.response)
        value = answer.value if isinstance(answer.value, dict) else {}
        run = value.get("run")
        inner = run if isinstance(run, dict) else value
        model, name = asked(one.request).model, inner.get("model")
        name = name if isinstance(name, str) else ""
        response = one.response
        failed = response.head.status >= 400 or response.end is not End.COMPLETE or bool(value.get("error"))
        count = Totals(
            interactions=1,
            streams=int(answer.is_stream),
            errors=int(failed),
            ms=response.end_ms,
            sent=len(one.request.body),
            received=len(response.body),
        )
        used, known = usage(value), inner.get("id")
        if used is None:
            count.without_usage = 1
        elif not isinstance(known, str) or known not in seen:
            count.usage = used
            if paid := prices.get(model) or prices.get(name):
                count.cost = paid.cost_of(used)
            if isinstance(known, str):
                seen.add(known)
        found.setdefault(model or name or "-", Totals()).add(count)
    return found


def sum_totals(counts: Iterable[Totals]) -> Totals:
    """The sum of all."""
    everything = Totals()
    for one in counts:
        everything.add(one)
    return everything


def format_table(models: Mapping[str, Totals], everything: Totals) -> Iterator[str]:
    """Counts by model and in total as a table, and what a replay saves."""
    head = (
        "model",
        "interactions",
        "streams",
        "errors",
        "in",
        "cached",
        "out",
        "reasoning",
        "seconds",
        "sent",
        "received",
    )
    named = [*models.items(), *([("total", everything)] if len(models) != 1 else [])]
    rows = [head, *((escape.line(name), *_format_cells(count)) for name, count in named)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *cells in rows:
        yield "  ".join(
            [f"{first:<{widths[0]}}", *(f"{one:>{wide}}" for one, wide in zip(cells, widths[1:], strict=True))]
        )
    yield ""
    if everything.without_usage:
        yield f"without usage: {everything.without_usage} of {everything.interactions}"
    if everything.usage.sound_s:
        yield f"sound billed by its length: {everything.usage.sound_s:g} s"
    saved = (
        f"{everything.ms / 1000:.1f} s of waiting, {everything.usage.tokens_in + everything.usage.tokens_out:,} tokens"
    )
    paid = "" if everything.cost is None else f", {everything.cost:.6f} at the given prices"
    yield f"every replay saves: {saved}{paid}"


def _format_cells(count: Totals) -> tuple[str, ...]:
    used = count.usage
    numbers = (count.interactions, count.streams, count.errors, *used[:1], used.cached, used.tokens_out, used.reasoning)
    return (*(f"{one:,}" for one in numbers), f"{count.ms / 1000:.1f}", f"{count.sent:,}", f"{count.received:,}")
