"""Some items of a cassette's text changed, and the rest of it kept byte for byte.

Whatever changes a cassette that somebody may have edited by hand goes through here: comments, layout and order of what
does not change are the reader's own. The comments above an item belong to it; only the numbered one is ours.
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

#: The comment of ours above an item, up to its number.
_OURS = re.compile(r"^( *# )\d+(?=  \S)", re.MULTILINE)
_COMMENTS = re.compile(r"(?: *#.*\n)*")


class Parts(NamedTuple):
    """A cassette's text taken apart: `head`, the `items` with the comments above each, and `tail` make it up again."""

    head: str
    items: list[str]
    tail: str


def parts(text: str, path: Path, document: reader.Document) -> Parts:
    """Take `text` apart, which `document` was read from. Raises CassetteError where an item has no lines of its own."""
    starts = [*reader.item_starts(text, path), document.tail]
    return Parts(text[: starts[0]], [text[start:end] for start, end in pairwise(starts)], text[starts[-1] :])


def joined(head: str, items: Iterable[str], tail: str) -> str:
    """The text of these, with the items numbered in their order."""
    numbered = [_numbered(_whole_lines(item), number) for number, item in enumerate(items, 1)]
    if not numbered:  # vcrpy cannot read a key with nothing behind it
        head = re.sub(r"(?m)^interactions:[^\r\n]*", "interactions: []", head)
    return head + "".join(numbered) + tail


def edited(text: str, path: Path, changes: Mapping[int, Interaction | None]) -> str:
    """`text` with the items that `changes` names, counted from 1, written anew, or dropped where it says None.

    Every other item keeps its text, but for the number in its comment where one before it is dropped. What somebody
    wrote in comments above an item that is written anew stays there. Raises CassetteError where the text is no
    cassette, has no such item, or is laid out so that this cannot be done; `path` is for messages.
    """
    if not changes:
        return text
    document = reader.load(text, path)
    there = dict(enumerate(document.interactions, 1))
    if unknown := changes.keys() - there.keys():
        raise CassetteError(path, None, f"has no interaction {min(unknown)}, but {len(there)} of them")
    taken = parts(text, path, document)
    # Where an anchor goes with a changed item, those that refer to it cannot keep their text.
    anchors = {name for number in changes for name in re.findall(r"&([\w-]+)", taken.items[number - 1])}
    borrowing = {
        number: there[number]
        for number, item in enumerate(taken.items, 1)
        if not anchors.isdisjoint(re.findall(r"\*([\w-]+)", item))
    }
    for whole in (changes, {**borrowing, **changes}):
        new = _changed(taken, whole)
        if _says(new, path, there, whole):
            return new
    raise CassetteError(path, None, "cannot be edited: its layout is unusual", "It is as it was before.")


def _changed(taken: Parts, changes: Mapping[int, Interaction | None]) -> str:
    pieces = [taken.head]
    line_end = "\r\n" if "\r\n" in taken.head else "\n"
    for number, item in enumerate(taken.items, 1):
        if number not in changes:
            pieces.append(item)
        elif (change := changes[number]) is not None:
            pieces.append(_anew(item, change, number, line_end))
        else:
            pieces[-1] = _whole_lines(pieces[-1]) + _behind(item).lstrip("\r\n")
    return joined(pieces[0], pieces[1:], taken.tail)


def _anew(item: str, interaction: Interaction, number: int, line_end: str) -> str:
    """The text of `interaction` in the place of `item`, with the comments that are not ours."""
    above, rest = _comments(item)
    indent = rest[: rest.index("-")]
    dumped = re.sub(r"(?m)^(?=.)", indent, "".join(writer.dump(interaction, number))).replace("\n", line_end)
    ours, line_feed, rest = dumped.partition("\n")
    if _OURS.search(above):
        above = re.sub(rf"{_OURS.pattern}.*\n", lambda _: ours + line_feed, above, count=1, flags=re.MULTILINE)
    else:
        above += ours + line_feed
    return above + rest + _behind(item)


def _comments(item: str) -> tuple[str, str]:
    """The comments above an item, and the rest of it."""
    end = match.end() if (match := _COMMENTS.match(item)) else 0
    return item[:end], item[end:]


def _behind(item: str) -> str:
    """Empty lines and comments behind an item, which are not its own: they stay when it goes.

    In a block, which may end an item, what looks like a comment is indented deeper than the item.
    """
    indent = _comments(item)[1].index("-")
    match = re.search(rf"(?:^[ \t]*\r?\n|^ {{0,{indent}}}#.*(?:\n|\Z))+\Z", item, re.MULTILINE)
    return match[0] if match else ""


def _numbered(item: str, number: int) -> str:
    """`item` with this number in the comment of ours above it, if it has one."""
    above, rest = _comments(item)
    return _OURS.sub(rf"\g<1>{number}", above, count=1) + rest


def _whole_lines(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def _says(text: str, path: Path, there: Mapping[int, Interaction], changes: Mapping[int, Interaction | None]) -> bool:
    """Whether `text` reads as what was `there` with these `changes`."""
    expected: list[Interaction] = []
    for number, one in there.items():
        change = changes.get(number, one)
        if number not in changes:
            expected.append(one)
        elif change is not None:  # as it reads by itself
            alone = writer.HEADER + "".join(writer.dump(change, number))
            expected += reader.load(alone, path).interactions
    try:
        return reader.load(text, path).interactions == expected
    except CassetteError:
        return False
