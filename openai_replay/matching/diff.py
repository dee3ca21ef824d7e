"""Where two requests differ, and which recordings come closest to a request.

Three looks, each at fewer recordings: at the parts a body is made of (a message, a tool, a parameter), which parse
every recording once; at the words of the parts that are not the same; and at every place, for the few that are left.
Nothing depends on the order of keys or on chance: between equals the unplayed one is closer, then the lower number.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from enum import Enum, auto
from itertools import accumulate, zip_longest
from typing import Any, NamedTuple

from openai_replay.matching.matcher import Matcher, Meaning
from openai_replay.model import Request, header
from openai_replay.text import align, json_codec
from openai_replay.text.json_codec import Path

#: Recordings that are compared place by place.
COMPARED = 8
#: Bytes of the recordings that are read at all. Where there are more, those of about the size of the request are.
_READ = 1 << 28
#: Bytes of the recordings that are read a second time, word by word. The closest by their parts come first.
_READ_AGAIN = 1 << 21
#: Characters of a part that are compared word by word.
_WORDS_OF = 20_000
_WORD = re.compile(rb"[\w\x80-\xff]+")
#: The text of what is nested too deeply to have one. JSON would put it in quotes.
_NESTED = b"nested"
#: What the difference of two strings weighs if they have every word in common, and if they have none.
_LITTLE, _MUCH = 25, 100


class How(Enum):
    """What became of a value."""

    CHANGED = auto()
    ADDED = auto()
    REMOVED = auto()
    MOVED = auto()  # a list has the same items in another order
    UNKNOWN = auto()  # nested too deeply to be compared


class Apart(NamedTuple):
    """A place where a recording and a request differ. `field` is that of `Meaning`; `path` leads through a body, by the
    indices of the request; `aligned`: the recording has it at the same path.
    """

    field: str
    path: Path
    how: How
    recorded: Any = None
    now: Any = None
    aligned: bool = True

    @property
    def pointer(self) -> str:
        """What `--ignore` names the place by; empty where it reaches only one of the two requests, or none."""
        if self.field != "body" or not self.aligned:
            return ""
        return "".join("/" + str(one).replace("~", "~0").replace("/", "~1") for one in self.path)

    @property
    def weight(self) -> int:
        """How far it puts two requests apart: a message that is not there more than a word that is another."""
        if self.how is How.MOVED:
            return _LITTLE
        if self.how is How.UNKNOWN:
            return 1 << 32
        if isinstance(self.recorded, str) and isinstance(self.now, str):
            mine, other = (_words([text[:_WORDS_OF].encode("utf-8", "surrogatepass")]) for text in self[3:5])
            both = mine.total() + other.total()
            return _LITTLE + (_MUCH - _LITTLE) * _unlike(mine, other) // both if both else _MUCH
        return _MUCH * max(_leaves(self.recorded), _leaves(self.now))


class Recorded(NamedTuple):
    """A recorded request: its number on the tape (from 1), its key, and whether it has been played."""

    number: int
    request: Request
    key: bytes
    played: bool = False


class Near(NamedTuple):
    """A recording that comes close, without its secrets, and where it differs; nowhere where it is the same."""

    recorded: Recorded
    request: Request
    apart: list[Apart]

    @property
    def weight(self) -> int:
        """How far off it is."""
        return sum(one.weight for one in self.apart)


def nearest(
    request: Request,
    recorded: Sequence[Recorded],
    matcher: Matcher,
    clean: Callable[[Request], Request],
    seen: MutableMapping[bytes, frozenset[int]],
    count: int = 3,
) -> list[Near]:
    """The `count` recordings that come closest to `request`, which holds no secret, the closest first.

    Among those of its method and path, as far as these are matched; recordings that are the same request as each
    other count once. `clean` takes the secrets out of a recording. `seen` keeps what the first look has found, by
    key, so that the next miss need not read the tape again.
    """
    target = matcher.target(request)
    unlike: dict[bytes, Recorded] = {}
    for one in sorted(recorded, key=lambda one: (one.played, one.number)):
        if matcher.target(one.request) == target:
            unlike.setdefault(one.key, one)
    key = matcher.key(request)
    if key in unlike:
        return [Near(unlike[key], clean(unlike[key].request), [])]
    now = matcher.meaning(request)
    wanted = _parts(now)
    found = []
    for one in _readable([*unlike.values()], len(request.body)):
        parts = seen.get(one.key)
        if parts is None:
            parts = seen[one.key] = frozenset(_parts(_read(one.request, matcher, clean)))
        found.append((len(parts ^ wanted.keys()), one.played, one.number, one))
    found.sort(key=lambda entry: entry[:3])
    close = [one for *_, one in found]
    if len(close) > COMPARED:
        # Where twice as many parts differ, words make no difference.
        near = sum(parts <= 2 * found[0][0] + 2 for parts, *_ in found)
        close = _by_words(close[:near], wanted, matcher, clean) + close[near:]
    compared = []
    for one in close[:COMPARED]:
        cleaned = clean(one.request)
        compared.append(Near(one, cleaned, list(differences(matcher.meaning(cleaned), now))))
    compared.sort(key=lambda near: (near.weight, near.recorded.played, near.recorded.number))
    return compared[:count]


def _readable(recorded: list[Recorded], size: int) -> list[Recorded]:
    """Those that there is time to read, for a request of `size` bytes."""
    closest = sorted(recorded, key=lambda one: abs(len(one.request.body) - size))
    sizes = accumulate(len(one.request.body) for one in closest)
    return closest[: max(1, sum(size <= _READ for size in sizes))]


def _read(request: Request, matcher: Matcher, clean: Callable[[Request], Request]) -> Meaning:
    """What a recording says. Nobody sees it, so its secrets are not looked for, but what is packed is unpacked."""
    return matcher.meaning(clean(request) if header(request.headers, "content-encoding") else request)


def _parts(said: Meaning) -> dict[int, bytes]:
    """What a request is made of, as texts by their hashes: the values of its body, and the items of those that are
    lists.
    """
    fields = [("query", said.query), ("headers", said.headers), ("kind", said.kind)]
    body = said.body
    fields += [(f"/{name}", value) for name, value in body.items()] if isinstance(body, dict) else [("/", body)]
    parts: dict[int, bytes] = {}
    again: dict[int, int] = {}
    for name, value in fields:
        for item in value if isinstance(value, list) else [value]:
            text = _text(item)
            part = hash((name, text))
            if part in parts:  # the same message once more
                again[part] = number = again.get(part, 0) + 1
                part = hash((part, number))
            parts[part] = text
    return parts


def _text(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return json_codec.canonical(value)
    except ValueError:  # nested too deeply
        return _NESTED


def _by_words(
    close: list[Recorded], wanted: dict[int, bytes], matcher: Matcher, clean: Callable[[Request], Request]
) -> list[Recorded]:
    """Those of `close` that are read again, in the order of how many words of their parts differ."""
    ordered: list[tuple[int, bool, int, Recorded]] = []
    size = 0
    for one in close:
        size += len(one.request.body)
        if size > _READ_AGAIN and len(ordered) >= COMPARED:
            break
        parts = _parts(_read(one.request, matcher, clean))
        mine = _words(text for part, text in parts.items() if part not in wanted)
        other = _words(text for part, text in wanted.items() if part not in parts)
        ordered.append((_unlike(mine, other), one.played, one.number, one))
    return [one for *_, one in sorted(ordered, key=lambda entry: entry[:3])]


def _words(texts: Iterable[bytes]) -> Counter[bytes]:
    return Counter(_WORD.findall(b" ".join(text[:_WORDS_OF] for text in texts)))


def _unlike(mine: Counter[bytes], other: Counter[bytes]) -> int:
    return mine.total() + other.total() - 2 * (mine & other).total()


def _leaves(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(map(_leaves, inner)) or 1


# ------------------------------------------------------------------------------------------------ place by place


def differences(recorded: Meaning, now: Meaning) -> Iterator[Apart]:
    """Where two requests differ, keys in their order: what is not the body first."""
    for field in ("method", "path", "query", "headers", "kind"):
        was, is_now = getattr(recorded, field), getattr(now, field)
        if was != is_now:
            yield Apart(field, (), How.CHANGED, was, is_now)
    if recorded.kind == now.kind:
        if recorded.kind != "bytes" and _NESTED in (_text(recorded.body), _text(now.body)):
            yield Apart("body", (), How.UNKNOWN)
        else:
            yield from _walk(recorded.body, now.body, (), True)


def _walk(recorded: Any, now: Any, path: Path, aligned: bool) -> Iterator[Apart]:
    if isinstance(recorded, dict) and isinstance(now, dict):
        for name in sorted({*recorded, *now}):
            inner = (*path, name)
            if name not in recorded:
                yield Apart("body", inner, How.ADDED, None, now[name], aligned)
            elif name not in now:
                yield Apart("body", inner, How.REMOVED, recorded[name], None, aligned)
            else:
                yield from _walk(recorded[name], now[name], inner, aligned)
    elif isinstance(recorded, list) and isinstance(now, list):
        yield from _items(recorded, now, path, aligned)
    elif type(recorded) is not type(now) or recorded != now:
        yield Apart("body", path, How.CHANGED, recorded, now, aligned)


def _items(recorded: list[Any], now: list[Any], path: Path, aligned: bool) -> Iterator[Apart]:
    """Two lists, laid side by side: one item more in the middle is one difference."""
    first, second = ([_text(item) for item in items] for items in (recorded, now))
    if first != second and sorted(first) == sorted(second):
        yield Apart("body", path, How.MOVED, recorded, now, aligned)
        return
    for i, j in _side_by_side(first, second, recorded, now):
        if j is None:
            assert i is not None, "one of them is there"
            yield Apart("body", (*path, i), How.REMOVED, recorded[i], None, aligned)
        elif i is None:
            yield Apart("body", (*path, j), How.ADDED, None, now[j], aligned)
        else:
            yield from _walk(recorded[i], now[j], (*path, j), aligned and i == j)


def _side_by_side(
    first: list[bytes], second: list[bytes], recorded: list[Any], now: list[Any]
) -> Iterator[tuple[int | None, int | None]]:
    """Which items that are not the same stand for each other: those of one role, type and name, else those of one
    place; None where there is no other.
    """
    i = j = 0
    for a, b in [*align.matched(first, second), (len(first), len(second))]:
        mine, other = ([_name(item) for item in items] for items in (recorded[i:a], now[j:b]))
        x = y = 0
        for c, d in [*align.matched(mine, other), (len(mine), len(other))]:
            yield from zip_longest(range(i + x, i + c), range(j + y, j + d))
            if c < len(mine):
                yield i + c, j + d
            x, y = c + 1, d + 1
        i, j = a + 1, b + 1


def _name(item: Any) -> str:
    """What an item of a list goes by, where it can say so."""
    if not isinstance(item, dict):
        return type(item).__name__
    return repr([item.get("role"), item.get("type"), called(item)])


def called(item: dict[str, Any]) -> str:
    """The name of a tool, a call or a message; empty if it has none."""
    function = item.get("function")
    names = (function.get("name") if isinstance(function, dict) else "", item.get("name"), item.get("server_label"))
    return next((name for name in names if name and isinstance(name, str)), "")
