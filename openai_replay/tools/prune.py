"""Reads from a journal which recordings were played, and finds those of a cassette that were not."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from openai_replay.errors import IncompleteJournalError, UsageError

_BAD = {"missed": "a request that no recording matched", "failed": "a request that failed", "lost": "a lost recording"}


@dataclass(slots=True)
class CassetteUsage:
    """The use of one cassette in all runs: its states when they opened it (size in bytes, SHA-256, number of
    recordings), and the numbers, from 1, of the recordings that they played.
    """

    opened: set[tuple[int, str, int]] = field(default_factory=set)
    played: set[int] = field(default_factory=set)


@dataclass(slots=True)
class JournalSummary:
    """The contents of a journal: the use of each opened cassette, by its absolute path, and the failures."""

    cassettes: dict[str, CassetteUsage]
    failures: list[str]


def read_journal(lines: Iterable[str]) -> JournalSummary:
    """Read a journal. Raises UsageError with the number of a line that is not a journal entry."""
    cassettes: dict[str, CassetteUsage] = defaultdict(CassetteUsage)
    failures: dict[str, None] = {}  # a set that keeps its order
    open_runs: dict[str, None] = {}
    has_runs = False
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            match entry["event"]:
                case "started":
                    open_runs[entry["run"]] = None
                    has_runs = True
                case "ended":
                    open_runs.pop(entry["run"], None)
                case "opened":
                    cassettes[entry["cassette"]].opened.add((entry["size"], entry["sha256"], entry["items"]))
                case "incomplete":
                    failures[entry["reason"]] = None
                case "exchange":
                    _add_exchange(entry, cassettes, failures)
        except (ValueError, KeyError, TypeError):
            hint = "Write one with --journal of `play`, or --openai-replay-journal of pytest."
            raise UsageError(f"Line {number} is not a journal entry.", hint) from None
    if open_runs:
        failures["a run that did not end: it was killed, or is still running"] = None
    if not has_runs:
        failures["no run"] = None
    return JournalSummary(dict(cassettes), list(failures))


def _add_exchange(entry: dict[str, Any], cassettes: dict[str, CassetteUsage], failures: dict[str, None]) -> None:
    if "item" in entry:
        cassettes[entry["cassette"]].played.add(int(entry["item"]))
    elif failure := _BAD.get(entry["outcome"]):
        failures[f"{failure}: {entry['method']} {entry['path']}"] = None


def require_complete(summary: JournalSummary) -> None:
    """Raise IncompleteJournalError if a run failed, because it may not have sent all of its requests."""
    if summary.failures:
        listed = "\n".join(f"  {failure}" for failure in summary.failures[:10])
        omitted = f"\n  and {len(summary.failures) - 10} more" if len(summary.failures) > 10 else ""
        raise IncompleteJournalError(
            f"Nothing was pruned. The journal contains:\n{listed}{omitted}",
            "Run everything with a new journal until it passes, or prune anyway with --force.",
        )


def find_unplayed(data: bytes, usage: CassetteUsage) -> list[int]:
    """Return the numbers, from 1, of the recordings of the cassette `data` that were not played.

    Recordings that were added after the run do not count. Raises IncompleteJournalError if the cassette is not the one
    that the runs opened.
    """
    for size, sha256, _ in usage.opened:
        if len(data) < size or hashlib.sha256(data[:size]).hexdigest() != sha256:
            raise IncompleteJournalError(
                "The cassette has changed since the run. It was kept.", "Run everything again with a new journal."
            )
    count = min((items for _, _, items in usage.opened), default=0)
    return [number for number in range(1, count + 1) if number not in usage.played]
