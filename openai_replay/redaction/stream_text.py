"""Texts that are split over the events of a stream. A *channel* is all parts of one text.

A model streams tokens, so a key may be split over many events. Several texts (choices, items, tool calls) may be
interleaved. Two strings are parts of one channel if they have the same path in events of the same kind.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from openai_replay.redaction import key_patterns
from openai_replay.text import json_codec
from openai_replay.text.json_codec import Path

#: Start and end of a part in the body, in bytes.
Span = tuple[int, int]

_FIELD = b"data:"
_DATA = re.compile(rb"data: ?([^\r\n]+)")
#: Fields that each event repeats. Their values are never split.
_REPEATED = frozenset(
    {"id", "object", "type", "model", "role", "item_id", "response_id", "service_tier", "obfuscation"}
)
#: Largest stream whose texts are copied to search them for keys.
_MAX_SEARCHED_BYTES = 1 << 22
#: Fields that are equal in all deltas of one text, and differ between two texts.
_CHANNEL_FIELDS = ("type", "index", "item_id", "output_index", "content_index", "summary_index")


def find_data(body: bytes) -> Iterator[re.Match[bytes]]:
    """Yield the matches of `_DATA`: the data lines of a stream, except `[DONE]`."""
    position = body.find(_FIELD)  # a pattern that begins with the start of a line would be tried at every byte
    while position >= 0:
        if (position == 0 or body[position - 1] in b"\r\n") and (match := _DATA.match(body, position)) is not None:
            position = match.end()
            if match[1].strip() != b"[DONE]":
                yield match
        position = body.find(_FIELD, position + 1)


def might_contain_key(body: bytes) -> bool:
    """Return False if a stream surely has no key, neither in one event nor split over several.

    Most streams have none, and locating a key takes six times as long. Equal texts are searched once.
    """
    if len(body) > _MAX_SEARCHED_BYTES:
        return True
    kinds: dict[object, _TextChannel] = defaultdict(_TextChannel)
    texts_seen: set[str] = set()
    raw: set[bytes] = set()
    quotes = strings = 0
    for line in body.splitlines():
        if not line.startswith(_FIELD):
            raw.add(line)
            continue
        if b"\\" in line:  # in the raw text, the letter of an escape may begin a key: `\npm_...`
            raw.add(line)
        try:
            value = json_codec.loads(line[len(_FIELD) :])
            kind = tuple(map(value.get, _CHANNEL_FIELDS)) if isinstance(value, dict) else ()
            strings += _gather(value, kinds[kind], texts_seen)
        except ValueError:
            raw.add(line)
            continue
        except (TypeError, RecursionError):  # an index that is not hashable; nested too deeply
            return True
        quotes += line.count(b'"') - line.count(b'\\"')
    # A parser drops one of two values with the same name. Then there are more quotes than strings.
    if quotes != 2 * strings:
        return True
    texts = (text for channel in kinds.values() for text in channel.joined_texts())
    return key_patterns.might_contain_key(
        b"\n".join([*raw, "\n".join([*texts_seen, *texts]).encode("utf-8", "surrogatepass")])
    )


class _TextChannel:
    """A path in all events of one kind: the parts of its texts by field name, and the paths below it."""

    __slots__ = ("children", "texts")

    def __init__(self) -> None:
        self.texts: dict[str | None, list[str]] = defaultdict(list)
        self.children: dict[object, _TextChannel] = defaultdict(_TextChannel)

    def joined_texts(self) -> Iterator[str]:
        """Yield each text of this path and of those below it, with its parts joined."""
        yield from map("".join, self.texts.values())
        for channel in self.children.values():
            yield from channel.joined_texts()


def _gather(value: Any, channel: _TextChannel, texts_seen: set[str]) -> int:
    """Add the strings in `value` to `channel`, and its names and repeated values to `texts_seen`.

    Return the number of strings, with names.
    """
    kind, count = type(value), 0  # parsed values have no subclasses, and `isinstance` takes longer
    if kind is dict:
        count = len(value)
        texts_seen.update(value)
        for name, inner in value.items():
            kind = type(inner)
            if kind is str:
                count += 1
                if name in _REPEATED:
                    texts_seen.add(inner)
                else:
                    channel.texts[name].append(inner)
            elif kind is dict or kind is list:
                count += _gather(inner, channel.children[name], texts_seen)
    elif kind is list:
        for number, inner in enumerate(value):
            index = inner.get("index", number) if type(inner) is dict else number
            count += _gather(inner, channel.children[index], texts_seen)
    elif kind is str:
        channel.texts[None].append(value)
        count = 1
    return count


def find_channels(body: bytes, documents: Iterable[Span]) -> Iterable[list[Span]]:
    """Yield for each text that is streamed in `documents` the spans of its parts."""
    channels: dict[object, list[Span]] = defaultdict(list)
    for start, end in documents:
        value = json_codec.loads(body[start:end])
        event_kind = repr([value.get(name) for name in _CHANNEL_FIELDS]) if isinstance(value, dict) else ""
        for path, first, last in json_codec.strings(body[start:end]):
            channel = (start, path) if path and path[-1] in _REPEATED else (event_kind, _by_own_index(path, value))
            channels[channel].append((start + first, start + last))
    return channels.values()


def _by_own_index(path: Path, value: Any) -> tuple[str, ...]:
    """Return `path` with a list item named by its own `index`, if it has one, as choices and tool calls do."""
    names = []
    for part in path:
        try:
            value = value[part]
        except (LookupError, TypeError):  # the dropped one of two values with the same name
            value = None
        index = value.get("index", part) if isinstance(part, int) and isinstance(value, dict) else part
        names.append(repr(index))
    return tuple(names)
