"""The connections clients have: what is asked on each is read, and answered, one after the other.

aiohttp's parser reads requests. The rest of its server stays out: of what playing a recording costs, half were its
objects and tasks for each request, for things that answers from a tape do not have.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast

from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpRequestParser
from aiohttp.http_exceptions import BadHttpMessage

from openai_replay.errors import ReplayError
from openai_replay.journal.log import bare, log
from openai_replay.model import End
from openai_replay.server.http.errors import error_reply, not_a_request, told
from openai_replay.server.http.limits import Limits
from openai_replay.server.http.request import PATIENCE_S, BrokenBody, Incoming
from openai_replay.server.http.response import ResponseWriter

#: Requests that may wait for the answer to one before them, and bytes of a body for who reads it.
_AHEAD = 64
_READ_AHEAD = 1 << 16


class Connections:
    """All connections of one server; `answer` is called with every request, and what to answer it with.

    Those that wait for a request are closed, the oldest first, where there are more than half of the files this
    process may have open: the other half is for what they ask for.
    """

    def __init__(self, answer: Callable[[Incoming, ResponseWriter], Awaitable[None]], limits: Limits) -> None:
        self.answer = answer
        self.limits = limits
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.most = sys.maxsize if files == resource.RLIM_INFINITY else max(16, files // 2)
        self.closing = False  # whether the server stops: one that was accepted at the last moment is not served
        self._open: set[Connection] = set()
        self._left: set[Connection] = set()  # by their clients, while something was answered that is not over yet
        self._waiting: dict[Connection, float] = {}  # since when, on the monotonic clock; since the longest first
        self._look: asyncio.TimerHandle | None = None
        self._over = asyncio.Event()  # when the server stops, and nothing is under way any more

    def made(self, connection: Connection) -> None:
        """There is one more."""
        if self.closing:
            connection.hang_up()
            return
        self._open.add(connection)
        self.waits(connection)
        while len(self._open) > self.most and self._waiting:
            self._drop(next(iter(self._waiting)))
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(PATIENCE_S, self._close_silent)

    def lost(self, connection: Connection) -> None:
        """It is closed."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)
        if connection.task is not None:
            self._left.add(connection)
        self._note_end()

    def works(self, connection: Connection) -> None:
        """A request of it is being answered."""
        self._waiting.pop(connection, None)

    def waits(self, connection: Connection) -> None:
        """It has no request, or none any more."""
        if connection in self._open:
            self._waiting[connection] = time.monotonic()
        elif connection in self._left:
            self._left.remove(connection)
            self._note_end()

    async def shut(self, timeout_s: float) -> None:
        """Finish what is under way, in `timeout_s` seconds, and close all. Where nothing is, there is nothing to wait
        for; and a request that is not whole is not waited for, as nobody knows when it would be.
        """
        self.closing = True
        if self._look is not None:
            self._look.cancel()
        for connection in list(self._open):
            connection.close()
        self._note_end()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._over.wait()  # an answer is over when all of it has gone out
        late = self._open | self._left
        tasks = [one.task for one in late if one.task is not None]
        for connection in late:
            connection.abort()
        if tasks:
            await asyncio.wait(tasks)

    def _note_end(self) -> None:
        if self.closing and not self._open and not self._left:
            self._over.set()

    def _close_silent(self) -> None:
        since = time.monotonic() - PATIENCE_S
        while self._waiting and (oldest := next(iter(self._waiting.items())))[1] <= since:
            self._drop(oldest[0])
        self._look = None
        if self._open:
            wait_s = next(iter(self._waiting.values())) - since if self._waiting else PATIENCE_S
            self._look = asyncio.get_running_loop().call_later(wait_s, self._close_silent)

    def _drop(self, connection: Connection) -> None:
        self.lost(connection)
        connection.hang_up()


