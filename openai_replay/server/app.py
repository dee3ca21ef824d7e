"""The HTTP side: aiohttp reads requests, and each goes to the engine of its session, or to the control API."""

from __future__ import annotations

import asyncio
import json
import logging
from http import HTTPStatus
from typing import NamedTuple

from openai_replay.errors import BadRequestError, ReplayError, RequestRefusedError
from openai_replay.journal import log as logs
from openai_replay.journal.log import log
from openai_replay.model import End, Head, Headers, Request
from openai_replay.redaction.redactor import Redactor
from openai_replay.server.access import Access
from openai_replay.server.http import cors
from openai_replay.server.http.errors import JSON, error_reply, head_too_large
from openai_replay.server.http.kernel_timestamps import TimestampedProtocol, kernel_timestamps
from openai_replay.server.http.limits import Limits
from openai_replay.server.http.protocol import Connection, Connections
from openai_replay.server.http.request import Incoming
from openai_replay.server.http.response import ResponseWriter
from openai_replay.server.sessions import Sessions

#: What a container's health check asks without a key; it tells no more than that the server runs, and how many tapes.
_HEALTH = ("GET", "/@/health")
#: Headers that are remembered, of so many requests.
_MOST_KNOWN = 256


class _Known(NamedTuple):
    """The headers of a request that was let in, their size in bytes, and the page that asks, where it may read."""

    headers: Headers
    size: int
    page: str


class App:
    """The server's protocol factory: a request goes to the engine of its session, or to the control API, `/@/...`."""

    def __init__(self, sessions: Sessions, access: Access | None = None, limits: Limits | None = None) -> None:
        self._sessions = sessions
        self._access = access or Access()
        self._limits = limits or Limits()
        self._timestamps = kernel_timestamps()
        self.connections = Connections(self.answer, self._limits)
        # A client sends the same headers again and again, and whether it is let in depends on nothing else.
        self._known: dict[tuple[tuple[bytes, bytes], ...], _Known] = {}

    def __call__(self) -> asyncio.BaseProtocol:
        """A protocol for one connection."""
        timestamps = self._timestamps
        # A time stamp costs a fifth of what a response costs, so only paced sessions have them.
        if timestamps is None or not self._sessions.paced:
            return Connection(self.connections)
        return TimestampedProtocol(Connection(self.connections, timestamps.received_at), timestamps)

    async def answer(self, incoming: Incoming, response: ResponseWriter) -> None:
        """Answer a request, whatever it is. Raises ConnectionError when the client has left."""
        self._sessions.clock.look()  # a thousand requests that come at once take a tenth of a second
        access, message = self._access, incoming.message
        method, path = message.method, message.path
        try:
            if not path.startswith("/"):
                raise _not_a_path(path)
            known = self._known.get(message.raw_headers) or self._let_in(incoming, response)
            headers, size, response.origin = known
            if len(path) + size > self._limits.head:
                raise head_too_large(self._limits)
            if path.startswith("/@/") or (response.origin and cors.is_preflight(method, headers)):
                await self._control(incoming, response, headers)
                return
            engine, target = self._sessions.route(method, path)
            body = incoming.whole(self._limits)
            if body is None:
                body = await incoming.body(self._limits)
            asked = Request(method, engine.origin + target, access.forwarded(headers), body)
            if log.isEnabledFor(logging.DEBUG):
                _show(asked, engine.rules.redactor)
                response.redactor = engine.rules.redactor
            await engine.answer(asked, response, incoming.arrived)
        except ReplayError as error:
            await self._refuse(incoming, response, error)

    async def _refuse(self, incoming: Incoming, response: ResponseWriter, error: ReplayError) -> None:
        if response.started:
            raise error
        # Whoever is told before all of the body has come may keep the rest: what follows would be taken for it.
        response.last = response.last or isinstance(error, RequestRefusedError) or not incoming.content.is_eof()
        if isinstance(error, RequestRefusedError):
            path = incoming.message.path.partition("?")[0]
            said = self._sessions.rules.redactor.text(f"{incoming.message.method} {path}: {error.message}")
            log.warning("refused with %d: %s", error.status, said)
        head, body = error_reply(error)
        await response.send(head=head, frames=[body], end=End.COMPLETE)

    async def _control(self, incoming: Incoming, response: ResponseWriter, headers: Headers) -> None:
        """Answer what is not for a tape: a question of the browser's own, or a request to the control API."""
        method, path = incoming.message.method, incoming.message.path
        if response.origin and cors.is_preflight(method, headers):
            await response.send(head=cors.preflight(headers), end=End.COMPLETE)
            return
        self._access.check_control(incoming.peer, headers)
        from openai_replay.server import control_api  # with pydantic models that most runs do not need

        value = await control_api.answer(self._sessions, method, path, await incoming.body(self._limits))
        body = json.dumps(value, ensure_ascii=False).encode()
        await response.send(head=Head(200, "OK", (JSON,), len(body)), frames=[body], end=End.COMPLETE)

    def _let_in(self, incoming: Incoming, response: ResponseWriter) -> _Known:
        """The headers of a request. Raises Refused where it is not let in."""
        message = incoming.message
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in message.raw_headers)
        size = sum(len(name) + len(value) + 4 for name, value in headers)
        if size > self._limits.head:
            raise head_too_large(self._limits)
        response.origin = page = self._access.page(headers)
        self._access.check(headers)
        if message.headers.get("Upgrade", "").lower() == "websocket":
            raise _no_websocket()
        known = _Known(headers, size, page)
        if (message.method, message.path) != _HEALTH and not (page and cors.is_preflight(message.method, headers)):
            self._access.check_key(headers)
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[message.raw_headers] = known
        return known


def _no_websocket() -> RequestRefusedError:
    """Forwarded as the GET that would be left of it, it would put an error on the tape that the API never meant."""
    return RequestRefusedError(
        "A WebSocket was asked for: only HTTP is recorded and played.",
        "Have the client use HTTP: Realtime has no other way, Responses has.",
        HTTPStatus.NOT_IMPLEMENTED,
        "websocket_not_supported",
    )


def _not_a_path(path: str) -> BadRequestError:
    return BadRequestError(
        f"{path!r} is not a path: this is a reverse proxy, not one for HTTP_PROXY.",
        "Set the client's base URL (OPENAI_BASE_URL) instead.",
    )


def _show(request: Request, redactor: Redactor) -> None:
    clean = redactor.request(Request(request.method, request.uri, request.headers))
    log.debug("%s", logs.head(f"> {clean.method} {clean.uri}  ({len(request.body)} bytes)", clean.headers))
