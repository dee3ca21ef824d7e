"""Redacts existing cassettes by the rules of recording: text in, text out."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from openai_replay.cassette import editor, reader
from openai_replay.model import Headers, Interaction, Request, header
from openai_replay.redaction.redactor import Redactor
from openai_replay.text.content_encoding import decode_body, drop_false_encoding


class RedactionResult(NamedTuple):
    """The text without secrets, with figures about it.

    `changed` of its `recordings` had a secret, at these `locations` (header names, bodies, URLs). `unsearchable` lists
    the bodies that could not be read: a line, from 1, and the reason.
    """

    text: str
    changed: int
    recordings: int
    locations: list[str]
    unsearchable: list[tuple[int, str]]


def redact_cassette(text: str, path: Path, redactor: Redactor) -> RedactionResult:
    """Return `text` with its secrets redacted, as recording would have done it.

    A recording without secrets keeps its text. In the others, frames keep their sizes and times. `path` is for
    messages. Raises CassetteError.
    """
    interactions = reader.load(text, path).interactions if text.strip() else []
    nodes = reader.nodes(text, path)[1] if interactions else []
    changes: dict[int, Interaction | None] = {}
    locations: dict[str, None] = {}  # a set that keeps its order
    unsearchable: list[tuple[int, str]] = []
    for number, (interaction, node) in enumerate(zip(interactions, nodes, strict=True), 1):
        clean = Interaction(
            _redact_request(redactor, interaction.request), redactor.redact_response(interaction.response)
        )
        if clean != interaction:
            changes[number] = clean
            locations.update(dict.fromkeys(_changed_locations(interaction, clean)))
        response = interaction.response
        for side, headers, body in (
            ("request", interaction.request.headers, interaction.request.body),
            ("response", response.head.headers, response.body),
        ):
            if encoding := _unreadable_encoding(headers, body):
                reason = f"The {side} body of recording {number} is compressed ({encoding}) and cannot be searched."
                unsearchable.append((int(node.start_mark.line) + 1, reason))
    return RedactionResult(
        editor.edited(text, path, changes), len(changes), len(interactions), list(locations), unsearchable
    )


def _redact_request(redactor: Redactor, request: Request) -> Request:
    clean = redactor.redact_request(request)
    headers, body = decode_body(request.headers, request.body)
    # A compressed body without a secret stays compressed, so that no recording changes without need.
    return request if clean == Request(request.method, request.uri, headers, body) else clean


def _unreadable_encoding(headers: Headers, body: bytes) -> str:
    """Return the encoding of a body that cannot be decoded, or an empty text."""
    headers, body = decode_body(headers, body)
    encoding = header(drop_false_encoding(headers, body), "content-encoding").strip().lower()
    return encoding if body and encoding != "identity" else ""


def _changed_locations(old: Interaction, new: Interaction) -> list[str]:
    locations = ["URL"] if old.request.uri != new.request.uri else []
    for before, after in (
        (old.request.headers, new.request.headers),
        (old.response.head.headers, new.response.head.headers),
    ):
        redacted_headers = set(after)
        locations += [name.lower() for name, value in before if (name, value) not in redacted_headers]
    locations += ["request body"] if old.request.body != new.request.body else []
    return locations + (["response body"] if old.response.frames != new.response.frames else [])
