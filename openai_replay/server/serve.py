"""The process: an event loop, a listening socket, signals, and the command that runs inside."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from openai_replay.cassette.cassette import Cassette
from openai_replay.cassette.recordings import READING, Reading
from openai_replay.config.rules import Rules
from openai_replay.errors import CassetteWriteError, StartError, StateError, UsageError
from openai_replay.journal import console, log
from openai_replay.journal.exchanges import Exchange, Outcome
from openai_replay.journal.jsonl import JournalFile
from openai_replay.model import Mode
from openai_replay.server import child_process
from openai_replay.server.access import Access
from openai_replay.server.app import App
from openai_replay.server.http import hosts, kernel_timestamps
from openai_replay.server.http.limits import Limits
from openai_replay.server.sessions import PositionStore, Sessions

T = TypeVar("T")

#: Seconds an open connection may take to finish after the listening socket is closed.
_SHUTDOWN_S = 60.0
#: Connections that may wait to be accepted: a load test opens thousands at once, and a client whose turn does not come
#: tries again after a second.
BACKLOG = 4096
#: New objects after which Python looks for garbage in circles. What is played leaves none behind, and connections take
#: theirs apart, but a stream on its way is some forty objects: by Python's measure a few of them were reason enough to
#: stop for several milliseconds. What fails while it is forwarded leaves circles, with whole requests in them.
_SEARCHED_AFTER = {"play": 200_000, "record": 20_000}


@dataclass(frozen=True, slots=True)
class Serving:
    """What to serve, and where: the server's own session plays or records `cassettes`; `folder` is where those of
    others lie.

    `upstream` is None for a player.
    """

    rules: Rules
    cassettes: tuple[Path, ...] = ()
    upstream: str | None = None
    host: str = "127.0.0.1"
    port: int = 8765
    ready_file: Path | None = None
    strict: bool = False
    quiet: bool = False
    idle_timeout_s: float = 600.0
    folder: Path | None = None
    access: Access = field(default_factory=Access)
    limits: Limits = field(default_factory=Limits)
    allow_remote: bool = False  # whether `host` may be one that other machines reach
    log_level: str = "warning"
    rules_at: Callable[[Path], Rules] | None = None  # those of a cassette in `folder`; None: `rules`
    tell: Callable[[Exchange], None] | None = None  # what to call with every exchange; None: the terminal
    reading: Reading = READING  # how big tapes are read
    journal: Path | None = None  # a file that exchanges are written to
    shutdown_s: float = _SHUTDOWN_S  # how long an answer under way may take once the listening socket is closed
    keeper: PositionStore | None = None  # of positions that other processes share
    sockets: tuple[socket.socket, ...] = ()  # that listen already, in the place of `host` and `port`
    tape: Cassette | None = None  # `cassettes`, where they are read already


class Served(NamedTuple):
    """A server that listens: the base URL of its own session, and its sessions."""

    base_url: str
    sessions: Sessions


@asynccontextmanager
async def serving(what: Serving) -> AsyncIterator[Served]:
    """Serve until the block is left. Raises StartError, CassetteError or UsageError."""
    if not what.sockets:
        check_host(what)
    tell = what.tell or console.teller(what.quiet)
    sessions = Sessions(what.rules, what.folder, tell, console.warn, what.rules_at)
    sessions.reading = what.reading
    async with AsyncExitStack() as stack:
        stack.callback(sessions.clock.close)
        if what.keeper is not None:
            await stack.enter_async_context(what.keeper)
            sessions.keeper = what.keeper
        if what.journal is not None:
            sessions.journal_file = JournalFile(what.journal)
            stack.callback(sessions.journal_file.ended)
        if what.upstream is not None:
            from openai_replay.proxy.upstream import Upstream  # a player has not even loaded it

            sessions.upstream = await stack.enter_async_context(
                Upstream(what.upstream, what.idle_timeout_s, what.limits.response)
            )
        base_path = ""
        if what.cassettes:
            own = sessions.open(what.cassettes, what.rules, name="", tape=what.tape)
            base_path = own.path
        app = App(sessions, what.access, what.limits)
        try:
            listening = await _listen(app, what)
        except OSError as error:
            raise cannot_listen(what, error) from None
        stack.push_async_callback(_stop, listening, app, sessions, what)
        sessions.origin = origin(*listening[0].sockets[0].getsockname()[:2])
        yield Served(sessions.origin + base_path, sessions)


async def _listen(app: App, what: Serving) -> list[asyncio.Server]:
    """Servers of what is to be listened on. Raises OSError."""
    loop = asyncio.get_running_loop()
    if what.sockets:
        servers = [await loop.create_server(app, sock=one, backlog=BACKLOG) for one in what.sockets]
    else:
        servers = [await loop.create_server(app, what.host, what.port, backlog=BACKLOG)]
    for server in servers:
        for one in server.sockets:
            kernel_timestamps.enable(one)
    return servers


def cannot_listen(what: Serving, error: OSError) -> StartError:
    """What a user is told of `error`."""
    # Event loops have words of their own for these; a name that is not known has a negative number.
    number = error.errno or 0
    why = os.strerror(number) if number > 0 else error.strerror or error
    hint = "Take another port with --port, or any free one with --port 0."
    return StartError(f"cannot listen on {what.host}:{what.port}: {why}", hint)


def origin(host: str, port: int) -> str:
    """Where clients find an address."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def check_host(what: Serving) -> None:
    """Other machines are let in only by those who say so. Raises UsageError."""
    if hosts.is_loopback(what.host):
        return
    may = "read what is recorded" if what.upstream is None else "read what is recorded, and have requests forwarded"
    who = "who has the key " if what.access.key else ""
    if not what.allow_remote:
        raise UsageError(
            f"--host {what.host} lets in whoever reaches this machine: they could {may}.",
            "Add --allow-remote if that is what you want, and --client-key-env to let in only those who have a key.",
        )
    console.warn(f"listening on {what.host}: whoever reaches this machine {who}can {may}.")


