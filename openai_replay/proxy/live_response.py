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


class LiveResponse:
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
        self.frame_count = 0
        self.too_large = False
        self.connection_reused = False  # whether the connection had carried another answer before
        self.end: End | None = None
        self.end_ms = 0
        self.error: UpstreamError | None = None
        self.cancelled = ""
        self._now_ms = now_ms
        self._most = most
        self._size = 0
        self._untaken: list[bytes] = []
        self._waiting = 0  # bytes of them
        self.detached = False  # whether nobody will take any more: what comes is for the tape only
        self._taken = asyncio.Event()
        self._news = asyncio.Event()
        self._over = asyncio.Event()
        self.on_data: Callable[[bytes], bool] | None = None
        self.task: asyncio.Task[object] | None = None  # that reads it

    async def wait_for_data(self) -> None:
        """Wait until something has been added since the last call."""
        await self._news.wait()
        if not self._over.is_set():
            self._news.clear()

    def take_data(self) -> list[bytes]:
        """What has come since the last call."""
        taken, self._untaken, self._waiting = self._untaken, [], 0
        self._taken.set()
        return taken

    def detach(self) -> None:
        """Nobody will take any more: what comes is for the tape only."""
        self.detached = True
        self.take_data()

    async def wait_closed(self) -> None:
        """Wait until nothing more can come: `end` is set, or `error`, or neither if it was cancelled."""
        await self._over.wait()

    @property
    def closed(self) -> bool:
        """Whether nothing more can come."""
        return self._over.is_set()

    @property
    def has_content_length(self) -> bool:
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
        if self.closed:
            return
        self.cancelled = why
        if self.task is not None:
            self.task.cancel()
        else:  # it has not been asked for yet
            self.close()

    def set_head(self, head: Head) -> None:
        """The head is there."""
        self.head, self.head_ms = head, int(self._now_ms())
        self.is_stream = media_type(head.headers) == "text/event-stream"
        self._news.set()

    def feed(self, data: bytes, is_last: bool) -> bool:
        """`data` has come, and if it is the `last`, the end as well. Whether more may come now, or has to wait for
        `room`.
        """
        self.frame_count += 1
        self._size += len(data) + _FRAME_COST
        if self._size > self._most:
            self.too_large = True
            self.frames.clear()
        else:
            self.frames.append(Frame(int(self._now_ms()), data))
        waits = is_last and self.has_content_length
        if not self.detached and (waits or self._untaken or self.on_data is None or not self.on_data(data)):
            self._untaken.append(data)
            self._waiting += len(data)
            self._news.set()
        return not self.too_large or not (self.detached or self._waiting > _AHEAD)

    async def wait_for_capacity(self) -> bool:
        """Wait for a slow reader of what the tape does not keep. False: it is for nobody."""
        while not self.detached and self._waiting > _AHEAD:
            self._taken.clear()
            await self._taken.wait()
        return not self.detached

    def finish(self, end: End) -> None:
        """The answer is over."""
        if not self._over.is_set():
            self.end, self.end_ms = end, int(self._now_ms())
            self.close()

    def close(self) -> None:
        """Nothing more can come."""
        self._over.set()
        self._news.set()
