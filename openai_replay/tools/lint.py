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
from openai_replay.tools.lint_rules import Finding, Item, comments_above, made_at, said, unknown_keys

#: Bytes past which a file is nothing a person reviews, and every clone of the repository pays for.
LARGE = 1_000_000
_ALLOW = re.compile(r"^[ \t]*#[ \t]*lint:[ \t]*allow[ \t]+([a-z, \t]+?)[ \t]*\r?$", re.MULTILINE)


def findings(
    text: str, path: Path, torn: bool = False, now: float = 0.0, max_age_s: float | None = None
) -> list[Finding]:
    """What is wrong with the cassette `text`, in order of lines; `path` is for messages.

    `torn`: an item that a killed recorder left was taken off its end. Recordings that were made more than `max_age_s`
    seconds before `now` (seconds since 1970) are stale; without it none is.
    """
    found = [*_whole_file(text, torn)]
    try:
        document = reader.load(text, path) if text.strip() else None
        root, items = reader.nodes(text, path) if document else (None, [])
    except CassetteError as error:
        found += [unreadable(path, error), *_in_raw(text)]
        return sorted(_allowed(found, _ALLOW.findall(text[:2000])), key=lambda one: one.line)
    if document is None:
        return [*found, Finding(1, Rule.SCHEMA, "is empty")]
    found += unknown_keys(root, ("version", "interactions"), "at the top level: pytest-recording cannot load it")
    top = text[: items[0].start_mark.index] if items else text
    top = top[: len(top) - len(comments_above(text, items[0]))] if items else top
    edited = {one.number: one for one in document.edited}
    for number, (interaction, node) in enumerate(zip(document.interactions, items, strict=True), 1):
        item = Item(text, node, interaction)
        here = [*item.schema(), *item.secrets(), *item.unreviewable(), *item.errors()]
        if number in edited:
            here.append(Finding(edited[number].line, Rule.FRAMES, edited[number].what))
        made = made_at(interaction.response) if max_age_s is not None else None
        if max_age_s is not None and made is not None and now - made > max_age_s:
            here.append(Finding(item.line, Rule.STALE, f"recorded {(now - made) / 86400:.0f} days ago"))
        found += _allowed(here, _ALLOW.findall(comments_above(text, node)))
    return sorted(_allowed(found, _ALLOW.findall(top)), key=lambda one: one.line)


def unreadable(path: Path, error: CassetteError) -> Finding:
    """What says that the file at `path` cannot be read as a cassette."""
    rule = Rule.TORN if " is torn: " in error.message else Rule.SCHEMA
    what = error.message.removeprefix(f"{path}:").removeprefix(f"{error.line}:").strip()
    return Finding(error.line or 1, rule, what)


def mended(text: str, path: Path) -> str:
    """`text` with the frames of edited answers cut anew."""
    return writer.cut_anew(text, reader.load(text, path).edited)


def _whole_file(text: str, torn: bool) -> Iterator[Finding]:
    if torn:
        what = "a recorder was killed while it added this; the next `record` takes it away"
        yield Finding(text.count("\n") + 1, Rule.TORN, what)
    if (size := len(text.encode())) > LARGE:
        what = f"{size / 1e6:.1f} MB; split it, or record shorter answers (smaller images, fewer embeddings)"
        yield Finding(1, Rule.LARGE, what)


def _in_raw(text: str) -> Iterator[Finding]:
    """Secrets in a file that cannot be read as a cassette."""
    for leak in secret_scanner.leaks(text):
        yield Finding(text.count("\n", 0, leak.start) + 1, Rule.SECRET, said(leak))


def _allowed(found: Iterable[Finding], comments: Iterable[str]) -> list[Finding]:
    """`found` without what `comments` (the part behind `allow`) allow."""
    rules = {rule.strip() for comment in comments for rule in re.split(r"[,\s]+", comment)}
    return [one for one in found if one.rule not in rules]