class Connection(BaseProtocol):
    """One connection. What is no request gets an answer in OpenAI's shape like everything else."""

    __slots__ = ("_answered", "_asked", "_connections", "_deaf", "_last", "_parser", "received_at", "task")

    def __init__(self, connections: Connections, received_at: Callable[[], float] = time.monotonic) -> None:
        super().__init__(asyncio.get_running_loop())
        # By this name aiohttp knows it from 3.14 on: a body that is too long for its reader pauses it, too.
        self._parser: HttpRequestParser | None = HttpRequestParser(
            self,
            self._loop,
            _READ_AHEAD,
            max_line_size=connections.limits.head,
            max_field_size=connections.limits.head,
            payload_exception=BrokenBody,
            auto_decompress=False,  # a compressed request body goes on as it came
        )
        self._connections = connections
        self._asked: deque[Incoming | HttpProcessingError] = deque()
        self._last: StreamReader | None = None  # of the request that came last
        self._deaf = False  # whether what comes now is not read any more
        self._answered: Incoming | None = None  # the request that is being answered
        self.received_at = received_at  # when the current read arrived
        self.task: asyncio.Task[None] | None = None  # that answers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        # Not super(): event loops have set TCP_NODELAY already, and to ask for the socket costs more than that.
        self.transport = cast(asyncio.Transport, transport)
        # uvloop writes at the end of a turn what it may hold: a frame would wait for all others that are due.
        self.transport.set_write_buffer_limits(0)
        self._connections.made(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """See `asyncio.Protocol`."""
        self._connections.lost(self)
        super().connection_lost(exc)
        self._break_off(ConnectionResetError("the client has left"))
        self._asked.clear()
        self._parser = self._last = None  # they hold this, too

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._deaf or self._parser is None:
            return
        try:
            messages, upgraded, _ = self._parser.feed_data(data)
        except (HttpProcessingError, ValueError) as error:
            # A target that is no URL is a ValueError to aiohttp before 3.14.
            broken = error if isinstance(error, HttpProcessingError) else BadHttpMessage(str(error))
            self._deaf = True
            self._break_off(BrokenBody(told(broken)))
            self._asked.append(broken)
        else:
            if not messages:
                return
            now = self.received_at()
            for message, content in messages:
                self._last = content
                self._asked.append(Incoming(self, message, content, now))
            self._deaf = upgraded  # nothing that we speak
        if self.task is None:
            self._connections.works(self)
            # The task starts after all that can be read has been: to read and answer each by itself takes half as
            # much time again, because the processor remembers what it has just done.
            self.task = self._loop.create_task(self._serve())
        elif len(self._asked) > _AHEAD:
            self._pause_transport(True)

    def write(self, data: bytes) -> bool:
        """Write `data`. Whether the client keeps up; if not, wait until it has `drained`. Raises ConnectionError."""
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has left")
        transport.write(data)
        return not self._paused

    async def drained(self) -> None:
        """Wait until the client has taken most of what was written. Raises ConnectionError."""
        await self._drain_helper()

    def resume_reading(self, *of: bool, **more: bool) -> None:
        """See BaseProtocol. A body that was never too long for its reader has not paused anything."""
        if self._reading_paused:
            super().resume_reading(*of, **more)

    def close(self) -> None:
        """Take no more requests. What is under way goes on, but for a request that is not whole."""
        self._deaf = True
        if self.task is None or (self._answered is not None and not self._answered.content.is_eof()):
            self.hang_up()

    def hang_up(self) -> None:
        """Close it now; what was written before still goes out."""
        self._deaf = True
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Close it now, and break off what is under way."""
        if self.task is not None:
            self.task.cancel()
        if self.transport is not None:
            self.transport.abort()

    async def _serve(self) -> None:
        """Answer what has been asked, one after the other."""
        connections, asked = self._connections, self._asked
        goes_on = False
        try:
            while asked:
                if not await self._answer(asked.popleft()) or connections.closing:
                    return
                if len(asked) == _AHEAD:
                    self._pause_transport(False)
            goes_on = not self._deaf
        finally:
            self.task = self._answered = None
            connections.waits(self)
            if not goes_on:
                self.hang_up()

    async def _answer(self, incoming: Incoming | HttpProcessingError) -> bool:
        """Answer one request. Whether another may follow."""
        if isinstance(incoming, HttpProcessingError):
            response = ResponseWriter(self)
            await self._fail(response, not_a_request(incoming, self._connections.limits))
            return False
        self._answered = incoming
        response = ResponseWriter(self, incoming.message)
        response.last = self._deaf and not self._asked
        try:
            if self._paused:  # the answer before this one did not wait for its last bytes to be taken
                await self.drained()
            await self._connections.answer(incoming, response)
        except ConnectionError:  # the client has left, and the engine knows what is to be done
            return False
        except Exception as error:
            log.error("openai-replay failed on %s\n%s", incoming.message.method, bare(error))
            await self._fail(response, ReplayError("openai-replay failed on this request.", "Its terminal says more."))
        if not incoming.content.is_eof() and not self._deaf:
            await incoming.lingers()
        return response.alive and incoming.content.is_eof()

    async def _fail(self, response: ResponseWriter, error: ReplayError) -> None:
        """Say `error`, where no answer has been begun: one that has can only break off."""
        if not response.started:
            response.last = True
            with suppress(ConnectionError):
                head, body = error_reply(error)
                await response.send(head=head, frames=[body], end=End.COMPLETE)
        response.alive = False

    def _break_off(self, error: Exception) -> None:
        """The body that comes now ends here."""
        if self._last is not None and not self._last.is_eof():
            self._last.set_exception(error)

    def _pause_transport(self, pause: bool) -> None:
        """Read no more for now, or again, unless the body that comes now has to wait."""
        if self.transport is not None and not self._reading_paused:
            with suppress(RuntimeError):  # it is closing
                (self.transport.pause_reading if pause else self.transport.resume_reading)()
