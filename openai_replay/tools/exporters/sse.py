"""Writes the event streams alone, one file each, as they were received, but without gzip."""

from __future__ import annotations

from openai_replay.model import Interaction, header, media_type
from openai_replay.text.content_encoding import decode_body, drop_false_encoding
from openai_replay.tools.exporters.result import ExportResult, note_incomplete


def write(interactions: list[Interaction]) -> ExportResult:
    """Return a file for each stream, with its number on the cassette."""
    result = ExportResult(notes=note_incomplete(interactions))
    for number, interaction in enumerate(interactions, 1):
        head = interaction.response.head
        if media_type(head.headers) != "text/event-stream":
            result.notes.append(f"Recording {number} is not a stream.")
            continue
        headers, body = decode_body(head.headers, interaction.response.body)
        if header(drop_false_encoding(headers, body), "content-encoding").strip().lower() not in ("", "identity"):
            result.notes.append(f"Recording {number} is compressed with an encoding that cannot be decoded.")
            continue
        result.files[f"-{number}.sse"] = body
    return result
