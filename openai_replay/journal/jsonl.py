"""The journal as a file: JSON lines, one exchange a line as it is over, and around them what `prune` has to know.

Several processes may write to one file: every line is one write to its end. Lines are of these events:

* `started` and `ended`: a run; one that never ended was killed.
* `opened`: a tape: a cassette, its `size` in bytes and their `sha256` when it was opened, and how many `items` it had.
* `exchange`: what became of a request; `item` is what was played, counted from 1 in its cassette.
* `flawed`: why the run does not say what is needed, such as a test that failed before its last request.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from openai_replay.cassette.cassette import Cassette
from openai_replay.cassette.recordings import Recording
from openai_replay.errors import StartError
from openai_replay.journal.exchanges import Exchange, Outcome
from openai_replay.redaction.redactor import Redactor


class JournalFile:
    """A run of this process in the journal at `path`, which is added to. Raises StartError."""

    def __init__(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            hint = "Give the journal another place."
            raise StartError(f"{path}: cannot be written: {error.strerror}", hint) from None
        self._run = secrets.token_hex(8)
        # Of every tape what was on it, and the number of the first of each file, when that was last looked at.
        self._known: WeakKeyDictionary[Cassette, tuple[list[Recording], dict[Path, int]]] = WeakKeyDictionary()
        self._text = Redactor().redact_text
        self._write(event="started")

    def opened(self, tape: Cassette) -> None:
        """Note what is on `tape`, now that it is opened."""
        items: dict[Path, int] = {} if tape.recordings else {tape.path: 0}
        for recording in tape.recordings:
            items[recording.path] = items.get(recording.path, 0) + 1
        self._firsts(tape)
        for path, count in items.items():
            digest, size = hashlib.sha256(), 0
            if path.is_file():
                with path.open("rb") as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
                        size += len(block)
            self._write(event="opened", cassette=_full(path), size=size, sha256=digest.hexdigest(), items=count)

    def exchange(self, exchange: Exchange, tape: Cassette | None = None) -> None:
        """Note what became of a request on `tape`; None: it belonged to no session."""
        location: dict[str, Any] = {"cassette": _full(tape.path)} if tape else {}
        number = exchange.recording
        if tape and exchange.outcome is Outcome.PLAYED and number and number <= len(tape.recordings):
            recording = tape.recordings[number - 1]
            first = self._firsts(tape)[recording.path]
            location = {"cassette": _full(recording.path), "item": number - first + 1, "key": recording.key.hex()}
        self._write(
            event="exchange",
            outcome=exchange.outcome,
            method=exchange.method,
            path=self._text(exchange.path),
            status=exchange.status,
            ms=exchange.ms,
            frames=exchange.frames,
            end=exchange.end,
            **location,
            **({"reason": exchange.reason} if exchange.reason else {}),
            error=self._text(exchange.error),
        )

    def _firsts(self, tape: Cassette) -> dict[Path, int]:
        """The number that the first recording of every file has on `tape` now."""
        recordings, firsts = self._known.get(tape, (tape.recordings, {}))
        if recordings is not tape.recordings:
            # What was under way then is noted by a number that may be another one's now.
            self.mark_incomplete(f"a cassette that was changed while it was played: {tape.name}")
            firsts = {}
        if not firsts:
            for recording in tape.recordings:
                firsts.setdefault(recording.path, recording.number)
            self._known[tape] = tape.recordings, firsts
        return firsts

    def mark_incomplete(self, reason: str) -> None:
        """Note `why` this run does not say what is needed."""
        self._write(event="flawed", why=self._text(reason))

    def ended(self) -> None:
        """Note that the run is over. Nothing more can be noted."""
        self._write(event="ended")
        os.close(self._fd)

    def _write(self, **line: Any) -> None:
        os.write(self._fd, json.dumps({"run": self._run, **line}).encode() + b"\n")


def _full(path: Path) -> str:
    return str(path.resolve())
