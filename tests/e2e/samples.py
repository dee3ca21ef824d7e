"""Recordings, requests and responses that the tests of playing and recording share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openai_replay.model import End
from tests.support.proxy import Heard, cassette, item
from tests.support.upstream import Send, Step, head

JSON = ("content-type", "application/json")
CHUNKED = ("transfer-encoding", "chunked")
#: The bodies of an old and a new response.
OLD, NEW = '{"said": "old"}', b'{"said": "new"}'
#: Due times in ms, and events.
FRAMES = [(200, "data: 0\n\n"), (260, "data: 1\n\n"), (260, "data: 2\n\n"), (600, "data: 3\n\n"), (640, "data: 4\n\n")]


def stream(path: Path, head_ms: int, frames: Sequence[tuple[int, str]], end_ms: int, end: End = End.COMPLETE) -> Path:
    """A cassette with one stream, as `record` writes it."""
    body = "".join(data for _, data in frames)
    wire = " ".join(f"{at_ms}+{len(data)}" for at_ms, data in frames)
    text = item("BODY", headers=(("content-type", "text/event-stream"),)).replace("'BODY'", json.dumps(body))
    return cassette(path, f"{text}    wire:\n      head: {head_ms}\n      frames: {wire}\n      end: {end_ms} {end}\n")


def said(heard: Heard) -> Any:
    """Return the number in a played response of `SAME`, or the status."""
    return heard.json["said"] if heard.status == 200 else heard.status


#: Three recordings of one request.
SAME = [item(f'{{"said": {number}}}') for number in range(3)]


def chat(text: str, **options: Any) -> dict[str, Any]:
    """Return the body of a chat request."""
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **options}


def asked(value: Any) -> str:
    """Return a cassette item for this request body."""
    return item('{"said": 0}').replace("'\"hello\"'", f"'{json.dumps(value)}'")


def chunked(*steps: Step, status: int = 200, reason: str = "OK", headers: Sequence[tuple[str, str]] = ()) -> list[Step]:
    """Return the steps of a chunked response."""
    return [Send(head(status, reason, [*headers, CHUNKED])), *steps]


def sized(size: int, *steps: Step, headers: Sequence[tuple[str, str]] = (JSON,)) -> list[Step]:
    """Return the steps of a response with a content-length."""
    return [Send(head(200, "OK", [*headers, ("content-length", str(size))])), *steps]
