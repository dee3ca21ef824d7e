"""The body of an upstream's answer: each chunk as it comes, and how it ended."""

from __future__ import annotations

import asyncio

import aiohttp

from openai_replay.model import End
from openai_replay.proxy.live_response import LiveResponse


async def read_body(response: aiohttp.ClientResponse, arriving: LiveResponse, idle_timeout_s: float) -> None:
    """Add what comes of `response` to `arriving`, until it ends, or breaks, or nothing comes for `idle_timeout_s`."""
    # Only the connection's protocol knows whether it was closed or broke, and only until the response is released:
    # errors of the body say the same for both, and a body that lasts until the connection ends has no error at all.
    connection = response.connection.protocol if response.connection is not None else None
    content, end = response.content, End.COMPLETE

    def is_closed(closed: asyncio.Future[None]) -> None:
        # aiohttp tells nobody of a chunk it cannot read, if the head had come before: the reader would wait for ever.
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the body cannot be read"))

    watch = _Watch(content, idle_timeout_s)
    closed = connection.closed if connection is not None else None
    if connection is not None:
        connection.read_timeout = None
    if closed is not None:
        closed.remove_done_callback(_is_heard)  # of an answer before this one
        closed.add_done_callback(_is_heard)
        closed.add_done_callback(is_closed)
    try:
        # readchunk keeps HTTP chunks apart that came in one segment; an empty one is only the end of a chunk.
        # (Where there is no body, its end is told only once in the life of the process: aiohttp shares one empty
        # stream.)
        while not content.at_eof():
            data, _ = await content.readchunk()
            if data and not arriving.feed(data, is_last=content.at_eof()):
                watch.stop()
                if not await arriving.wait_for_capacity():
                    return
                watch = _Watch(content, idle_timeout_s)
            watch.hears()
    except (aiohttp.ClientError, TimeoutError, OSError):
        end = End.TRUNCATED
    finally:
        watch.stop()
        if closed is not None:
            closed.remove_done_callback(is_closed)
    broken = connection.exception() if connection is not None else None
    if isinstance(broken, OSError) and not isinstance(broken, TimeoutError):
        end = End.RESET
    arriving.finish(end)


class _Watch:
    """Breaks an answer off where nothing of it comes for `limit_s`. aiohttp can do that, too, but sets a timer anew for
    every read, which takes as long as to parse it.
    """

    def __init__(self, content: aiohttp.StreamReader, limit_s: float) -> None:
        self._content = content
        self._limit_s = limit_s
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._timer = self._loop.call_later(limit_s, self._look)

    def hears(self) -> None:
        """Something has come."""
        self._heard = self._loop.time()

    def stop(self) -> None:
        """Watch no more."""
        self._timer.cancel()

    def _look(self) -> None:
        left_s = self._heard + self._limit_s - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look)
        else:
            self._content.set_exception(aiohttp.SocketTimeoutError("nothing came for longer than the idle timeout"))


def _is_heard(closed: asyncio.Future[None]) -> None:
    """A connection that breaks while nobody uses it is nothing to tell of."""
    if not closed.cancelled():
        closed.exception()
