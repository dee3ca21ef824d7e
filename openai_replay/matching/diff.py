"""Differences of two requests, and the recordings that are closest to a request.

The search has three stages with fewer and fewer recordings. The first compares the parts of each body (a message, a
tool, a parameter), and parses each recording once. The second compares the words of unequal parts. The third compares
all values of the few recordings that remain. The result does not depend on the order of keys: of two equally close
recordings, the unplayed one comes first, then the one with the lower number.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from enum import Enum, auto
from itertools import accumulate, zip_longest
from typing import Any, NamedTuple

from openai_replay.matching.matcher import ComparableRequest, Matcher
from openai_replay.model import Request, header
from openai_replay.text import align, json_codec
from openai_replay.text.json_codec import Path

#: Recordings that are compared value by value.
COMPARED = 8
#: Bytes of recordings that are read. If there are more, those of about the size of the request are.
_READ = 1 << 28
#: Bytes of recordings that are compared word by word. The closest by their parts come first.
_READ_AGAIN = 1 << 21
#: Characters of a part that are compared word by word.
_WORDS_OF = 20_000
_WORD = re.compile(rb"[\w\x80-\xff]+")
#: The text of a value that is nested too deeply for one. No JSON text is equal: it would have quotes.
_NESTED = b"nested"
#: Weight of the difference of two strings with all words in common, and with none.
_LITTLE, _MUCH = 25, 100


class Change(Enum):
    """The kind of a difference."""

    CHANGED = auto()
    ADDED = auto()
    REMOVED = auto()
    MOVED = auto()  # a list has the same items in another order
    UNKNOWN = auto()  # nested too deeply to be compared


class Difference(NamedTuple):
    """One difference of a recording and a request.

    `field` is a field of `ComparableRequest`. `path` leads through the body of the request. `aligned` is True if the
    recording has the value at the same path.
    """

    field: str
    path: Path
    change: Change
    recorded: Any = None
    current: Any = None
    aligned: bool = True

    @property
    def pointer(self) -> str:
        """The JSON pointer for `--ignore`. Empty if it would not name the value in both requests."""
        if self.field != "body" or not self.aligned:
            return ""
        return "".join("/" + str(segment).replace("~", "~0").replace("/", "~1") for segment in self.path)

    @property
    def weight(self) -> int:
        """The distance that this difference adds: a missing message adds more than a changed word."""
        if self.change is Change.MOVED:
            return _LITTLE
        if self.change is Change.UNKNOWN:
            return 1 << 32
        if isinstance(self.recorded, str) and isinstance(self.current, str):
            recorded_words, current_words = (
                _words([text[:_WORDS_OF].encode("utf-8", "surrogatepass")]) for text in self[3:5]
            )
            total = recorded_words.total() + current_words.total()
            return _LITTLE + (_MUCH - _LITTLE) * _unlike(recorded_words, current_words) // total if total else _MUCH
        return _MUCH * max(_leaves(self.recorded), _leaves(self.current))


class Recorded(NamedTuple):
    """A recorded request, its number in the cassette (from 1) and its key. `played`: it has been played."""

    number: int
    request: Request
    key: bytes
    played: bool = False


class Candidate(NamedTuple):
    """A recording that is close to a request, its redacted request, and the differences."""

    recorded: Recorded
    request: Request
    differences: list[Difference]

    @property
    def weight(self) -> int:
        """The distance from the request."""
        return sum(difference.weight for difference in self.differences)


def nearest(
    request: Request,
    recorded: Sequence[Recorded],
    matcher: Matcher,
    clean: Callable[[Request], Request],
    parts_cache: MutableMapping[bytes, frozenset[int]],
    count: int = 3,
) -> list[Candidate]:
    """Return the `count` recordings that are closest to the redacted `request`, the closest first.

    Only recordings with the same method and path are compared, as far as these are matched, and equal recordings count
    once. `clean` redacts a recorded request. `parts_cache` keeps the results of the first stage by key, so that the
    next miss does not read the cassette again.
    """
    target = matcher.target(request)
    distinct: dict[bytes, Recorded] = {}
    for recording in sorted(recorded, key=lambda entry: (entry.played, entry.number)):
        if matcher.target(recording.request) == target:
            distinct.setdefault(recording.key, recording)
    key = matcher.key(request)
    if key in distinct:
        return [Candidate(distinct[key], clean(distinct[key].request), [])]
    current = matcher.comparable(request)
    wanted_parts = _parts(current)
    ranking = []
    for recording in _readable([*distinct.values()], len(request.body)):
        parts = parts_cache.get(recording.key)
        if parts is None:
            parts = parts_cache[recording.key] = frozenset(_parts(_read(recording.request, matcher, clean)))
        ranking.append((len(parts ^ wanted_parts.keys()), recording.played, recording.number, recording))
    ranking.sort(key=lambda entry: entry[:3])
    close = [recording for *_, recording in ranking]
    if len(close) > COMPARED:
        # A recording with twice as many unequal parts cannot become the closest by its words.
        near = sum(parts <= 2 * ranking[0][0] + 2 for parts, *_ in ranking)
        close = _by_words(close[:near], wanted_parts, matcher, clean) + close[near:]
    compared = []
    for recording in close[:COMPARED]:
        cleaned = clean(recording.request)
        compared.append(Candidate(recording, cleaned, list(differences(matcher.comparable(cleaned), current))))
    compared.sort(key=lambda near: (near.weight, near.recorded.played, near.recorded.number))
    return compared[:count]


def _readable(recorded: list[Recorded], size: int) -> list[Recorded]:
    """Return the recordings that there is time to read, for a request of `size` bytes."""
    closest = sorted(recorded, key=lambda recording: abs(len(recording.request.body) - size))
    sizes = accumulate(len(recording.request.body) for recording in closest)
    return closest[: max(1, sum(size <= _READ for size in sizes))]


def _read(request: Request, matcher: Matcher, clean: Callable[[Request], Request]) -> ComparableRequest:
    """Return a recording for comparison only: its secrets stay, and a compressed body is decompressed."""
    return matcher.comparable(clean(request) if header(request.headers, "content-encoding") else request)


def _parts(request: ComparableRequest) -> dict[int, bytes]:
    """Return the parts of a request by their hashes: the values of its body, and the items of lists among them."""
    fields = [("query", request.query), ("headers", request.headers), ("kind", request.kind)]
    body = request.body
    fields += [(f"/{name}", value) for name, value in body.items()] if isinstance(body, dict) else [("/", body)]
    parts: dict[int, bytes] = {}
    repeats: dict[int, int] = {}
    for name, value in fields:
        for item in value if isinstance(value, list) else [value]:
            text = _text(item)
            part = hash((name, text))
            if part in parts:  # a repeated message
                repeats[part] = number = repeats.get(part, 0) + 1
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
    close: list[Recorded], wanted_parts: dict[int, bytes], matcher: Matcher, clean: Callable[[Request], Request]
) -> list[Recorded]:
    """Sort the first recordings of `close` by the number of words that differ in their unequal parts."""
    ordered: list[tuple[int, bool, int, Recorded]] = []
    size = 0
    for recording in close:
        size += len(recording.request.body)
        if size > _READ_AGAIN and len(ordered) >= COMPARED:
            break
        parts = _parts(_read(recording.request, matcher, clean))
        recorded_words = _words(text for part, text in parts.items() if part not in wanted_parts)
        wanted_words = _words(text for part, text in wanted_parts.items() if part not in parts)
        ordered.append((_unlike(recorded_words, wanted_words), recording.played, recording.number, recording))
    return [recording for *_, recording in sorted(ordered, key=lambda entry: entry[:3])]


def _words(texts: Iterable[bytes]) -> Counter[bytes]:
    return Counter(_WORD.findall(b" ".join(text[:_WORDS_OF] for text in texts)))


def _unlike(first: Counter[bytes], second: Counter[bytes]) -> int:
    return first.total() + second.total() - 2 * (first & second).total()


def _leaves(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(map(_leaves, inner)) or 1


# ------------------------------------------------------------------------------------------------ value by value


def differences(recorded: ComparableRequest, current: ComparableRequest) -> Iterator[Difference]:
    """Yield the differences of two requests: first those outside the body, then those in it, sorted by key."""
    for field in ("method", "path", "query", "headers", "kind"):
        recorded_value, current_value = getattr(recorded, field), getattr(current, field)
        if recorded_value != current_value:
            yield Difference(field, (), Change.CHANGED, recorded_value, current_value)
    if recorded.kind == current.kind:
        if recorded.kind != "bytes" and _NESTED in (_text(recorded.body), _text(current.body)):
            yield Difference("body", (), Change.UNKNOWN)
        else:
            yield from _walk(recorded.body, current.body, (), True)


def _walk(recorded: Any, current: Any, path: Path, aligned: bool) -> Iterator[Difference]:
    if isinstance(recorded, dict) and isinstance(current, dict):
        for name in sorted({*recorded, *current}):
            inner = (*path, name)
            if name not in recorded:
                yield Difference("body", inner, Change.ADDED, None, current[name], aligned)
            elif name not in current:
                yield Difference("body", inner, Change.REMOVED, recorded[name], None, aligned)
            else:
                yield from _walk(recorded[name], current[name], inner, aligned)
    elif isinstance(recorded, list) and isinstance(current, list):
        yield from _items(recorded, current, path, aligned)
    elif type(recorded) is not type(current) or recorded != current:
        yield Difference("body", path, Change.CHANGED, recorded, current, aligned)


def _items(recorded: list[Any], current: list[Any], path: Path, aligned: bool) -> Iterator[Difference]:
    """Yield the differences of two lists. An additional item in the middle is one difference."""
    first, second = ([_text(item) for item in items] for items in (recorded, current))
    if first != second and sorted(first) == sorted(second):
        yield Difference("body", path, Change.MOVED, recorded, current, aligned)
        return
    for i, j in _unequal_pairs(first, second, recorded, current):
        if j is None:
            assert i is not None, "a pair has at least one index"
            yield Difference("body", (*path, i), Change.REMOVED, recorded[i], None, aligned)
        elif i is None:
            yield Difference("body", (*path, j), Change.ADDED, None, current[j], aligned)
        else:
            yield from _walk(recorded[i], current[j], (*path, j), aligned and i == j)


def _unequal_pairs(
    first: list[bytes], second: list[bytes], recorded: list[Any], current: list[Any]
) -> Iterator[tuple[int | None, int | None]]:
    """Yield index pairs of items that are not equal but correspond: by role, type and name, or by position.

    None stands for a missing item.
    """
    i = j = 0
    for a, b in [*align.pair_equal_items(first, second), (len(first), len(second))]:
        first_names, second_names = ([_name(item) for item in items] for items in (recorded[i:a], current[j:b]))
        x = y = 0
        for c, d in [*align.pair_equal_items(first_names, second_names), (len(first_names), len(second_names))]:
            yield from zip_longest(range(i + x, i + c), range(j + y, j + d))
            if c < len(first_names):
                yield i + c, j + d
            x, y = c + 1, d + 1
        i, j = a + 1, b + 1


def _name(item: Any) -> str:
    """Return a text that corresponding items have in common: their role, type and name."""
    if not isinstance(item, dict):
        return type(item).__name__
    return repr([item.get("role"), item.get("type"), called(item)])


def called(item: dict[str, Any]) -> str:
    """Return the name of a tool, a call or a message; empty if it has none."""
    function = item.get("function")
    names = (function.get("name") if isinstance(function, dict) else "", item.get("name"), item.get("server_label"))
    return next((name for name in names if name and isinstance(name, str)), "")
