"""A plain vcrpy cassette: the layout stays, times and cuts go."""

from __future__ import annotations

from openai_replay.cassette import writer
from openai_replay.model import Interaction
from openai_replay.tools.exporters.result import ExportResult, note_incomplete


def write(interactions: list[Interaction]) -> ExportResult:
    """One cassette."""
    text = writer.HEADER + "".join(piece for one in interactions for piece in writer.plain(one))
    if not interactions:
        text = "version: 1\ninteractions: []\n"
    return ExportResult({".yaml": text.encode()}, note_incomplete(interactions))
