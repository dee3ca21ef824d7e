"""The event streams alone, a file each, as they came (gzip taken off)."""

from __future__ import annotations

from openai_replay.model import Interaction, header, media_type
from openai_replay.text.http_headers import decoded, true_encoding
from openai_replay.tools.exporters.result import ExportResult, note_incomplete


def write(interactions: list[Interaction]) -> ExportResult:
    """A file for every stream, numbered as it is on the cassette."""
    written = ExportResult(notes=note_incomplete(interactions))
    for number, one in enumerate(interactions, 1):
        head = one.response.head
        if media_type(head.headers) != "text/event-stream":
            written.notes.append(f"{number}: is no stream")
            continue
        headers, body = decoded(head.headers, one.response.body)
        if header(true_encoding(headers, body), "content-encoding").strip().lower() not in ("", "identity"):
            written.notes.append(f"{number}: is compressed in a way that is not read")
            continue
        written.files[f"-{number}.sse"] = body
    return written
