"""Several processes that serve one port: `play --workers N`.

The tape is read, the sockets and the memory that is shared are made, and only then are the workers forked. Every one
has a listening socket of its own on the same port (SO_REUSEPORT), and the system spreads connections over them. The
supervisor keeps all of them open: what waits to be accepted by a worker that is killed is accepted by the one that
takes its place. What of the tape is in memory is the supervisor's, and shared as far as nobody writes to it.
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
from openai_replay.server import child_process, serve
from openai_replay.server.cluster.shared_memory import Counts, SharedKeeper, Table
from openai_replay.server.cluster.supervisor import READY, Say, Supervisor
from openai_replay.server.serve import Serving
from openai_replay.server.sessions import Keeper, Session, Sessions, base_path

#: Characters of a failure that the last line quotes: a pipe takes so much in one go.
_QUOTED = 1000


def run(what: Serving, command: Sequence[str], workers: int) -> int:
    """Serve by so many `workers` until a signal, or while `command` runs. Returns the exit code.

    Raises StartError, CassetteError or UsageError.
    """
    if not (hasattr(os, "fork") and hasattr(socket, "SO_REUSEPORT")):
        hint = "Leave --workers out; several servers on ports of their own do as well."
        raise UsageError("--workers needs fork and SO_REUSEPORT, which this system does not have", hint)
    serve.check_host(what)
    reading = what.reading._replace(told=what.rules.told)
    tape = Cassette.for_play(what.cassettes, what.rules.key, what.rules.described, reading)
    tape.hear(console.warn)
    keeper = what.keeper or SharedKeeper(Table(len(tape.recordings)))
    keeper.know(tape)
    listening = _listen(what, workers)
    with ExitStack() as stack:
        for one in listening:
            stack.enter_context(one)
        # What is there stays: no collection has to look at it, or writes to what is shared.
        gc.collect()
        gc.freeze()
        return _Workers(replace(what, tape=tape, keeper=keeper), tape, keeper, listening).run(command)


def _listen(what: Serving, workers: int) -> list[socket.socket]:
    """A listening socket for each worker, all on one port. Raises StartError."""
    made: list[socket.socket] = []
    try:
        family, _, _, _, address = socket.getaddrinfo(what.host, what.port, type=socket.SOCK_STREAM)[0]
        # Sockets that share a port share it with those of another server, too: it has to be nobody's.
        with socket.socket(family) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
        for _ in range(workers):
            one = socket.socket(family)
            made.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind(address)
            address = one.getsockname()
        for one in made:
            one.listen(serve.BACKLOG)
    except OSError as error:
        for one in made:
            one.close()
        raise serve.cannot_listen(what, error) from None
    return made


class _Workers:
    def __init__(self, what: Serving, tape: Cassette, keeper: Keeper, listening: list[socket.socket]) -> None:
        self._what, self._tape, self._keeper, self._listening = what, tape, keeper, listening
        self._counts = Counts(len(listening))
        self._failures: list[str] = []

    def run(self, command: Sequence[str]) -> int:
        """From the first worker to the verdict."""
        supervisor = Supervisor(len(self._listening), self._work, self._failures.append)
        code = supervisor.run(lambda: self._begun(command), self._ended)
        verdict = self._verdict() if supervisor.serves else 0
        return code or verdict

    def _begun(self, command: Sequence[str]) -> subprocess.Popen[bytes] | None:
        """All workers answer: say where. Returns the process of `command`. Raises StartError."""
        what = self._what
        base_url = serve.origin(*self._listening[0].getsockname()[:2]) + base_path(None, self._tape)
        if what.ready_file is not None:
            child_process.write_ready_file(what.ready_file, base_url)
        if not command:
            print(base_url, flush=True)
            return None
        own = child_process.environment(os.environ, base_url, records=False, key=what.access.key)
        try:
            return subprocess.Popen(command, env={**os.environ, **own})
        except OSError as error:
            raise child_process.cannot_run(command, error) from None

    def _ended(self) -> None:
        if self._what.ready_file is not None:
            self._what.ready_file.unlink(missing_ok=True)
        for one in self._listening:
            one.close()

    def _work(self, number: int, life: int, say: Say) -> None:
        """Be a worker."""
        for other, listening in enumerate(self._listening):
            if other != number:
                listening.close()
        tell = self._what.tell or console.teller(self._what.quiet)

        def told(exchange: Exchange) -> None:
            self._counts.add(number, exchange.outcome)
            if exchange.failure:
                say(exchange.failure[:_QUOTED])
            tell(exchange)

        what = replace(self._what, sockets=(self._listening[number],), tell=told, strict=False)
        serve.in_loop(_until_told(what, life, lambda: say(READY)), what.log_level)

    # -------------------------------------------------------------------------------------- the verdict

    def _verdict(self) -> int:
        """Say what happened in all workers together. Returns the exit code of that."""
        counts, code = self._counts.total(), 0
        left: list[str] = []
        if self._what.strict:
            try:
                left = asyncio.run(self._left())
            except StateError as error:
                console.error(error)
                code = 1
        if left:
            console.say(console.unplayed(left))
        if not self._what.quiet or counts[Outcome.LOST]:
            console.say(console.closing(counts, self._failures, self._tape.name))
        return code or serve.exit_code(counts, left)

    async def _left(self) -> list[str]:
        """What nobody asked for, a line each. The tape of a whole folder counts only where it was used."""
        what, tape = self._what, self._tape
        if tape.is_outdated(None):
            with suppress(ReplayError):
                tape.reload()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._keeper)
            sessions = Sessions(what.rules, what.folder, lambda exchange: None, rules_at=what.rules_at)
            stack.callback(sessions.clock.close)
            sessions.keeper, sessions.reading = self._keeper, what.reading
            own = sessions.open(what.cassettes, what.rules, name="", tape=tape)
            for name in _names(tape, what.folder) if what.folder else ():
                with suppress(ReplayError):
                    sessions.at(name)
            await sessions.look()
            used = [one for one in sessions.all() if not what.folder or _is_used(one)]
            return [line for session in used or [own] for line in session.unplayed()]


def _names(tape: Cassette, folder: Path) -> list[str]:
    """What the cassettes of the served folder are called in URLs."""
    names = [str(path.relative_to(folder)) for path in tape.files]
    return names + [name.removesuffix(".yaml") for name in names if name.endswith(".yaml")]


def _is_used(session: Session) -> bool:
    tape = session.engine.cassette
    return any(tape.is_played(one) for one in tape.recordings)


async def _until_told(what: Serving, life: int, ready: Callable[[], None]) -> None:
    """Serve until the supervisor says that it is over, or is gone."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log.loop_failed)
    stop = asyncio.Event()

    def over() -> None:
        loop.remove_reader(life)
        stop.set()

    loop.add_signal_handler(signal.SIGTERM, over)
    loop.add_reader(life, over)
    serve.search_seldom(what)
    async with serve.serving(what):
        ready()
        await stop.wait()
