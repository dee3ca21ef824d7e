"""The response sink, through which a response reaches the client, and the journal entry of an exchange: shared by the
player and the recorder.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple, Protocol

from openai_replay.journal.exchanges import Exchange, Outcome
from openai_replay.model import End, Head, Request, Response
from openai_replay.proxy.request_cache import RequestKey

#: Bytes after which a batch is written: data that a slow client has not read yet is not held twice.
_BATCH_BYTES = 1 << 18


class ResponseSink(Protocol):
    """The receiver of one response. All writing methods raise ConnectionError once the client has left."""

    def start(self, head: Head) -> Hashable:
        """Choose the framing of the response that begins with `head`, before any of it is encoded.

        Return the framing. The encoded bytes depend on it and on the arguments of `encode` alone, so they may be cached
        by it.
        """

    def encode(self, head: Head | None, frames: Sequence[bytes], end: End | None) -> bytes:
        """Return head, frames and end as bytes on the wire. Each frame is a chunk of its own."""

    def write(self, data: bytes) -> bool:
        """Write encoded bytes. Return False if the client does not keep up: then `drain` before the next write."""

    async def drain(self) -> None:
        """Wait until the client has read most of the output."""

    def notify_disconnect(self, callback: Callable[[], None]) -> None:
        """Call `callback` once the client has left, at once if it already has."""

    async def close(self, end: End) -> None:
        """Finish the response, after its last write, in the way that was recorded."""

    async def send(self, *, head: Head | None = None, frames: Sequence[bytes] = (), end: End | None = None) -> None:
        """Start, encode, write, drain and close, as far as there is a head, frames and an end."""


class WriteBatch(NamedTuple):
    """The parts of a response that go out in one write."""

    head: Head | None
    frames: Sequence[bytes]
    end: End | None


def write_batches(head: Head | None, frames: Sequence[bytes], end: End | None) -> Iterator[WriteBatch]:
    """Yield parts of a response that are due at the same instant: in one batch, or in several if they are large."""
    size = first = 0
    for number, frame in enumerate(frames, 1):
        size += len(frame)
        if size >= _BATCH_BYTES and number < len(frames):
            yield WriteBatch(head, frames[first:number], None)
            head, first, size = None, number, 0
    yield WriteBatch(head, frames[first:] if first else frames, end)


def journal_entry(
    outcome: Outcome,
    request: RequestKey | Request,
    response: Response,
    ms: int,
    preview: str,
    recording: int | None = None,
    note: str = "",
) -> Exchange:
    """Return the journal entry of a `request` that got `response` and was over after `ms` milliseconds."""
    head, frames, end = response.head, len(response.frames), response.end
    return Exchange(
        outcome, request.method, request.path, head.status, frames, ms, end, preview, recording, fallback_note=note
    )
