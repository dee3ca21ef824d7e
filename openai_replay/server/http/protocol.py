"""The protocol of one client connection: it reads requests and has them answered in their order.

The only module that knows aiohttp's request parser, whose errors become ours here. The rest of aiohttp's server is not
used: its objects and tasks for each request took half of the time of playing a recording.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast

from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpRequestParser, HttpVersion11
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong

from openai_replay.errors import BadRequestError, ReplayError
from openai_replay.journal.log import log, safe_traceback
from openai_replay.model import End
from openai_replay.server.http import peer
from openai_replay.server.http.connection_registry import ConnectionRegistry
from openai_replay.server.http.errors import error_response, head_too_large
from openai_replay.server.http.limits import Limits
from openai_replay.server.http.request import BodyReader, BrokenBodyError, IncomingRequest, RequestHead
from openai_replay.server.http.response import ResponseWriter

#: Requests that may wait for the response to an earlier one, and bytes of a body that may wait for their reader.
_MAX_QUEUED = 64
_BODY_BUFFER_BYTES = 1 << 16

#: Seconds until a client that has closed its sending side is checked, and between two checks.
_FIRST_CHECK_S, _CHECK_INTERVAL_S = 0.01, 0.2

#: Answers one request. Raises ConnectionError when the client has left.
Handler = Callable[[IncomingRequest, ResponseWriter], Awaitable[None]]


class HttpProtocol(BaseProtocol):
    """One connection, whose requests `handle` answers. `received_at` returns when the current read arrived.

    Input that is not HTTP gets a response in OpenAI's shape like everything else.
    """

    __slots__ = (
        "_current", "_handle", "_ignore_input", "_last_body", "_limits", "_parser", "_queue", "_registry",
        "on_disconnect", "received_at", "task",
    )  # fmt: skip

    def __init__(
        self,
        registry: ConnectionRegistry,
        handle: Handler,
        limits: Limits,
        received_at: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(asyncio.get_running_loop())
        # aiohttp knows it by this name from 3.14 on: a body that is too large for its buffer pauses the parser as well.
        self._parser: HttpRequestParser | None = HttpRequestParser(
            self,
            self._loop,
            _BODY_BUFFER_BYTES,
            max_line_size=limits.head,
            max_field_size=limits.head,
            payload_exception=BrokenBodyError,
            auto_decompress=False,  # a compressed request body is forwarded as it is
        )
        self._registry = registry
        self._handle = handle
        self._limits = limits
        self.received_at = received_at
        self._queue: deque[IncomingRequest | ReplayError] = deque()
        self._current: IncomingRequest | None = None  # the request that is being answered
        self._last_body: StreamReader | None = None  # the body of the newest request
        self._ignore_input = False
        self.task: asyncio.Task[None] | None = None  # answers the queue
        #: Called when the client leaves: a response that waits for something else has to know.
        self.on_disconnect: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection (`asyncio.BaseProtocol`)."""
        # Not super(): event loops have set TCP_NODELAY already, and to ask for the socket costs more than that.
        self.transport = cast(asyncio.Transport, transport)
        # uvloop puts off writes to the end of a turn if it may buffer: a frame would wait for all others that are due.
        self.transport.set_write_buffer_limits(0)
        self._registry.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection, and end the body that is arriving (`asyncio.BaseProtocol`)."""
        self._registry.remove(self)
        super().connection_lost(exc)
        self._fail_body(ConnectionResetError("the client has left"))
        self._queue.clear()
        self._parser = self._last_body = None  # they refer to this connection
        if self.on_disconnect is not None:
            self.on_disconnect()

    def data_received(self, data: bytes) -> None:
        """Parse `data`, and answer the requests that it completes (`asyncio.Protocol`)."""
        if self._ignore_input or self._parser is None:
            return
        try:
            messages, upgraded, _ = self._parser.feed_data(data)
        except (HttpProcessingError, ValueError) as error:
            # A target that is not a URL is a ValueError in aiohttp before 3.14.
            broken = error if isinstance(error, HttpProcessingError) else BadHttpMessage(str(error))
            self._ignore_input = True
            self._fail_body(BrokenBodyError(_parser_message(broken)))
            self._queue.append(_unreadable_request(broken, self._limits))
        else:
            if not messages:
                return
            received_at = self.received_at()
            for message, body in messages:
                http11 = message.version >= HttpVersion11
                head = RequestHead(message.method, message.path, message.raw_headers, http11, not message.should_close)
                self._last_body = body
                self._queue.append(IncomingRequest(self, head, body, received_at))
            self._ignore_input = upgraded  # to another protocol
        if self.task is None:
            self._registry.mark_busy(self)
            # The task starts after all connections that have input were read. To read and answer one by one takes half
            # as long again, because the processor has to load the code of both each time.
            self.task = self._loop.create_task(self._answer_queue())
        elif len(self._queue) > _MAX_QUEUED:
            self._pause_input(True)

    def eof_received(self) -> bool:
        """Keep the connection open for its responses if the client has only closed its sending side
        (`asyncio.Protocol`).
        """
        if self.task is None or self._last_body is None or not self._last_body.is_eof():
            return False
        self._ignore_input = True
        self._loop.call_later(_FIRST_CHECK_S, self._check_client)
        return True

    def write(self, data: bytes) -> bool:
        """Write `data`. Return False if the client does not keep up. Raises ConnectionError once it has left."""
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has left")
        transport.write(data)
        return not self._paused

    async def drain(self) -> None:
        """Wait until the client has read most of the output. Raises ConnectionError once it has left."""
        await self._drain_helper()

    async def read_body(self, body: BodyReader) -> bytes:
        """Wait for more of `body` and return it. Raises BrokenBodyError, ConnectionError."""
        try:
            return await cast(StreamReader, body).readany()
        except HttpProcessingError as error:  # the parser in Python may raise its own
            raise BrokenBodyError(_parser_message(error)) from None
        except ValueError as error:
            raise BrokenBodyError(str(error)) from None

    def resume_reading(self, *args: bool, **kwargs: bool) -> None:
        """Resume input (aiohttp's `BaseProtocol`), unless it was never paused: most bodies fit into the buffer."""
        if self._reading_paused:
            super().resume_reading(*args, **kwargs)

    def close(self) -> None:
        """Accept no more requests, and hang up once the current response is finished.

        A request that has not arrived completely is not waited for.
        """
        self._ignore_input = True
        if self.task is None or (self._current is not None and not self._current.body.is_eof()):
            self.hang_up()

    def hang_up(self) -> None:
        """Close the connection. Output that was written before still goes out."""
        self._ignore_input = True
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Close the connection, and cancel the current response."""
        if self.task is not None:
            self.task.cancel()
        if self.transport is not None:
            self.transport.abort()

    async def _answer_queue(self) -> None:
        """Answer the requests in the queue, one after the other."""
        registry, queue = self._registry, self._queue
        keep_alive = False
        try:
            while queue:
                if not await self._answer(queue.popleft()) or registry.closing:
                    return
                if len(queue) == _MAX_QUEUED:
                    self._pause_input(False)
            keep_alive = not self._ignore_input
        finally:
            self.task = self._current = self.on_disconnect = None
            registry.mark_idle(self)
            if not keep_alive:
                self.hang_up()

    async def _answer(self, request: IncomingRequest | ReplayError) -> bool:
        """Answer one request, or tell the client why it could not be read. Return True if another one may follow."""
        if isinstance(request, ReplayError):
            await self._send_error(ResponseWriter(self), request)
            return False
        self._current = request
        self.on_disconnect = None
        response = ResponseWriter(self, request.head)
        response.close_after = self._ignore_input and not self._queue
        try:
            if self._paused:  # the response before this one did not wait until its last bytes were read
                await self.drain()
            await self._handle(request, response)
        except ConnectionError:  # the client has left, and the engine has dealt with it
            return False
        except Exception as error:
            log.error("openai-replay failed on %s\n%s", request.head.method, safe_traceback(error))
            hint = "See the openai-replay log for details."
            await self._send_error(response, ReplayError("openai-replay failed on this request.", hint))
        if not request.body.is_eof() and not self._ignore_input:
            await request.drain(self._limits.linger_s)
        return response.keep_alive and request.body.is_eof()

    async def _send_error(self, response: ResponseWriter, error: ReplayError) -> None:
        """Tell the client of `error`, unless the response has started: then it can only break off."""
        if not response.started:
            response.close_after = True
            with suppress(ConnectionError):
                head, body = error_response(error)
                await response.send(head=head, frames=[body], end=End.COMPLETE)
        response.keep_alive = False

    def _fail_body(self, error: Exception) -> None:
        """End the body that is arriving with `error`."""
        if self._last_body is not None and not self._last_body.is_eof():
            self._last_body.set_exception(error)

    def _check_client(self) -> None:
        """Close the connection of a client that has closed its sending side, and has left since."""
        if self.transport is None or self.task is None:
            return
        if peer.has_left(self.transport.get_extra_info("socket")):
            self.transport.abort()
        else:
            self._loop.call_later(_CHECK_INTERVAL_S, self._check_client)

    def _pause_input(self, pause: bool) -> None:
        """Pause or resume input, unless a body is waiting for its reader: then the reader resumes it."""
        if self.transport is not None and not self._reading_paused:
            with suppress(RuntimeError):  # the transport is closing
                (self.transport.pause_reading if pause else self.transport.resume_reading)()


def _unreadable_request(error: HttpProcessingError, limits: Limits) -> ReplayError:
    """Return the error for input that the parser could not read as a request."""
    if isinstance(error, LineTooLong) or "Too many headers" in error.message:
        return head_too_large(limits)
    return BadRequestError(
        f"Could not read this request: {_parser_message(error)}.",
        "Send User-Agent, Host, Content-Type and Content-Length once each: a second one is also refused.",
    )


def _parser_message(error: HttpProcessingError) -> str:
    """Return the parser's own message as one line without a full stop."""
    return " ".join(error.message.split()).removesuffix(".")
