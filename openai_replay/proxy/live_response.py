"""A response of the upstream while it arrives: the upstream's task feeds it, a relay reads it, neither waits.

The reader may be slow or leave. Times are those of the upstream, and the response becomes complete all the same, unless
it is larger than the cassette may keep: then it is read only as fast as the reader takes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from openai_replay.errors import UpstreamError
from openai_replay.model import End, Frame, Head, Response, media_type

#: Bytes in the queue of a slow reader before the upstream has to wait, for a response that is not recorded.
_MAX_QUEUED_BYTES = 1 << 20
#: Bytes that count for a frame beside its data, so that a million empty frames have a size.
_FRAME_BYTES = 128


class LiveResponse:
    """A response that grows until `end` is set, or `error`, or neither if it was cancelled.

    `elapsed_ms` is the clock of its times. Above `max_bytes` it is `too_large` to record, and its frames are dropped.
    """

    def __init__(self, elapsed_ms: Callable[[], float], max_bytes: int) -> None:
        self.head: Head | None = None
        self.is_stream = False  # of server-sent events
        self.end: End | None = None
        self.error: UpstreamError | None = None
        self.cancelled = ""  # the reason
        self.frame_count = 0
        self.too_large = False
        self.detached = False  # without a reader: the rest is for the cassette only
        self.connection_reused = False
        #: Called with each read, and True for the last one. It returns False if the read has to wait in the queue.
        self.on_data: Callable[[bytes, bool], bool] | None = None
        self.task: asyncio.Task[object] | None = None  # that feeds it
        self._elapsed_ms = elapsed_ms
        self._max_bytes = max_bytes
        self._head_ms = self.end_ms = 0
        self._frames: list[Frame] = []
        self._size = 0
        self._queue: list[bytes] = []
        self._queued_bytes = 0
        self._has_capacity = asyncio.Event()
        self._has_news = asyncio.Event()
        self._closed = asyncio.Event()

    # -------------------------------------------------------------------------------------- its reader

    async def wait_for_data(self) -> None:
        """Wait for the head, for data in the queue, or for the end: whatever is new since the last call."""
        await self._has_news.wait()
        if not self.closed:
            self._has_news.clear()

    def wake(self) -> None:
        """End `wait_for_data`, although nothing has come."""
        self._has_news.set()

    @property
    def has_data(self) -> bool:
        """True if the queue is not empty."""
        return bool(self._queue)

    def take_data(self, leave: int = 0) -> list[bytes]:
        """Take the reads in the queue, except the last `leave`."""
        split = len(self._queue) - leave
        ready, self._queue = self._queue[:split], self._queue[split:]
        self._queued_bytes = sum(map(len, self._queue))
        self._has_capacity.set()
        return ready

    def detach(self) -> None:
        """Go on without a reader."""
        self.detached = True
        self.take_data()

    def cancel(self, reason: str) -> None:
        """Stop the upstream's task. The response stays without an end."""
        if self.closed:
            return
        self.cancelled = reason
        if self.task is not None:
            self.task.cancel()
        else:  # the request has not been sent yet
            self.close()

    # -------------------------------------------------------------------------------------- its result

    @property
    def closed(self) -> bool:
        """True if nothing more can come."""
        return self._closed.is_set()

    async def wait_closed(self) -> None:
        """Wait until nothing more can come."""
        await self._closed.wait()

    @property
    def has_content_length(self) -> bool:
        """True if the response has a Content-Length, so that the last byte of the body also ends it."""
        return self.head is not None and self.head.length is not None

    @property
    def response(self) -> Response | None:
        """The complete response, or None if it has no end or is too large to record."""
        if self.head is None or self.end is None or self.too_large:
            return None
        return Response(self.head, self._head_ms, tuple(self._frames), self.end_ms, self.end)

    # -------------------------------------------------------------------------------------- its writer

    def set_head(self, head: Head) -> None:
        """Set the head, which has just arrived."""
        self.head, self._head_ms = head, int(self._elapsed_ms())
        self.is_stream = media_type(head.headers) == "text/event-stream"
        self._has_news.set()

    def feed(self, data: bytes, is_last: bool) -> bool:
        """Add a read. Return False if the writer has to `wait_for_capacity` before the next one."""
        self.frame_count += 1
        self._size += len(data) + _FRAME_BYTES
        if self._size > self._max_bytes:
            self.too_large = True
            self._frames.clear()
        else:
            self._frames.append(Frame(int(self._elapsed_ms()), data))
        if not self.detached and not (self.on_data is not None and self.on_data(data, is_last)):
            self._queue.append(data)
            self._queued_bytes += len(data)
            self._has_news.set()
        return not self.too_large or not (self.detached or self._queued_bytes > _MAX_QUEUED_BYTES)

    async def wait_for_capacity(self) -> bool:
        """Wait for a slow reader of a response that is not recorded. Return False if it has no reader any more."""
        while not self.detached and self._queued_bytes > _MAX_QUEUED_BYTES:
            self._has_capacity.clear()
            await self._has_capacity.wait()
        return not self.detached

    def finish(self, end: End) -> None:
        """Set the end, which has just arrived."""
        if not self.closed:
            self.end, self.end_ms = end, int(self._elapsed_ms())
            self.close()

    def close(self) -> None:
        """Let nothing more come."""
        self._closed.set()
        self._has_news.set()
