"""Secrets found and masked in texts: keys by their look, and what one's own patterns and pointers name.

* The built-in patterns (`keyshapes`) match inside one JSON string.
* One's own patterns are only applied inside JSON strings where the text is JSON, or lines or a stream of it, and to
  the contents and names of the parts of multipart/form-data. Numbers, keys and structure are never touched.
* A model speaks in tokens: a key may be split over many events. Such pieces are joined in *lanes*, matched together,
  and masked where they lie.
* A mark is never matched again, nor across, and masking goes on until nothing is left to mask: to mask what is masked
  changes nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from openai_replay.secrets import keyshapes
from openai_replay.texts import jsontext, multipart
from openai_replay.texts.jsontext import Path, Pointer

MARK = b"REDACTED"
#: What stands in the place of a secret of so many bytes.
Mark = Callable[[int], bytes]
#: Start and end, in bytes.
Edit = tuple[int, int]

_MASK = re.compile(re.escape(MARK) + rb"\*+")
_MARKED = re.compile(re.escape(MARK.decode()) + r"\**")

_FIELD = b"data:"
_DATA = re.compile(rb"data: ?([^\r\n]+)")
# Names of fields and files in the head of a part.
_QUOTED = re.compile(rb'"([^"\r\n]*)"')
#: One decoded character of a JSON string each.
_UNIT = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u.{4}|\\.|[\x00-\x7f]|[\xc0-\xff][\x80-\xbf]*",
    re.DOTALL,
)
#: Names whose values are said anew in every event, never in pieces.
_WHOLE = frozenset({"id", "object", "type", "model", "role", "item_id", "response_id", "service_tier", "obfuscation"})
#: Bytes of a stream whose texts may be held once more to look for keys in them.
_HELD_TWICE = 1 << 22
#: Deltas of one text carry the same of these; those of another item or part differ in one.
_LANE = ("type", "index", "item_id", "output_index", "content_index", "summary_index")


def mark(length: int) -> bytes:
    """`REDACTED`, whatever the `length`: today's key and tomorrow's make the same request."""
    return MARK


def mask(length: int) -> bytes:
    """`REDACTED***`, `length` bytes of it; of stars alone where that is too short for the word."""
    return MARK.ljust(length, b"*") if length >= len(MARK) else b"*" * length


def unmask(body: bytes) -> bytes:
    """Every `REDACTED***` as `REDACTED`: a client sends back what a recorded answer gave it."""
    return _MASK.sub(MARK, body) if MARK in body else body


class _Regions(NamedTuple):
    """Where a body is JSON, and where it is other text that one's own patterns apply to."""

    json: list[Edit]
    plain: list[Edit]


