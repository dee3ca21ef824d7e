"""Writes interactions for other tools: one module per format, each a pure function to files and notes."""

from __future__ import annotations

from collections.abc import Callable

from openai_replay.model import Interaction
from openai_replay.tools.exporters import curl, har, sse, vcrpy
from openai_replay.tools.exporters.result import ExportResult

#: The values of `--to`, with the functions that turn interactions into files and notes.
FORMATS: dict[str, Callable[[list[Interaction]], ExportResult]] = {
    "vcrpy": vcrpy.write,
    "har": har.write,
    "curl": curl.write,
    "sse": sse.write,
}
