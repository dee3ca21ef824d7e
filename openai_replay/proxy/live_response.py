"""An answer of the upstream while it arrives: one adds to it, one reads, and neither waits for the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from openai_replay.errors import UpstreamError
from openai_replay.model import End, Frame, Head, Response, media_type

#: Bytes that wait for a client before more is read, once the tape does not keep them: it may read slowly.
_AHEAD = 1 << 20
#: Bytes that a frame costs beside its data, so that a million empty ones are not for nothing.
_FRAME_COST = 128


class Arriving:
    """An answer while it arrives. It grows until `end` (or `error`) is set; one `task` adds to it, one reader waits for
    news.

    `pass_on` is called with what comes while nothing waits for the reader: where it takes it (True), the reader is not
    woken for it. The reader may be slow or leave: times are those of the upstream, and the answer becomes whole all the
    same, unless it is larger than `most` bytes: then it is `too_large` for the tape, `frames` stay empty, and it is
    read as fast as the reader takes it.
    """

    def __init__(self, now_ms: Callable[[], float], most: int) -> None:
        self.head: Head | None = None
        self.is_stream = False  # of server-sent events
        self.head_ms = 0
        self.frames: list[Frame] = []
        self.count = 0
        self.too_large = False
        self.reused = False  # whether the connection had carried another answer before
        self.end: End | None = None
        self.end_ms = 0
        self.error: UpstreamError | None = None
        self.cancelled = ""
        self._now_ms = now_ms
        self._most = most
        self._size = 0
        self._untaken: list[bytes] = []
        self._waiting = 0  # bytes of them
        self.is_left = False  # whether nobody will take any more: what comes is for the tape only
        self._taken = asyncio.Event()
        self._news = asyncio.Event()
        self._over = asyncio.Event()
        self.pass_on: Callable[[bytes], bool] | None = None
        self.task: asyncio.Task[object] | None = None  # that reads it

    async def news(self) -> None:
        """Wait until something has been added since the last call."""
        await self._news.wait()
        if not self._over.is_set():
            self._news.clear()

    def take(self) -> list[bytes]:
        """What has come since the last call."""
        taken, self._untaken, self._waiting = self._untaken, [], 0
        self._taken.set()
        return taken

    def leave(self) -> None:
        """Nobody will take any more: what comes is for the tape only."""
        self.is_left = True
        self.take()

    async def over(self) -> None:
        """Wait until nothing more can come: `end` is set, or `error`, or neither if it was cancelled."""
        await self._over.wait()

    @property
    def is_over(self) -> bool:
        """Whether nothing more can come."""
        return self._over.is_set()

    @property
    def is_counted(self) -> bool:
        """Whether who gets it knows how long it is, and sees its end in the last byte; else it is told the end."""
        return self.head is not None and self.head.length is not None

    @property
    def response(self) -> Response | None:
        """The whole answer; None until it has ended, and where it never does, or is too large for the tape."""
        if self.head is None or self.end is None or self.too_large:
            return None
        return Response(self.head, self.head_ms, tuple(self.frames), self.end_ms, self.end)

    def cancel(self, why: str) -> None:
        """Stop reading; the answer stays without an end, and `cancelled` says why."""
        if self.is_over:
            return
        self.cancelled = why
        if self.task is not None:
            self.task.cancel()
        else:  # it has not been asked for yet
            self.stops()

    def starts(self, head: Head) -> None:
        """The head is there."""
        self.head, self.head_ms = head, int(self._now_ms())
        self.is_stream = media_type(head.headers) == "text/event-stream"
        self._news.set()

    def adds(self, data: bytes, last: bool) -> bool:
        """`data` has come, and if it is the `last`, the end as well. Whether more may come now, or has to wait for
        `room`.
        """
        self.count += 1
        self._size += len(data) + _FRAME_COST
        if self._size > self._most:
            self.too_large = True
            self.frames.clear()
        else:
            self.frames.append(Frame(int(self._now_ms()), data))
        waits = last and self.is_counted
        if not self.is_left and (waits or self._untaken or self.pass_on is None or not self.pass_on(data)):
            self._untaken.append(data)
            self._waiting += len(data)
            self._news.set()
        return not self.too_large or not (self.is_left or self._waiting > _AHEAD)

    async def room(self) -> bool:
        """Wait for a slow reader of what the tape does not keep. False: it is for nobody."""
        while not self.is_left and self._waiting > _AHEAD:
            self._taken.clear()
            await self._taken.wait()
        return not self.is_left

    def ends(self, end: End) -> None:
        """The answer is over."""
        if not self._over.is_set():
            self.end, self.end_ms = end, int(self._now_ms())
            self.stops()

    def stops(self) -> None:
        """Nothing more can come."""
        self._over.set()
        self._news.set()
