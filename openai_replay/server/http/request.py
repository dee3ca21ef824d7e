"""A request as it comes in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from http import HTTPStatus

from aiohttp import StreamReader
from aiohttp.http import HttpProcessingError, HttpVersion11, RawRequestMessage

from openai_replay.errors import BadRequestError, RequestRefusedError
from openai_replay.server.http.errors import body_too_large, told
from openai_replay.server.http.limits import Limits
from openai_replay.server.http.response import Wire

#: Seconds a connection may be silent in the middle of a request, or stay open without one. Longer than any pool of a
#: client keeps one, so that none is closed while it is being used again.
PATIENCE_S = 300.0
#: Seconds in which the rest of a request may come that is answered already: who is hung up on may not see the answer.
_LINGERING_S = 10.0


class BrokenBody(Exception):
    """The body of a request cannot be read to its end."""


class Incoming:
    """A request as it comes in: aiohttp's `message` for its head, the `content` of its body.

    `arrived`: when it was there, in seconds of `time.monotonic()`; when its head was, until the body has come.
    """

    __slots__ = ("_wire", "arrived", "content", "message")

    def __init__(self, wire: Wire, message: RawRequestMessage, content: StreamReader, now: float) -> None:
        self._wire = wire
        self.message = message
        self.content = content
        self.arrived = now
        if not content.is_eof():
            content.on_eof(self._came)  # which may be long before anybody reads it

    @property
    def peer(self) -> str:
        """The address of who asks."""
        transport = self._wire.transport
        return str(transport.get_extra_info("peername", ("",))[0]) if transport is not None else ""

    def whole(self, limits: Limits) -> bytes | None:
        """All of the body, if it has come already. Raises Refused where it is too large."""
        content = self.content
        if not content.is_eof() or content.exception() is not None:
            return None
        whole = content.read_nowait()
        if len(whole) > limits.body:
            raise body_too_large(limits)
        return whole

    async def body(self, limits: Limits) -> bytes:
        """All of the body. Raises Refused where it is too large or does not come, BadRequest, ConnectionError."""
        whole = self.whole(limits)
        if whole is not None:
            return whole
        content, headers = self.content, self.message.headers
        declared = headers.get("Content-Length", "")
        if declared.isdecimal() and int(declared) > limits.body:
            raise body_too_large(limits)
        if headers.get("Expect", "").lower() == "100-continue" and self.message.version >= HttpVersion11:
            self._wire.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        size = 0
        pieces: list[bytes] = []
        try:
            async for piece in _arriving(content):
                size += len(piece)
                if size > limits.body:
                    raise body_too_large(limits)
                pieces.append(piece)
        except TimeoutError:
            raise RequestRefusedError(
                f"Nothing more of the request's body came for {PATIENCE_S:g} s.",
                status=HTTPStatus.REQUEST_TIMEOUT,
                code="request_timeout",
            ) from None
        except (BrokenBody, HttpProcessingError, ValueError) as error:
            why = (
                told(error) if isinstance(error, HttpProcessingError) else error
            )  # as aiohttp's parser in Python has it
            raise BadRequestError(f"The request's body cannot be read: {why}") from None
        # A body is held twice only while its pieces are joined, which nothing else can come between.
        return b"".join(pieces)

    def _came(self) -> None:
        self.arrived = self._wire.received_at()

    async def lingers(self) -> None:
        """Read what is left of a request that has been answered, as far as it comes."""
        with suppress(TimeoutError, BrokenBody, HttpProcessingError, ConnectionError, ValueError):
            async with asyncio.timeout(_LINGERING_S):
                while not self.content.at_eof():
                    await self.content.readany()


async def _arriving(content: StreamReader) -> AsyncIterator[bytes]:
    """The pieces of a body. Raises TimeoutError when the client is silent for too long."""
    while not content.at_eof():
        async with asyncio.timeout(None if content.is_eof() else PATIENCE_S):
            piece = await content.readany()
        yield piece
