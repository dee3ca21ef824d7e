"""The connections clients have: what is asked on each is read, and answered, one after the other.

aiohttp's parser reads requests. The rest of its server stays out: of what playing a recording costs, half were its
objects and tasks for each request, for things that answers from a tape do not have.
"""

from __future__ import annotations

import asyncio
import json
import resource
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from typing import cast

from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpRequestParser, HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import LineTooLong

from openai_replay.eager import begun, in_task
from openai_replay.errors import ERROR_HEADER, BadRequest, Refused, ReplayError
from openai_replay.limits import Limits, shown
from openai_replay.logs import bare, log
from openai_replay.model import End, Head, Headers
from openai_replay.verbatim import Verbatim

#: Seconds a connection may be silent in the middle of a request, or stay open without one. Longer than any pool of a
#: client keeps one, so that none is closed while it is being used again.
PATIENCE_S = 300.0
#: Seconds in which the rest of a request may come that is answered already: who is hung up on may not see the answer.
_LINGERING_S = 10.0
#: Requests that may wait for the answer to one before them, and bytes of a body for who reads it.
_AHEAD = 64
_READ_AHEAD = 1 << 16
JSON = ("Content-Type", "application/json")


class BrokenBody(Exception):
    """The body of a request cannot be read to its end."""


class Incoming:
    """A request as it comes in: aiohttp's `message` for its head, the `content` of its body.

    `arrived`: when it was there, in seconds of `time.monotonic()`; when its head was, until `body` has been read.
    """

    __slots__ = ("arrived", "connection", "content", "message")

    def __init__(self, connection: Connection, message: RawRequestMessage, content: StreamReader, now: float) -> None:
        self.connection = connection
        self.message = message
        self.content = content
        self.arrived = now

    @property
    def peer(self) -> str:
        """The address of who asks."""
        transport = self.connection.transport
        return str(transport.get_extra_info("peername", ("",))[0]) if transport is not None else ""

    def whole(self, limits: Limits) -> bytes | None:
        """All of the body, if it has come already. Raises Refused where it is too large."""
        content = self.content
        if not content.is_eof() or content.exception() is not None:
            return None
        whole = content.read_nowait()
        if len(whole) > limits.body:
            raise _body_too_large(limits)
        return whole

    async def body(self, limits: Limits) -> bytes:
        """All of the body. Raises Refused where it is too large or does not come, BadRequest, ConnectionError."""
        whole = self.whole(limits)
        if whole is not None:
            return whole
        content, headers = self.content, self.message.headers
        declared = headers.get("Content-Length", "")
        if declared.isdecimal() and int(declared) > limits.body:
            raise _body_too_large(limits)
        if headers.get("Expect", "").lower() == "100-continue" and self.message.version >= HttpVersion11:
            self.connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await in_task()
        size = 0
        pieces: list[bytes] = []
        self.connection.reading = True
        try:
            async for piece in _arriving(content):
                size += len(piece)
                if size > limits.body:
                    raise _body_too_large(limits)
                pieces.append(piece)
        except TimeoutError:
            raise Refused(
                f"Nothing more of the request's body came for {PATIENCE_S:g} s.",
                status=HTTPStatus.REQUEST_TIMEOUT,
                code="request_timeout",
            ) from None
        except (BrokenBody, ValueError) as error:
            raise BadRequest(f"The request's body cannot be read: {error}") from None
        finally:
            self.connection.reading = False
        self.arrived = time.monotonic()
        # A body is held twice only while its pieces are joined, which nothing else can come between.
        return b"".join(pieces)


async def _arriving(content: StreamReader) -> AsyncIterator[bytes]:
    """The pieces of a body. Raises TimeoutError when the client is silent for too long."""
    while not content.at_eof():
        async with asyncio.timeout(None if content.is_eof() else PATIENCE_S):
            piece = await content.readany()
        yield piece