@dataclass(frozen=True, slots=True)
class Masker:
    """One's own patterns and pointers, beside the built-in keys."""

    patterns: tuple[re.Pattern[str], ...] = ()
    pointers: tuple[Pointer, ...] = ()

    def masked(self, body: bytes, content_type: str, mark: Mark) -> bytes:
        """`body` with every secret replaced by `mark(length)`; the same object where there is none. What is split over
        events is masked in place.
        """
        stream = _media(content_type) == "text/event-stream"
        if stream and not self.patterns and not self._named(body) and not _may_hold(body):
            return body
        while True:
            clean = body
            if stream or self.patterns or self._named(body):
                regions = _regions(body, content_type)
                if stream:
                    clean = self._joined(body, regions.json)
                edits = [*self._in_json(clean, regions.json, not stream), *self._in_plain(clean, regions.plain)]
            else:
                edits = []
            clean = _replace(clean, _merged([*keyshapes.keys(clean), *edits]), mark)
            if clean == body:
                return body
            body = clean

    def may_mask(self, text: bytes) -> bool:
        """Whether there is a sign in `text` of what would be masked; it costs a tenth of looking for it."""
        return bool(self.patterns) or keyshapes.may_hold(text) or self._named(text)

    def _named(self, text: bytes) -> bool:
        """Whether `text` may hold what a pointer names."""
        return any(key in text for key in _last_keys(self.pointers))

    def _in_json(self, body: bytes, documents: Iterable[Edit], patterns: bool) -> Iterator[Edit]:
        for start, end in documents:
            document = body[start:end]
            named = self._named(document)
            if not named and not (patterns and self.patterns):
                continue
            for path, first, last in jsontext.strings(document):
                if named and any(jsontext.points_at(pointer, path[: len(pointer)]) for pointer in self.pointers):
                    yield start + first, start + last
                elif patterns:
                    yield from (
                        (start + first + low, start + first + high) for low, high in self._hits(document[first:last])
                    )

    def _in_plain(self, body: bytes, regions: Iterable[Edit]) -> Iterator[Edit]:
        for start, end in regions:
            text = body[start:end].decode("utf-8", "surrogateescape")
            offsets = None
            for low, high in self._spans(text):
                offsets = offsets or _offsets(text)
                yield start + offsets[low], start + offsets[high]

    def _hits(self, raw: bytes) -> Iterator[Edit]:
        """What one's own patterns match in a JSON string, `raw` being what stands between its quotes."""
        text = jsontext.loads(b'"%b"' % raw) if b"\\" in raw else raw.decode()
        offsets = None
        for low, high in self._spans(text):
            if len(text) == len(raw):
                yield low, high
            else:
                offsets = offsets or [*(unit.start() for unit in _UNIT.finditer(raw)), len(raw)]
                yield offsets[low], offsets[high]

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        """What one's own patterns match between the marks of `text`, in characters."""
        start = 0
        for stop, after in [*(one.span() for one in _MARKED.finditer(text)), (len(text), 0)]:
            for pattern in self.patterns:
                yield from (one.span() for one in pattern.finditer(text, start, stop) if one[0])
            start = after

    def _joined(self, body: bytes, documents: Iterable[Edit]) -> bytes:
        """Mask what is found in the joined pieces of each lane of a stream."""
        edited: bytearray | None = None
        for pieces in _lanes(body, documents):
            text = b"".join(body[start:end] for start, end in pieces)
            edits = list(self._hits(text)) if self.patterns else []
            if len(pieces) > 1 and keyshapes.may_hold(text):
                edits += keyshapes.keys(text)
            for first, last in _merged(edits):
                edited = edited if edited is not None else bytearray(body)
                shown = mask(last - first)
                position = 0  # of the piece, in the joined text
                for start, end in pieces:
                    low, high = max(first, position), min(last, position + end - start)
                    if low < high:
                        edited[start + low - position : start + high - position] = shown[low - first : high - first]
                    position += end - start
        return body if edited is None else bytes(edited)


@cache  # asked for every text there is
def _last_keys(pointers: tuple[Pointer, ...]) -> frozenset[bytes]:
    """The last key of each pointer that JSON can only write in one way, as a cheap sign that a text may hold it."""
    return frozenset(
        next((one for one in reversed(pointer) if re.fullmatch(r"[A-Za-z_-][A-Za-z0-9_-]*", one)), "").encode()
        for pointer in pointers
    )


def _merged(edits: Iterable[Edit]) -> list[Edit]:
    """The edits in order; those that overlap or touch are one."""
    merged: list[Edit] = []
    for start, end in sorted(edits):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        elif start < end:
            merged.append((start, end))
    return merged


def _replace(body: bytes, edits: list[Edit], mark: Mark) -> bytes:
    if not edits:
        return body
    out, position = [], 0
    for start, end in edits:
        out += [body[position:start], mark(end - start)]
        position = end
    return b"".join([*out, body[position:]])


def _offsets(text: str) -> list[int] | range:
    """Where every character of `text`, and its end, lies in UTF-8."""
    if text.isascii():
        return range(len(text) + 1)
    offsets = [0]
    for character in text:
        offsets.append(offsets[-1] + len(character.encode("utf-8", "surrogateescape")))
    return offsets


