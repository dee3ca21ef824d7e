"""The HTTP side: aiohttp reads requests, and the bytes of an answer are written here, so that each is the one that
was recorded.

`aiohttp.web.Response` would add `Date`, `Server` and a content type; heads are written as they are.
Framing is our own too: chunked where the upstream's length was not declared, every frame a chunk of its own, all that
is due at one instant in one write.
"""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import json
import logging
import socket
import struct
import sys
import termios
from collections.abc import Collection, Hashable, Sequence
from http import HTTPStatus
from typing import Any

from aiohttp import HttpVersion11, web

from openai_replay import control, cors
from openai_replay.errors import ERROR_HEADER, BadRequest, ControlError, ReplayError
from openai_replay.model import End, Head, Headers, Request, header
from openai_replay.sessions import Sessions

log = logging.getLogger("openai_replay")

#: Requests up to these sizes are read; past them aiohttp answers 400, before any handler runs.
_HEAD_BYTES = 1 << 16
#: Seconds between the arrival of the last byte at the client's machine and the break of the connection: a client that
#: is told of the break may throw away what it has not read yet.
_BREAK_AFTER_S = 0.05
#: Seconds after which a client that does not read is told of the break all the same.
_BREAK_AT_LAST_S = 60.0
#: Bytes after which a write is not put off for more: what a slow client has not read yet is not held twice.
_WRITTEN_AT_ONCE = 1 << 18
_JSON = ("Content-Type", "application/json")
_CORS_HINT = "Start with --cors, and with --cors-origin for a page that is not of this machine."


class Verbatim(web.StreamResponse):
    """An answer that is written exactly as it was recorded. aiohttp's connection loop asks it for little: `prepare`
    and `write_eof` when the handler returns, and whether the connection lives on.
    """

    def __init__(self, request: web.BaseRequest, origin: str = "") -> None:
        super().__init__()
        self._request = request
        self._origin = origin  # of the page that asks, where it may
        self._modern = request.version >= HttpVersion11
        self._chunked_body = False
        self.alive = False
        self.started = False
        self._empty = False

    @property
    def keep_alive(self) -> bool:
        """Whether the client may send another request on this connection."""
        return self.alive

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing is left to do when aiohttp asks."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to do when aiohttp asks."""

    async def send(
        self,
        *,
        head: Head | None = None,
        frames: Sequence[bytes] = (),
        end: End | None = None,
        encoded: dict[Hashable, bytes] | None = None,
    ) -> None:
        """Write what is due now, in one write unless it is very much. Raises ConnectionError when the client has left.

        See `engine.Client`.
        """
        if head is not None:
            self._frame(head)
        # All that the bytes depend on beside what is sent.
        how = self._chunked_body, self._empty, self.alive, self._modern, self._origin
        if encoded is not None and (known := encoded.get(how)) is not None:
            await self._write(known)
        else:
            await self._encode(head, frames, end, how, {} if encoded is None else encoded)
        if end is not None and end is not End.COMPLETE:
            self.alive = False
            if end is End.RESET:
                await _break(self._request.transport)

    async def _encode(
        self,
        head: Head | None,
        frames: Sequence[bytes],
        end: End | None,
        how: Hashable,
        encoded: dict[Hashable, bytes],
    ) -> None:
        out: list[bytes] = []
        if head is not None:
            out.append(self._head(cors.permitted(head, self._origin) if self._origin else head))
        size, written = 0, False
        for frame in frames if not self._empty else ():
            if frame:  # an empty chunk would be the end
                out += (b"%x\r\n" % len(frame), frame, b"\r\n") if self._chunked_body else (frame,)
                size += len(frame)
            if size >= _WRITTEN_AT_ONCE:
                await self._write(b"".join(out))
                out, size, written = [], 0, True
        if end is End.COMPLETE and self._chunked_body:
            out.append(b"0\r\n\r\n")
        last = b"".join(out)
        if not written:
            encoded[how] = last
        if last:
            await self._write(last)

    async def _write(self, data: bytes) -> None:
        self.started = True
        await self._request.writer.write(data)

    def _frame(self, head: Head) -> None:
        """Decide how the body is framed, and whether the connection lives on."""
        request = self._request
        self._empty = empty = request.method == "HEAD" or head.status in (204, 304) or head.status < 200
        self._chunked_body = head.length is None and self._modern and not empty
        self.alive = request.keep_alive and (head.length is not None or self._chunked_body or empty)

    def _head(self, head: Head) -> bytes:
        lines = [f"HTTP/1.1 {head.status} {head.reason}", *(f"{name}: {value}" for name, value in head.headers)]
        if head.length is not None and head.status != 204:
            lines.append(f"Content-Length: {head.length}")
        elif self._chunked_body:
            lines.append("Transfer-Encoding: chunked")
        if not self.alive:
            lines.append("Connection: close")
        elif not self._modern:
            lines.append("Connection: keep-alive")
        # A cassette is a file that anybody may have edited: a line break in a value must not become one on the wire.
        text = "".join(line.replace("\r", " ").replace("\n", " ") + "\r\n" for line in lines) + "\r\n"
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError:  # only a hand-made cassette holds such a header
            return text.encode()


