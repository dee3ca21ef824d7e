"""The writer of a response: it encodes the response, writes it to the connection, and ends it as it was recorded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from openai_replay.journal import log as logs
from openai_replay.journal.log import log
from openai_replay.model import End, Head, Response
from openai_replay.proxy.client import write_batches
from openai_replay.redaction.redactor import Redactor
from openai_replay.server.http import encoding, tcp
from openai_replay.server.http.encoding import Framing, choose_framing
from openai_replay.server.http.request import Connection, RequestHead

#: Seconds between the arrival of the last byte at the client's machine and the reset of the connection: a client that
#: learns of the reset may throw away what it has not read yet.
_RESET_DELAY_S = 0.05
#: Seconds after which the connection of a client that does not read is reset all the same.
_RESET_TIMEOUT_S = 60.0


class ResponseWriter:
    """The response to one request (`proxy.client.ResponseSink`). `request` is None if its head could not be read."""

    __slots__ = (
        "_connection", "_framing", "_request", "close_after", "cors_origin", "keep_alive", "redactor", "started",
        "write",
    )  # fmt: skip

    def __init__(self, connection: Connection, request: RequestHead | None = None) -> None:
        self._connection = connection
        self._request = request
        self._framing: Framing | None = None
        self.write = connection.write  # directly: a call in between costs a twentieth of what a frame costs
        self.cors_origin = ""  # of the page that may read the response
        self.redactor: Redactor | None = None  # for the log, if it shows heads
        self.close_after = False  # the connection ends with this response
        self.keep_alive = False  # another request may follow; known after `start`
        self.started = False  # from then on the response can only break off

    async def send(self, *, head: Head | None = None, frames: Sequence[bytes] = (), end: End | None = None) -> None:
        """Start, encode, write, drain and close, as far as there is a head, frames and an end."""
        if head is not None:
            self.start(head)
        for batch in write_batches(head, frames, end):
            if not self.write(self.encode(*batch)):
                await self.drain()
        if end is not None:
            await self.close(end)

    def start(self, head: Head) -> Framing:
        """Choose the framing of the response that begins with `head`, and return it."""
        self.started = True
        if self.redactor is not None:
            clean = self.redactor.redact_response(Response(head, 0, (), 0)).head
            log.debug("%s", logs.head(f"< {clean.status} {clean.reason}", clean.headers))
        self._framing = framing = choose_framing(
            self._request, head, close_after=self.close_after, cors_origin=self.cors_origin
        )
        self.keep_alive = framing.keep_alive
        return framing

    def encode(self, head: Head | None, frames: Sequence[bytes], end: End | None) -> bytes:
        """Return head, frames and end as bytes on the wire."""
        assert self._framing is not None, "a response starts before it is encoded"
        return encoding.encode(self._framing, head, frames, end)

    async def drain(self) -> None:
        """Wait until the client has read most of the output. Raises ConnectionError once it has left."""
        await self._connection.drain()

    def notify_disconnect(self, callback: Callable[[], None]) -> None:
        """Call `callback` once the client has left, at once if it already has."""
        if self._connection.transport is None:
            callback()
        else:
            self._connection.on_disconnect = callback

    async def close(self, end: End) -> None:
        """Finish the response, after its last write, in the way that was recorded."""
        if end is not End.COMPLETE:
            self.keep_alive = False
            if end is End.RESET:
                await _reset(self._connection.transport)


async def _reset(transport: asyncio.Transport | None) -> None:
    """Reset the connection after the output has had the time to arrive."""
    if transport is None:
        return
    deadline = time.monotonic() + _RESET_TIMEOUT_S
    while not transport.is_closing() and tcp.has_unconfirmed_output(transport) and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    await asyncio.sleep(_RESET_DELAY_S)
    tcp.reset(transport)
