"""Writes a plain vcrpy cassette: the same layout without times and frames."""

from __future__ import annotations

from openai_replay.cassette import writer
from openai_replay.model import Interaction
from openai_replay.tools.exporters.result import ExportResult, note_incomplete


def write(interactions: list[Interaction]) -> ExportResult:
    """Return one cassette."""
    text = writer.HEADER + "".join(
        part for interaction in interactions for part in writer.write_vcrpy_interaction(interaction)
    )
    if not interactions:
        text = "version: 1\ninteractions: []\n"
    return ExportResult({".yaml": text.encode()}, note_incomplete(interactions))
