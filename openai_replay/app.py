"""The HTTP side: aiohttp reads requests, and each goes to the engine of its session, or to the control API."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import NamedTuple

from aiohttp import HttpVersion11, web

from openai_replay import cors, logs
from openai_replay.access import Access
from openai_replay.connections import JSON, PATIENCE_S, Connection, Connections, error_reply, head_too_large
from openai_replay.errors import BadRequest, Refused, ReplayError
from openai_replay.limits import Limits, shown
from openai_replay.logs import log
from openai_replay.model import End, Head, Headers, Request
from openai_replay.secrets.redaction import Redactor
from openai_replay.sessions import Sessions
from openai_replay.verbatim import Verbatim

#: What a container's health check asks without a key; it tells no more than that the server runs, and how many tapes.
_HEALTH = ("GET", "/@/health")
#: Headers that are remembered, of so many requests.
_MOST_KNOWN = 256


class _Known(NamedTuple):
    """The headers of a request that was let in, their size in bytes, and the page that asks, where it may read."""

    headers: Headers
    size: int
    page: str


class App(web.Server):
    """The server's protocol factory: a request goes to the engine of its session, or to the control API, `/@/...`."""

    def __init__(self, sessions: Sessions, access: Access | None = None, limits: Limits | None = None) -> None:
        super().__init__(self._handle)
        self.connections_made = Connections()
        self._sessions = sessions
        self._access = access or Access()
        self._limits = limits or Limits()
        self._reading: set[web.RequestHandler] = set()  # connections whose request has not come whole yet
        # A client sends the same headers again and again, and whether it is let in depends on nothing else.
        self._known: dict[tuple[tuple[bytes, bytes], ...], _Known] = {}

    def __call__(self) -> web.RequestHandler:
        """A protocol for one connection."""
        return Connection(self, self.connections_made, self._limits, loop=asyncio.get_running_loop())

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.connections_made.works(request.protocol)
        response = Verbatim(request)
        try:
            try:
                await self._answer(request, response)
            except ReplayError as error:
                await self._refuse(request, response, error)
        except ConnectionError:
            response.alive = False  # the client has left; the engine knows what is to be done
        finally:
            self.connections_made.waits(request.protocol)
        return response

    async def _refuse(self, request: web.BaseRequest, response: Verbatim, error: ReplayError) -> None:
        if response.started:
            raise error
        if isinstance(error, Refused):
            response.last = True
            said = self._sessions.rules.redactor.text(f"{request.method} {request.path}: {error.message}")
            log.warning("refused with %d: %s", error.status, said)
        head, body = error_reply(error)
        await response.send(head=head, frames=[body], end=End.COMPLETE)

    async def _answer(self, request: web.BaseRequest, response: Verbatim) -> None:
        access, path = self._access, _target(request)
        headers, size, response.origin = self._known.get(request.raw_headers) or self._let_in(request, response)
        if len(path) + size > self._limits.head:
            raise head_too_large(self._limits)
        if response.origin and cors.is_preflight(request.method, headers):
            await response.send(head=cors.preflight(headers), end=End.COMPLETE)
            return
        if path.startswith("/@/"):
            access.check_control(request.remote or "", headers)
            from openai_replay import control  # with pydantic models that most runs do not need

            value = await control.answer(self._sessions, request.method, path, await self._body(request))
            body = json.dumps(value, ensure_ascii=False).encode()
            await response.send(head=Head(200, "OK", (JSON,), len(body)), frames=[body], end=End.COMPLETE)
            return
        engine, target = self._sessions.route(request.method, path)
        asked = Request(request.method, engine.origin + target, access.forwarded(headers), await self._body(request))
        if log.isEnabledFor(logging.DEBUG):
            _show(asked, engine.rules.redactor)
            response.redactor = engine.rules.redactor
        await engine.answer(asked, response)

    def _let_in(self, request: web.BaseRequest, response: Verbatim) -> _Known:
        """The headers of `request`. Raises Refused where it is not let in."""
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers)
        size = sum(len(name) + len(value) + 4 for name, value in headers)
        if size > self._limits.head:
            raise head_too_large(self._limits)
        response.origin = page = self._access.page(headers)
        self._access.check(headers)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            raise _no_websocket()
        known = _Known(headers, size, page)
        if (request.method, request.raw_path) != _HEALTH and not (page and cors.is_preflight(request.method, headers)):
            self._access.check_key(headers)
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[request.raw_headers] = known
        return known

    def stop_reading(self) -> None:
        """Hang up on clients whose request is not whole: nobody knows when it would be."""
        self.connections_made.closing = True
        for connection in self._reading:
            if connection.transport is not None:
                connection.transport.abort()

    async def _body(self, request: web.BaseRequest) -> bytes:
        content = request.content
        if content.is_eof() and content.exception() is None:  # it came with the head
            whole = content.read_nowait()
            if len(whole) > self._limits.body:
                raise _body_too_large(self._limits)
            return whole
        declared = request.headers.get("Content-Length", "")
        if declared.isdecimal() and int(declared) > self._limits.body:
            raise _body_too_large(self._limits)
        if request.headers.get("Expect", "").lower() == "100-continue" and request.version >= HttpVersion11:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # the answer has not been begun by that
        self._reading.add(request.protocol)
        size = 0
        pieces: list[bytes] = []
        try:
            async for piece in _arriving(request):
                size += len(piece)
                if size > self._limits.body:
                    raise _body_too_large(self._limits)
                pieces.append(piece)
        except TimeoutError:
            raise Refused(
                f"Nothing more of the request's body came for {PATIENCE_S:g} s.",
                status=HTTPStatus.REQUEST_TIMEOUT,
                code="request_timeout",
            ) from None
        except (web.RequestPayloadError, ValueError) as error:
            raise BadRequest(f"The request's body cannot be read: {error}") from None
        finally:
            self._reading.discard(request.protocol)
        # A body is held twice only while its pieces are joined, which nothing else can come between.
        return b"".join(pieces)


async def _arriving(request: web.BaseRequest) -> AsyncIterator[bytes]:
    """The pieces of the body. Raises TimeoutError when the client is silent for too long."""
    content = request.content
    while not content.at_eof():
        async with asyncio.timeout(None if content.is_eof() else PATIENCE_S):
            piece = await content.readany()
        yield piece


def _body_too_large(limits: Limits) -> Refused:
    return Refused(
        f"The body of this request is larger than {shown(limits.body)}.",
        "Start with a larger --max-body.",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "request_too_large",
    )


def _no_websocket() -> Refused:
    """Forwarded as the GET that would be left of it, it would put an error on the tape that the API never meant."""
    return Refused(
        "A WebSocket was asked for: only HTTP is recorded and played.",
        "Have the client use HTTP: Realtime has no other way, Responses has.",
        HTTPStatus.NOT_IMPLEMENTED,
        "websocket_not_supported",
    )


def _target(request: web.BaseRequest) -> str:
    if not request.raw_path.startswith("/"):
        raise BadRequest(
            f"{request.raw_path!r} is not a path: this is a reverse proxy, not one for HTTP_PROXY.",
            "Set the client's base URL (OPENAI_BASE_URL) instead.",
        )
    return request.raw_path


def _show(request: Request, redactor: Redactor) -> None:
    clean = redactor.request(Request(request.method, request.uri, request.headers))
    log.debug("%s", logs.head(f"> {clean.method} {clean.uri}  ({len(request.body)} bytes)", clean.headers))
