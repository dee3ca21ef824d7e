"""Processes that do one work together: forked, watched, replaced when they die, and ended.

The supervisor has no event loop and no thread, so it can fork at any time. Two pipes join each worker to it: one of
words (a line of JSON each), and one that says nothing, and whose end tells the worker that the supervisor is gone.
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

#: A worker that has lived for less died at once; so many times in a row are too many.
_AT_ONCE_S, _AT_ONCE = 1.0, 5
#: Before the third such one in a row is started; twice that before the next, and so on.
_PAUSE_S = 0.1
_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_OURS = (*_STOP, signal.SIGCHLD)

Say = Callable[[Any], None]
#: What a worker does, in its own process: its number from 0, a file descriptor whose end means that it is over (as
#: SIGTERM does), and how to tell the supervisor something. `READY` tells that it serves.
Work = Callable[[int, int, Say], None]
READY = "ready"


@dataclass(eq=False)
class _Worker:
    """A worker as the supervisor knows it."""

    number: int
    pid: int
    life: int  # our end of the pipe that says nothing
    words: int
    started: float  # monotonic, in seconds
    ready: bool = False
    unread: bytes = b""


class Supervisor:
    """Has `count` workers do `work`, and is told by `hear` what they say."""

    def __init__(self, count: int, work: Work, hear: Callable[[Any], None]) -> None:
        self.serves = False  # whether all have been ready
        self._count, self._work, self._told = count, work, hear
        self._workers: dict[int, _Worker] = {}  # by process
        self._quick = [0] * count  # how often the worker of this number died at once, in a row
        self._due: dict[int, float] = {}  # when a worker takes the place of one that died
        self._command: subprocess.Popen[bytes] | None = None
        self._received: set[int] = set()
        self._stops = False
        self._code = 0

    def run(self, begun: Callable[[], subprocess.Popen[bytes] | None], ended: Callable[[], None]) -> int:
        """Until a signal, or until the command is over that `begun` has started; it is called when all workers are
        ready, and `ended` when they are to finish. Returns the exit code so far; raises what these two raise.
        """
        before = {number: signal.getsignal(number) for number in _OURS}
        self._wakes, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(self._wakes, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wakes, selectors.EVENT_READ)
        for number in before:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        try:
            for numbers in (range(1), range(1, self._count)):  # what stops the first would be said by each
                for one in numbers:
                    self._start(one)
                while not self._stops and not all(worker.ready for worker in self._workers.values()):
                    self._wait()
            if not self._stops:
                self.serves = True
                self._command = begun()
            while not self._stops:
                self._wait()
        finally:
            ended()
            self._end()
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._selector.close()
            os.close(self._wakes)
            os.close(wake)
        return self._code

    def _end(self) -> None:
        """Let the workers finish what is under way, and be there until all are gone."""
        self._stops = True
        self._due.clear()
        if self._command is not None and self._command.poll() is None:
            self._command.terminate()
            self._command.wait()
        for pid in self._workers:
            os.kill(pid, signal.SIGTERM)
        while self._workers:
            self._wait()

    # -------------------------------------------------------------------------------------- what happens

    def _wait(self) -> None:
        """Wait for the next thing that happens, and do what there is to do."""
        left = min(self._due.values()) - time.monotonic() if self._due else None
        for event, _ in self._selector.select(None if left is None else max(0.0, left)):
            worker: _Worker | None = event.data
            if worker is None:
                for number in os.read(self._wakes, 1024):
                    self._signalled(number)
            elif self._workers.get(worker.pid) is worker:  # it may have gone meanwhile
                self._hear(worker)
        for number, at in list(self._due.items()):
            if at <= time.monotonic() and not self._stops:
                del self._due[number]
                self._start(number)

    def _signalled(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._reap()
            return
        if number in self._received:  # a second one ends us at once, as it would without us
            for pid in self._workers:
                os.kill(pid, signal.SIGKILL)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self._received.add(number)
        if self._command is None or self._stops:
            self._stops = True
        elif not (number == signal.SIGINT and sys.stdin.isatty()):  # at a terminal it has reached the command already
            self._command.send_signal(number)

    def _hear(self, worker: _Worker) -> bool:
        """Read what `worker` has said. Whether there may be more."""
        said = os.read(worker.words, 1 << 16)
        if not said:
            self._selector.unregister(worker.words)
            return False
        *lines, worker.unread = (worker.unread + said).split(b"\n")
        for line in lines:
            word = json.loads(line)
            if word == READY:
                worker.ready = True
            else:
                self._told(word)
        return True

    def _reap(self) -> None:
        if self._command is not None and not self._stops and (code := self._command.poll()) is not None:
            self._code = 128 - code if code < 0 else code
            self._stops = True
        for pid, worker in list(self._workers.items()):
            found, status = os.waitpid(pid, os.WNOHANG)
            if not found:
                continue
            del self._workers[pid]
            with suppress(KeyError):  # it has been heard to its end
                self._selector.get_key(worker.words)
                while self._hear(worker):
                    pass
            os.close(worker.words)
            os.close(worker.life)
            self._died(worker, os.waitstatus_to_exitcode(status))

    def _died(self, worker: _Worker, code: int) -> None:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        who = f"worker {worker.number + 1} (process {worker.pid}) {how}"
        if self._stops:
            if code and (worker.ready or code != -signal.SIGTERM):  # one that did not serve yet had nothing to finish
                console.warn(f"{who} while it was to finish")
                self._code = self._code or 1
            return
        if not self.serves:
            if code <= 0:  # else it has said why
                console.error(StartError(f"{who} before it served"))
            self._code = code if code > 0 else 1
            self._stops = True
            return
        quick = time.monotonic() - worker.started < _AT_ONCE_S
        self._quick[worker.number] = times = self._quick[worker.number] + 1 if quick else 0
        if times >= _AT_ONCE:
            console.error(StartError(f"{who}, at once for the {times}th time in a row: none takes its place any more"))
            self._code = 1
            self._stops = True
            return
        console.warn(f"{who}; another one takes its place")
        self._due[worker.number] = time.monotonic() + (_PAUSE_S * 2 ** (times - 2) if times > 1 else 0.0)

    # -------------------------------------------------------------------------------------- workers

    def _start(self, number: int) -> None:
        """Fork the worker `number`."""
        life, ours = os.pipe()
        words, its = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal between the fork and the moment the worker is one would be taken for ours.
        signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
        pid = os.fork()
        if not pid:
            code = 1
            try:
                code = self._be_worker(number, life, its, (ours, words))
            finally:
                os._exit(code)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _OURS)
        os.close(life)
        os.close(its)
        worker = _Worker(number, pid, ours, words, time.monotonic())
        self._workers[pid] = worker
        self._selector.register(words, selectors.EVENT_READ, worker)

    def _be_worker(self, number: int, life: int, words: int, others: tuple[int, ...]) -> int:
        """Returns the exit code."""
        for one in (*others, *(one for worker in self._workers.values() for one in (worker.life, worker.words))):
            os.close(one)
        self._selector.close()
        signal.set_wakeup_fd(-1)
        for one in (signal.SIGINT, signal.SIGHUP):  # of a terminal: what they mean is the supervisor's to say
            signal.signal(one, signal.SIG_IGN)
        for one in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(one, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _OURS)

        def say(word: Any) -> None:
            with suppress(OSError):  # the supervisor is gone, and we are to follow
                os.write(words, json.dumps(word).encode() + b"\n")

        try:
            self._work(number, life, say)
        except ReplayError as error:
            console.error(error)
            return error.exit_code
        except Exception as error:
            console.say(f"error: a worker failed\n{log.bare(error)}")
            return 1
        return 0