async def _stop(listening: list[asyncio.Server], app: App, sessions: Sessions, what: Serving) -> None:
    """Take no more, finish what is under way, and have it all on the tape."""
    for one in listening:
        one.close()
    await asyncio.sleep(0)  # what has come already is begun
    await app.connections.shut(what.shutdown_s)
    await sessions.finish()
    if what.strict:
        await sessions.look()


def run(what: Serving, command: Sequence[str] = ()) -> int:
    """Serve until a signal, or while `command` runs. Returns the exit code; raises what `serving` raises."""
    return in_loop(_run(what, command), what.log_level)


def in_loop(work: Coroutine[Any, Any, T], log_level: str) -> T:
    """Run `work` in an event loop of its own, the fastest there is."""
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with suppress(ImportError):  # the extra `speed`
        import uvloop

        factory = uvloop.new_event_loop
    _open_more_files()
    with log.to_stderr(log_level), asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


def search_seldom(what: Serving) -> None:
    """Have Python look for garbage when there may be some, and not in the middle of everything."""
    gc.set_threshold(_SEARCHED_AFTER["play" if what.upstream is None else "record"], 50, 50)


def _open_more_files() -> None:
    """Every client is a file, and what it asks for another one: take as many as are allowed, and of use."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1 << 16 if most == resource.RLIM_INFINITY else min(most, 1 << 16)
    if 0 <= now < wanted:
        with suppress(ValueError, OSError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


async def _run(what: Serving, command: Sequence[str]) -> int:
    asyncio.get_running_loop().set_exception_handler(log.loop_failed)
    stop = _stopping()
    code, sessions = 0, None
    try:
        async with serving(what) as (base_url, sessions):
            search_seldom(what)
            gc.freeze()  # what was read of the tape stays: to go through it again costs more the longer it is
            code = await _until_stopped(what, command, base_url, stop)
            if code and sessions.journal_file is not None:
                sessions.journal_file.flawed(f"the command ended with {code}: {command[0]}")
    except (CassetteWriteError, StateError) as error:
        if sessions is None:
            raise
        console.error(error)  # at the end: all that was recorded is in the file, if not in its place
        code = code or 1
    verdict = _verdict(what, sessions)
    return code or verdict


async def _until_stopped(
    what: Serving, command: Sequence[str], base_url: str, stop: asyncio.Queue[signal.Signals]
) -> int:
    """Say where we are, and wait for `command` or a signal. Returns the exit code so far."""
    if what.ready_file is not None:
        child_process.write_ready_file(what.ready_file, base_url)
    try:
        if command:
            return await _run_command(command, base_url, what, stop)
        print(base_url, flush=True)
        await stop.get()
        return 0
    finally:
        if what.ready_file is not None:
            what.ready_file.unlink(missing_ok=True)


def _verdict(what: Serving, sessions: Sessions) -> int:
    """Say what happened; 1 if something was missed, lost, or (strict) left unplayed."""
    counts = sessions.counts()
    left = sessions.unplayed() if what.strict else []
    if left:
        console.say(console.unplayed(left))
    if not what.quiet or counts[Outcome.LOST]:
        name = sessions.own.engine.cassette.name if sessions.own else ""
        console.say(console.closing(counts, sessions.failures(), name))
    return exit_code(counts, left)


def exit_code(counts: Counter[Outcome], left: list[str]) -> int:
    """1 where something was missed or lost, or is `left` that should have been played."""
    return 1 if counts[Outcome.MISSED] or counts[Outcome.LOST] or left else 0


def _stopping() -> asyncio.Queue[signal.Signals]:
    """The signals that ask us to stop, as they come. A second one ends us at once, as it would without us."""
    received: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def note(number: signal.Signals) -> None:
        received.put_nowait(number)
        loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, note, number)
    return received


async def _run_command(
    command: Sequence[str], base_url: str, what: Serving, stop: asyncio.Queue[signal.Signals]
) -> int:
    """Run `command` with the proxy in its environment; its exit code is ours (128 + N after signal N, as shells have
    it).
    """
    try:
        own = child_process.environment(os.environ, base_url, what.rules.mode is not Mode.NONE, what.access.key)
        child = await asyncio.create_subprocess_exec(*command, env={**os.environ, **own})
    except OSError as error:
        raise child_process.cannot_run(command, error) from None
    ended = asyncio.create_task(child.wait())
    while not ended.done():
        signalled = asyncio.create_task(stop.get())
        await asyncio.wait((ended, signalled), return_when=asyncio.FIRST_COMPLETED)
        # At a terminal Ctrl-C has reached the child already.
        if signalled.done() and not ended.done() and not (signalled.result() is signal.SIGINT and sys.stdin.isatty()):
            child.send_signal(signalled.result())
        signalled.cancel()
    code = ended.result()
    return 128 - code if code < 0 else code
