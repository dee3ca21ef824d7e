"""What an exporter hands back."""

from __future__ import annotations

from dataclasses import dataclass, field

from openai_replay.model import End, Interaction


@dataclass(slots=True)
class ExportResult:
    """The texts that were made, by the end of their file's name (`.har`, `-2.sse`), and what they do not say."""

    files: dict[str, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def note_incomplete(interactions: list[Interaction]) -> list[str]:
    """A note for every answer that did not end in good order, for formats that cannot say so."""
    return [
        f"{number}: was {one.response.end}, and is a whole answer there"
        for number, one in enumerate(interactions, 1)
        if one.response.end is not End.COMPLETE
    ]
