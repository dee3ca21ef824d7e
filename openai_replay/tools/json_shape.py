"""The shape of JSON: which paths there are, of which types, always or sometimes; and where two shapes differ.

The items of an array are merged to one, `choices[].message.content`; where they say of what type they are, those of one
type are, `output[message].content[output_text].text`. Keys that are ids are merged as well. Values do not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from openai_replay.openai_api import ids

#: Values that are looked at of an array: more of the same kind tell nothing new.
_MAX_ITEMS = 500


@dataclass(slots=True)
class PathStats:
    """What was seen at a path: the types, how often there was something, how often there could have been, and how often
    it was an object.
    """

    types: set[str] = field(default_factory=set)
    count: int = 0
    parents: int = 0
    objects: int = 0

    @property
    def always(self) -> bool:
        """Whether no object that could have had it was without it."""
        return self.count >= self.parents


#: Path to what was seen there. `choices[]` are the items of `choices`; the root is empty.
Shape = dict[str, PathStats]


def infer_shape(values: Iterable[Any], are_fragments: bool = False) -> Shape:
    """The shape of `values`, merged. Of `pieces`, only the first may say of what type an item is: they are not told
    apart by it.
    """
    found: Shape = {}
    for value in values:
        _visit(value, "", found, are_fragments)
    for path, seen in found.items():
        parent, is_key = _parent(path)
        if is_key:
            seen.parents = found[parent].objects
    return found


def _visit(value: Any, path: str, found: Shape, are_fragments: bool) -> None:
    seen = found.setdefault(path, PathStats())
    seen.types.add(_type_name(value))
    seen.count += 1
    if isinstance(value, dict):
        seen.objects += 1
        for key, inner in value.items():
            _visit(inner, f"{path}.{_path_key(key)}", found, are_fragments)
    elif isinstance(value, list):
        for inner in value[:_MAX_ITEMS]:
            _visit(inner, f"{path}[{'' if are_fragments else _item_kind(inner)}]", found, are_fragments)


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):  # an API may well write 1 for 1.0
        return "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def _path_key(key: str) -> str:
    """`key`, so that a path can be taken apart again; `*` for a key that is an id."""
    if ids.kind(key) and any(map(str.isdigit, key)):  # `tool_calls` is none
        return "*"
    return _escape_key(key)


def _escape_key(key: str) -> str:
    return key if not set(key) & set(".[]") else re.sub(r"[.\[\]]", "·", key)


def _item_kind(item: Any) -> str:
    kind = item.get("type") if isinstance(item, dict) else None
    return _escape_key(kind) if isinstance(kind, str) and len(kind) <= 60 else ""


def _parent(path: str) -> tuple[str, bool]:
    """The path above, and whether `path` is a key in it (and no item)."""
    if path.endswith("]"):
        return path[: path.rindex("[")], False
    return path[: path.rindex(".")] if path else "", bool(path)


def compare_shapes(
    before: Mapping[str, PathStats], current: Mapping[str, PathStats], are_fragments: bool = False
) -> Iterator[str]:
    """Where two shapes differ, a line each, in order of the paths.

    Of what is new or gone only the uppermost path is named. Where there was nothing to see in one of them, the items of
    an empty array, nothing is said. `merged`: the values are many pieces of one, such as events of a stream, that have
    what they have as they were cut: whether something is always there, or null in between, says nothing.
    """
    for path in sorted({*before, *current}):
        if path in before and path in current:
            yield from _compare_path(path, before[path], current[path], are_fragments)
            continue
        there, other = (before, current) if path in before else (current, before)
        parent, is_key = _parent(path)
        if parent not in other or not _could_have(other, parent, is_key):
            continue
        types = _join_types(there[path].types)
        where = path.removeprefix(".")
        if path in current:
            yield f"{where}: new, {types}"
        else:
            yield f"{where}: gone, was {types}"


def _could_have(shape: Mapping[str, PathStats], parent: str, is_key: bool) -> bool:
    """Whether what is missing under `parent` could have been seen."""
    if is_key:
        return "object" in shape[parent].types
    return any(path.startswith(f"{parent}[") for path in shape)


def _compare_path(path: str, before: PathStats, current: PathStats, are_fragments: bool) -> Iterator[str]:
    where = path.removeprefix(".") or "all"
    was, are = before.types, current.types
    if are_fragments:
        solid = was - {"null"}, are - {"null"}
        if all(solid):
            was, are = solid
    if was != are:
        yield f"{where}: was {_join_types(was)}, now {_join_types(are)}"
    if not are_fragments and before.always and not current.always:
        yield f"{where}: was always there, now only sometimes"


def _join_types(types: Iterable[str]) -> str:
    return " or ".join(sorted(types, key=lambda one: (one == "null", one)))
