"""The reader of cassette files: vcrpy's version 1 and `response.wire` (docs/cassette-format.md has the rules, `writer`
writes it).

PyYAML's safe loader reads the text, with libyaml if it is installed. A text with an old tag of vcrpy
(`!!python/tuple`, pickled `BytesIO`) is read by vcrpy's own safe loader. `vcr` is only imported then, because that
takes a quarter of a second.

A cassette is not trusted. A small text must not become large (aliases), a deep one must not end the process, and each
error fits on one line.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml

from openai_replay.cassette.schema import EditedBody, SchemaError, read
from openai_replay.errors import CassetteError
from openai_replay.model import Interaction
from openai_replay.text import yaml_limits


class Document(NamedTuple):
    """A parsed cassette: its items, the edited bodies, and the position for another item.

    `indent` is the column of the items' dashes, or None for a list in flow style (`[...]`), to which nothing can be
    appended. `tail` is the offset, in characters, of the text after the list (vcrpy writes `version: 1` there).
    """

    interactions: list[Interaction]
    edited: list[EditedBody]
    indent: int | None
    tail: int


def _texts(base: type[yaml.constructor.SafeConstructor]) -> type:
    """Return a loader like `base` that reads a plain scalar as text or null: a header's value may look like a date, an
    octal number or `yes`.
    """
    null = [("tag:yaml.org,2002:null", re.compile(r"(?:~|null|Null|NULL|)\Z"))]
    resolvers = dict.fromkeys(("~", "n", "N", ""), null) | {"<": [("tag:yaml.org,2002:merge", re.compile(r"<<\Z"))]}
    constructors: dict[Any, Any] = {**base.yaml_constructors, **dict.fromkeys(_SCALARS, _as_text)}
    members = {"yaml_implicit_resolvers": resolvers, "yaml_constructors": constructors}
    return type(f"_Text{base.__name__}", (base,), members)


def _as_text(loader: Any, node: Any) -> Any:
    return loader.construct_scalar(node)


#: Scalars with these tags are read as text, too: reading a number of a million digits takes minutes.
_SCALARS = [f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float", "timestamp")]

_Loader = _texts(getattr(yaml, "CSafeLoader", yaml.SafeLoader))
#: Errors that the constructors of vcrpy's tags raise in addition to PyYAML's.
_UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

_CONFLICT = re.compile(r"^(?:<{7} |={7}\s|>{7} )", re.MULTILINE)


def load(text: str, path: Path) -> Document:
    """Read a cassette's `text`. `path` is for messages. Raises CassetteError with file, line, and what to do."""
    try:
        root = _compose(text, path)
        yaml_limits.check(text, root, path)
        value = _construct(text, root, path)
    except RecursionError:
        raise CassetteError(path, None, "is nested too deeply to be a cassette") from None
    items_node = _list_of_items(root, value, path)
    interactions: list[Interaction] = []
    edited: list[EditedBody] = []
    for number, (raw, node) in enumerate(zip(value["interactions"], items_node.value, strict=True), 1):
        try:
            interaction, summed, is_timed, _ = read(raw)
        except SchemaError as error:
            problem = f"interaction {number}: {_short(error)}"
            raise CassetteError(path, _node_at(node, error.path).start_mark.line + 1, problem) from None
        if number == len(items_node.value) and not is_timed and _is_torn(text, node):
            raise CassetteError(
                path,
                node.start_mark.line + 1,
                f"interaction {number} is torn: it has no `end`, the last line of an item",
                "Remove it, from its comment to the end of the file. The recordings before it are complete.",
            )
        if summed is not None:
            at = _node_at(node, ("response", "wire", "frames"))
            start, stop = at.start_mark.index, at.end_mark.index
            stop = start + len(text[start:stop].rstrip())
            frames, body = interaction.response.frames, interaction.response.body
            edited.append(EditedBody(at.start_mark.line + 1, number, summed, len(body), start, stop, frames))
        interactions.append(interaction)
    return Document(interactions, edited, *_where_to_add(root, items_node, text))


def _compose(text: str, path: Path) -> Any:
    if yaml_limits.is_too_deep(text):
        raise RecursionError
    hint = "If it is cut off, restore it or record it again."
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_node()
    except yaml.reader.ReaderError as error:
        # libyaml counts bytes, Python's reader characters.
        before = text.encode()[: error.position] if error.encoding == "?" else text[: error.position].encode()
        problem = str(error).splitlines()[0]
        raise CassetteError(path, before.count(b"\n") + 1, f"is not YAML: {problem}", hint) from None
    except yaml.MarkedYAMLError as error:
        if yaml_limits.is_nesting_error(error):
            raise RecursionError from None
        if (conflict := _CONFLICT.search(text)) is not None:
            at = text.count("\n", 0, conflict.start()) + 1
            raise CassetteError(path, at, "is not YAML: it has a merge conflict", "Resolve the conflict.") from None
        # libyaml notices a key without a colon one line late.
        late = error.context == "while scanning a simple key"
        mark = error.context_mark if late else error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise CassetteError(path, line, f"is not YAML: {_short(error.problem or error.context)}", hint) from None
    except UnicodeEncodeError:
        raise CassetteError(path, None, "is not UTF-8 text, so not a cassette") from None
    finally:
        if loader is not None:
            loader.dispose()


def _construct(text: str, root: Any, path: Path) -> Any:
    loader = _Loader("")
    try:
        return loader.construct_document(root) if root is not None else None
    except yaml.constructor.ConstructorError as error:
        if ":python/" in (error.problem or ""):
            return _construct_by_vcrpy(text, path)
        raise _unknown(error, path) from None
    finally:
        loader.dispose()


