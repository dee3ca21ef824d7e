"""What the two halves of an engine share: whoever asked, and what is noted of an exchange."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple, Protocol

from openai_replay.journal.exchanges import Exchange, Outcome
from openai_replay.model import End, Head, Request, Response
from openai_replay.proxy.request_cache import Asked

#: Bytes after which a write is not put off for more: what a slow client has not read yet is not held twice.
_WRITTEN_AT_ONCE = 1 << 18


class Client(Protocol):
    """Whoever asked. Everything that writes raises ConnectionError once the client has left."""

    def begin(self, head: Head) -> Hashable:
        """Decide how the answer goes out that starts with `head`, before any of it is encoded.

        What is returned is all that its bytes depend on, beside what is sent.
        """

    def encode(self, head: Head | None, frames: Sequence[bytes], end: End | None) -> bytes:
        """Head, frames and end as they are written: each frame a chunk of its own."""

    def write(self, data: bytes) -> bool:
        """Write what was encoded. Whether the client keeps up; if not, wait until it has `drained`."""

    async def drained(self) -> None:
        """Wait until the client has taken most of what was written."""

    async def end(self, end: End) -> None:
        """All is written: end as it was recorded."""

    async def send(self, *, head: Head | None = None, frames: Sequence[bytes] = (), end: End | None = None) -> None:
        """All of this in one, as the client keeps up."""


class Portion(NamedTuple):
    """What is written at once of an answer."""

    head: Head | None
    frames: Sequence[bytes]
    end: End | None


def portions(head: Head | None, frames: Sequence[bytes], end: End | None) -> Iterator[Portion]:
    """What is due at one instant: one portion, or several where it is very much."""
    size = first = 0
    for number, frame in enumerate(frames, 1):
        size += len(frame)
        if size >= _WRITTEN_AT_ONCE and number < len(frames):
            yield Portion(head, frames[first:number], None)
            head, first, size = None, number, 0
    yield Portion(head, frames[first:] if first else frames, end)


def answered(
    outcome: Outcome,
    asked: Asked | Request,
    response: Response,
    ms: int,
    said: str,
    recording: int | None = None,
    note: str = "",
) -> Exchange:
    """What is noted of a request that got `response`, over after `ms`."""
    head, frames, end = response.head, len(response.frames), response.end
    return Exchange(outcome, asked.method, asked.path, head.status, frames, ms, end, said, recording, note=note)
