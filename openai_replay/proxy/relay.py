"""The relay: a live response goes to its client as it arrives, but its end only once the cassette has it.

1. Each read goes to the client at once, in the turn of the event loop in which it came (promise 3).
2. `EndGate` holds a read that would tell the client that the response is over, until the recording is stored
   (promise 4). The end of the HTTP body is held as well.
3. An SDK stops reading at its last event, such as `[DONE]`, long before the body ends. The body has to end soon after
   it; otherwise the event goes on without a recording.
"""

from __future__ import annotations

import asyncio

from openai_replay.model import End, Head
from openai_replay.proxy.aio import completes_within
from openai_replay.proxy.client import ResponseSink
from openai_replay.proxy.live_response import LiveResponse
from openai_replay.text.sse import LastEventFinder

#: Seconds that the last event waits for the end of the body. OpenAI ends the body right after it.
_LAST_EVENT_WAIT_S = 0.2


class EndGate:
    """Decides which reads of a response wait for the recording.

    `is_stream` is True for server-sent events. `has_content_length` is True if the client sees the end of the response
    in its last byte.
    """

    def __init__(self, is_stream: bool, has_content_length: bool) -> None:
        self._last_event = LastEventFinder() if is_stream else None
        self._has_content_length = has_content_length

    def holds(self, data: bytes, is_last: bool) -> bool:
        """Return True if `data`, the next read, would tell the client that the response is over."""
        completes_last_event = self._last_event is not None and self._last_event.feed(data)
        return completes_last_event or (is_last and self._has_content_length)


class Relay:
    """Passes `live` on to `client`.

    The upstream's task calls `_on_data` for each read, which writes it if nothing has to wait. Otherwise the read is
    queued, and `run`, in the client's task, sends it: after the head, after a slow client, after the recording.
    """

    def __init__(self, live: LiveResponse, client: ResponseSink) -> None:
        self._live = live
        self._client = client
        self._gate: EndGate | None = None  # from the first read on
        self._is_sending = True  # nothing overtakes what `run` sends
        self._is_full = False  # the client does not keep up
        self._head_sent = False
        self._client_left = False
        self._held = 0  # reads at the end of the queue that wait for the recording
        live.on_data = self._on_data

    def _on_data(self, data: bytes, is_last: bool) -> bool:
        """Write `data` and return True, or return False if it has to wait in the queue."""
        if self._gate is None:
            self._gate = EndGate(self._live.is_stream, self._live.has_content_length)
        if self._gate.holds(data, is_last) or self._held:
            self._held += 1
            return False
        if self._is_sending or self._is_full or self._live.has_data:
            return False
        try:
            self._is_full = not self._client.write(self._client.encode(None, (data,), None))
        except ConnectionError:  # `run` finds out when it sends this read
            return False
        return True

    async def run(self, stored: asyncio.Task[None]) -> None:
        """Relay the response to its end, which waits for `stored`.

        Raises UpstreamError before anything was sent, and ConnectionError when the client has left.
        """
        self._client.notify_disconnect(self._on_disconnect)
        try:
            await self._run(stored)
        finally:
            self._live.on_data = None  # or both would wait for the garbage collector

    async def _run(self, stored: asyncio.Task[None]) -> None:
        live, client = self._live, self._client
        while True:
            await live.wait_for_data()
            self._is_sending = True
            if self._client_left:
                raise ConnectionResetError("the client has left")
            if live.error is not None:
                raise live.error
            if self._is_full:
                await client.drain()
                self._is_full = False
            await self._send_ready()
            if self._held and not await completes_within(_LAST_EVENT_WAIT_S, live.wait_closed()):
                self._held = 0
                await self._send_ready()
            if live.closed:
                break
            self._is_sending = False
        await self._send_ready()  # what came meanwhile
        await asyncio.shield(stored)
        end = live.end or End.TRUNCATED  # without an end it was cancelled
        await client.send(head=self._unsent_head(), frames=live.take_data(), end=end)

    async def _send_ready(self) -> None:
        """Send the reads in the queue that need not wait for the recording. The first of them go with the head."""
        frames = self._live.take_data(leave=self._held)
        # The head of a response without a body tells the client that it is over.
        is_head_ready = not self._head_sent and (self._held > 0 or not self._live.closed)
        if frames or is_head_ready:
            await self._client.send(head=self._unsent_head(), frames=frames)

    def _on_disconnect(self) -> None:
        self._client_left = True
        self._live.wake()

    def _unsent_head(self) -> Head | None:
        """Return the head for its only way out, or None if it has been sent."""
        head = None if self._head_sent else self._live.head
        self._head_sent = True
        return head