async def _break(transport: asyncio.Transport | None) -> None:
    """Reset the connection, once what was written has had the time to arrive (RST by SO_LINGER 0)."""
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    give_up = asyncio.get_running_loop().time() + _BREAK_AT_LAST_S
    while (transport.get_write_buffer_size() or _unread(connection)) and not transport.is_closing():
        if asyncio.get_running_loop().time() > give_up:
            break
        await asyncio.sleep(0.005)
    await asyncio.sleep(_BREAK_AFTER_S)
    if connection is not None and not transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _unread(connection: socket.socket | None) -> bool:
    """Whether the system still holds bytes that the client's has not confirmed (Linux; elsewhere nobody can tell)."""
    if connection is None or not sys.platform.startswith("linux"):
        return False
    waiting = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4)
    return waiting != b"\0" * 4


class _Connection(web.RequestHandler):
    """What aiohttp refuses before any handler runs gets an answer in OpenAI's shape like everything else."""

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Make the answer to a request that is no HTTP, or that made a handler fail. The connection ends with it."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has been begun: it can only break off")
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("openai-replay failed on %s", request.method, exc_info=exc)
            error: ReplayError = ReplayError("openai-replay failed on this request.", "Its terminal says more.")
        else:
            error = BadRequest(
                f"This is not a request that can be read: {' '.join((message or str(exc)).split())}",
                "A second User-Agent, Host, Content-Type or Content-Length header is refused, too: send each once.",
            )
        head, body = error_reply(error)
        response = web.Response(status=status, body=body, headers=dict(head.headers))
        response.force_close()
        return response


class App(web.Server):
    """The server's protocol factory: a request goes to the engine of its session, or to the control API, `/@/...`.

    `origins`: whose pages may ask, beside those of this machine; None: no page may.
    """

    def __init__(self, sessions: Sessions, origins: Collection[str] | None = None) -> None:
        self._options: dict[str, Any] = {
            "access_log": None,
            "auto_decompress": False,  # a compressed request body goes on as it came
            "max_line_size": _HEAD_BYTES,
            "max_field_size": _HEAD_BYTES,
            "logger": log,
        }
        super().__init__(self._handle, **self._options)
        self._sessions = sessions
        self._origins = origins
        self._reading: set[web.RequestHandler] = set()  # connections whose request has not come whole yet

    def __call__(self) -> web.RequestHandler:
        """A protocol for one connection."""
        return _Connection(self, loop=asyncio.get_running_loop(), **self._options)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = _headers(request)
        page = header(headers, "origin")
        origin = page if self._origins is not None and cors.allows(page, self._origins) else ""
        response = Verbatim(request, origin)
        try:
            if origin and cors.is_preflight(request.method, headers):
                await response.send(head=cors.preflight(headers), end=End.COMPLETE)
            elif request.raw_path.startswith("/@/"):
                if page and not origin:  # browsers send simple requests to any address, without asking first
                    raise ControlError("The control API is not for pages.", _CORS_HINT, HTTPStatus.FORBIDDEN)
                await self._control(request, response)
            else:
                engine, target = self._sessions.route(request.method, _target(request))
                await engine.answer(
                    Request(request.method, engine.origin + target, headers, await self._body(request)), response
                )
        except ReplayError as error:
            if response.started:
                raise
            head, body = error_reply(error)
            await response.send(head=head, frames=[body], end=End.COMPLETE)
        except ConnectionError:
            response.alive = False  # the client has left; the engine knows what is to be done
        return response

    def stop_reading(self) -> None:
        """Hang up on clients whose request is not whole: nobody knows when it would be."""
        for connection in self._reading:
            if connection.transport is not None:
                connection.transport.abort()

    async def _body(self, request: web.BaseRequest) -> bytes:
        if request.headers.get("Expect", "").lower() == "100-continue" and request.version >= HttpVersion11:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # the answer has not been begun by that
        self._reading.add(request.protocol)
        try:
            # A body is held twice only while its pieces are joined, which nothing else can come between.
            return b"".join([piece async for piece in request.content.iter_any()])
        except (web.RequestPayloadError, ValueError) as error:
            raise BadRequest(f"The request's body cannot be read: {error}") from None
        finally:
            self._reading.discard(request.protocol)

    async def _control(self, request: web.BaseRequest, response: Verbatim) -> None:
        if not ipaddress.ip_address(request.remote or "::").is_loopback:
            raise ControlError("The control API answers this machine only.", status=HTTPStatus.FORBIDDEN)
        value = await control.answer(self._sessions, request.method, request.raw_path, await self._body(request))
        body = json.dumps(value, ensure_ascii=False).encode()
        await response.send(head=Head(200, "OK", (_JSON,), len(body)), frames=[body], end=End.COMPLETE)


def _target(request: web.BaseRequest) -> str:
    if not request.raw_path.startswith("/"):
        raise BadRequest(
            f"{request.raw_path!r} is not a path: this is a reverse proxy, not one for HTTP_PROXY.",
            "Set the client's base URL (OPENAI_BASE_URL) instead.",
        )
    return request.raw_path


def _headers(request: web.BaseRequest) -> Headers:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers)


def error_reply(error: ReplayError) -> tuple[Head, bytes]:
    """Head and body of `error` in OpenAI's shape."""
    kind = {"type": "openai_replay", "code": error.code, "param": None, "message": error.text}
    body = json.dumps({"error": kind}, ensure_ascii=False).encode()
    retry: Headers = () if error.retry is None else (("x-should-retry", str(error.retry).lower()),)
    status = HTTPStatus(error.status)
    return Head(status, status.phrase, (_JSON, (ERROR_HEADER, error.code), *retry), len(body)), body
