"""The journal as a file of JSON lines: one line per exchange, and the further facts that `prune` needs.

Several processes may write to one file, because each line is one write to its end. The events are:

* `started` and `ended`: a run. A run that never ended was killed.
* `opened`: a cassette, with its `size` in bytes and their `sha256` when it was opened, and the number of its `items`.
* `exchange`: the outcome of a request. `item` is the number of the played recording in its cassette, from 1.
* `incomplete`: the `reason` why recordings may be needed that this run did not play, such as a failed test.
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
    """The run of this process in the journal at `path`, to which it appends. Raises StartError."""

    def __init__(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            hint = "Give the journal another path."
            raise StartError(f"Could not write {path}: {error.strerror}.", hint) from None
        self._run = secrets.token_hex(8)
        # The recordings of each cassette, and the number of the first one of each file, at its last exchange.
        self._first_numbers_of: WeakKeyDictionary[Cassette, tuple[list[Recording], dict[Path, int]]] = (
            WeakKeyDictionary()
        )
        self._text = Redactor().redact_text
        self._write(event="started")

    def opened(self, cassette: Cassette) -> None:
        """Add the contents of `cassette`, which has just been opened."""
        items: dict[Path, int] = {} if cassette.recordings else {cassette.path: 0}
        for recording in cassette.recordings:
            items[recording.path] = items.get(recording.path, 0) + 1
        self._first_numbers(cassette)
        for path, count in items.items():
            digest, size = hashlib.sha256(), 0
            if path.is_file():
                with path.open("rb") as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
                        size += len(block)
            self._write(event="opened", cassette=_full(path), size=size, sha256=digest.hexdigest(), items=count)

    def exchange(self, exchange: Exchange, cassette: Cassette | None = None) -> None:
        """Add the outcome of a request to `cassette`; None if it belonged to no session."""
        location: dict[str, Any] = {"cassette": _full(cassette.path)} if cassette else {}
        number = exchange.recording
        if cassette and exchange.outcome is Outcome.PLAYED and number and number <= len(cassette.recordings):
            recording = cassette.recordings[number - 1]
            first = self._first_numbers(cassette)[recording.path]
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

    def _first_numbers(self, cassette: Cassette) -> dict[Path, int]:
        """Return the current number of the first recording of each file."""
        recordings, first_numbers = self._first_numbers_of.get(cassette, (cassette.recordings, {}))
        if recordings is not cassette.recordings:
            # The numbers of exchanges that were running then may belong to other recordings now.
            self.mark_incomplete(f"a cassette that was changed while it was played: {cassette.name}")
            first_numbers = {}
        if not first_numbers:
            for recording in cassette.recordings:
                first_numbers.setdefault(recording.path, recording.number)
            self._first_numbers_of[cassette] = cassette.recordings, first_numbers
        return first_numbers

    def mark_incomplete(self, reason: str) -> None:
        """Add the reason why recordings may be needed that this run did not play."""
        self._write(event="incomplete", reason=self._text(reason))

    def ended(self) -> None:
        """Add the end of the run, and close the file."""
        self._write(event="ended")
        os.close(self._fd)

    def _write(self, **line: Any) -> None:
        os.write(self._fd, json.dumps({"run": self._run, **line}).encode() + b"\n")


def _full(path: Path) -> str:
    return str(path.resolve())
