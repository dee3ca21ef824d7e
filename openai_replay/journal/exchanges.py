"""Exchanges: each request with its outcome, and how many there are of each outcome."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from enum import StrEnum, auto
from typing import NamedTuple

from openai_replay.errors import MissReason
from openai_replay.model import End


class Outcome(StrEnum):
    """The outcome of a request. FAILED: the client got an error from this proxy.

    LOST: the client got its response, but the cassette did not.
    """

    PLAYED = auto()
    RECORDED = auto()
    FORWARDED = auto()
    MISSED = auto()
    FAILED = auto()
    LOST = auto()


class Exchange(NamedTuple):
    """One request and its outcome, for the journal and the terminal. `recording` is its number in the cassette."""

    outcome: Outcome
    method: str
    path: str
    status: int
    frames: int = 0
    ms: int = 0
    end: End = End.COMPLETE
    preview: str = ""
    recording: int | None = None
    error: str = ""
    reason: MissReason | None = None  # of a miss
    fallback_note: str = ""  # which other recording was played instead

    @property
    def failure(self) -> str:
        """The failure in one line, unless it is a miss. Empty without a failure."""
        return self.error.partition("\n")[0] if self.outcome in (Outcome.FAILED, Outcome.LOST) else ""


class Journal:
    """The exchanges since the start, and the number of each outcome. Of very many exchanges, the oldest are dropped.

    `on_exchange` is called with each exchange when it ends.
    """

    def __init__(self, on_exchange: Callable[[Exchange], None] = lambda exchange: None) -> None:
        self.exchanges: deque[Exchange] = deque(maxlen=10_000)
        self.counts: Counter[Outcome] = Counter()
        self._on_exchange = on_exchange

    def add(self, exchange: Exchange) -> None:
        """Note `exchange`."""
        self.exchanges.append(exchange)
        self.counts[exchange.outcome] += 1
        self._on_exchange(exchange)
