"""The open connections of one server: how many there may be, how long they may be idle, and how they are shut down."""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from contextlib import suppress
from typing import Protocol


class OpenConnection(Protocol):
    """A connection as its registry sees it."""

    task: asyncio.Task[None] | None  # answers a request

    def close(self) -> None:
        """Accept no more requests, and hang up once the current response is finished."""

    def hang_up(self) -> None:
        """Close the connection. Output that was written before still goes out."""

    def abort(self) -> None:
        """Close the connection, and cancel the current response."""


def max_connections(max_files: int) -> int:
    """Return how many connections may be open if the process may have `max_files` open files.

    That is half of them: the other half is for what the clients request.
    """
    return sys.maxsize if max_files == resource.RLIM_INFINITY else max(16, max_files // 2)


class ConnectionRegistry:
    """The connections of one server. Idle ones are closed after `idle_s` seconds, and sooner if more than `max_open`
    are open (None: as many as the process may have): the one that has been idle for the longest time goes first.
    """

    def __init__(self, idle_s: float, max_open: int | None = None) -> None:
        self._idle_s = idle_s
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._max_open = max_connections(files) if max_open is None else max_open
        self.closing = False  # the server stops: a connection that is accepted at the last moment is not served
        self._open: set[OpenConnection] = set()
        self._unfinished: set[OpenConnection] = set()  # closed by their clients before the response was finished
        self._idle: dict[OpenConnection, float] = {}  # since when, on the monotonic clock, in this order
        self._sweep: asyncio.TimerHandle | None = None
        self._all_finished = asyncio.Event()  # while the server stops

    def add(self, connection: OpenConnection) -> None:
        """Add a new connection, which is idle."""
        if self.closing:
            connection.hang_up()
            return
        self._open.add(connection)
        self.mark_idle(connection)
        while len(self._open) > self._max_open and self._idle:
            self._close_idle(next(iter(self._idle)))
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._idle_s, self._close_all_idle)

    def remove(self, connection: OpenConnection) -> None:
        """Remove a connection that is closed."""
        self._open.discard(connection)
        self._idle.pop(connection, None)
        if connection.task is not None:
            self._unfinished.add(connection)
        self._check_finished()

    def mark_busy(self, connection: OpenConnection) -> None:
        """Note that a request of `connection` is being answered."""
        self._idle.pop(connection, None)

    def mark_idle(self, connection: OpenConnection) -> None:
        """Note that all requests of `connection` are answered."""
        if connection in self._open:
            self._idle[connection] = time.monotonic()
        elif connection in self._unfinished:
            self._unfinished.remove(connection)
            self._check_finished()

    async def shutdown(self, timeout_s: float) -> None:
        """Close all connections, but give current responses `timeout_s` seconds to finish.

        Idle connections are not waited for, nor are requests that have not arrived completely.
        """
        self.closing = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._open):
            connection.close()
        self._check_finished()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._all_finished.wait()  # a response is finished after all of it has gone out
        late = self._open | self._unfinished
        tasks = [connection.task for connection in late if connection.task is not None]
        for connection in late:
            connection.abort()
        if tasks:
            await asyncio.wait(tasks)

    def _check_finished(self) -> None:
        if self.closing and not self._open and not self._unfinished:
            self._all_finished.set()

    def _close_all_idle(self) -> None:
        """Close the connections that have been idle for too long, and come again when the next one will have been."""
        limit = time.monotonic() - self._idle_s
        while self._idle and (oldest := next(iter(self._idle.items())))[1] <= limit:
            self._close_idle(oldest[0])
        self._sweep = None
        if self._open:
            wait_s = next(iter(self._idle.values())) - limit if self._idle else self._idle_s
            self._sweep = asyncio.get_running_loop().call_later(wait_s, self._close_all_idle)

    def _close_idle(self, connection: OpenConnection) -> None:
        self.remove(connection)
        connection.hang_up()
