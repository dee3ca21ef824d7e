"""Limits of YAML texts: nesting, and aliases, which can make a value huge or endless."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from openai_replay.errors import CassetteError

#: Aliases may expand a cassette to this many times its own size, or to this many bytes, whichever is more. (vcrpy's
#: writer uses an alias if two requests share a body.)
_UNFOLDED_TIMES = 10
_UNFOLDED_BYTES = 1 << 25
#: Bytes that a node takes beside its text: an empty mapping or list is not free.
_NODE_BYTES = 64
#: Anchors and aliases match these, and so may other texts. Each pattern begins with its one fixed character, which `re`
#: searches for by itself. With the lookbehind first it takes fifty times as long: half of the time that reading a large
#: cassette takes.
_ANCHOR, _ALIAS = (
    re.compile(rf"""{mark}(?<![^\s\ufeff\[\]{{}},:?"']{mark})([0-9A-Za-z_-]+)""") for mark in ("&", r"\*")
)
#: libyaml's composer calls itself for each level, and crashes the process at some 50,000 levels.
_TOO_DEEP = 10_000
_AS_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def is_too_deep(text: str) -> bool:
    """Return True if `text` may be nested so deeply that composing it crashes the process."""
    brackets = text.encode("utf-8", "replace").translate(_AS_SQUARE, _NO_BRACKETS)
    return b"[" * _TOO_DEEP in brackets or "- " * _TOO_DEEP in text or "? " * _TOO_DEEP in text


def is_nesting_error(error: Exception) -> bool:
    """Return True if PyYAML gave up on a text because it is nested too deeply.

    libyaml since 0.2.6, which PyYAML ships since 6.0.4, refuses about 1,000 levels itself ("exceeded maximum nesting
    depth"); with older ones only `is_too_deep` and Python's own limit of recursion do.
    """
    return "nesting depth" in str(getattr(error, "problem", None) or error)


def may_hold_alias(text: str) -> bool:
    """Return False if `text` surely has no alias: a name after `*` that also follows `&`.

    HTML has many an `&amp;`, and Markdown many a `*`.
    """
    names = {anchor[1] for anchor in _ANCHOR.finditer(text)}
    return bool(names) and any(alias[1] in names for alias in _ALIAS.finditer(text))


def check(text: str, root: Any, path: Path) -> None:
    """Refuse aliases that expand a small text to a very large value ("billion laughs"), or to an endless one.

    `root` is the node that PyYAML composed from `text`. The expanded sizes are summed up without expanding anything.
    Raises CassetteError with `path` in its message.
    """
    if root is None or not may_hold_alias(text):
        return
    hint = "Write it out without aliases (*name)."
    sizes: dict[int, int] = {}  # expanded size of each node by id; 0 until it is known
    plain = 0
    todo = [root]
    while todo:
        node = todo[-1]
        if isinstance(node.value, str):
            inner: list[Any] = []
        else:
            inner = [child for part in node.value for child in (part if isinstance(part, tuple) else (part,))]
        if id(node) not in sizes:
            sizes[id(node)] = 0
            todo += [child for child in inner if id(child) not in sizes]
            if any(sizes.get(id(child)) == 0 for child in inner):
                raise CassetteError(path, node.start_mark.line + 1, "holds an alias of itself", hint)
            if todo[-1] is not node:
                continue
        todo.pop()
        if not sizes[id(node)]:
            node_bytes = _NODE_BYTES + (len(node.value) if isinstance(node.value, str) else 0)
            plain += node_bytes
            sizes[id(node)] = node_bytes + sum(sizes[id(child)] for child in inner)
            if sizes[id(node)] > 1 << 62:  # larger numbers are slow by themselves
                break
    if max(sizes.values()) > max(_UNFOLDED_BYTES, _UNFOLDED_TIMES * plain):
        raise CassetteError(path, None, "is small, and its aliases make something very large of it", hint)