def _media(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _regions(body: bytes, content_type: str) -> _Regions:
    media = _media(content_type)
    if media == "multipart/form-data" and (parts := multipart.parts(body, multipart.boundary(content_type))):
        found, end = _Regions([], []), 0
        for part in parts:
            found.plain.extend(match.span(1) for match in _QUOTED.finditer(body, end, part.start))
            end = part.start + len(part.content)
            found.plain.append((part.start, end))
        return found
    if media == "text/event-stream":
        found = _Regions([], [])
        for match in _data(body):
            (found.json if _is_json(match[1]) else found.plain).append(match.span(1))
        return found
    first = re.match(rb"\s*+(.)", body, re.DOTALL)
    if first and (first[1] in b'{["' or "json" in media):
        if _is_json(body):
            return _Regions([(0, len(body))], [])
        lines = [match.span() for match in re.finditer(rb"[^\r\n]+", body) if match[0].strip()]
        if all(_is_json(body[start:end]) for start, end in lines):
            return _Regions(lines, [])
    return _Regions([], [(0, len(body))])


def _data(body: bytes) -> Iterator[re.Match[bytes]]:
    """The lines of a stream that carry data, but for its end."""
    at = body.find(_FIELD)  # an expression that begins with the start of a line is tried at every byte
    while at >= 0:
        if (at == 0 or body[at - 1] in b"\r\n") and (match := _DATA.match(body, at)) is not None:
            at = match.end()
            if match[1].strip() != b"[DONE]":
                yield match
        at = body.find(_FIELD, at + 1)


def _is_json(text: bytes) -> bool:
    try:
        jsontext.loads(text)
    except ValueError:
        return False
    return True


def _may_hold(body: bytes) -> bool:
    """Whether there may be a key in a stream, in one event or split over several. What is said is looked at once,
    however often it is said: to tell where a key lies costs six times as much, and most streams have none.
    """
    if len(body) > _HELD_TWICE:
        return True
    lanes: dict[object, list[str]] = defaultdict(list)
    said: set[str] = set()
    raw: set[bytes] = set()
    quotes = strings = end = 0
    for match in _data(body):
        document = match[1]
        raw.add(body[end : match.start()])
        end = match.end()
        if b"\\" in document:  # the letter of an escape may be the first of a key to those who look for it there
            raw.add(document)
        try:
            value = jsontext.loads(document)
            lane = tuple(map(value.get, _LANE)) if isinstance(value, dict) else ()
            strings += _gather(value, lane, lanes, said)
        except ValueError:
            raw.add(document)
            continue
        except (TypeError, RecursionError):  # an index that cannot name a lane; nested too deeply
            return True
        quotes += document.count(b'"') - document.count(b'\\"')
    # A parser keeps one of two values of the same name: then there are more quotes than strings.
    if quotes != 2 * strings:
        return True
    raw.add(body[end:])
    texts = "\n".join([*said, *map("".join, lanes.values())])
    return keyshapes.may_hold(b"\n".join([*raw, texts.encode("utf-8", "surrogatepass")]))


def _gather(value: Any, lane: object, lanes: dict[object, list[str]], said: set[str]) -> int:
    """Add the strings in `value` to their lanes, and the names and what is said anew in every event to `said`. How many
    there are, names included.
    """
    if isinstance(value, str):
        lanes[lane].append(value)
        return 1
    count = 0
    if isinstance(value, dict):
        count = len(value)
        said.update(value)
        for name, inner in value.items():
            if isinstance(inner, str):
                count += 1
                if name in _WHOLE:
                    said.add(inner)
                else:
                    lanes[lane, name].append(inner)
            elif isinstance(inner, dict | list):
                count += _gather(inner, (lane, name), lanes, said)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            index = inner.get("index", place) if isinstance(inner, dict) else place
            count += _gather(inner, (lane, index), lanes, said)
    return count


def _lanes(body: bytes, documents: Iterable[Edit]) -> Iterable[list[Edit]]:
    """Where the pieces of each text lie that is streamed in `documents`."""
    lanes: dict[object, list[Edit]] = defaultdict(list)
    for start, end in documents:
        value = jsontext.loads(body[start:end])
        said = repr([value.get(name) for name in _LANE]) if isinstance(value, dict) else ""
        for path, first, last in jsontext.strings(body[start:end]):
            lane = (start, path) if path and path[-1] in _WHOLE else (said, _by_index(path, value))
            lanes[lane].append((start + first, start + last))
    return lanes.values()


def _by_index(path: Path, value: Any) -> tuple[str, ...]:
    """`path` with an item of a list named by its own `index` (that of a choice, of a tool call), where it has one."""
    names = []
    for part in path:
        try:
            value = value[part]
        except (LookupError, TypeError):  # one of two values of the same name
            value = None
        index = value.get("index", part) if isinstance(part, int) and isinstance(value, dict) else part
        names.append(repr(index))
    return tuple(names)
