"""Values as short texts that no terminal trips over: bounded, escaped, of two long strings only what differs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from openai_replay.text import word_diff
from openai_replay.text.escape import line

#: Characters of a value that are shown.
ROOM = 80
#: Characters that are shown around a change in a long string.
_AROUND = 30
#: Characters of a change that are shown.
_CHANGE = 60
#: Changes in one string that are shown.
_CHANGES = 4
#: Characters between the first and the last change that are compared word by word; what is longer is one change.
_COMPARED = 1 << 16
#: What tells most of an object goes first, the other keys in their order.
_FIRST = ("role", "type", "name")
_WORD = re.compile(r"\w+")
#: Characters that are compared at once to find where two strings part.
_STEP = 1 << 12


def path(places: Iterable[str | int]) -> str:
    """`messages[0].content`; empty for the root."""
    text = "".join(f"[{place}]" if isinstance(place, int) else f".{_name(place)}" for place in places)
    return text.removeprefix(".")


def _name(key: str, room: int = ROOM) -> str:
    return line(key if len(key) <= room else key[:room] + "…")


def value(thing: Any, room: int = ROOM) -> str:
    """A JSON value (or bytes) as text: `{role: user, content: 'Hi'}`; what goes beyond `room` characters is cut."""
    said = ""
    for piece in _pieces(thing, room):
        said += piece
        if len(said) > room:
            return said[:room] + "…"
    return said


def _pieces(thing: Any, room: int) -> Iterator[str]:
    if isinstance(thing, dict):
        yield "{"
        for number, name in enumerate(_ordered(thing)):
            yield f"{', ' if number else ''}{_name(name, room)}: "
            yield from _pieces(thing[name], room)
        yield "}"
    elif isinstance(thing, list):
        yield "["
        for number, inner in enumerate(thing):
            yield ", " if number else ""
            yield from _pieces(inner, room)
        yield "]"
    elif isinstance(thing, str | bytes):
        yield repr(thing[: room + 1])
    elif thing is None or isinstance(thing, bool):
        yield {None: "null", True: "true", False: "false"}[thing]
    else:
        yield repr(thing)


def _ordered(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))


def changes(recorded: str, now: str) -> str:
    """What differs in two long strings: `… the [-quick-]{+slow+} brown fox …`; empty where they are short, or have
    little in common.
    """
    longest = max(len(recorded), len(now))
    if longest <= ROOM or recorded == now:
        return ""
    start, end = _ends(recorded, now)
    old, new = recorded[start : len(recorded) - end], now[start : len(now) - end]
    before, after = recorded[:start][-2 * _AROUND :], recorded[len(recorded) - end :][: 2 * _AROUND]
    between = word_diff.pieces(old, new) if max(len(old), len(new)) <= _COMPARED else [word_diff.Piece(old, new)]
    kept = start + end + sum(len(one.old) for one in between if one.same)
    if kept * 3 < longest:
        return ""
    pieces = [word_diff.Piece(before, before), *between, word_diff.Piece(after, after)]
    return _rendered(pieces, len(before) < start, len(after) < end)


def _ends(recorded: str, now: str) -> tuple[int, int]:
    """How many characters both begin and end with, but for a word of which only a part is the same."""
    start = _alike(recorded, now)
    end = _alike_at_the_end(recorded, now, min(len(recorded), len(now)) - start)
    if any(_WORD.match(text[start : start + 1]) for text in (recorded, now)):
        start -= _of_a_word(recorded[max(0, start - _AROUND - 1) : start][::-1])
    if any(_WORD.match(text[: len(text) - end][-1:]) for text in (recorded, now)):
        end -= _of_a_word(recorded[len(recorded) - end :][: _AROUND + 1])
    return start, end


def _of_a_word(text: str) -> int:
    """How many characters at the start of `text` belong to one word; 0 for one without end, such as base64."""
    match = _WORD.match(text)
    return match.end() if match and match.end() <= _AROUND else 0


def _rendered(pieces: list[word_diff.Piece], before: bool, after: bool) -> str:
    """`before`, `after`: whether the strings go on beyond the first and the last piece, which are the same in both."""
    out = [_tail(pieces[0].old, before)]
    changed = [number for number, piece in enumerate(pieces) if not piece.same]
    last = changed[:_CHANGES][-1]
    for piece in pieces[1 : last + 1]:
        if not piece.same:
            old, new = (_cut(text) for text in piece)
            out.append((f"[-{old}-]" if old else "") + (f"{{+{new}+}}" if new else ""))
        elif len(piece.old) <= 2 * _AROUND:
            out.append(line(piece.old))
        else:
            out.append(_head(piece.old, True) + _tail(piece.old, True).removeprefix("…"))
    out.append(_head(pieces[last + 1].old, after or len(changed) > _CHANGES))
    if (more := len(changed) - _CHANGES) > 0:
        out.append(f" and {more} more change{'s' if more > 1 else ''}")
    return "".join(out)


def _cut(text: str) -> str:
    return line(text if len(text) <= _CHANGE else f"{text[: _CHANGE // 2]}…{text[-_CHANGE // 4 :]}")


def _head(text: str, more: bool) -> str:
    """The first characters of `text`, whole words where it has some; `more`: the string goes on behind it."""
    if len(text) <= _AROUND:
        return line(text) + ("…" if more else "")
    start = text[:_AROUND]
    words, space, _ = start.rpartition(" ")
    return line(words + space if words.strip() else start) + "…"


def _tail(text: str, more: bool) -> str:
    """The last characters of `text`, whole words where it has some; `more`: the string begins before it."""
    if len(text) <= _AROUND:
        return ("…" if more else "") + line(text)
    end = text[-_AROUND:]
    _, space, words = end.partition(" ")
    return "…" + line(space + words if words.strip() else end)


def _alike(first: str, second: str) -> int:
    """How many characters both begin with."""
    at, most = 0, min(len(first), len(second))
    step = _STEP
    while step and at < most:
        if first[at : at + step] == second[at : at + step] and at + step <= most:
            at += step
        else:
            step //= 2
    return at


def _alike_at_the_end(first: str, second: str, most: int) -> int:
    """How many characters both end with, `most` at most."""
    at, step = 0, _STEP
    while step and at < most:
        one, other = (text[len(text) - at - step : len(text) - at] for text in (first, second))
        if at + step <= most and one == other:
            at += step
        else:
            step //= 2
    return at