#: Header names of aiohttp's multidict in old recordings: a subclass of str.
_ISTR = [
    f"tag:yaml.org,2002:python/object/{function}:{module}.istr"
    for function in ("apply", "new")
    for module in ("multidict", "multidict._multidict", "multidict._multidict_py")
]


def _construct_by_vcrpy(text: str, path: Path) -> Any:
    from vcr.serializers import yamlserializer  # slow to import

    tags: dict[str, Any] = dict.fromkeys(_ISTR, lambda loader, node: loader.construct_sequence(node)[0])
    tags |= dict.fromkeys(_SCALARS, _as_text)
    reader = yamlserializer.with_custom_tags(tags)
    try:
        return reader.deserialize(text)
    except yaml.constructor.ConstructorError as error:
        raise _unknown(error, path) from None
    except _UNREADABLE as error:
        raise CassetteError(path, None, f"has a value that cannot be read: {_short(error)}.") from None


def _unknown(error: yaml.constructor.ConstructorError, path: Path) -> CassetteError:
    line = error.problem_mark.line + 1 if error.problem_mark else None
    return CassetteError(
        path,
        line,
        f"has a tag that cassettes must not have: {_short(error.problem)}.",
        "Only vcrpy's own safe tags are read. Record it again.",
    )


def _short(problem: object) -> str:
    """Return the start of `problem` on one line: an error quotes the file, which may contain anything."""
    text = " ".join(str(problem).split())
    return text if len(text) <= 200 else text[:199] + "…"


def _list_of_items(root: Any, value: Any, path: Path) -> Any:
    """Return the node of `interactions`. Raises CassetteError for anything wrong around it."""
    line = root.start_mark.line + 1 if root is not None else 1
    if isinstance(value, list) and value and isinstance(value[0], dict) and "request" in value[0]:
        raise CassetteError(path, line, "is from vcrpy before 1.0", "Migrate it:  python3 -m vcr.migration PATH")
    if not isinstance(value, dict) or "interactions" not in value:
        raise CassetteError(
            path, line, "is not a cassette: it has no `interactions`", "A cassette starts with `version: 1`."
        )
    nodes = {key.value: node for key, node in root.value if isinstance(key, yaml.ScalarNode)}
    if str(version := value.get("version", 1)) != "1":
        raise CassetteError(
            path,
            nodes.get("version", root).start_mark.line + 1,
            f"has version {_short(version)}, and this program reads version 1.",
            "Update openai-replay:  pip install -U openai-replay",
        )
    node = nodes.get("interactions", root)
    if value["interactions"] is None:
        value["interactions"], node.value = [], []  # `interactions:` without a value
    if not isinstance(value["interactions"], list) or len(value["interactions"]) != len(node.value):
        raise CassetteError(path, node.start_mark.line + 1, "`interactions` is not a list")
    return node


def _node_at(node: Any, keys: tuple[str, ...]) -> Any:
    """Return the node at `keys` below the node of an item, or the innermost one that exists."""
    for part in keys:
        values = [value for key, value in node.value if key.value == part] if isinstance(node, yaml.MappingNode) else ()
        if not values:
            break
        node = values[-1]  # of two equal keys, the last one counts
    return node


_OUR_COMMENT = re.compile(r"\s*# \d+  \S+ ")


def _is_torn(text: str, node: Any) -> bool:
    """Return True if this program wrote the last item, which has no `wire`: a numbered comment is above it."""
    above = text[: node.start_mark.index].split("\n")[-2:]
    return len(above) == 2 and _OUR_COMMENT.match(above[0]) is not None


def _where_to_add(root: Any, items: Any, text: str) -> tuple[int | None, int]:
    start = items.start_mark.index
    tail = min((key.start_mark.index for key, _ in root.value if key.start_mark.index > start), default=len(text))
    if (end_of_document := text.find("\n...", start, tail)) >= 0:
        tail = end_of_document + 1
    if root.flow_style:
        return None, tail
    if not items.value:
        return 0, tail
    return (items.start_mark.column if text[start] == "-" else None), tail


def nodes(text: str, path: Path) -> tuple[Any, list[Any]]:
    """Return the root node and the item nodes of a cassette that loads. Raises CassetteError for a merged list."""
    root = _compose(text, path)
    lists = [node for key, node in root.value if key.value == "interactions"]
    if not lists:
        raise CassetteError(path, 1, "`interactions` is not at top level.", "Move it there, without a merge key.")
    return root, lists[-1].value or []  # of two equal keys, the last one counts; null is ''


_DASH = re.compile(" *-")
_COMMENT = re.compile(" *#")


def item_starts(text: str, path: Path) -> list[int]:
    """Return the start of each item's text, including the comment above it, in characters.

    Raises CassetteError if an item shares a line with others.
    """
    starts: list[int] = []
    for node in nodes(text, path)[1]:
        start = text.rfind("\n", 0, node.start_mark.index) + 1
        if _DASH.match(text, start) is None or (starts and start <= starts[-1]):
            line = node.start_mark.line + 1
            raise CassetteError(path, line, "an item shares a line with others.", "Record to another file.")
        while _COMMENT.match(text, above := text.rfind("\n", 0, max(start - 1, 0)) + 1, start):
            start = above
        starts.append(start)
    return starts


def base_path(uri: str) -> str:
    """Return the path for the base URL of clients of `uri`: up to the version (`/v1`, `/api/v1`), or empty."""
    match = re.match(r"(?:/[^/]*)*?/v\d+\w*(?=/|$)", urlsplit(uri).path)
    return match[0] if match else ""
