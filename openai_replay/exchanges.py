"""What the two halves of an engine share: whoever asked, and what is noted of an exchange."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from typing import Protocol, TypeVar

from openai_replay.asked import LARGE, Asked
from openai_replay.journal import Exchange, Outcome
from openai_replay.model import End, Head, Request, Response

T = TypeVar("T")


class Client(Protocol):
    """Whoever asked. `send` writes what is due at one instant; it raises ConnectionError once the client has left."""

    async def send(
        self,
        *,
        head: Head | None = None,
        frames: Sequence[bytes] = (),
        end: End | None = None,
        encoded: dict[Hashable, bytes] | None = None,
    ) -> None:
        """Write the head, each of `frames` as a chunk of its own, and the end.

        `encoded`: what the same call may have made of the three before, by how; here it is kept for the next one.
        """


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


async def aside(size: int, function: Callable[..., T], *args: object) -> T:
    """Call `function` here, or in a thread: a second of regular expressions would stop every other stream."""
    if size <= LARGE:
        return function(*args)
    return await asyncio.to_thread(function, *args)
