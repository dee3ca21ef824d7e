"""What became of every request."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from enum import StrEnum, auto
from typing import NamedTuple

from openai_replay.errors import MissReason
from openai_replay.model import End


class Outcome(StrEnum):
    """What became of a request. FAILED: the client got an error of ours.

    LOST: it got its answer, and the tape did not.
    """

    PLAYED = auto()
    RECORDED = auto()
    FORWARDED = auto()
    MISSED = auto()
    FAILED = auto()
    LOST = auto()


class Exchange(NamedTuple):
    """One request and what became of it, for the journal and the terminal; `recording` is its number on the tape."""

    outcome: Outcome
    method: str
    path: str
    status: int
    frames: int = 0
    ms: int = 0
    end: End = End.COMPLETE
    said: str = ""
    recording: int | None = None
    error: str = ""
    reason: MissReason | None = None  # of a miss
    note: str = ""  # what is odd about it, though nothing went wrong: another recording was played than its own

    @property
    def failure(self) -> str:
        """What went wrong, in a line, where it is no miss; else empty."""
        return self.error.partition("\n")[0] if self.outcome in (Outcome.FAILED, Outcome.LOST) else ""


class Journal:
    """Every exchange since the start, and how many there were of each outcome; the oldest go when there are very many.

    `tell` is called with each as it is over.
    """

    def __init__(self, tell: Callable[[Exchange], None] = lambda exchange: None) -> None:
        self.exchanges: deque[Exchange] = deque(maxlen=10_000)
        self.counts: Counter[Outcome] = Counter()
        self._tell = tell

    def add(self, exchange: Exchange) -> None:
        """Note `exchange`."""
        self.exchanges.append(exchange)
        self.counts[exchange.outcome] += 1
        self._tell(exchange)
