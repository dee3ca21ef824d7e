"""A cassette read for an export, and where its files go."""

from __future__ import annotations

from pathlib import Path

from openai_replay.cassette import file_store, reader
from openai_replay.errors import StartError, UsageError
from openai_replay.model import Interaction
from openai_replay.redaction.redactor import Redactor
from openai_replay.tools.exporters.result import ExportResult


def read_recordings(path: Path, redactor: Redactor) -> list[Interaction]:
    """What is on the cassette at `path`, without secrets that another recorder left. Raises CassetteError."""
    text, _ = file_store.read_text(path)
    found = reader.load(text, path).interactions
    return [Interaction(redactor.request(one.request), redactor.response(one.response)) for one in found]


def single_file(written: ExportResult, path: Path) -> bytes:
    """The one file of an export, for stdout. Raises UsageError where there are several."""
    if len(written.files) > 1:
        raise UsageError(f"{path} makes {len(written.files)} files", "Give a folder for them: -o DST")
    return next(iter(written.files.values()))


def write_files(written: ExportResult, path: Path, destination: Path, force: bool) -> None:
    """Write the files: one to `destination`, or into it where it is a folder; several always into it.

    Raises UsageError where a file is there already, before any is written, and StartError where one cannot be written.
    """
    folder = destination.is_dir() or len(written.files) > 1
    targets = {destination / (path.stem + end) if folder else destination: data for end, data in written.files.items()}
    for target in targets:
        if target.exists() and not force:
            raise UsageError(f"{target} is there already", "--force replaces it.")
    for target, data in targets.items():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        except OSError as error:
            raise StartError(f"{target}: cannot be written: {error.strerror}", "Give it another place.") from None
