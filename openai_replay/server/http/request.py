"""An incoming request: its head, and its body as it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from http import HTTPStatus
from typing import NamedTuple, Protocol

from openai_replay.errors import BadRequestError
from openai_replay.server.http.errors import body_too_large, refusal
from openai_replay.server.http.limits import Limits


class BrokenBodyError(Exception):
    """A request body that cannot be read to its end."""


class BodyReader(Protocol):
    """The body of a request, as far as it has arrived (`aiohttp.StreamReader`)."""

    def is_eof(self) -> bool:
        """Return True if the whole body has arrived."""

    def at_eof(self) -> bool:
        """Return True if the whole body has been read."""

    def exception(self) -> BaseException | type[BaseException] | None:
        """Return the error that ended the body."""

    def on_eof(self, callback: Callable[[], None]) -> None:
        """Call `callback` once the whole body has arrived."""

    def read_nowait(self) -> bytes:
        """Return all bytes that have arrived and not been read."""


class Connection(Protocol):
    """The connection of a request, as its request and its response see it."""

    transport: asyncio.Transport | None
    received_at: Callable[[], float]  # the arrival of the current read, in seconds of `time.monotonic()`
    on_disconnect: Callable[[], None] | None  # called when the client leaves

    def write(self, data: bytes) -> bool:
        """Write `data`. Return False if the client does not keep up. Raises ConnectionError once it has left."""

    async def drain(self) -> None:
        """Wait until the client has read most of the output. Raises ConnectionError once it has left."""

    async def read_body(self, body: BodyReader) -> bytes:
        """Wait for more of `body` and return it. Raises BrokenBodyError, ConnectionError."""


class RequestHead(NamedTuple):
    """The head of a request, as the parser read it. `keep_alive`: the client lets the connection stay open."""

    method: str
    target: str
    raw_headers: tuple[tuple[bytes, bytes], ...]
    http11: bool = True
    keep_alive: bool = True

    def header(self, name: bytes) -> bytes:
        """Return the first value of the header `name` (lower case), or nothing."""
        return next((value for key, value in self.raw_headers if key.lower() == name), b"")


class IncomingRequest:
    """A request whose head has arrived, and whose body has arrived or is arriving.

    `received_at`: when it arrived, in seconds of `time.monotonic()`; its head, until its body is complete.
    """

    __slots__ = ("_connection", "body", "head", "received_at")

    def __init__(self, connection: Connection, head: RequestHead, body: BodyReader, received_at: float) -> None:
        self._connection = connection
        self.head = head
        self.body = body
        self.received_at = received_at
        if not body.is_eof():
            body.on_eof(self._set_received)  # which may be long before anyone reads the body

    @property
    def peer(self) -> str:
        """The address of the client."""
        transport = self._connection.transport
        return str(transport.get_extra_info("peername", ("",))[0]) if transport is not None else ""

    def body_nowait(self, limits: Limits) -> bytes | None:
        """Return the whole body, or None if it has not arrived yet. Raises RequestRefusedError if it is too large."""
        body = self.body
        if not body.is_eof() or body.exception() is not None:
            return None
        data = body.read_nowait()
        if len(data) > limits.body:
            raise body_too_large(limits)
        return data

    async def read_body(self, limits: Limits) -> bytes:
        """Wait for the whole body and return it.

        Raises RequestRefusedError if it is too large or the client falls silent, BadRequestError, ConnectionError.
        """
        data = self.body_nowait(limits)
        if data is not None:
            return data
        declared = self.head.header(b"content-length")
        if declared.isdigit() and int(declared) > limits.body:
            raise body_too_large(limits)
        if self.head.header(b"expect").lower() == b"100-continue" and self.head.http11:
            self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        size = 0
        parts: list[bytes] = []
        try:
            async for part in self._read_parts(limits.idle_s):
                size += len(part)
                if size > limits.body:
                    raise body_too_large(limits)
                parts.append(part)
        except TimeoutError:
            message = f"No more of the request's body arrived for {limits.idle_s:g} s."
            raise refusal(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", message) from None
        except BrokenBodyError as error:
            reason = " ".join(str(error).split()).removesuffix(".")
            raise BadRequestError(f"Could not read the request's body: {reason}.") from None
        # A body is in memory twice only while its parts are joined, and nothing else can run in between.
        return b"".join(parts)

    async def drain(self, timeout_s: float) -> None:
        """Read the rest of a request that has its response, for at most `timeout_s` seconds."""
        with suppress(TimeoutError, BrokenBodyError, ConnectionError):
            async with asyncio.timeout(timeout_s):
                while not self.body.at_eof():
                    await self._connection.read_body(self.body)

    async def _read_parts(self, idle_s: float) -> AsyncIterator[bytes]:
        """Yield the parts of the body. Raises TimeoutError if none arrives for `idle_s` seconds."""
        body = self.body
        while not body.at_eof():
            async with asyncio.timeout(None if body.is_eof() else idle_s):
                part = await self._connection.read_body(body)
            yield part

    def _set_received(self) -> None:
        self.received_at = self._connection.received_at()
