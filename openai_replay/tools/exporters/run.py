"""Reads a cassette for an export, and writes the files."""

from __future__ import annotations

from pathlib import Path

from openai_replay.cassette import file_store, reader
from openai_replay.errors import StartError, UsageError
from openai_replay.model import Interaction
from openai_replay.redaction.redactor import Redactor
from openai_replay.tools.exporters.result import ExportResult


def read_recordings(path: Path, redactor: Redactor) -> list[Interaction]:
    """Return the recordings of the cassette at `path`, without secrets that another recorder left. Raises
    CassetteError.
    """
    text, _ = file_store.read_text(path)
    interactions = reader.load(text, path).interactions
    return [
        Interaction(redactor.redact_request(interaction.request), redactor.redact_response(interaction.response))
        for interaction in interactions
    ]


def single_file(result: ExportResult, path: Path) -> bytes:
    """Return the only file of an export, for stdout. Raises UsageError if it has several."""
    if len(result.files) > 1:
        raise UsageError(f"{path} exports to {len(result.files)} files.", "Name a folder for them with -o DST.")
    return next(iter(result.files.values()))


def write_files(result: ExportResult, path: Path, destination: Path, force: bool) -> None:
    """Write the files: a single one to `destination`, or into it if it is a folder; several always into it.

    Raises UsageError if a file exists already, before any is written, and StartError if one cannot be written.
    """
    folder = destination.is_dir() or len(result.files) > 1
    targets = {
        destination / (path.stem + suffix) if folder else destination: data for suffix, data in result.files.items()
    }
    for target in targets:
        if target.exists() and not force:
            raise UsageError(f"{target} exists already.", "Use --force to replace it.")
    for target, data in targets.items():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        except OSError as error:
            raise StartError(
                f"Could not write {target}: {error.strerror}.", "Choose another path with -o DST."
            ) from None
