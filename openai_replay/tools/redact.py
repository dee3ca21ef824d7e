"""What is on cassettes already, redacted by the rules of recording: text in, text out."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from openai_replay.cassette import editor, reader
from openai_replay.model import Headers, Interaction, Request, header
from openai_replay.redaction.redactor import Redactor
from openai_replay.text.http_headers import decoded, true_encoding


class RedactionResult(NamedTuple):
    """The text without secrets: how many of its `items` had one, in what `places` (header names, bodies, URLs), and
    what could not be read: a line, from 1, and why.
    """

    text: str
    changed: int
    recordings: int
    locations: list[str]
    unsearchable: list[tuple[int, str]]


def redact_cassette(text: str, path: Path, redactor: Redactor) -> RedactionResult:
    """`text` with its secrets taken out as recording would have done it. Every item that has none keeps its text; in
    the others frames keep their sizes and times. `path` is for messages. Raises CassetteError.
    """
    interactions = reader.load(text, path).interactions if text.strip() else []
    nodes = reader.nodes(text, path)[1] if interactions else []
    changes: dict[int, Interaction | None] = {}
    places: dict[str, None] = {}  # a set that keeps its order
    unread: list[tuple[int, str]] = []
    for number, (interaction, node) in enumerate(zip(interactions, nodes, strict=True), 1):
        clean = Interaction(_redact_request(redactor, interaction.request), redactor.response(interaction.response))
        if clean != interaction:
            changes[number] = clean
            places.update(dict.fromkeys(_changed_locations(interaction, clean)))
        response = interaction.response
        for side, headers, body in (
            ("request", interaction.request.headers, interaction.request.body),
            ("answer", response.head.headers, response.body),
        ):
            if encoding := _unreadable_encoding(headers, body):
                what = f"the {side}'s body of interaction {number} is compressed ({encoding}) and cannot be looked into"
                unread.append((int(node.start_mark.line) + 1, what))
    return RedactionResult(editor.edited(text, path, changes), len(changes), len(interactions), list(places), unread)


def _redact_request(redactor: Redactor, request: Request) -> Request:
    clean = redactor.request(request)
    headers, body = decoded(request.headers, request.body)
    # A compressed body without a secret stays compressed: nothing is to change for nothing.
    return request if clean == Request(request.method, request.uri, headers, body) else clean


def _unreadable_encoding(headers: Headers, body: bytes) -> str:
    """The encoding of a body that cannot be read, or nothing."""
    headers, body = decoded(headers, body)
    encoding = header(true_encoding(headers, body), "content-encoding").strip().lower()
    return encoding if body and encoding != "identity" else ""


def _changed_locations(old: Interaction, new: Interaction) -> list[str]:
    found = ["URL"] if old.request.uri != new.request.uri else []
    for before, after in (
        (old.request.headers, new.request.headers),
        (old.response.head.headers, new.response.head.headers),
    ):
        kept = set(after)
        found += [name.lower() for name, value in before if (name, value) not in kept]
    found += ["request body"] if old.request.body != new.request.body else []
    return found + (["answer body"] if old.response.frames != new.response.frames else [])
