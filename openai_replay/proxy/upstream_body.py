"""The body of an upstream's response: each chunk as it arrives, and how it ended."""

from __future__ import annotations

import asyncio

import aiohttp

from openai_replay.model import End
from openai_replay.proxy.live_response import LiveResponse


async def read_body(response: aiohttp.ClientResponse, live: LiveResponse, idle_timeout_s: float) -> None:
    """Feed the body of `response` to `live` until it ends or breaks, or until `idle_timeout_s` pass without data."""
    # Only the connection's protocol knows whether it was closed or broke, and only until the response is released:
    # errors of the body are the same for both, and a body that lasts until the connection ends has no error at all.
    connection = response.connection.protocol if response.connection is not None else None
    end = End.COMPLETE
    reader = BodyReader(response.content, connection, idle_timeout_s)
    try:
        while (data := await reader.read()) is not None:
            if data and not live.feed(data, is_last=response.content.at_eof()):
                reader.idle_timer.stop()
                if not await live.wait_for_capacity():
                    return
                reader.idle_timer.start()
            reader.idle_timer.reset()
    except (aiohttp.ClientError, TimeoutError, OSError):
        end = End.TRUNCATED
    finally:
        reader.close()
    broken = connection.exception() if connection is not None else None
    if isinstance(broken, OSError) and not isinstance(broken, TimeoutError):
        end = End.RESET
    live.finish(end)


class BodyReader:
    """Reads the chunks of one body."""

    def __init__(
        self,
        content: aiohttp.StreamReader,
        connection: aiohttp.client_proto.ResponseHandler | None,
        idle_timeout_s: float,
    ) -> None:
        self._content = content
        self._connection_closed = connection.closed if connection is not None else None
        self.idle_timer = IdleTimer(content, idle_timeout_s)
        self.idle_timer.start()
        if connection is not None:
            connection.read_timeout = None  # the idle timer has its place
        if self._connection_closed is not None:
            self._connection_closed.remove_done_callback(_retrieve_error)  # of an earlier response
            self._connection_closed.add_done_callback(_retrieve_error)
            self._connection_closed.add_done_callback(self._on_connection_closed)

    async def read(self) -> bytes | None:
        """Return the next chunk, or None at the end of the body.

        Chunks that came in one segment stay apart; an empty one is only the end of a chunk. Raises aiohttp.ClientError.
        """
        # `at_eof` first: aiohttp shares one empty stream between all responses without a body, and its end can be
        # read only once.
        if self._content.at_eof():
            return None
        data, _ = await self._content.readchunk()
        return data

    def close(self) -> None:
        """Stop watching the connection."""
        self.idle_timer.stop()
        if self._connection_closed is not None:
            self._connection_closed.remove_done_callback(self._on_connection_closed)

    def _on_connection_closed(self, closed: asyncio.Future[None]) -> None:
        # aiohttp reports a chunk that it cannot parse to nobody if the head was complete: the reader would wait for
        # ever.
        if not self._content.is_eof() and self._content.exception() is None:
            self._content.set_exception(aiohttp.ClientPayloadError("the body cannot be read"))


class IdleTimer:
    """Breaks a body off if no data arrives for `timeout_s`.

    aiohttp can do that as well, but it sets a timer for every read, which takes as long as parsing it.
    """

    def __init__(self, content: aiohttp.StreamReader, timeout_s: float) -> None:
        self._content = content
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._last_data = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Count from now on."""
        self.reset()
        self._timer = self._loop.call_later(self._timeout_s, self._check)

    def reset(self) -> None:
        """Count from the data that has just arrived."""
        self._last_data = self._loop.time()

    def stop(self) -> None:
        """Stop counting."""
        if self._timer is not None:
            self._timer.cancel()

    def _check(self) -> None:
        remaining_s = self._last_data + self._timeout_s - self._loop.time()
        if remaining_s > 0:
            self._timer = self._loop.call_later(remaining_s, self._check)
        else:
            self._content.set_exception(aiohttp.SocketTimeoutError("no data for longer than the idle timeout"))


def _retrieve_error(closed: asyncio.Future[None]) -> None:
    """Retrieve the error of a connection that breaks while it is unused, so that asyncio does not log it."""
    if not closed.cancelled():
        closed.exception()
