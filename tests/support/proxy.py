"""The instruments of the end-to-end tests: the proxy, in this process or as the real command, and a raw HTTP client.

    async with Upstream() as up, recording(up.url, tape) as proxy:
        heard = await proxy.ask("POST", "/v1/chat/completions", {"model": "gpt-4o-mini"})
        heard.status, heard.headers, heard.pieces, heard.ended

    async with command("play", tape) as process:      # the real thing, on a free port
        heard = await ask(process.origin, "GET", "/v1/models")
        assert await process.stop() == 0

The raw client notes what came off the socket and when, and takes HTTP apart itself: it is the measure of what is
verbatim, so it must not tidy up anything.
"""

from __future__ import annotations

import asyncio
import bisect
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from signal import SIGTERM, Signals
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from click.testing import CliRunner

from openai_replay.cassette import reader
from openai_replay.cassette.recordings import DEFAULT_READ_OPTIONS, ReadOptions
from openai_replay.cli.root import main
from openai_replay.config.rules import Rules
from openai_replay.journal.exchanges import Exchange
from openai_replay.model import Headers, Interaction, Mode
from openai_replay.proxy.engine import Engine
from openai_replay.server.serve import ServerConfig, serving

#: Seconds after which something that does not come counts as a failure. Nothing here takes long unless it is broken.
PATIENCE_S = 60.0

KEY = "sk-test-0123456789abcdefghijkl"
CHAT = "/v1/chat/completions"

# ------------------------------------------------------------------------------------------------ the raw client


class Ended(StrEnum):
    """The ending of a response, as the client's socket sees it."""

    COMPLETE = "complete"
    EARLY = "early"  # closed in good order before the answer was whole
    RESET = "reset"


class Piece(NamedTuple):
    """A piece of a body: an HTTP chunk exactly as it was cut, or, with other framings, the body as it is read.

    `at`: seconds from the last byte of the request to the piece's last byte.
    """

    at: float
    data: bytes


@dataclass(slots=True)
class Heard:
    """An answer as it came. `headers` are all there were, in order; `framing` is `chunked`, `length`, `close` or
    `none`.
    """

    status: int
    reason: str
    headers: list[tuple[str, str]]
    framing: str
    head_at: float
    pieces: list[Piece] = field(default_factory=list)
    ended: Ended | None = None
    end_at: float = 0.0

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.cuts)

    @property
    def cuts(self) -> list[bytes]:
        """The pieces without their times."""
        return [piece.data for piece in self.pieces]

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """The first value of the header `name` (any case), or None."""
        return next(iter(self.all(name)), None)

    def all(self, name: str) -> list[str]:
        """All values of the header `name` (any case), in order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


class Over(Exception):
    """The connection ended before what was waited for had come."""


class _Arrivals(asyncio.Protocol):
    """Everything that comes off one socket, and when."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.over: Ended | None = None
        self._ends: list[int] = []  # how much had come ...
        self._times: list[float] = []  # ... at this time
        self._news = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.data += data
        self._ends.append(len(self.data))
        self._times.append(asyncio.get_running_loop().time())
        self._news.set()

    def eof_received(self) -> None:
        self.over = Ended.EARLY
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.over = self.over or (Ended.EARLY if exc is None else Ended.RESET)
        self._news.set()

    def forget(self, size: int) -> None:
        """Let go of the first `size` bytes, and of all times but now's."""
        del self.data[:size]
        self._ends, self._times = [sys.maxsize], [asyncio.get_running_loop().time()]

    def time_of(self, end: int) -> float:
        """Return the arrival of byte `end`, in seconds of `time.monotonic()`."""
        return self._times[bisect.bisect_left(self._ends, end)]

    async def until(self, size: int) -> None:
        """Wait until `size` bytes are there. Raises Over, or TimeoutError when nothing comes for very long."""
        while len(self.data) < size:
            if self.over:
                raise Over
            self._news.clear()
            async with asyncio.timeout(PATIENCE_S):
                await self._news.wait()


