"""The server process: an event loop, signals, the command that runs inside, the summary and the exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from openai_replay.errors import CassetteWriteError, StateError
from openai_replay.journal import console, log
from openai_replay.journal.exchanges import Outcome
from openai_replay.model import Mode
from openai_replay.server import child_process
from openai_replay.server.serve import ServerConfig, serving
from openai_replay.server.sessions import Sessions

T = TypeVar("T")

#: New objects until Python collects garbage. Played recordings leave no cycles, and connections break theirs, but a
#: running stream has some forty objects: at Python's default a few streams caused pauses of several milliseconds.
#: Failed upstream requests leave cycles, with whole requests in them, so a recorder collects sooner.
_GC_THRESHOLDS = {"play": 200_000, "record": 20_000}

#: Signals that ask the process to stop: it finishes running responses first.
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(config: ServerConfig, command: Sequence[str] = ()) -> int:
    """Serve until a signal, or while `command` runs. Return the exit code; raises what `serving` raises."""
    return run_in_event_loop(_run(config, command), config.log_level)


def run_in_event_loop(work: Coroutine[Any, Any, T], log_level: str) -> T:
    """Run `work` in its own event loop: uvloop if it is installed."""
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with suppress(ImportError):  # the extra `speed`
        import uvloop

        factory = uvloop.new_event_loop
    raise_file_limit()
    with log.to_stderr(log_level), asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


def tune_gc(config: ServerConfig) -> None:
    """Let Python collect garbage less often."""
    gc.set_threshold(_GC_THRESHOLDS["play" if config.upstream is None else "record"], 50, 50)


def raise_file_limit() -> None:
    """Raise the limit of open files: each client is one, and each upstream connection another one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = 1 << 16 if hard == resource.RLIM_INFINITY else min(hard, 1 << 16)
    if 0 <= soft < target:
        with suppress(ValueError, OSError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))


async def _run(config: ServerConfig, command: Sequence[str]) -> int:
    asyncio.get_running_loop().set_exception_handler(log.loop_failed)
    stop = _stop_signals()
    code, sessions = 0, None
    try:
        async with serving(config) as (base_url, sessions):
            tune_gc(config)
            gc.freeze()  # the cassette stays in memory: a collection would go through all of it in vain
            code = await _until_stopped(config, command, base_url, stop)
            if code and sessions.journal_file is not None:
                sessions.journal_file.mark_incomplete(f"the command ended with {code}: {command[0]}")
    except (CassetteWriteError, StateError) as error:
        if sessions is None:
            raise
        console.error(error)  # at the end: all recordings are in the file, if not in their order
        code = code or 1
    summary_code = _print_summary(config, sessions)
    return code or summary_code


async def _until_stopped(
    config: ServerConfig, command: Sequence[str], base_url: str, stop: asyncio.Queue[signal.Signals]
) -> int:
    """Announce the base URL, and wait for `command` or a signal. Return the exit code so far."""
    if config.ready_file is not None:
        child_process.write_ready_file(config.ready_file, base_url)
    try:
        if command:
            return await _run_command(command, base_url, config, stop)
        print(base_url, flush=True)
        await stop.get()
        return 0
    finally:
        if config.ready_file is not None:
            config.ready_file.unlink(missing_ok=True)


def _print_summary(config: ServerConfig, sessions: Sessions) -> int:
    """Print the summary. Return 1 if something was missed, lost, or (strict) not played."""
    counts = sessions.counts()
    unplayed = sessions.unplayed() if config.strict else []
    if unplayed:
        console.print_line(console.unplayed(unplayed))
    if not config.quiet or counts[Outcome.LOST]:
        name = sessions.default.engine.cassette.name if sessions.default else ""
        console.print_line(console.summary_line(counts, sessions.failures(), name))
    return exit_code(counts, unplayed)


def exit_code(counts: Counter[Outcome], unplayed: list[str]) -> int:
    """Return 1 if there are misses, lost recordings, or `unplayed` recordings; else 0."""
    return 1 if counts[Outcome.MISSED] or counts[Outcome.LOST] or unplayed else 0


def _stop_signals() -> asyncio.Queue[signal.Signals]:
    """Return a queue of the signals that ask to stop. A second one ends the process, as the system's default does."""
    received: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        received.put_nowait(number)
        for stopping in _STOP_SIGNALS:
            loop.remove_signal_handler(stopping)
            # Without this, Python raises KeyboardInterrupt in the middle of whatever the event loop does.
            signal.signal(stopping, signal.SIG_DFL)

    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    return received


async def _run_command(
    command: Sequence[str], base_url: str, config: ServerConfig, stop: asyncio.Queue[signal.Signals]
) -> int:
    """Run `command` with the proxy in its environment. Return its exit code (128 + N after signal N, as shells do)."""
    try:
        variables = child_process.environment(
            os.environ, base_url, config.rules.mode is not Mode.NONE, config.access.key
        )
        child = await asyncio.create_subprocess_exec(*command, env={**os.environ, **variables})
    except OSError as error:
        raise child_process.cannot_run(command, error) from None
    ended = asyncio.create_task(child.wait())
    while not ended.done():
        signalled = asyncio.create_task(stop.get())
        await asyncio.wait((ended, signalled), return_when=asyncio.FIRST_COMPLETED)
        # A terminal sends Ctrl-C to the child as well.
        if signalled.done() and not ended.done() and not (signalled.result() is signal.SIGINT and sys.stdin.isatty()):
            child.send_signal(signalled.result())
        signalled.cancel()
    code = ended.result()
    return 128 - code if code < 0 else code
