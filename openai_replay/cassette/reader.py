"""The cassette file read: vcrpy's version 1 and `response.wire` (docs/cassette-format.md has the rules; `layout` writes
it).

Text comes in through PyYAML's safe loader (libyaml's where it is there), and where that meets a tag of vcrpy's past
(`!!python/tuple`, pickled `BytesIO`) through vcrpy's own safe loader. `vcr` is imported only then: importing it costs
a quarter of a second.

A cassette is not trusted: it may be anybody's. Text that is small must not become large (aliases), what is deep must
not end the process, and every complaint fits a line.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml

from openai_replay.cassette.schema import Edited, Invalid, read
from openai_replay.errors import CassetteError
from openai_replay.model import Interaction
from openai_replay.text import yaml_limits


class Document(NamedTuple):
    """A cassette as read: its items, what was edited, and where and how another item can be added to the text.

    `indent` is the column of the items' dashes; None where the list is in flow style (`[...]`) and nothing can be
    appended. `tail` is the offset, in characters, of what follows the list at top level (vcrpy writes `version: 1`
    there).
    """

    interactions: list[Interaction]
    edited: list[Edited]
    indent: int | None
    tail: int


def _texts(base: type[yaml.constructor.SafeConstructor]) -> type:
    """A loader like `base` that takes a plain scalar as the text it is, or null: a header's value may look like a date,
    an octal number or `yes`.
    """
    null = [("tag:yaml.org,2002:null", re.compile(r"(?:~|null|Null|NULL|)\Z"))]
    resolvers = dict.fromkeys(("~", "n", "N", ""), null) | {"<": [("tag:yaml.org,2002:merge", re.compile(r"<<\Z"))]}
    constructors: dict[Any, Any] = {**base.yaml_constructors, **dict.fromkeys(_SCALARS, _as_text)}
    members = {"yaml_implicit_resolvers": resolvers, "yaml_constructors": constructors}
    return type(f"_Text{base.__name__}", (base,), members)


def _as_text(loader: Any, node: Any) -> Any:
    return loader.construct_scalar(node)


#: What is tagged as one of these is taken as the text it is, too: to read a number of a million digits takes minutes.
_SCALARS = [f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float", "timestamp")]

_Loader = _texts(getattr(yaml, "CSafeLoader", yaml.SafeLoader))
#: What the constructors of vcrpy's tags raise beside PyYAML's own errors.
_UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

_CONFLICT = re.compile(r"^(?:<{7} |={7}\s|>{7} )", re.MULTILINE)


def load(text: str, path: Path) -> Document:
    """Read a cassette's `text`; `path` is for messages.

    Raises CassetteError with file and line, and says what to do.
    """
    try:
        root = _compose(text, path)
        yaml_limits.check(text, root, path)
        value = _construct(text, root, path)
    except RecursionError:
        raise CassetteError(path, None, "is nested too deeply to be a cassette") from None
    items_node = _list_of_items(root, value, path)
    interactions: list[Interaction] = []
    edited: list[Edited] = []
    for number, (raw, node) in enumerate(zip(value["interactions"], items_node.value, strict=True), 1):
        try:
            interaction, summed, is_timed, _ = read(raw)
        except Invalid as error:
            what = f"interaction {number}: {_short(error)}"
            raise CassetteError(path, _node_at(node, error.place).start_mark.line + 1, what) from None
        if number == len(items_node.value) and not is_timed and _is_torn(text, node):
            raise CassetteError(
                path,
                node.start_mark.line + 1,
                f"interaction {number} is torn: it has no `end`, the last line of an item",
                "Take the unfinished item out, from its comment to the end of the file; the ones before it are whole.",
            )
        if summed is not None:
            at = _node_at(node, ("response", "wire", "frames"))
            start, stop = at.start_mark.index, at.end_mark.index
            stop = start + len(text[start:stop].rstrip())
            frames, body = interaction.response.frames, interaction.response.body
            edited.append(Edited(at.start_mark.line + 1, number, summed, len(body), start, stop, frames))
        interactions.append(interaction)
    return Document(interactions, edited, *_where_to_add(root, items_node, text))


def _compose(text: str, path: Path) -> Any:
    if yaml_limits.is_too_deep(text):
        raise RecursionError
    hint = "Is it cut off? Restore it, or record it anew."
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_node()
    except yaml.reader.ReaderError as error:
        # libyaml counts bytes, Python's reader characters.
        before = text.encode()[: error.position] if error.encoding == "?" else text[: error.position].encode()
        what = str(error).splitlines()[0]
        raise CassetteError(path, before.count(b"\n") + 1, f"is not YAML: {what}", hint) from None
    except yaml.MarkedYAMLError as error:
        if yaml_limits.is_nesting_error(error):
            raise RecursionError from None
        if (conflict := _CONFLICT.search(text)) is not None:
            at = text.count("\n", 0, conflict.start()) + 1
            raise CassetteError(path, at, "is not YAML: it has a merge conflict", "Resolve it.") from None
        # A key without a colon is noticed a line late.
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


#: Header names as aiohttp's multidict gave them to recorders of old: a string with a class of its own.
_ISTR = [
    f"tag:yaml.org,2002:python/object/{how}:{module}.istr"
    for how in ("apply", "new")
    for module in ("multidict", "multidict._multidict", "multidict._multidict_py")
]


def _construct_by_vcrpy(text: str, path: Path) -> Any:
    from vcr.serializers import yamlserializer  # see the module's docstring

    tags: dict[str, Any] = dict.fromkeys(_ISTR, lambda loader, node: loader.construct_sequence(node)[0])
    tags |= dict.fromkeys(_SCALARS, _as_text)
    reader = yamlserializer.with_custom_tags(tags)
    try:
        return reader.deserialize(text)
    except yaml.constructor.ConstructorError as error:
        raise _unknown(error, path) from None
    except _UNREADABLE as error:
        raise CassetteError(path, None, f"holds a value that cannot be read: {_short(error)}") from None


def _unknown(error: yaml.constructor.ConstructorError, path: Path) -> CassetteError:
    line = error.problem_mark.line + 1 if error.problem_mark else None
    return CassetteError(
        path,
        line,
        f"holds what a cassette may not hold: {_short(error.problem)}",
        "Only vcrpy's own safe tags are read. Record it anew.",
    )


def _short(what: object) -> str:
    """The start of `what`, on one line: an error quotes the file, and the file may be anything."""
    text = " ".join(str(what).split())
    return text if len(text) <= 200 else text[:199] + "…"


def _list_of_items(root: Any, value: Any, path: Path) -> Any:
    """The node of `interactions`, after all that can be wrong around it."""
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
            f"is of version {_short(version)}, and this program reads version 1",
            "A newer openai-replay may read it:  pip install -U openai-replay",
        )
    node = nodes.get("interactions", root)
    if value["interactions"] is None:
        value["interactions"], node.value = [], []  # `interactions:` with nothing behind it
    if not isinstance(value["interactions"], list) or len(value["interactions"]) != len(node.value):
        raise CassetteError(path, node.start_mark.line + 1, "`interactions` is not a list")
    return node


def _node_at(node: Any, place: tuple[str, ...]) -> Any:
    """The node of what stands at `place` in that of an item, or of the innermost part of the way that is there."""
    for part in place:
        values = [value for key, value in node.value if key.value == part] if isinstance(node, yaml.MappingNode) else ()
        if not values:
            break
        node = values[-1]  # of two of the same name the last one counts
    return node


_OUR_COMMENT = re.compile(r"\s*# \d+  \S+ ")


def _is_torn(text: str, node: Any) -> bool:
    """Whether the file's last item, which has no `wire`, began as one of ours: a comment of ours stands above it."""
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
    """PyYAML's nodes of a cassette that loads: its root, and its items. Raises CassetteError for a merged list."""
    root = _compose(text, path)
    lists = [node for key, node in root.value if key.value == "interactions"]
    if not lists:
        raise CassetteError(path, 1, "`interactions` is not at top level", "Write it there, without a merge key.")
    return root, lists[-1].value or []  # of two of the same name the last one counts; null is ''


_DASH = re.compile(" *-")
_COMMENT = re.compile(" *#")


def item_starts(text: str, path: Path) -> list[int]:
    """Where the text of each item starts, the comment above it included, in characters.

    Raises CassetteError where an item has no lines of its own.
    """
    starts: list[int] = []
    for node in nodes(text, path)[1]:
        start = text.rfind("\n", 0, node.start_mark.index) + 1
        if _DASH.match(text, start) is None or (starts and start <= starts[-1]):
            line = node.start_mark.line + 1
            raise CassetteError(path, line, "an item has no lines of its own", "Record to a file of its own.")
        while _COMMENT.match(text, above := text.rfind("\n", 0, max(start - 1, 0)) + 1, start):
            start = above
        starts.append(start)
    return starts


def base_path(uri: str) -> str:
    """The path a client is told for the tape of `uri`: up to the version (`/v1`, `/api/v1`), else none."""
    match = re.match(r"(?:/[^/]*)*?/v\d+\w*(?=/|$)", urlsplit(uri).path)
    return match[0] if match else ""
