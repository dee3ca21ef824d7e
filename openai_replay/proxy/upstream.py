"""The way to the real API.

The only module that opens a connection. A player makes no `Upstream`, so no way leads from it to a socket going out.
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
from openai_replay.text.http_headers import kept
from openai_replay.text.units import format_size

#: Who we are in `Via` (RFC 9110 7.6.3): a request that carries it has been here before.
VIA = "openai-replay"
#: Seconds for a connection to be made, TLS and all.
_CONNECT_S = 30.0
#: Methods that ask for nothing to be done (RFC 9110 9.2.1): what was sent twice is as what was sent once.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# A long body is sent from a buffer, piece by piece; aiohttp writes plain bytes in one go.
_LARGE = 1 << 20
#: Bytes of a response that are recorded, unless `--max-response` says otherwise.
DEFAULT_MAX_BYTES = 256 << 20
#: The answer that this task asks for, held weakly: a connection keeps the context that it was made in.
_ASKING: ContextVar[ref[LiveResponse]] = ContextVar("asking")
_HEAD_BYTES = 1 << 16


class Upstream:
    """One origin that requests are forwarded to, with a pool of connections. Use it as an async context manager.

    `url` such as `https://api.openai.com/v1`: its origin is where requests go, its path is what clients are told
    (`base_path`). `idle_timeout_s`: seconds without a byte after which an answer counts as cut. `most`: bytes of an
    answer that are kept for the tape.
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
            # No limit on the whole: reasoning models think for minutes.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=self._idle_timeout_s),
            max_line_size=_HEAD_BYTES,
            max_field_size=_HEAD_BYTES,
            middlewares=(_sent_once,),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def fetch(self, request: Request, arriving: LiveResponse) -> None:
        """Send `request`, and add what is answered to `arriving`, until it is over; so it is when this returns."""
        if arriving.closed:  # cancelled already
            return
        # One task from the request to the last byte: what lies in the buffer when the connection breaks is lost to
        # latecomers.
        arriving.task = task = asyncio.current_task()
        assert task is not None, "aiohttp sets timeouts, which ask for the task they are in"
        try:
            await self._answered(request, arriving)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            if arriving.head is None:
                arriving.error = UpstreamError(
                    f"{request.method} {self.origin} failed: {_cause(error)}", _advice(request, arriving, error)
                )
        except asyncio.CancelledError:
            if not arriving.cancelled:
                raise
            task.uncancel()  # what is to be done with the answer is not
        finally:
            arriving.close()

    async def _answered(self, request: Request, arriving: LiveResponse) -> None:
        while True:
            try:
                await self._exchange(request, arriving)
                return
            except _Dropped as dropped:
                # The upstream may close a connection of the pool at the moment it is used again. Whether it has seen
                # the request nobody can tell: only what asks for nothing to be done is sent again (RFC 9110 9.2.2),
                # until the connection is a new one.
                if not (arriving.connection_reused and request.method in _SAFE):
                    raise dropped.error from None

    async def _exchange(self, request: Request, arriving: LiveResponse) -> None:
        assert self._session is not None, "an Upstream is used inside `async with`"
        arriving.connection_reused = False
        _ASKING.set(ref(arriving))
        async with self._session.request(
            request.method,
            URL(request.uri, encoded=True),
            headers=_forwarded(request.headers),
            data=io.BytesIO(request.body) if len(request.body) > _LARGE else request.body or None,
            allow_redirects=False,
            proxy=self._proxy,
        ) as response:
            if response.status < 200:  # 101: the others are passed over
                response.close()
                raise aiohttp.ClientConnectionError("it switched to another protocol, which nobody had asked for")
            arriving.set_head(_head(response))
            await upstream_body.read_body(response, arriving, self._idle_timeout_s)


class _Pool(aiohttp.TCPConnector):
    """A pool that says of each connection whether it has been used before. Tracing could tell that, too, but takes a
    tenth of what a request takes.
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
        """See `aiohttp.BaseConnector`."""
        connection = await super().connect(req, traces, timeout)
        arriving = _ASKING.get()()
        if arriving is not None and connection.protocol is not None:
            arriving.connection_reused = connection.protocol in self._used
            self._used.add(connection.protocol)
        return connection


class _Dropped(Exception):
    """The connection was closed, or broke, before a head came."""

    def __init__(self, error: aiohttp.ClientError) -> None:
        super().__init__()
        self.error = error


async def _sent_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a request again by itself: it does with PUT and DELETE, too, and on new connections."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Dropped(error) from error


def _split(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    try:
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or parts.username:
        raise UsageError(f"--upstream {url!r} is not the URL of an API", "Write for example https://api.openai.com/v1")
    return f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")


def _proxy(origin: str) -> str | None:
    """The proxy that the environment names for `origin`; none leads to this machine.

    Not by aiohttp's `trust_env`, which reads passwords from ~/.netrc as well.
    """
    parts = urlsplit(origin)
    if parts.hostname in LOOPBACK or proxy_bypass(parts.netloc):
        return None
    return getproxies().get(parts.scheme)


@lru_cache(maxsize=256)  # a client sends the same headers again and again
def _forwarded(sent: Headers) -> CIMultiDict[str]:
    # aiohttp encodes values as UTF-8, and takes a name that comes back in other letters for its replacement.
    spelled: dict[str, str] = {}
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in kept(sent, everything=True):
        headers.add(spelled.setdefault(name.lower(), name), _utf8(value))
    headers["Accept-Encoding"] = "identity"  # so that text stays text on the tape
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
        kept(headers, everything=True),
        int(length) if length.isdecimal() and not chunked else None,
    )


def _cause(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"the name {error.host!r} is not known (DNS)"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientSSLError):
        return f"TLS failed: {error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return os.strerror(error.os_error.errno) if error.os_error.errno else str(error.os_error)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection without an answer"
    if isinstance(error, aiohttp.SocketTimeoutError):
        return "it sent nothing for longer than the idle timeout"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return f"no connection within {_CONNECT_S:.0f} s"
    if isinstance(error, aiohttp.ClientResponseError) and error.message.startswith("Got more than"):
        return f"a line of the head it sent is larger than {format_size(_HEAD_BYTES)}"  # which one could be a secret
    if isinstance(error, aiohttp.ClientResponseError):
        return f"what it sent is not HTTP: {error.message}"
    return str(error) or type(error).__name__


def _advice(request: Request, arriving: LiveResponse, error: BaseException) -> str:
    if arriving.connection_reused and request.method not in _SAFE:
        return (
            "Nothing was recorded. It was sent on a connection that had been used before; whether this "
            f"{request.method} arrived nobody can tell, so it is not sent again."
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        return "Nothing was recorded. Check --upstream, and HTTPS_PROXY if there is a proxy in between."
    return "Nothing was recorded."
