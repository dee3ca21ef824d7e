"""What is wrong with a cassette: text in, findings with their lines out. The rules of an item are `lintrules`'s.

A finding can be allowed: everywhere (`--allow RULE`), for a file by a comment at its top, or for one item by a comment
above it: `# lint: allow secret, error`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from openai_replay.cassette import reader, writer
from openai_replay.config.lint_rule import Rule
from openai_replay.errors import CassetteError
from openai_replay.redaction import secret_scanner
from openai_replay.tools.lint_rules import (
    Finding,
    LintedRecording,
    describe_leak,
    find_unknown_keys,
    read_comments_above,
    recorded_at_s,
)

#: Bytes past which a file is nothing a person reviews, and every clone of the repository pays for.
MAX_BYTES = 1_000_000
_ALLOW = re.compile(r"^[ \t]*#[ \t]*lint:[ \t]*allow[ \t]+([a-z, \t]+?)[ \t]*\r?$", re.MULTILINE)


def find_problems(
    text: str, path: Path, is_torn: bool = False, now_s: float = 0.0, max_age_s: float | None = None
) -> list[Finding]:
    """What is wrong with the cassette `text`, in order of lines; `path` is for messages.

    `torn`: an item that a killed recorder left was taken off its end. Recordings that were made more than `max_age_s`
    seconds before `now` (seconds since 1970) are stale; without it none is.
    """
    found = [*_check_file(text, is_torn)]
    try:
        document = reader.load(text, path) if text.strip() else None
        root, items = reader.nodes(text, path) if document else (None, [])
    except CassetteError as error:
        found += [describe_unreadable(path, error), *_find_secrets_in_text(text)]
        return sorted(_without_allowed(found, _ALLOW.findall(text[:2000])), key=lambda one: one.line)
    if document is None:
        return [*found, Finding(1, Rule.SCHEMA, "is empty")]
    found += find_unknown_keys(root, ("version", "interactions"), "at the top level: pytest-recording cannot load it")
    top = text[: items[0].start_mark.index] if items else text
    top = top[: len(top) - len(read_comments_above(text, items[0]))] if items else top
    edited = {one.number: one for one in document.edited}
    for number, (interaction, node) in enumerate(zip(document.interactions, items, strict=True), 1):
        item = LintedRecording(text, node, interaction)
        here = [*item.check_schema(), *item.check_secrets(), *item.check_reviewable(), *item.check_errors()]
        if number in edited:
            here.append(Finding(edited[number].line, Rule.FRAMES, edited[number].what))
        made = recorded_at_s(interaction.response) if max_age_s is not None else None
        if max_age_s is not None and made is not None and now_s - made > max_age_s:
            here.append(Finding(item.line, Rule.STALE, f"recorded {(now_s - made) / 86400:.0f} days ago"))
        found += _without_allowed(here, _ALLOW.findall(read_comments_above(text, node)))
    return sorted(_without_allowed(found, _ALLOW.findall(top)), key=lambda one: one.line)


def describe_unreadable(path: Path, error: CassetteError) -> Finding:
    """What says that the file at `path` cannot be read as a cassette."""
    rule = Rule.TORN if " is torn: " in error.message else Rule.SCHEMA
    what = error.message.removeprefix(f"{path}:").removeprefix(f"{error.line}:").strip()
    return Finding(error.line or 1, rule, what)


def fix_frames(text: str, path: Path) -> str:
    """`text` with the frames of edited answers cut anew."""
    return writer.cut_anew(text, reader.load(text, path).edited)


def _check_file(text: str, torn: bool) -> Iterator[Finding]:
    if torn:
        what = "a recorder was killed while it added this; the next `record` takes it away"
        yield Finding(text.count("\n") + 1, Rule.TORN, what)
    if (size := len(text.encode())) > MAX_BYTES:
        what = f"{size / 1e6:.1f} MB; split it, or record shorter answers (smaller images, fewer embeddings)"
        yield Finding(1, Rule.LARGE, what)


def _find_secrets_in_text(text: str) -> Iterator[Finding]:
    """Secrets in a file that cannot be read as a cassette."""
    for leak in secret_scanner.leaks(text):
        yield Finding(text.count("\n", 0, leak.start) + 1, Rule.SECRET, describe_leak(leak))


def _without_allowed(found: Iterable[Finding], comments: Iterable[str]) -> list[Finding]:
    """`found` without what `comments` (the part behind `allow`) allow."""
    rules = {rule.strip() for comment in comments for rule in re.split(r"[,\s]+", comment)}
    return [one for one in found if one.rule not in rules]
