"""Secrets found and masked in texts: keys by their look, and what one's own patterns and pointers name.

* The built-in patterns (`keyshapes`) match inside one JSON string.
* One's own patterns are only applied inside JSON strings where the text is JSON, or lines or a stream of it, and to
  the contents and names of the parts of multipart/form-data. Numbers, keys and structure are never touched.
* A model speaks in tokens: a key may be split over many events. Such pieces are joined in `lanes`, matched together,
  and masked where they lie.
* A mark is never matched again, nor across, and masking goes on until nothing is left to mask: to mask what is masked
  changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from openai_replay.redaction import key_patterns, stream_text
from openai_replay.text import json_codec, json_pointer, multipart
from openai_replay.text.json_pointer import Pointer
from openai_replay.text.safe_regex import UserPattern

MARK = b"REDACTED"
#: What stands in the place of a secret of so many bytes.
Replacement = Callable[[int], bytes]
#: Start and end, in bytes.
Edit = tuple[int, int]

_MASK = re.compile(re.escape(MARK) + rb"\*+")
_MARKED = re.compile(re.escape(MARK.decode()) + r"\**")

# Names of fields and files in the head of a part.
_QUOTED = re.compile(rb'"([^"\r\n]*)"')
#: One decoded character of a JSON string each.
_UNIT = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u.{4}|\\.|[\x00-\x7f]|[\xc0-\xff][\x80-\xbf]*",
    re.DOTALL,
)


def redact(length: int) -> bytes:
    """`REDACTED`, whatever the `length`: today's key and tomorrow's make the same request."""
    return MARK


def mask(length: int) -> bytes:
    """`REDACTED***`, `length` bytes of it; of stars alone where that is too short for the word."""
    return MARK.ljust(length, b"*") if length >= len(MARK) else b"*" * length


def unmask(body: bytes) -> bytes:
    """Every `REDACTED***` as `REDACTED`: a client sends back what a recorded answer gave it."""
    return _MASK.sub(MARK, body) if MARK in body else body


class _Regions(NamedTuple):
    """The regions of a body that are JSON, and those of other text, to which users' patterns apply."""

    json: list[Edit]
    plain: list[Edit]


@dataclass(frozen=True, slots=True)
class Masker:
    """Masks built-in key patterns, users' patterns, and the values at users' pointers."""

    patterns: tuple[UserPattern, ...] = ()
    pointers: tuple[Pointer, ...] = ()

    def mask_body(self, body: bytes, content_type: str, replacement: Replacement) -> bytes:
        """`body` with every secret replaced by `mark(length)`; the same object where there is none. What is split over
        events is masked in place.
        """
        stream = _media(content_type) == "text/event-stream"
        if (
            stream
            and not self.patterns
            and not self._might_contain_pointed_value(body)
            and not stream_text.might_contain_key(body)
        ):
            return body
        while True:
            clean = body
            if stream or self.patterns or self._might_contain_pointed_value(body):
                regions = _regions(body, content_type)
                if stream:
                    clean = self._mask_channels(body, regions.json)
                edits = [
                    *self._find_in_json(clean, regions.json, not stream),
                    *self._find_in_plain(clean, regions.plain),
                ]
            else:
                edits = []
            clean = _replace(clean, _merge([*key_patterns.find_keys(clean), *edits]), replacement)
            if clean == body:
                return body
            body = clean

    def might_mask(self, text: bytes) -> bool:
        """Return False if `text` surely has nothing to mask. That takes a tenth of the time of masking."""
        return bool(self.patterns) or key_patterns.might_contain_key(text) or self._might_contain_pointed_value(text)

    def _might_contain_pointed_value(self, text: bytes) -> bool:
        """Return True if `text` may hold a value that a pointer names."""
        return any(key in text for key in _last_keys(self.pointers))

    def _find_in_json(self, body: bytes, documents: Iterable[Edit], patterns: bool) -> Iterator[Edit]:
        for start, end in documents:
            document = body[start:end]
            pointed = self._might_contain_pointed_value(document)
            if not pointed and not (patterns and self.patterns):
                continue
            for path, first, last in json_codec.strings(document):
                if pointed and any(json_pointer.points_at(pointer, path[: len(pointer)]) for pointer in self.pointers):
                    yield start + first, start + last
                elif patterns:
                    yield from (
                        (start + first + low, start + first + high) for low, high in self._hits(document[first:last])
                    )

    def _find_in_plain(self, body: bytes, regions: Iterable[Edit]) -> Iterator[Edit]:
        for start, end in regions:
            text = body[start:end].decode("utf-8", "surrogateescape")
            offsets = None
            for low, high in self._spans(text):
                offsets = offsets or _offsets(text)
                yield start + offsets[low], start + offsets[high]

    def _hits(self, raw: bytes) -> Iterator[Edit]:
        """Yield the spans that users' patterns match in a JSON string. `raw` is the text between its quotes."""
        text = json_codec.loads(b'"%b"' % raw) if b"\\" in raw else raw.decode()
        offsets = None
        for low, high in self._spans(text):
            if len(text) == len(raw):
                yield low, high
            else:
                offsets = offsets or [*(unit.start() for unit in _UNIT.finditer(raw)), len(raw)]
                yield offsets[low], offsets[high]

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the spans of `text` that users' patterns match outside the marks, in characters."""
        start = 0
        for stop, after in [*(marked.span() for marked in _MARKED.finditer(text)), (len(text), 0)]:
            for pattern in self.patterns:
                yield from pattern.spans(text, start, stop)
            start = after

    def _mask_channels(self, body: bytes, documents: Iterable[Edit]) -> bytes:
        """Mask what is found in the joined pieces of each lane of a stream."""
        edited: bytearray | None = None
        for pieces in stream_text.find_channels(body, documents):
            text = b"".join(body[start:end] for start, end in pieces)
            edits = list(self._hits(text)) if self.patterns else []
            if len(pieces) > 1 and key_patterns.might_contain_key(text):
                edits += key_patterns.find_keys(text)
            for first, last in _merge(edits):
                edited = edited if edited is not None else bytearray(body)
                masked_text = mask(last - first)
                position = 0  # of the piece, in the joined text
                for start, end in pieces:
                    low, high = max(first, position), min(last, position + end - start)
                    if low < high:
                        edited[start + low - position : start + high - position] = masked_text[
                            low - first : high - first
                        ]
                    position += end - start
        return body if edited is None else bytes(edited)


