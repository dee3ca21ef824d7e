"""Defines the result of an exporter."""

from __future__ import annotations

from dataclasses import dataclass, field

from openai_replay.model import End, Interaction


@dataclass(slots=True)
class ExportResult:
    """The files, by the end of their name (`.har`, `-2.sse`), and notes on what they do not hold."""

    files: dict[str, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def note_incomplete(interactions: list[Interaction]) -> list[str]:
    """Return a note for each response that did not end in good order, for formats that cannot express it."""
    return [
        f"Recording {number} was {interaction.response.end}. The exported response looks complete."
        for number, interaction in enumerate(interactions, 1)
        if interaction.response.end is not End.COMPLETE
    ]
