"""Worker processes: forked, watched, restarted when they die, and stopped.

The supervisor has no event loop and no thread, so it can fork at any time. Two pipes connect it to each worker. One
carries messages, a line of JSON each. The other carries nothing: its end tells the worker that the supervisor is gone.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from openai_replay.errors import ReplayError, StartError
from openai_replay.journal import console, log

#: A worker that lived for less than these seconds died right after starting; so many times in a row are too many.
_QUICK_DEATH_S, _MAX_QUICK_DEATHS = 1.0, 5
#: The pause before the third such worker in a row is started; it doubles each time.
_PAUSE_S = 0.1
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SIGNALS = (*_STOP_SIGNALS, signal.SIGCHLD)

Send = Callable[[Any], None]
#: The work of a worker, in its own process. It gets its number (from 0), a file descriptor whose end means that it has
#: to stop (as SIGTERM does), and a function that sends a message to the supervisor. It sends `READY` when it serves.
Work = Callable[[int, int, Send], None]
READY = "ready"


@dataclass(eq=False)
class _Worker:
    """A worker process as the supervisor sees it."""

    number: int
    pid: int
    life: int  # our end of the pipe that carries nothing
    messages: int
    started: float  # seconds of `time.monotonic()`
    ready: bool = False
    unread: bytes = b""


class Supervisor:
    """Runs `count` workers that each do `work`; `on_message` is called with what they send besides `READY`."""

    def __init__(self, count: int, work: Work, on_message: Callable[[Any], None]) -> None:
        self.all_ready = False
        self._count, self._work, self._on_message = count, work, on_message
        self._workers: dict[int, _Worker] = {}  # by process id
        self._quick_deaths = [0] * count  # of each worker number, in a row
        self._restarts: dict[int, float] = {}  # when the worker of a number is started again
        self._command: subprocess.Popen[bytes] | None = None
        self._received: set[int] = set()
        self._stopping = False
        self._code = 0

    def run(self, on_ready: Callable[[], subprocess.Popen[bytes] | None], on_stop: Callable[[], None]) -> int:
        """Run until a signal, or until the command that `on_ready` started has ended. Return the exit code so far.

        `on_ready` is called when all workers are ready, and `on_stop` before they finish. Raises what these two raise.
        """
        handlers = {number: signal.getsignal(number) for number in _SIGNALS}
        self._wakeups, wakeup_fd = os.pipe()
        os.set_blocking(wakeup_fd, False)
        os.set_blocking(self._wakeups, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wakeups, selectors.EVENT_READ)
        for number in handlers:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(wakeup_fd, warn_on_full_buffer=False)
        try:
            # The first worker alone: an error that stops it would be printed by each of them.
            for numbers in (range(1), range(1, self._count)):
                for worker_number in numbers:
                    self._start(worker_number)
                while not self._stopping and not all(worker.ready for worker in self._workers.values()):
                    self._wait()
            if not self._stopping:
                self.all_ready = True
                self._command = on_ready()
            while not self._stopping:
                self._wait()
        finally:
            on_stop()
            self._stop()
            signal.set_wakeup_fd(-1)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            self._selector.close()
            os.close(self._wakeups)
            os.close(wakeup_fd)
        return self._code

    def _stop(self) -> None:
        """Let the workers finish their responses, and wait until all have ended."""
        self._stopping = True
        self._restarts.clear()
        if self._command is not None and self._command.poll() is None:
            self._command.terminate()
            self._command.wait()
        for pid in self._workers:
            os.kill(pid, signal.SIGTERM)
        while self._workers:
            self._wait()

    # -------------------------------------------------------------------------------------- events

    def _wait(self) -> None:
        """Wait for the next signal, message or restart, and handle it."""
        timeout_s = min(self._restarts.values()) - time.monotonic() if self._restarts else None
        for event, _ in self._selector.select(None if timeout_s is None else max(0.0, timeout_s)):
            worker: _Worker | None = event.data
            if worker is None:
                for number in os.read(self._wakeups, 1024):
                    self._on_signal(number)
            elif self._workers.get(worker.pid) is worker:  # an earlier event may have removed it
                self._read_messages(worker)
        for worker_number, due in list(self._restarts.items()):
            if due <= time.monotonic() and not self._stopping:
                del self._restarts[worker_number]
                self._start(worker_number)

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._reap()
            return
        if number in self._received:  # a second signal ends us at once, as the system's default does
            for pid in self._workers:
                os.kill(pid, signal.SIGKILL)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self._received.add(number)
        if self._command is None or self._stopping:
            self._stopping = True
        elif not (number == signal.SIGINT and sys.stdin.isatty()):  # a terminal has sent it to the command as well
            self._command.send_signal(number)

    def _read_messages(self, worker: _Worker) -> bool:
        """Read what `worker` has sent. Return False at the end of its pipe."""
        data = os.read(worker.messages, 1 << 16)
        if not data:
            self._selector.unregister(worker.messages)
            return False
        *lines, worker.unread = (worker.unread + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if message == READY:
                worker.ready = True
            else:
                self._on_message(message)
        return True

    def _reap(self) -> None:
        """Collect the command and the workers that have ended."""
        if self._command is not None and not self._stopping and (code := self._command.poll()) is not None:
            self._code = 128 - code if code < 0 else code
            self._stopping = True
        for pid, worker in list(self._workers.items()):
            ended_pid, status = os.waitpid(pid, os.WNOHANG)
            if not ended_pid:
                continue
            del self._workers[pid]
            with suppress(KeyError):  # its pipe has been read to the end
                self._selector.get_key(worker.messages)
                while self._read_messages(worker):
                    pass
            os.close(worker.messages)
            os.close(worker.life)
            self._on_death(worker, os.waitstatus_to_exitcode(status))

    def _on_death(self, worker: _Worker, code: int) -> None:
        ending = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
        name = f"Worker {worker.number + 1} (pid {worker.pid})"
        if self._stopping:
            # A worker that did not serve yet had nothing to finish.
            if code and (worker.ready or code != -signal.SIGTERM):
                console.warn(f"{name} {ending} before it had finished its responses.")
                self._code = self._code or 1
            return
        if not self.all_ready:
            if code <= 0:  # else it has printed the reason
                console.error(StartError(f"{name} {ending} before it was ready."))
            self._code = code if code > 0 else 1
            self._stopping = True
            return
        is_quick = time.monotonic() - worker.started < _QUICK_DEATH_S
        self._quick_deaths[worker.number] = deaths = self._quick_deaths[worker.number] + 1 if is_quick else 0
        if deaths >= _MAX_QUICK_DEATHS:
            reason = f"{name} {ending} right after starting, {deaths} times in a row."
            console.error(StartError(reason, "It is not restarted. See the messages above."))
            self._code = 1
            self._stopping = True
            return
        console.warn(f"{name} {ending}. Restarting it.")
        self._restarts[worker.number] = time.monotonic() + (_PAUSE_S * 2 ** (deaths - 2) if deaths > 1 else 0.0)

    # -------------------------------------------------------------------------------------- workers

    def _start(self, number: int) -> None:
        """Fork the worker `number`."""
        worker_life, life = os.pipe()
        messages, worker_messages = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        # Blocked until the worker has handlers of its own: a signal in between would be handled as the supervisor's.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if not pid:
            code = 1
            try:
                code = self._be_worker(number, worker_life, worker_messages, (life, messages))
            finally:
                os._exit(code)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        os.close(worker_life)
        os.close(worker_messages)
        worker = _Worker(number, pid, life, messages, time.monotonic())
        self._workers[pid] = worker
        self._selector.register(messages, selectors.EVENT_READ, worker)

    def _be_worker(self, number: int, life: int, messages: int, supervisor_fds: tuple[int, ...]) -> int:
        """Do the work in this forked process. Return its exit code."""
        siblings = (fd for worker in self._workers.values() for fd in (worker.life, worker.messages))
        for fd in (*supervisor_fds, *siblings):
            os.close(fd)
        self._selector.close()
        signal.set_wakeup_fd(-1)
        for signal_number in (signal.SIGINT, signal.SIGHUP):  # a terminal's: the supervisor decides what they mean
            signal.signal(signal_number, signal.SIG_IGN)
        for signal_number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(signal_number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

        def send(message: Any) -> None:
            with suppress(OSError):  # the supervisor is gone, and this process is about to follow
                os.write(messages, json.dumps(message).encode() + b"\n")

        try:
            self._work(number, life, send)
        except ReplayError as error:
            console.error(error)
            return error.exit_code
        except Exception as error:
            console.print_line(f"Error: A worker failed.\n{log.safe_traceback(error)}")
            return 1
        return 0
