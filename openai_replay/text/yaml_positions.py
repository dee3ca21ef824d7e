"""Positions in YAML texts: the scalars of a node, and the line of each character of a scalar."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

#: Keys and indexes that lead from the root to a value.
Path = tuple[str | int, ...]


class Scalar(NamedTuple):
    """A scalar: its path, and PyYAML's `node` of it."""

    path: Path
    node: Any

    @property
    def line(self) -> int:
        """The line that its text starts in, from 1."""
        return int(self.node.start_mark.line) + 1


def scalars(node: Any, path: Path = (), visited: set[int] | None = None) -> Iterator[Scalar]:
    """Yield each scalar in `node` except keys. A node that aliases refer to is yielded once, at its own path."""
    visited = set() if visited is None else visited
    if id(node) in visited:
        return
    visited.add(id(node))
    if node.id == "scalar":
        yield Scalar(path, node)
    elif node.id == "mapping":
        for key, value in node.value:
            yield from scalars(value, (*path, str(key.value)), visited)
    else:
        for index, value in enumerate(node.value):
            yield from scalars(value, (*path, index), visited)


# Parts of a quoted or plain text that stand for one character of the value, or for none: line folds (YAML 1.1, 7.3 and
# 8.2) and escapes.
_DOUBLE = re.compile(r"(?P<nothing>\\\r?\n[ \t]*)|(?P<fold>[ \t]*\r?\n\s*)|\\x..|\\u....|\\U........|\\.|.", re.DOTALL)
_OTHER = re.compile(r"(?P<nothing>\Z.)|(?P<fold>[ \t]*\r?\n\s*)|''|.", re.DOTALL)


def line_at(text: str, node: Any, offset: int) -> int:
    """Return the line of `text`, from 1, of the character at `offset` in the value of the scalar `node`."""
    line = int(node.start_mark.line) + 1
    if node.style == "|":  # each line of the value is one line of the text, after the line of the bar
        return line + 1 + int(node.value.count("\n", 0, offset))
    raw = text[node.start_mark.index : node.end_mark.index]
    if node.style == ">":  # lines may have been joined
        return _in_folded(raw, node.value, offset, line)
    if node.style in ("'", '"'):
        raw = raw[1:-1]
    if "\n" not in raw:
        return line
    emitted, position = 0, 0
    for match in (_DOUBLE if node.style == '"' else _OTHER).finditer(raw):
        if match["fold"] is not None:
            emitted += max(1, match[0].count("\n") - 1)
        elif match["nothing"] is None:
            emitted += 1
        if emitted > offset:
            break
        position = match.end()
    return line + raw.count("\n", 0, position)


def _in_folded(raw: str, value: str, offset: int, line: int) -> int:
    """Return the line of a character in a folded block: folding changes white space only, so the other characters
    before it are counted.
    """
    before = len(re.sub(r"\s", "", value[:offset]))
    for raw_line in raw.rstrip().split("\n")[1:]:  # after the line of the `>`
        line += 1
        before -= len(re.sub(r"\s", "", raw_line))
        if before < 0:
            break
    return line
