"""What a run has played, by its journal (`journalfile`), and so what of a cassette nobody needs."""

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
    """What runs did with one cassette: how it was when they opened it (size in bytes, SHA-256, number of items), and
    which items, counted from 1, they played.
    """

    opened: set[tuple[int, str, int]] = field(default_factory=set)
    played: set[int] = field(default_factory=set)


@dataclass(slots=True)
class JournalSummary:
    """All that a journal says: every cassette that was opened, by its whole path, and what went wrong."""

    cassettes: dict[str, CassetteUsage]
    failures: list[str]


def read_journal(lines: Iterable[str]) -> JournalSummary:
    """Read a journal. Raises UsageError with the line that is none of a journal's."""
    cassettes: dict[str, CassetteUsage] = defaultdict(CassetteUsage)
    flaws: dict[str, None] = {}  # a set that keeps its order
    open_runs: dict[str, None] = {}
    any_run = False
    for number, line in enumerate(lines, 1):
        try:
            said = json.loads(line)
            match said["event"]:
                case "started":
                    open_runs[said["run"]] = None
                    any_run = True
                case "ended":
                    open_runs.pop(said["run"], None)
                case "opened":
                    cassettes[said["cassette"]].opened.add((said["size"], said["sha256"], said["items"]))
                case "flawed":
                    flaws[said["why"]] = None
                case "exchange":
                    _add_exchange(said, cassettes, flaws)
        except (ValueError, KeyError, TypeError):
            hint = "Write one with --journal of `play`, or --openai-replay-journal of pytest."
            raise UsageError(f"line {number} of the journal is none of a journal's", hint) from None
    if open_runs:
        flaws["a run that never ended: it was killed, or it goes on"] = None
    if not any_run:
        flaws["no run at all"] = None
    return JournalSummary(dict(cassettes), list(flaws))


def _add_exchange(said: dict[str, Any], cassettes: dict[str, CassetteUsage], flaws: dict[str, None]) -> None:
    if "item" in said:
        cassettes[said["cassette"]].played.add(int(said["item"]))
    elif bad := _BAD.get(said["outcome"]):
        flaws[f"{bad}: {said['method']} {said['path']}"] = None


def require_complete(found: JournalSummary) -> None:
    """Raise IncompleteJournalError if a run failed, because it may not have sent all of its requests."""
    if found.failures:
        shown = "\n".join(f"  {flaw}" for flaw in found.failures[:10])
        more = f"\n  and {len(found.failures) - 10} more" if len(found.failures) > 10 else ""
        raise IncompleteJournalError(
            f"nothing is pruned: the journal tells of\n{shown}{more}",
            "Run everything with a new journal until it passes. --force prunes all the same.",
        )


def find_unplayed(data: bytes, usage: CassetteUsage) -> list[int]:
    """The items, counted from 1, of the cassette `data` that nobody played; what was recorded since is no such item.

    Raises IncompleteJournalError where it is not what the runs opened.
    """
    for size, sha256, _ in usage.opened:
        if len(data) < size or hashlib.sha256(data[:size]).hexdigest() != sha256:
            raise IncompleteJournalError(
                "it has changed since the run, left alone", "Run everything again with a new journal."
            )
    known = min((items for _, _, items in usage.opened), default=0)
    return [number for number in range(1, known + 1) if number not in usage.played]
