"""A running server: its settings, its listening sockets, its sessions.

Enter at `serving`. `process` runs it in an event loop of its own, with signals and a command inside.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from openai_replay.cassette.cassette import Cassette
from openai_replay.cassette.recordings import DEFAULT_READ_OPTIONS, ReadOptions
from openai_replay.config.rules import Rules
from openai_replay.errors import StartError, UsageError
from openai_replay.journal import console
from openai_replay.journal.exchanges import Exchange
from openai_replay.journal.jsonl import JournalFile
from openai_replay.server.access import Access
from openai_replay.server.app import App
from openai_replay.server.http import hosts, kernel_timestamps
from openai_replay.server.http.limits import Limits
from openai_replay.server.sessions import PositionStore, Sessions

#: Seconds that a response may take to finish after the listening socket is closed.
_SHUTDOWN_S = 60.0
#: Connections that may wait to be accepted. A load test opens thousands at once, and a client that finds no room tries
#: again after a second.
BACKLOG = 4096


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Settings of a server: its default session plays or records `cassettes`; named sessions use those in `folder`.

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
    allow_remote: bool = False  # True if `host` may be an address that other machines reach
    log_level: str = "warning"
    rules_for: Callable[[Path], Rules] | None = None  # the rules of a cassette in `folder`; None: `rules`
    on_exchange: Callable[[Exchange], None] | None = None  # None: print to the terminal
    read_options: ReadOptions = DEFAULT_READ_OPTIONS  # of large cassettes
    journal_path: Path | None = None  # the file that exchanges are written to
    shutdown_s: float = _SHUTDOWN_S  # for running responses, once the listening socket is closed
    position_store: PositionStore | None = None  # for positions that other processes share
    listeners: tuple[socket.socket, ...] = ()  # already listening, instead of `host` and `port`
    loaded: Cassette | None = None  # `cassettes`, if they have been read already


class RunningServer(NamedTuple):
    """A listening server: the base URL of its default session, and all its sessions."""

    base_url: str
    sessions: Sessions


@asynccontextmanager
async def serving(config: ServerConfig) -> AsyncIterator[RunningServer]:
    """Serve until the block is left. Raises StartError, CassetteError or UsageError."""
    if not config.listeners:
        check_host(config)
    async with AsyncExitStack() as stack:
        if config.position_store is not None:
            await stack.enter_async_context(config.position_store)
        journal_file = upstream = None
        if config.journal_path is not None:
            journal_file = JournalFile(config.journal_path)
            stack.callback(journal_file.ended)
        if config.upstream is not None:
            from openai_replay.proxy.upstream import Upstream  # a player has not even loaded it

            upstream = Upstream(config.upstream, config.idle_timeout_s, config.limits.response)
            await stack.enter_async_context(upstream)
        sessions = Sessions(
            config.rules,
            config.folder,
            config.on_exchange or console.exchange_printer(config.quiet),
            console.warn,
            config.rules_for,
            upstream,
            config.read_options,
            config.position_store,
            journal_file,
        )
        stack.callback(sessions.scheduler.close)
        base_path = ""
        if config.cassettes:
            default = sessions.open(config.cassettes, config.rules, name="", loaded=config.loaded)
            base_path = default.path
        app = App(sessions, config.access, config.limits)
        try:
            listening = await _listen(app, config)
        except OSError as error:
            raise cannot_listen(config, error) from None
        stack.push_async_callback(_stop, listening, app, sessions, config)
        sessions.origin = origin(*listening[0].sockets[0].getsockname()[:2])
        yield RunningServer(sessions.origin + base_path, sessions)


async def _listen(app: App, config: ServerConfig) -> list[asyncio.Server]:
    """Start to listen. Raises OSError."""
    loop = asyncio.get_running_loop()
    if config.listeners:
        servers = [await loop.create_server(app, sock=listener, backlog=BACKLOG) for listener in config.listeners]
    else:
        servers = [await loop.create_server(app, config.host, config.port, backlog=BACKLOG)]
    for server in servers:
        for listener in server.sockets:
            kernel_timestamps.enable(listener)
    return servers


def cannot_listen(config: ServerConfig, error: OSError) -> StartError:
    """Return the error to show for `error`."""
    # Event loops have texts of their own for these errors; that of an unknown host name has a negative number.
    number = error.errno or 0
    reason = os.strerror(number) if number > 0 else error.strerror or error
    hint = "Choose another port with --port, or any free port with --port 0."
    return StartError(f"Could not listen on {config.host}:{config.port}: {reason}.", hint)


def origin(host: str, port: int) -> str:
    """Return the origin of the URLs of a listening address."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def check_host(config: ServerConfig) -> None:
    """Refuse an address that other machines reach, unless it is explicitly allowed. Raises UsageError."""
    if hosts.is_loopback(config.host):
        return
    rights = "read recordings" if config.upstream is None else "read recordings and have requests forwarded"
    clients = "with the key " if config.access.key else ""
    if not config.allow_remote:
        raise UsageError(
            f"--host {config.host} is reachable from other machines. Everyone who reaches it could {rights}.",
            "Add --allow-remote if you want that, and --client-key-env to admit only clients that have a key.",
        )
    console.warn(f"Listening on {config.host}: everyone {clients}who reaches this machine can {rights}.")


async def _stop(listening: list[asyncio.Server], app: App, sessions: Sessions, config: ServerConfig) -> None:
    """Accept no more connections, finish running responses, and wait for the cassettes."""
    for server in listening:
        server.close()
    await asyncio.sleep(0)  # requests that have arrived start now
    await app.connections.shutdown(config.shutdown_s)
    await sessions.finish()
    if config.strict:
        await sessions.refresh()
