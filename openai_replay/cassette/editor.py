"""Editing a cassette's text: some items change, and the rest stays byte for byte.

All changes to cassettes that may have been edited by hand go through this module. Comments, layout and order of the
other items stay. The comments above an item belong to it; only the numbered comment is written by this program.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from openai_replay.cassette import reader, writer
from openai_replay.errors import CassetteError
from openai_replay.model import Interaction

#: The numbered comment above an item, up to its number.
_OWN_COMMENT = re.compile(r"^( *# )\d+(?=  \S)", re.MULTILINE)
_COMMENTS = re.compile(r"(?: *#.*\n)*")


class Parts(NamedTuple):
    """A cassette's text in parts: `head`, the `items` with the comments above each, and `tail`."""

    head: str
    items: list[str]
    tail: str


def parts(text: str, path: Path, document: reader.Document) -> Parts:
    """Split `text`, which `document` was read from. Raises CassetteError if an item shares a line with others."""
    starts = [*reader.item_starts(text, path), document.tail]
    return Parts(text[: starts[0]], [text[start:end] for start, end in pairwise(starts)], text[starts[-1] :])


def joined(head: str, items: Iterable[str], tail: str) -> str:
    """Join parts to a text, with the items numbered in their order."""
    numbered = [_numbered(_whole_lines(item), number) for number, item in enumerate(items, 1)]
    if not numbered:  # vcrpy cannot read a key without a value
        head = re.sub(r"(?m)^interactions:[^\r\n]*", "interactions: []", head)
    return head + "".join(numbered) + tail


def edited(text: str, path: Path, changes: Mapping[int, Interaction | None]) -> str:
    """Return `text` with the items that `changes` names (from 1) rewritten, or removed for None.

    Each other item keeps its text, except for the number in its comment. Other comments above a rewritten item stay.
    Raises CassetteError if the text is not a cassette, has no such item, or has a layout that cannot be edited. `path`
    is for messages.
    """
    if not changes:
        return text
    document = reader.load(text, path)
    present = dict(enumerate(document.interactions, 1))
    if unknown := changes.keys() - present.keys():
        raise CassetteError(path, None, f"has {len(present)} interactions, and no number {min(unknown)}.")
    split = parts(text, path, document)
    # An item that refers to an anchor in a changed item cannot keep its text.
    anchors = {name for number in changes for name in re.findall(r"&([\w-]+)", split.items[number - 1])}
    borrowing = {
        number: present[number]
        for number, item in enumerate(split.items, 1)
        if not anchors.isdisjoint(re.findall(r"\*([\w-]+)", item))
    }
    for trial in (changes, {**borrowing, **changes}):
        new = _changed(split, trial)
        if _reads_as(new, path, present, trial):
            return new
    raise CassetteError(path, None, "could not edit it: its layout is unusual.", "The file has not changed.")


def can_append(text: str, document: reader.Document) -> bool:
    """Return True if an item can be added to the end of `text`, which `document` was read from."""
    return document.tail == len(text) and (bool(document.interactions) or text.rstrip().endswith("interactions:"))


def make_appendable(text: str, path: Path) -> str:
    """Return `text` with the lines after the list (vcrpy's `version: 1`) moved before it. Raises CassetteError."""
    document = reader.load(text, path)
    if can_append(text, document):
        return text
    head, tail = text[: document.tail], text[document.tail :]
    if not document.interactions:
        head = re.sub(r"(?m)^interactions:.*$", "interactions:", head)
    tail = re.sub(r"(?m)^\.\.\.\s*\Z", "", tail)
    new = tail + ("\n" if tail and not tail.endswith("\n") else "") + head
    if reader.load(new, path).interactions != document.interactions:  # pragma: no cover  # no such text is known
        raise CassetteError(path, None, "no recording can be added: its layout is unusual.", "Record to another file.")
    return new


def _changed(split: Parts, changes: Mapping[int, Interaction | None]) -> str:
    pieces = [split.head]
    line_end = "\r\n" if "\r\n" in split.head else "\n"
    for number, item in enumerate(split.items, 1):
        if number not in changes:
            pieces.append(item)
        elif (change := changes[number]) is not None:
            pieces.append(_rewritten(item, change, number, line_end))
        else:
            pieces[-1] = _whole_lines(pieces[-1]) + _trailing_lines(item).lstrip("\r\n")
    return joined(pieces[0], pieces[1:], split.tail)


def _rewritten(item: str, interaction: Interaction, number: int, line_end: str) -> str:
    """Return the text of `interaction` with the user's comments of `item`."""
    above, item_text = _comments(item)
    indent = item_text[: item_text.index("-")]
    dumped = re.sub(r"(?m)^(?=.)", indent, "".join(writer.write_interaction(interaction, number))).replace(
        "\n", line_end
    )
    own_comment, line_feed, item_text = dumped.partition("\n")
    if _OWN_COMMENT.search(above):
        above = re.sub(
            rf"{_OWN_COMMENT.pattern}.*\n", lambda _: own_comment + line_feed, above, count=1, flags=re.MULTILINE
        )
    else:
        above += own_comment + line_feed
    return above + item_text + _trailing_lines(item)


def _comments(item: str) -> tuple[str, str]:
    """Return the comments above an item, and the item without them."""
    end = match.end() if (match := _COMMENTS.match(item)) else 0
    return item[:end], item[end:]


def _trailing_lines(item: str) -> str:
    """Return the empty lines and comments after an item, which stay when it is removed.

    Inside a block scalar, which may end an item, a line like a comment is indented deeper than the item.
    """
    indent = _comments(item)[1].index("-")
    match = re.search(rf"(?:^[ \t]*\r?\n|^ {{0,{indent}}}#.*(?:\n|\Z))+\Z", item, re.MULTILINE)
    return match[0] if match else ""


def _numbered(item: str, number: int) -> str:
    """Return `item` with this number in its numbered comment, if it has one."""
    above, item_text = _comments(item)
    return _OWN_COMMENT.sub(rf"\g<1>{number}", above, count=1) + item_text


def _whole_lines(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def _reads_as(
    text: str, path: Path, present: Mapping[int, Interaction], changes: Mapping[int, Interaction | None]
) -> bool:
    """Return True if `text` reads as the `present` interactions with these `changes`."""
    expected: list[Interaction] = []
    for number, interaction in present.items():
        change = changes.get(number, interaction)
        if number not in changes:
            expected.append(interaction)
        elif change is not None:  # as it reads alone
            text_alone = writer.HEADER + "".join(writer.write_interaction(change, number))
            expected += reader.load(text_alone, path).interactions
    try:
        return reader.load(text, path).interactions == expected
    except CassetteError:
        return False
