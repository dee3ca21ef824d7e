"""Masking of secrets in texts: keys by built-in patterns, and the matches of users' patterns and pointers.

* The built-in patterns (`key_patterns`) match inside one JSON string.
* In JSON, JSON lines and streams, users' patterns match only inside strings. In multipart/form-data they match the
  contents and the names of the parts. Numbers, keys and structure never change.
* A model streams tokens, so a key may be split over many events. `stream_text` finds the channels of such texts. Their
  parts are matched together, and each part is masked in its event.
* No pattern matches a mark, or across a mark, and masking repeats until nothing changes. So masking twice is the same
  as masking once.
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
#: Returns the replacement of a secret, for its length in bytes.
Replacement = Callable[[int], bytes]
#: Start and end, in bytes.
Edit = tuple[int, int]

_MASK = re.compile(re.escape(MARK) + rb"\*+")
_MARKED = re.compile(re.escape(MARK.decode()) + r"\**")

# A name of a field or a file in the head of a part.
_QUOTED = re.compile(rb'"([^"\r\n]*)"')
#: The text of one decoded character in a JSON string.
_UNIT = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u.{4}|\\.|[\x00-\x7f]|[\xc0-\xff][\x80-\xbf]*",
    re.DOTALL,
)


def redact(length: int) -> bytes:
    """Return `REDACTED` for any `length`, so that requests with different keys are equal."""
    return MARK


def mask(length: int) -> bytes:
    """Return `REDACTED***` of `length` bytes, or only stars if the word does not fit."""
    return MARK.ljust(length, b"*") if length >= len(MARK) else b"*" * length


def unmask(body: bytes) -> bytes:
    """Return `body` with each `REDACTED***` as `REDACTED`, because clients send texts of recorded responses back."""
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
        """Return `body` with each secret replaced by `replacement(length)`, or the same object if it has none.

        A secret that is split over events is always masked in place.
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
        """Return False if `text` surely has no value that a pointer names."""
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
        """Mask the secrets in the joined text of each channel of a stream, in place."""
        edited: bytearray | None = None
        for spans in stream_text.find_channels(body, documents):
            text = b"".join(body[start:end] for start, end in spans)
            edits = list(self._hits(text)) if self.patterns else []
            if len(spans) > 1 and key_patterns.might_contain_key(text):
                edits += key_patterns.find_keys(text)
            for first, last in _merge(edits):
                edited = edited if edited is not None else bytearray(body)
                masked_text = mask(last - first)
                position = 0  # of the span in the joined text
                for start, end in spans:
                    low, high = max(first, position), min(last, position + end - start)
                    if low < high:
                        edited[start + low - position : start + high - position] = masked_text[
                            low - first : high - first
                        ]
                    position += end - start
        return body if edited is None else bytes(edited)


@cache  # called for each text
def _last_keys(pointers: tuple[Pointer, ...]) -> frozenset[bytes]:
    """Return for each pointer its last key that JSON can write in only one way. A text without it has no such value."""
    return frozenset(
        next(
            (segment for segment in reversed(pointer) if re.fullmatch(r"[A-Za-z_-][A-Za-z0-9_-]*", segment)), ""
        ).encode()
        for pointer in pointers
    )


def _merge(edits: Iterable[Edit]) -> list[Edit]:
    """Return the edits in order. Edits that overlap or touch become one."""
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