@cache  # asked for every text there is
def _last_keys(pointers: tuple[Pointer, ...]) -> frozenset[bytes]:
    """The last key of each pointer that JSON can only write in one way, as a cheap sign that a text may hold it."""
    return frozenset(
        next(
            (segment for segment in reversed(pointer) if re.fullmatch(r"[A-Za-z_-][A-Za-z0-9_-]*", segment)), ""
        ).encode()
        for pointer in pointers
    )


def _merge(edits: Iterable[Edit]) -> list[Edit]:
    """The edits in order; those that overlap or touch are one."""
    merged_edits: list[Edit] = []
    for start, end in sorted(edits):
        if merged_edits and start <= merged_edits[-1][1]:
            merged_edits[-1] = merged_edits[-1][0], max(end, merged_edits[-1][1])
        elif start < end:
            merged_edits.append((start, end))
    return merged_edits


def _replace(body: bytes, edits: list[Edit], replacement: Replacement) -> bytes:
    if not edits:
        return body
    chunks, position = [], 0
    for start, end in edits:
        chunks += [body[position:start], replacement(end - start)]
        position = end
    return b"".join([*chunks, body[position:]])


def _offsets(text: str) -> list[int] | range:
    """Return the UTF-8 offset of each character of `text`, and of its end."""
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
    if media == "multipart/form-data" and (
        parts := multipart.parse_parts(body, multipart.parse_boundary(content_type))
    ):
        regions, end = _Regions([], []), 0
        for part in parts:
            regions.plain.extend(match.span(1) for match in _QUOTED.finditer(body, end, part.start))
            end = part.start + len(part.content)
            regions.plain.append((part.start, end))
        return regions
    if media == "text/event-stream":
        regions = _Regions([], [])
        for match in stream_text.find_data(body):
            (regions.json if _is_json(match[1]) else regions.plain).append(match.span(1))
        return regions
    first = re.match(rb"\s*+(.)", body, re.DOTALL)
    if first and (first[1] in b'{["' or "json" in media):
        if _is_json(body):
            return _Regions([(0, len(body))], [])
        lines = [match.span() for match in re.finditer(rb"[^\r\n]+", body) if match[0].strip()]
        if all(_is_json(body[start:end]) for start, end in lines):
            return _Regions(lines, [])
    return _Regions([], [(0, len(body))])


def _is_json(text: bytes) -> bool:
    try:
        json_codec.loads(text)
    except ValueError:
        return False
    return True
