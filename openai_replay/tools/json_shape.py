"""Infers the shape of JSON (which paths exist, with which types, always or sometimes), and compares two shapes.

The items of an array are merged into one, `choices[].message.content`. Items that name their type are merged by type,
`output[message].content[output_text].text`. Keys that are ids are merged as well. Values do not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from openai_replay.openai_api import ids

#: Maximum number of items of an array that are examined; more of them hardly show a new shape.
_MAX_ITEMS = 500


@dataclass(slots=True)
class PathStats:
    """The values at a path: their types, their number, the number of objects that could have had one, and how many of
    the values are objects.
    """

    types: set[str] = field(default_factory=set)
    count: int = 0
    parents: int = 0
    objects: int = 0

    @property
    def always(self) -> bool:
        """Return True if each object that could have had the value had it."""
        return self.count >= self.parents


#: Statistics by path. `choices[]` are the items of `choices`; the path of the root is empty.
Shape = dict[str, PathStats]


def infer_shape(values: Iterable[Any], are_fragments: bool = False) -> Shape:
    """Return the shape of `values`, merged.

    `are_fragments`: the values are parts of one, such as the events of a stream. In those, only the first may name the
    type of an item, so that items are not distinguished by type.
    """
    shape: Shape = {}
    for value in values:
        _visit(value, "", shape, are_fragments)
    for path, stats in shape.items():
        parent, is_key = _parent(path)
        if is_key:
            stats.parents = shape[parent].objects
    return shape


def _visit(value: Any, path: str, shape: Shape, are_fragments: bool) -> None:
    stats = shape.setdefault(path, PathStats())
    stats.types.add(_type_name(value))
    stats.count += 1
    if isinstance(value, dict):
        stats.objects += 1
        for key, inner in value.items():
            _visit(inner, f"{path}.{_path_key(key)}", shape, are_fragments)
    elif isinstance(value, list):
        for inner in value[:_MAX_ITEMS]:
            _visit(inner, f"{path}[{'' if are_fragments else _item_kind(inner)}]", shape, are_fragments)


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):  # an API may well write 1 for 1.0
        return "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def _path_key(key: str) -> str:
    """Return `key` such that a path can be split again, and `*` for a key that is an id."""
    if ids.classify(key) and any(map(str.isdigit, key)):  # unlike `tool_calls`
        return "*"
    return _escape_key(key)


def _escape_key(key: str) -> str:
    return key if not set(key) & set(".[]") else re.sub(r"[.\[\]]", "·", key)


def _item_kind(item: Any) -> str:
    kind = item.get("type") if isinstance(item, dict) else None
    return _escape_key(kind) if isinstance(kind, str) and len(kind) <= 60 else ""


def _parent(path: str) -> tuple[str, bool]:
    """Return the path above, and True if `path` is a key in it (False for an item)."""
    if path.endswith("]"):
        return path[: path.rindex("[")], False
    return path[: path.rindex(".")] if path else "", bool(path)


def compare_shapes(
    before: Mapping[str, PathStats], current: Mapping[str, PathStats], are_fragments: bool = False
) -> Iterator[str]:
    """Yield the differences of two shapes, one line each, in order of the paths.

    Of new or missing values, only the uppermost path is named. If one shape had no chance to show a value, as with the
    items of an empty array, nothing is reported. `are_fragments`: the values are parts of one, such as the events of a
    stream. Each has only some of the values, so the result ignores whether a value is always present, or null in
    between.
    """
    for path in sorted({*before, *current}):
        if path in before and path in current:
            yield from _compare_path(path, before[path], current[path], are_fragments)
            continue
        shape, counterpart = (before, current) if path in before else (current, before)
        parent, is_key = _parent(path)
        if parent not in counterpart or not _could_have(counterpart, parent, is_key):
            continue
        types = _join_types(shape[path].types)
        name = path.removeprefix(".")
        if path in current:
            yield f"{name}: new, {types}"
        else:
            yield f"{name}: gone, was {types}"


def _could_have(shape: Mapping[str, PathStats], parent: str, is_key: bool) -> bool:
    """Return True if a value that is missing under `parent` could have been present."""
    if is_key:
        return "object" in shape[parent].types
    return any(path.startswith(f"{parent}[") for path in shape)


def _compare_path(path: str, before: PathStats, current: PathStats, are_fragments: bool) -> Iterator[str]:
    name = path.removeprefix(".") or "all"
    old_types, new_types = before.types, current.types
    if are_fragments:
        without_null = old_types - {"null"}, new_types - {"null"}
        if all(without_null):
            old_types, new_types = without_null
    if old_types != new_types:
        yield f"{name}: was {_join_types(old_types)}, now {_join_types(new_types)}"
    if not are_fragments and before.always and not current.always:
        yield f"{name}: was always there, now only sometimes"


def _join_types(types: Iterable[str]) -> str:
    return " or ".join(sorted(types, key=lambda name: (name == "null", name)))