class Connections:
    """All connections of one server; `answer` is called with every request, and what to answer it with.

    Those that wait for a request are closed, the oldest first, where there are more than half of the files this
    process may have open: the other half is for what they ask for.
    """

    def __init__(self, answer: Callable[[Incoming, Verbatim], Awaitable[None]], limits: Limits) -> None:
        self.answer = answer
        self.limits = limits
        self.most = max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        self.closing = False  # whether the server stops: one that was accepted at the last moment is not served
        self._open: set[Connection] = set()
        self._waiting: dict[Connection, float] = {}  # since when, on the monotonic clock; since the longest first
        self._look: asyncio.TimerHandle | None = None

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

    def works(self, connection: Connection) -> None:
        """A request of it is being answered."""
        self._waiting.pop(connection, None)

    def waits(self, connection: Connection) -> None:
        """It has no request, or none any more."""
        if connection in self._open:
            self._waiting[connection] = time.monotonic()

    async def shut(self, timeout_s: float) -> None:
        """Finish what is under way, in `timeout_s` seconds, and close all. Where nothing is, there is nothing to wait
        for; and a request that is not whole is not waited for, as nobody knows when it would be.
        """
        self.closing = True
        if self._look is not None:
            self._look.cancel()
        for connection in list(self._open):
            connection.close()
        for limit_s in (timeout_s, None):
            if tasks := [one.task for one in self._open if one.task is not None]:
                await asyncio.wait(tasks, timeout=limit_s)
            for connection in list(self._open):
                connection.hang_up()
                if connection.task is not None:
                    connection.task.cancel()

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

    __slots__ = ("_asked", "_busy", "_connections", "_deaf", "_last", "reading", "task")

    def __init__(self, connections: Connections) -> None:
        loop = asyncio.get_running_loop()
        parser = HttpRequestParser(
            self,
            loop,
            _READ_AHEAD,
            max_line_size=connections.limits.head,
            max_field_size=connections.limits.head,
            payload_exception=BrokenBody,
            auto_decompress=False,  # a compressed request body goes on as it came
        )
        super().__init__(loop, parser)
        self._connections = connections
        self._asked: deque[Incoming | HttpProcessingError] = deque()
        self._last: StreamReader | None = None  # of the request that came last
        self._deaf = False  # whether what comes now is not read any more
        self.reading = False  # whether the body of the request is waited for
        self._busy = False  # whether a request is being answered
        self.task: asyncio.Task[None] | None = None  # that answers, where it has to wait for something

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        # Not super(): event loops have set TCP_NODELAY already, and to ask for the socket costs more than that.
        self.transport = cast(asyncio.Transport, transport)
        self._connections.made(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """See `asyncio.Protocol`."""
        self._connections.lost(self)
        super().connection_lost(exc)
        self._break_off(ConnectionResetError("the client has left"))
        self._asked.clear()
        self._parser = None  # they hold each other

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._deaf or self._parser is None:
            return
        try:
            messages, upgraded, _ = self._parser.feed_data(data)
        except HttpProcessingError as error:
            self._deaf = True
            self._break_off(BrokenBody(_told(error)))
            self._asked.append(error)
        else:
            if not messages:
                return
            now = time.monotonic()
            for message, content in messages:
                self._last = content
                self._asked.append(Incoming(self, message, content, now))
            self._deaf = upgraded  # nothing that we speak
        if not self._busy:
            self._busy = True
            self.task = begun(self._serve(), self._loop)
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
        if not self._busy or self.reading:
            self.hang_up()

    def hang_up(self) -> None:
        """Close it now; what was written before still goes out."""
        self._deaf = True
        if self.transport is not None:
            self.transport.close()

    async def _serve(self) -> None:
        """Answer what has been asked, one after the other."""
        connections, asked = self._connections, self._asked
        connections.works(self)
        goes_on = False
        try:
            while asked:
                goes_on = await self._answer(asked.popleft())
                if not goes_on or connections.closing:
                    return
                if len(asked) == _AHEAD:
                    self._pause_transport(False)
        finally:
            self._busy, self.task = False, None
            connections.waits(self)
            if not goes_on or connections.closing:
                self.hang_up()

    async def _answer(self, incoming: Incoming | HttpProcessingError) -> bool:
        """Answer one request. Whether another may follow."""
        if isinstance(incoming, HttpProcessingError):
            response = Verbatim(self)
            await self._fail(response, not_a_request(incoming, self._connections.limits))
            return False
        response = Verbatim(self, incoming.message)
        try:
            await self._connections.answer(incoming, response)
        except ConnectionError:  # the client has left, and the engine knows what is to be done
            return False
        except Exception as error:
            log.error("openai-replay failed on %s\n%s", incoming.message.method, bare(error))
            await self._fail(response, ReplayError("openai-replay failed on this request.", "Its terminal says more."))
        if not incoming.content.is_eof():
            return await _rest_came(incoming.content) and response.alive
        return response.alive

    async def _fail(self, response: Verbatim, error: ReplayError) -> None:
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


async def _rest_came(content: StreamReader) -> bool:
    """Read what is left of a request that has been answered. Whether it came to its end."""
    with suppress(TimeoutError, BrokenBody, ConnectionError, ValueError):
        async with asyncio.timeout(_LINGERING_S):
            while not content.at_eof():
                await content.readany()
        return True
    return False


def not_a_request(error: HttpProcessingError, limits: Limits) -> ReplayError:
    """What a client is told whose request could not be read."""
    if isinstance(error, LineTooLong) or "Too many headers" in error.message:
        return head_too_large(limits)
    return BadRequest(
        f"This is not a request that can be read: {_told(error)}",
        "A second User-Agent, Host, Content-Type or Content-Length header is refused, too: send each once.",
    )


def _told(error: HttpProcessingError) -> str:
    return " ".join(error.message.split())


def head_too_large(limits: Limits) -> Refused:
    """The request line and the headers, or one of them, are more than the limit (RFC 6585 5)."""
    return Refused(
        f"The head of this request is larger than {shown(limits.head)}, or has more than 128 headers.",
        "Start with a larger --max-head.",
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "request_too_large",
    )


def _body_too_large(limits: Limits) -> Refused:
    return Refused(
        f"The body of this request is larger than {shown(limits.body)}.",
        "Start with a larger --max-body.",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "request_too_large",
    )


def error_reply(error: ReplayError) -> tuple[Head, bytes]:
    """Head and body of `error` in OpenAI's shape."""
    kind = {"type": "openai_replay", "code": error.code, "param": None, "message": error.text}
    body = json.dumps({"error": kind}, ensure_ascii=False).encode("utf-8", "backslashreplace")
    more: Headers = () if error.retry is None else (("x-should-retry", str(error.retry).lower()),)
    if error.status == HTTPStatus.UNAUTHORIZED:
        more += (("WWW-Authenticate", "Bearer"),)
    status = HTTPStatus(error.status)
    return Head(status, status.phrase, (JSON, (ERROR_HEADER, error.code), *more), len(body)), body
