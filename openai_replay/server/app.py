"""The server's entry for requests: each goes to the engine of its session, or to the control API."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import NamedTuple

from openai_replay.errors import ReplayError, RequestRefusedError
from openai_replay.journal import log as logs
from openai_replay.journal.log import log
from openai_replay.model import End, Head, Headers, Request, header
from openai_replay.redaction.redactor import Redactor
from openai_replay.server.access import Access
from openai_replay.server.http import cors
from openai_replay.server.http.connection_registry import ConnectionRegistry
from openai_replay.server.http.errors import (
    JSON,
    error_response,
    head_too_large,
    not_a_path,
    websocket_not_supported,
)
from openai_replay.server.http.kernel_timestamps import TimestampedProtocol, kernel_timestamps
from openai_replay.server.http.limits import Limits
from openai_replay.server.http.protocol import HttpProtocol
from openai_replay.server.http.request import IncomingRequest
from openai_replay.server.http.response import ResponseWriter
from openai_replay.server.sessions import Sessions
from openai_replay.text.bounded_cache import BoundedCache

#: A container's health check asks this without a key. It tells only that the server runs, and how many recordings.
_HEALTH = ("GET", "/@/health")
#: Maximum number of header sets in the cache.
_MAX_AUTHORIZED = 256


class AuthorizedHeaders(NamedTuple):
    """The headers of a request that was let in, their size in bytes, and the origin of the page that may read."""

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
        self.connections = ConnectionRegistry(self._limits.idle_s)
        # A client sends the same headers again and again, and access depends on nothing else.
        self._authorized: BoundedCache[tuple[tuple[bytes, bytes], ...], AuthorizedHeaders] = BoundedCache(
            _MAX_AUTHORIZED
        )

    def __call__(self) -> asyncio.BaseProtocol:
        """Return a protocol for one connection."""
        timestamps = self._timestamps
        # A time stamp costs a fifth of what a response costs, so only paced sessions have them.
        if timestamps is None or not self._sessions.has_paced_session:
            return HttpProtocol(self.connections, self.answer, self._limits)
        protocol = HttpProtocol(self.connections, self.answer, self._limits, timestamps.received_at)
        return TimestampedProtocol(protocol, timestamps)

    async def answer(self, incoming: IncomingRequest, response: ResponseWriter) -> None:
        """Answer any request. Raises ConnectionError when the client has left."""
        self._sessions.scheduler.run_due()  # a thousand requests that come at once take a tenth of a second
        access, request_head = self._access, incoming.head
        method, path = request_head.method, request_head.target
        try:
            if not path.startswith("/"):
                raise not_a_path(path)
            authorized = self._authorized.get(request_head.raw_headers) or self._authorize(incoming, response)
            headers, size, response.cors_origin = authorized
            if len(path) + size > self._limits.head:
                raise head_too_large(self._limits)
            if path.startswith("/@/") or (response.cors_origin and cors.is_preflight(method, headers)):
                await self._control(incoming, response, headers)
                return
            engine, target = self._sessions.route(method, path)
            body = incoming.body_nowait(self._limits)
            if body is None:
                body = await incoming.read_body(self._limits)
            request = Request(method, engine.origin + target, access.with_upstream_key(headers), body)
            if log.isEnabledFor(logging.DEBUG):
                _log_request(request, engine.rules.redactor)
                response.redactor = engine.rules.redactor
            await engine.answer(request, response, incoming.received_at)
        except ReplayError as error:
            await self._refuse(incoming, response, error)

    async def _refuse(self, incoming: IncomingRequest, response: ResponseWriter, error: ReplayError) -> None:
        if response.started:
            raise error
        # Close after a response that came before the whole body: the rest of the body would be taken for a request.
        refused, has_body = isinstance(error, RequestRefusedError), incoming.body.is_eof()
        response.close_after = response.close_after or refused or not has_body
        if refused:
            path = incoming.head.target.partition("?")[0]
            line = self._sessions.rules.redactor.redact_for_log(f"{incoming.head.method} {path}: {error.message}")
            log.warning("refused with %d: %s", error.status, line)
        head, body = error_response(error)
        await response.send(head=head, frames=[body], end=End.COMPLETE)

    async def _control(self, incoming: IncomingRequest, response: ResponseWriter, headers: Headers) -> None:
        """Answer a preflight of a browser, or a request to the control API."""
        method, path = incoming.head.method, incoming.head.target
        if response.cors_origin and cors.is_preflight(method, headers):
            await response.send(head=cors.preflight_response(headers), end=End.COMPLETE)
            return
        self._access.check_control(incoming.peer, headers)
        from openai_replay.server import control_api  # with pydantic models that most runs do not need

        value = await control_api.answer(self._sessions, method, path, await incoming.read_body(self._limits))
        body = json.dumps(value, ensure_ascii=False).encode()
        await response.send(head=Head(200, "OK", (JSON,), len(body)), frames=[body], end=End.COMPLETE)

    def _authorize(self, incoming: IncomingRequest, response: ResponseWriter) -> AuthorizedHeaders:
        """Return the headers of a request that may ask. Raises RequestRefusedError."""
        request_head = incoming.head
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request_head.raw_headers)
        size = sum(len(name) + len(value) + 4 for name, value in headers)
        if size > self._limits.head:
            raise head_too_large(self._limits)
        response.cors_origin = page = self._access.readable_origin(headers)
        self._access.check(headers)
        if header(headers, "upgrade").lower() == "websocket":
            raise websocket_not_supported()
        authorized = AuthorizedHeaders(headers, size, page)
        is_preflight = page and cors.is_preflight(request_head.method, headers)
        if (request_head.method, request_head.target) != _HEALTH and not is_preflight:
            self._access.check_key(headers)
            self._authorized.put(request_head.raw_headers, authorized)
        return authorized


def _log_request(request: Request, redactor: Redactor) -> None:
    clean = redactor.redact_request(Request(request.method, request.uri, request.headers))
    log.debug("%s", logs.head(f"> {clean.method} {clean.uri}  ({len(request.body)} bytes)", clean.headers))
