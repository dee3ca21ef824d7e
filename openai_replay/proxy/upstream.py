"""The upstream: the connections to the real API.

Only this module opens connections. A player makes no `Upstream`, so no code path leads from it to an outgoing socket
(promise 6).
"""

from __future__ import annotations

import asyncio
import io
import os
from contextvars import ContextVar
from functools import lru_cache
from types import TracebackType
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass
from weakref import WeakSet, ref

import aiohttp
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from multidict import CIMultiDict
from yarl import URL

from openai_replay.errors import UpstreamError, UsageError
from openai_replay.model import LOOPBACK, Head, Headers, Request, header
from openai_replay.proxy import upstream_body
from openai_replay.proxy.live_response import LiveResponse
from openai_replay.text.http_headers import filter_headers
from openai_replay.text.units import format_size

#: Our name in `Via` (RFC 9110 7.6.3): a request with it was forwarded by an openai-replay before.
VIA = "openai-replay"
#: Seconds to make a connection, including TLS.
_CONNECT_S = 30.0
#: Safe methods (RFC 9110 9.2.1): a request that is sent twice has the effect of one.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
#: Bytes above which a body is sent from a buffer, in parts: aiohttp writes plain bytes in one go.
_LARGE = 1 << 20
#: Largest response to record, in bytes, without `--max-response`.
DEFAULT_MAX_BYTES = 256 << 20
#: The response that the current task waits for. A weak reference: a connection keeps the context it was made in.
_CURRENT: ContextVar[ref[LiveResponse]] = ContextVar("current")
_HEAD_BYTES = 1 << 16


