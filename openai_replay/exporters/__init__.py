"""Interactions written for other tools: a module a format, each a pure function to bytes and notes."""

from __future__ import annotations

from collections.abc import Callable

from openai_replay.exporters import curl, har, raw, vcrpy
from openai_replay.exporters.written import Written
from openai_replay.model import Interaction

#: What `--to` may say, and what writes it: interactions to files (name without folder, content) and notes.
FORMATS: dict[str, Callable[[list[Interaction]], Written]] = {
    "vcrpy": vcrpy.write,
    "har": har.write,
    "curl": curl.write,
    "sse": raw.write,
}