class Connection:
    """One connection of the raw client, to be used inside `async with`: `send` a request, then `head()`, then `piece()`
    by `piece()` or the `rest()`. `receive_buffer`: bytes that the kernel may keep for us (it takes twice that), 0 for
    as many as it likes.
    """

    def __init__(self, origin: str, receive_buffer: int = 0) -> None:
        self._receive_buffer = receive_buffer
        parts = urlsplit(origin)
        assert parts.hostname
        assert parts.port
        self._host, self._port = parts.hostname, parts.port
        self._position = 0
        self._sent_at = 0.0
        self._method = ""
        self._left: int | None = None  # of a body with a length
        self._heard: Heard | None = None

    async def __aenter__(self) -> Connection:
        loop = asyncio.get_running_loop()
        connection = socket.socket()
        connection.setblocking(False)
        if self._receive_buffer:  # to be said before the connection is there
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        try:
            await loop.sock_connect(connection, (self._host, self._port))
        except OSError:
            connection.close()
            raise
        self.transport, self._arrivals = await loop.create_connection(_Arrivals, sock=connection)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.transport.abort()
        await asyncio.sleep(0)

    @property
    def heard(self) -> Heard:
        """The response so far."""
        assert self._heard is not None
        return self._heard

    def write(self, data: bytes, method: str = "GET") -> None:
        """Write these bytes as they are; they are (the end of) a request with `method`."""
        self._method = method
        self.transport.write(data)
        self._sent_at = asyncio.get_running_loop().time()

    def send(
        self, method: str, target: str, body: bytes | object = b"", headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Send a request. A `body` that is not bytes is sent as JSON."""
        defaults = [("Host", f"{self._host}:{self._port}"), ("Authorization", f"Bearer {KEY}")]
        if not isinstance(body, bytes):
            body = json.dumps(body, ensure_ascii=False).encode()
            defaults.append(("Content-Type", "application/json"))
        extra = list(headers)
        names = {name.lower() for name, _ in extra}
        lines = [f"{method} {target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in defaults if name.lower() not in names]
        lines += [f"{name}: {value}" for name, value in extra]
        if (body or method in ("POST", "PUT", "PATCH")) and not names & {"content-length", "transfer-encoding"}:
            lines.append(f"Content-Length: {len(body)}")
        self.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body, method)

    async def head(self) -> Heard:
        """Read the head of an answer; informational ones (1xx) are passed over."""
        while True:
            block = (await self._through(b"\r\n\r\n")).decode("latin-1")
            first, *lines = block.removesuffix("\r\n\r\n").split("\r\n")
            version, status, reason = [*first.split(" ", 2), ""][:3]
            assert version in ("HTTP/1.1", "HTTP/1.0"), first
            headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
            if not 100 <= int(status) < 200:
                break
        self._heard = heard = Heard(int(status), reason, headers, "none", self._at())
        if self._method == "HEAD" or heard.status in (204, 304):
            return heard
        if "chunked" in (heard.header("transfer-encoding") or ""):
            heard.framing = "chunked"
        elif (length := heard.header("content-length")) is not None:
            heard.framing, self._left = "length", int(length)
        else:
            heard.framing = "close"
        return heard

    async def piece(self) -> bytes | None:
        """The next piece of the body, added to `heard`; None once the answer has ended, in whichever way."""
        heard = self.heard
        size = 0
        try:
            match heard.framing:
                case "chunked":
                    size = int((await self._through(b"\r\n")).partition(b";")[0], 16)
                    if not size:
                        while await self._through(b"\r\n") != b"\r\n":
                            pass  # trailers
                        self._ends(Ended.COMPLETE)
                        return None
                    await self._arrivals.until(self._position + size + 2)
                    data = await self._exactly(size)
                    assert await self._exactly(2) == b"\r\n"
                case "length" if self._left:
                    await self._arrivals.until(self._position + 1)
                    data = await self._exactly(min(self._left, len(self._arrivals.data) - self._position))
                    self._left -= len(data)
                case "close":
                    await self._arrivals.until(self._position + 1)
                    data = await self._exactly(len(self._arrivals.data) - self._position)
                case _:
                    self._ends(Ended.COMPLETE)
                    return None
        except Over:
            if unread := self.unread[:size]:  # of a chunk that was cut
                self._position += len(unread)
                heard.pieces.append(Piece(self._at(), unread))
            over = self._arrivals.over
            self._ends(Ended.COMPLETE if heard.framing == "close" and over is Ended.EARLY else over)
            return None
        heard.pieces.append(Piece(self._at(), data))
        return data

    async def rest(self) -> Heard:
        """Read to the end."""
        if self._heard is None:
            await self.head()
        while await self.piece() is not None:
            pass
        heard, self._heard = self.heard, None
        return heard

    async def ask(self, method: str, target: str, body: Any = b"", headers: Iterable[tuple[str, str]] = ()) -> Heard:
        """Send a request and read the whole answer."""
        self.send(method, target, body, headers)
        return await self.rest()

    async def closed(self) -> Ended:
        """Wait until the other side has ended the connection."""
        with suppress(Over):
            await self._arrivals.until(sys.maxsize)
        assert self._arrivals.over is not None
        return self._arrivals.over

    async def until(self, size: int) -> None:
        """Wait until `size` bytes have come. Raises Over when the connection ends before."""
        await self._arrivals.until(size)

    def forget(self) -> None:
        """Let go of what was taken; times of what comes are not known any more."""
        self._arrivals.forget(self._position)
        self._position = 0

    @property
    def unread(self) -> bytes:
        """The bytes that have arrived and were not read yet."""
        return bytes(self._arrivals.data[self._position :])

    def _ends(self, ending: Ended | None) -> None:
        self.heard.ended = ending
        self.heard.end_at = asyncio.get_running_loop().time() - self._sent_at

    def _at(self) -> float:
        return self._arrivals.time_of(self._position) - self._sent_at if self._position else 0.0

    async def _through(self, mark: bytes) -> bytes:
        start = self._position
        while (position := self._arrivals.data.find(mark, start)) < 0:
            await self._arrivals.until(len(self._arrivals.data) + 1)
        return await self._exactly(position + len(mark) - start)

    async def _exactly(self, size: int) -> bytes:
        await self._arrivals.until(self._position + size)
        start, self._position = self._position, self._position + size
        return bytes(self._arrivals.data[start : self._position])


async def ask(origin: str, method: str, target: str, body: Any = b"", headers: Iterable[tuple[str, str]] = ()) -> Heard:
    """One request on a connection of its own, and the whole answer. A `body` that is not bytes is sent as JSON."""
    async with Connection(origin) as connection:
        return await connection.ask(method, target, body, headers)


# ------------------------------------------------------------------------------------------------ what may differ

#: Between one hop and the next these are made anew (RFC 9110 7.6.1), and a proxy adds Via.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "te", "trailer", "upgrade", "via"}
#: What a cassette leaves out (docs/cassette-format.md, rule 7).
NOISE = re.compile(r"cf-.*|alt-svc|nel|report-to|strict-transport-security|accept-encoding|user-agent|x-stainless-.*")
SECRET = {"set-cookie", "openai-organization", "openai-project"}


def passed_on(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The end-to-end headers among `headers`, in order."""
    return [(name, value) for name, value in headers if name.lower() not in HOP_BY_HOP]


def on_tape(headers: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return `headers` as they are played: by name, with the values of one name in order."""
    values: dict[str, list[str]] = {}
    for name, value in passed_on(headers):
        if not NOISE.fullmatch(name.lower()):
            values.setdefault(name, []).append("REDACTED" if name.lower() in SECRET else value)
    return values


# ------------------------------------------------------------------------------------------------ the proxy, in process


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that runs in this process."""

    base_url: str
    engine: Engine

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return "{0.scheme}://{0.netloc}".format(urlsplit(self.base_url))

    @property
    def journal(self) -> list[Exchange]:
        """The exchanges so far."""
        return list(self.engine.journal.exchanges)

    @property
    def outcomes(self) -> list[str]:
        """The outcome of every request so far."""
        return [str(exchange.outcome) for exchange in self.journal]

    async def ask(self, method: str, target: str, body: Any = b"", headers: Iterable[tuple[str, str]] = ()) -> Heard:
        """One request on a connection of its own, and the whole answer."""
        return await ask(self.origin, method, target, body, headers)


@asynccontextmanager
async def recording(
    upstream: str, tape: Path, mode: Mode = Mode.NEW_EPISODES, idle_timeout_s: float = 60.0, **rules: Any
) -> AsyncIterator[Proxy]:
    """Record from `upstream` on `tape`; `rules` are fields of `rules.Rules`."""
    config = ServerConfig(Rules(mode=mode, **rules), (tape,), upstream, port=0, idle_timeout_s=idle_timeout_s)
    async with serving(config) as (base_url, sessions):
        assert sessions.default is not None
        yield Proxy(base_url, sessions.default.engine)


@asynccontextmanager
async def playing(*tapes: Path, read_options: ReadOptions = DEFAULT_READ_OPTIONS, **rules: Any) -> AsyncIterator[Proxy]:
    """Play `tapes`; `rules` are fields of `rules.Rules`."""
    async with serving(ServerConfig(Rules(mode=Mode.NONE, **rules), tapes, port=0, read_options=read_options)) as (
        base_url,
        sessions,
    ):
        assert sessions.default is not None
        yield Proxy(base_url, sessions.default.engine)


def interactions(tape: Path) -> list[Interaction]:
    """Return the interactions of a cassette."""
    return reader.load(tape.read_text("utf-8"), tape).interactions


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# ------------------------------------------------------------------------------------------------ the real command

OPENAI_REPLAY = (sys.executable, "-m", "openai_replay")
#: The same without uvloop, whether it is installed or not.
WITHOUT_UVLOOP = (
    sys.executable,
    "-c",
    "import sys; sys.modules['uvloop'] = None; from openai_replay.cli.root import main; main()",
)


class Finished(NamedTuple):
    """A process that has ended."""

    code: int
    stdout: str
    stderr: str


class Process:
    """`openai-replay` in a process of its own, with its output in files."""

    def __init__(self, popen: subprocess.Popen[bytes], folder: Path) -> None:
        self.popen = popen
        self.base_url = ""
        self._folder = folder

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.popen.pid

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return "{0.scheme}://{0.netloc}".format(urlsplit(self.base_url))

    @property
    def ready_file(self) -> Path:
        """The ready file."""
        return self._folder / "ready"

    @property
    def stdout(self) -> str:
        """Its output on stdout so far."""
        return (self._folder / "stdout").read_text("utf-8")

    @property
    def stderr(self) -> str:
        """Its output on stderr so far."""
        return (self._folder / "stderr").read_text("utf-8")

    @property
    def peak_bytes(self) -> int:
        """The most memory it has had so far (resident set)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        match = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert match
        return int(match[1]) << 10

    async def ask(self, method: str, target: str, body: Any = b"", headers: Iterable[tuple[str, str]] = ()) -> Heard:
        """One request on a connection of its own, and the whole answer."""
        return await ask(self.origin, method, target, body, headers)

    async def ready(self) -> None:
        """Wait until requests are answered. Raises AssertionError with its words if it ends instead."""
        async with asyncio.timeout(PATIENCE_S):
            while not self.ready_file.exists():
                assert self.popen.poll() is None, f"ended with {self.popen.returncode}: {self.stderr}"
                await asyncio.sleep(0.01)
        self.base_url = self.ready_file.read_text("utf-8").strip()

    def signal(self, number: Signals) -> None:
        """Send it a signal."""
        self.popen.send_signal(number)

    async def ended(self) -> int:
        """Wait until it has ended; its exit code, minus N after signal N."""
        return await asyncio.to_thread(self.popen.wait, PATIENCE_S)

    async def stop(self, number: Signals = SIGTERM) -> int:
        """Send it a signal and wait until it has ended."""
        self.signal(number)
        return await self.ended()

    async def says(self, text: str) -> None:
        """Wait until it has written `text` to stderr."""
        async with asyncio.timeout(PATIENCE_S):
            while text not in self.stderr:
                await asyncio.sleep(0.01)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours without what would steer the program or its clients, and `more`."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("OPENAI_") and not name.lower().endswith("_proxy") and not name.startswith("COV_")
    }
    return {**variables, "PYTHONUNBUFFERED": "1", **(extra or {})}


@asynccontextmanager
async def command(
    *arguments: str | Path,
    program: Sequence[str] = OPENAI_REPLAY,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    ready: bool = True,
) -> AsyncIterator[Process]:
    """Run `openai-replay ARGUMENTS --port 0` until the block is left; it is ready when the block begins.

    It runs in a folder of its own unless `cwd` is given, so that no pyproject.toml speaks to it.
    """
    with tempfile.TemporaryDirectory(prefix="openai-replay-test-") as name:
        folder = Path(name)
        verb, *options = map(str, arguments)
        defaults = [verb, "--port", "0", "--ready-file", str(folder / "ready")]
        with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
            popen = subprocess.Popen(  # noqa: ASYNC220 - it returns at once, and only Popen can be killed without a loop
                [*program, *defaults, *options],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=environment(env),
                cwd=cwd or folder,
            )
        process = Process(popen, folder)
        try:
            if ready:
                await process.ready()
            yield process
        finally:
            if popen.poll() is None:
                popen.kill()
            await asyncio.to_thread(popen.wait)


async def run(
    *arguments: str | Path,
    program: Sequence[str] = OPENAI_REPLAY,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Finished:
    """Run `openai-replay ARGUMENTS` to its end."""
    with tempfile.TemporaryDirectory(prefix="openai-replay-test-") as folder:
        result = await asyncio.to_thread(
            subprocess.run,
            [*program, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment(env),
            cwd=cwd or folder,
            timeout=3 * PATIENCE_S,
            check=False,
        )
    return Finished(result.returncode, result.stdout.decode(), result.stderr.decode())


def invoke(*arguments: str | Path) -> Finished:
    """Run `openai-replay ARGUMENTS` in this process, where it is expected to end by itself. Not inside a loop."""
    result = CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False)
    return Finished(result.exit_code, result.stdout, result.stderr)


# ------------------------------------------------------------------------------------------------ cassettes by hand


def item(
    body: str,
    *,
    prompt: str = "hello",
    path: str = CHAT,
    status: int = 200,
    headers: Headers = (("content-type", "application/json"),),
) -> str:
    """The text of one plain item, as vcrpy would write it: without `wire`. `body` and `asked` are plain words."""
    lines = "".join(f"      {name}: [{json.dumps(value)}]\n" for name, value in headers)
    return (
        f"- request:\n    method: POST\n    uri: https://api.openai.com{path}\n"
        f"    headers:\n      content-type: [application/json]\n    body: '{json.dumps(prompt)}'\n"
        f"  response:\n    status: {{code: {status}, message: OK}}\n    headers:\n{lines}"
        f"    body: {{string: '{body}'}}\n"
    )


def cassette(path: Path, *items: str) -> Path:
    """Write a cassette with these items."""
    path.write_text("version: 1\ninteractions:\n" + "".join(items), "utf-8")
    return path
