"""The connections clients have: what aiohttp refuses before any handler runs, and how many may wait for nothing."""

from __future__ import annotations

import asyncio
import json
import resource
from http import HTTPStatus
from typing import Any

from aiohttp import http_exceptions, web

from openai_replay.errors import ERROR_HEADER, BadRequest, Refused, ReplayError
from openai_replay.limits import Limits, shown
from openai_replay.logs import bare, log
from openai_replay.model import Head, Headers

#: Seconds a connection may be silent in the middle of a request, or stay open without one. Longer than any pool of a
#: client keeps one, so that none is closed while it is being used again.
PATIENCE_S = 300.0
JSON = ("Content-Type", "application/json")


class Connections:
    """All connections of one server. Those that wait for a request are closed, the oldest first, where there are more
    than half of the files this process may have open: the other half is for what they ask for.
    """

    def __init__(self) -> None:
        self.most = max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        self.closing = False  # whether the server stops: one that was accepted at the last moment is not served
        self._open: set[Connection] = set()
        self._waiting: dict[Connection, None] = {}  # since the longest first

    def made(self, connection: Connection) -> None:
        """There is one more."""
        if self.closing:
            connection.force_close()
            return
        self._open.add(connection)
        self.waits(connection)
        while len(self._open) > self.most and self._waiting:
            oldest = next(iter(self._waiting))
            self.lost(oldest)
            oldest.force_close()

    def lost(self, connection: Connection) -> None:
        """It is closed."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)

    def works(self, connection: web.RequestHandler) -> None:
        """A request of it is being answered."""
        if isinstance(connection, Connection):
            self._waiting.pop(connection, None)

    def waits(self, connection: web.RequestHandler) -> None:
        """It has no request, or none any more."""
        if isinstance(connection, Connection) and connection in self._open:
            self._waiting[connection] = None


class Connection(web.RequestHandler):
    """One connection. What is no request gets an answer in OpenAI's shape like everything else."""

    def __init__(self, server: web.Server, connections: Connections, limits: Limits, **options: Any) -> None:
        super().__init__(
            server,
            max_line_size=limits.head,
            max_field_size=limits.head,
            keepalive_timeout=PATIENCE_S,
            logger=log,
            auto_decompress=False,  # a compressed request body goes on as it came
            **{"access_log": None, **options},
        )
        self._connections = connections
        self._limits = limits

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._connections.made(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """See `asyncio.Protocol`."""
        self._connections.lost(self)
        super().connection_lost(exc)

    def close(self) -> None:
        """Take no more requests. One that waits for its first is closed: aiohttp forgets those it has just accepted."""
        super().close()
        self._hang_up()

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - aiohttp's
        """Finish what is under way, in `timeout` seconds. Where nothing is, there is nothing to wait for."""
        self._hang_up()
        await super().shutdown(timeout)

    def _hang_up(self) -> None:
        if not (self._request_in_progress or self._messages):
            self.force_close()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Make the answer to a request that is no HTTP, or that made a handler fail. The connection ends with it."""
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("openai-replay failed on %s\n%s", request.method, bare(exc))
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has been begun: it can only break off")
        error: ReplayError
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            error = ReplayError("openai-replay failed on this request.", "Its terminal says more.")
        elif isinstance(exc, http_exceptions.LineTooLong) or "Too many headers" in (message or ""):
            error = head_too_large(self._limits)
        else:
            error = BadRequest(
                f"This is not a request that can be read: {' '.join((message or str(exc)).split())}",
                "A second User-Agent, Host, Content-Type or Content-Length header is refused, too: send each once.",
            )
        head, body = error_reply(error)
        response = web.Response(status=error.status, body=body, headers=dict(head.headers))
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """What aiohttp itself could not handle."""
        log.error("openai-replay failed: %s\n%s", args[0] if args else "", bare(kw.get("exc_info")))


def head_too_large(limits: Limits) -> Refused:
    """The request line and the headers, or one of them, are more than the limit (RFC 6585 5)."""
    return Refused(
        f"The head of this request is larger than {shown(limits.head)}, or has more than 128 headers.",
        "Start with a larger --max-head.",
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
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