class Upstream:
    """One origin that requests are forwarded to, with a pool of connections. Use it as an async context manager.

    `url` is for example `https://api.openai.com/v1`: requests go to its origin, and its path is part of the clients'
    base URL (`base_path`). A response counts as cut after `idle_timeout_s` seconds without a byte. A response of more
    than `max_bytes` is not recorded.
    """

    def __init__(self, url: str, idle_timeout_s: float = 600.0, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self.origin, self.base_path = _split(url)
        self._proxy = _proxy(self.origin)
        self._idle_timeout_s = idle_timeout_s
        self.max_bytes = max_bytes
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Upstream:
        self._session = aiohttp.ClientSession(
            connector=_Pool(),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            # No timeout for the whole: reasoning models think for minutes.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=self._idle_timeout_s),
            max_line_size=_HEAD_BYTES,
            max_field_size=_HEAD_BYTES,
            middlewares=(no_retry_middleware,),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def fetch(self, request: Request, live: LiveResponse) -> None:
        """Send `request`, and feed the response to `live` until it is closed, as it always is in the end."""
        if live.closed:  # it was cancelled
            return
        # One task from the request to the last byte: another task would find the buffer empty after a break.
        live.task = task = asyncio.current_task()
        assert task is not None, "aiohttp's timeouts need a task"
        try:
            await self._send_safely(request, live)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            if live.head is None:
                message = f"{request.method} {self.origin} failed: {_cause(error)}."
                live.error = UpstreamError(message, _advice(request, live, error))
        except asyncio.CancelledError:
            if not live.cancelled:
                raise
            task.uncancel()  # the work after the response still has to be done
        finally:
            live.close()

    async def _send_safely(self, request: Request, live: LiveResponse) -> None:
        while True:
            try:
                await self._exchange(request, live)
                return
            except ConnectionDropped as dropped:
                # The upstream may close a pooled connection at the moment it is used again. It may or may not have seen
                # the request, so only safe methods are sent again (RFC 9110 9.2.2), until the connection is a new one.
                if not (live.connection_reused and request.method in _SAFE):
                    raise dropped.error from None

    async def _exchange(self, request: Request, live: LiveResponse) -> None:
        assert self._session is not None, "an Upstream is used inside `async with`"
        live.connection_reused = False
        _CURRENT.set(ref(live))
        async with self._session.request(
            request.method,
            URL(request.uri, encoded=True),
            headers=request_headers(request.headers),
            data=io.BytesIO(request.body) if len(request.body) > _LARGE else request.body or None,
            allow_redirects=False,
            proxy=self._proxy,
        ) as response:
            if response.status < 200:  # 101; aiohttp skips the others
                response.close()
                raise aiohttp.ClientConnectionError("it switched to another protocol without being asked")
            live.set_head(_head(response))
            await upstream_body.read_body(response, live, self._idle_timeout_s)


class _Pool(aiohttp.TCPConnector):
    """A pool that knows of each connection whether it was used before.

    aiohttp's tracing knows that as well, but costs a tenth of a request.
    """

    def __init__(self) -> None:
        super().__init__(limit=0)
        self._used: WeakSet[object] = WeakSet()

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the name is aiohttp's
    ) -> Connection:
        """Connect, and tell the live response about the connection (`aiohttp.BaseConnector`)."""
        connection = await super().connect(req, traces, timeout)
        live = _CURRENT.get()()
        if live is not None and connection.protocol is not None:
            live.connection_reused = connection.protocol in self._used
            self._used.add(connection.protocol)
        return connection


class ConnectionDropped(Exception):
    """The connection was closed, or broke, before a head arrived."""

    def __init__(self, error: aiohttp.ClientError) -> None:
        super().__init__()
        self.error = error


async def no_retry_middleware(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Stop aiohttp from sending a request again by itself, as it does with PUT and DELETE and on new connections."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise ConnectionDropped(error) from error


def _split(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    try:
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or parts.username:
        raise UsageError(
            f"--upstream {url!r} is not the URL of an API.", "Write for example https://api.openai.com/v1."
        )
    return f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")


def _proxy(origin: str) -> str | None:
    """Return the proxy that the environment names for `origin`, or None. This machine is reached without one.

    aiohttp's `trust_env` is not used: it reads passwords from ~/.netrc as well.
    """
    parts = urlsplit(origin)
    if parts.hostname in LOOPBACK or proxy_bypass(parts.netloc):
        return None
    return getproxies().get(parts.scheme)


@lru_cache(maxsize=256)  # a client sends the same headers again and again
def request_headers(sent: Headers) -> CIMultiDict[str]:
    """Return the headers to forward, for a client's headers."""
    # aiohttp encodes values as UTF-8, and takes a name in another case for a replacement of the first one.
    spelled: dict[str, str] = {}
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in filter_headers(sent, keep_all=True):
        headers.add(spelled.setdefault(name.lower(), name), _utf8(value))
    headers["Accept-Encoding"] = "identity"  # so that text stays text in the cassette
    headers.add("Via", f"1.1 {VIA}")
    return headers


def _utf8(value: str) -> str:
    try:
        return value.encode("latin-1").decode()
    except UnicodeDecodeError:
        return value


def _head(response: aiohttp.ClientResponse) -> Head:
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers)
    length = header(headers, "content-length")
    chunked = header(headers, "transfer-encoding")
    return Head(
        response.status,
        (response.reason or "").encode("utf-8", "surrogateescape").decode("latin-1"),  # as `model.Headers` has it
        filter_headers(headers, keep_all=True),
        int(length) if length.isdecimal() and not chunked else None,
    )


def _cause(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"the host name {error.host!r} is unknown (DNS)"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientSSLError):
        return f"TLS failed: {error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return os.strerror(error.os_error.errno) if error.os_error.errno else str(error.os_error)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection without a response"
    if isinstance(error, aiohttp.SocketTimeoutError):
        return "it sent nothing for longer than the idle timeout"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return f"no connection within {_CONNECT_S:.0f} s"
    if isinstance(error, aiohttp.ClientResponseError) and error.message.startswith("Got more than"):
        return f"a line of its head is larger than {format_size(_HEAD_BYTES)}"  # the line could be a secret
    if isinstance(error, aiohttp.ClientResponseError):
        return f"its response is not HTTP: {error.message}"
    return str(error) or type(error).__name__


def _advice(request: Request, live: LiveResponse, error: BaseException) -> str:
    if live.connection_reused and request.method not in _SAFE:
        return (
            "Nothing was recorded. The connection was closed as it was used again. The upstream may have seen this "
            f"{request.method}, so it is not sent again."
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        return "Nothing was recorded. Check --upstream, and HTTPS_PROXY if you use a proxy."
    return "Nothing was recorded."
