"""Counts what recordings cost when they were made, and what each replay of them saves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from openai_replay.errors import UsageError
from openai_replay.model import End, Interaction
from openai_replay.openai_api import transcript
from openai_replay.openai_api.requests import parse_request
from openai_replay.openai_api.usage import Usage, parse_usage
from openai_replay.text import escape

_PRICE = re.compile(r"(.+)=(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)(?:/(\d+(?:\.\d+)?))?")


class Price(NamedTuple):
    """The price of a million tokens: input, output, and cached input. The user chooses the currency."""

    tokens_in: float
    tokens_out: float
    cached: float

    def cost_of(self, billed: Usage) -> float:
        """Return the cost of `billed`."""
        fresh = max(billed.tokens_in - billed.cached, 0)
        return (fresh * self.tokens_in + billed.cached * self.cached + billed.tokens_out * self.tokens_out) / 1e6


@dataclass(slots=True)
class Totals:
    """Figures of one model or of all: `ms` of waiting, `sent` and `received` bytes of bodies."""

    interactions: int = 0
    streams: int = 0
    errors: int = 0
    without_usage: int = 0
    ms: int = 0
    sent: int = 0
    received: int = 0
    usage: Usage = field(default_factory=Usage)
    cost: float | None = None

    def add(self, addend: Totals) -> None:
        """Add the figures of `addend`."""
        for name in ("interactions", "streams", "errors", "without_usage", "ms", "sent", "received"):
            setattr(self, name, getattr(self, name) + getattr(addend, name))
        self.usage = self.usage.plus(addend.usage)
        if addend.cost is not None:
            self.cost = (self.cost or 0.0) + addend.cost

    def as_json(self) -> dict[str, Any]:
        """Return the figures for programs, with `cost` if a price was given."""
        counts = {name: getattr(self, name) for name in self.__slots__ if name not in ("usage", "cost")}
        return {**counts, **self.usage._asdict(), **({} if self.cost is None else {"cost": round(self.cost, 6)})}


def parse_price(text: str) -> tuple[str, Price]:
    """Parse `gpt-4o-mini=0.15/0.60`: a model, its price per million input and output tokens, and optionally of cached
    ones.

    Raises UsageError.
    """
    match = _PRICE.fullmatch(text)
    if match is None:
        raise UsageError(
            f"--price {text!r} is not a price.",
            "Write MODEL=IN/OUT, or MODEL=IN/OUT/CACHED, per million tokens, as in --price gpt-4o-mini=0.15/0.60.",
        )
    return match[1], Price(float(match[2]), float(match[3]), float(match[4] or match[2]))


def count_by_model(interactions: Iterable[Interaction], prices: Mapping[str, Price]) -> dict[str, Totals]:
    """Return figures per model, in the order of first appearance; `-` stands for requests that name no model.

    The usage of a response counts once, even if its id was requested again. `prices` are by the model's name in the
    request or in the response.
    """
    totals: dict[str, Totals] = {}
    billed_ids: set[str] = set()
    for interaction in interactions:
        parsed = transcript.parse_response(interaction.response)
        value = parsed.value if isinstance(parsed.value, dict) else {}
        run = value.get("run")
        inner = run if isinstance(run, dict) else value
        requested_model, responded_model = parse_request(interaction.request).model, inner.get("model")
        responded_model = responded_model if isinstance(responded_model, str) else ""
        response = interaction.response
        failed = response.head.status >= 400 or response.end is not End.COMPLETE or bool(value.get("error"))
        figures = Totals(
            interactions=1,
            streams=int(parsed.is_stream),
            errors=int(failed),
            ms=response.end_ms,
            sent=len(interaction.request.body),
            received=len(response.body),
        )
        billed, response_id = parse_usage(value), inner.get("id")
        if billed is None:
            figures.without_usage = 1
        elif not isinstance(response_id, str) or response_id not in billed_ids:
            figures.usage = billed
            if rate := prices.get(requested_model) or prices.get(responded_model):
                figures.cost = rate.cost_of(billed)
            if isinstance(response_id, str):
                billed_ids.add(response_id)
        totals.setdefault(requested_model or responded_model or "-", Totals()).add(figures)
    return totals


def sum_totals(totals: Iterable[Totals]) -> Totals:
    """Return the sum of all."""
    total = Totals()
    for figures in totals:
        total.add(figures)
    return total


def format_table(models: Mapping[str, Totals], total: Totals) -> Iterator[str]:
    """Yield the figures by model and in total as a table, and what a replay saves."""
    header = (
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
    labelled = [*models.items(), *([("total", total)] if len(models) != 1 else [])]
    rows = [header, *((escape.line(model), *_format_cells(count)) for model, count in labelled)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *cells in rows:
        yield "  ".join(
            [f"{first:<{widths[0]}}", *(f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))]
        )
    yield ""
    if total.without_usage:
        yield f"without usage: {total.without_usage} of {total.interactions}"
    if total.usage.sound_s:
        yield f"audio billed by its length: {total.usage.sound_s:g} s"
    saved = f"{total.ms / 1000:.1f} s of waiting, {total.usage.tokens_in + total.usage.tokens_out:,} tokens"
    paid = "" if total.cost is None else f", {total.cost:.6f} at the given prices"
    yield f"every replay saves: {saved}{paid}"


def _format_cells(count: Totals) -> tuple[str, ...]:
    billed = count.usage
    numbers = (
        count.interactions,
        count.streams,
        count.errors,
        *billed[:1],
        billed.cached,
        billed.tokens_out,
        billed.reasoning,
    )
    return (*(f"{number:,}" for number in numbers), f"{count.ms / 1000:.1f}", f"{count.sent:,}", f"{count.received:,}")
