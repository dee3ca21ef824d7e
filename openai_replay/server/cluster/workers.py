"""Several processes that serve one port: `play --workers N`.

First the cassette is read, and the sockets and the shared memory are made. Only then are the workers forked. Each has
its own listening socket on the same port (SO_REUSEPORT), and the system spreads connections over them. The supervisor
keeps all sockets open: connections that wait for a killed worker are accepted by its successor. The workers share the
supervisor's memory of the cassette as long as they do not write to it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from openai_replay.cassette.cassette import Cassette
from openai_replay.errors import ReplayError, StateError, UsageError
from openai_replay.journal import console, log
from openai_replay.journal.exchanges import Exchange, Outcome
from openai_replay.server import child_process, process, serve
from openai_replay.server.cluster.shared_memory import Counts, PositionTable, SharedPositionStore
from openai_replay.server.cluster.supervisor import READY, Send, Supervisor
from openai_replay.server.serve import ServerConfig
from openai_replay.server.sessions import PositionStore, ServedSession, Sessions, base_path

#: Characters of a failure that a worker sends: a pipe takes this much in one write.
_MAX_FAILURE = 1000


def run(config: ServerConfig, command: Sequence[str], workers: int) -> int:
    """Serve with `workers` processes until a signal, or while `command` runs. Return the exit code.

    Raises StartError, CassetteError or UsageError.
    """
    if not (hasattr(os, "fork") and hasattr(socket, "SO_REUSEPORT")):
        hint = "Leave --workers out, or start several servers on different ports."
        raise UsageError("--workers needs fork and SO_REUSEPORT, which this system does not have.", hint)
    serve.check_host(config)
    reading = config.read_options._replace(key_fingerprint=config.rules.key_fingerprint)
    cassette = Cassette.for_play(config.cassettes, config.rules.key, config.rules.matching_summary, reading)
    cassette.set_warning_handler(console.warn)
    store = config.position_store or SharedPositionStore(PositionTable(len(cassette.recordings)))
    store.prepare(cassette)
    listening = _listen(config, workers)
    with ExitStack() as stack:
        for listener in listening:
            stack.enter_context(listener)
        # Frozen objects stay: no garbage collection looks at them, or writes to the pages that are shared.
        gc.collect()
        gc.freeze()
        return _Workers(replace(config, loaded=cassette, position_store=store), cassette, store, listening).run(command)


def _listen(config: ServerConfig, workers: int) -> list[socket.socket]:
    """Return a listening socket for each worker, all on one port. Raises StartError."""
    listeners: list[socket.socket] = []
    try:
        family, _, _, _, address = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0]
        # SO_REUSEPORT would share the port with another server as well. Bind it once without, to see that it is free.
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
        for _ in range(workers):
            listener = socket.socket(family)
            listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(address)
            address = listener.getsockname()
        for listener in listeners:
            listener.listen(serve.BACKLOG)
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise serve.cannot_listen(config, error) from None
    return listeners


class _Workers:
    """The workers of one server, from the first fork to the verdict."""

    def __init__(
        self, config: ServerConfig, cassette: Cassette, store: PositionStore, listening: list[socket.socket]
    ) -> None:
        self._config, self._cassette, self._store, self._listening = config, cassette, store, listening
        self._counts = Counts(len(listening))
        self._failures: list[str] = []

    def run(self, command: Sequence[str]) -> int:
        """Run the workers. Return the exit code."""
        supervisor = Supervisor(len(self._listening), self._work, self._failures.append)
        code = supervisor.run(lambda: self._on_ready(command), self._on_stop)
        verdict = self._verdict() if supervisor.all_ready else 0
        return code or verdict

    def _on_ready(self, command: Sequence[str]) -> subprocess.Popen[bytes] | None:
        """Announce the base URL, now that all workers serve. Return the process of `command`. Raises StartError."""
        config = self._config
        base_url = serve.origin(*self._listening[0].getsockname()[:2]) + base_path(None, self._cassette)
        if config.ready_file is not None:
            child_process.write_ready_file(config.ready_file, base_url)
        if not command:
            print(base_url, flush=True)
            return None
        variables = child_process.environment(os.environ, base_url, records=False, key=config.access.key)
        try:
            return subprocess.Popen(command, env={**os.environ, **variables})
        except OSError as error:
            raise child_process.cannot_run(command, error) from None

    def _on_stop(self) -> None:
        if self._config.ready_file is not None:
            self._config.ready_file.unlink(missing_ok=True)
        for listener in self._listening:
            listener.close()

    def _work(self, number: int, life: int, send: Send) -> None:
        """Serve as worker `number`, in its own process."""
        for listener_number, listener in enumerate(self._listening):
            if listener_number != number:
                listener.close()
        print_exchange = self._config.on_exchange or console.exchange_printer(self._config.quiet)

        def on_exchange(exchange: Exchange) -> None:
            self._counts.add(number, exchange.outcome)
            if exchange.failure:
                send(exchange.failure[:_MAX_FAILURE])
            print_exchange(exchange)

        config = replace(self._config, listeners=(self._listening[number],), on_exchange=on_exchange, strict=False)
        process.run_in_event_loop(_serve_until_stopped(config, life, lambda: send(READY)), config.log_level)

    # -------------------------------------------------------------------------------------- the verdict

    def _verdict(self) -> int:
        """Print the summary of all workers together. Return its exit code."""
        counts, code = self._counts.total(), 0
        unplayed: list[str] = []
        if self._config.strict:
            try:
                unplayed = asyncio.run(self._unplayed())
            except StateError as error:
                console.error(error)
                code = 1
        if unplayed:
            console.print_line(console.unplayed(unplayed))
        if not self._config.quiet or counts[Outcome.LOST]:
            console.print_line(console.summary_line(counts, self._failures, self._cassette.name))
        return code or process.exit_code(counts, unplayed)

    async def _unplayed(self) -> list[str]:
        """Return the unplayed recordings, one line each. The session of a whole folder counts only if it was used."""
        config, cassette = self._config, self._cassette
        if cassette.is_outdated(None):
            with suppress(ReplayError):
                cassette.reload()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._store)
            sessions = Sessions(
                config.rules,
                config.folder,
                lambda exchange: None,
                rules_for=config.rules_for,
                read_options=config.read_options,
                position_store=self._store,
            )
            stack.callback(sessions.scheduler.close)
            default = sessions.open(config.cassettes, config.rules, name="", loaded=cassette)
            for name in _session_names(cassette, config.folder) if config.folder else ():
                with suppress(ReplayError):
                    sessions.get_or_open(name)
            await sessions.refresh()
            used = [session for session in sessions.all() if not config.folder or _is_used(session)]
            return [line for session in used or [default] for line in session.unplayed()]


def _session_names(cassette: Cassette, folder: Path) -> list[str]:
    """Return the names that the files of the served folder have in URLs."""
    names = [str(path.relative_to(folder)) for path in cassette.files]
    return names + [name.removesuffix(".yaml") for name in names if name.endswith(".yaml")]


def _is_used(session: ServedSession) -> bool:
    cassette = session.engine.cassette
    return any(cassette.is_played(recording) for recording in cassette.recordings)


async def _serve_until_stopped(config: ServerConfig, life: int, on_ready: Callable[[], None]) -> None:
    """Serve until the supervisor stops this worker, or is gone itself."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log.loop_failed)
    stop = asyncio.Event()

    def on_stop() -> None:
        loop.remove_reader(life)
        stop.set()

    loop.add_signal_handler(signal.SIGTERM, on_stop)
    loop.add_reader(life, on_stop)
    process.tune_gc(config)
    async with serve.serving(config):
        on_ready()
        await stop.wait()
