"""Short texts of values for messages: bounded in length, escaped, and only the changes between two long strings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from openai_replay.text import word_diff
from openai_replay.text.escape import line

#: Characters of a value.
MAX_CHARACTERS = 80
#: Characters around a change in a long string.
_AROUND = 30
#: Characters of a change.
_MAX_CHANGE = 60
#: Changes in one string.
_MAX_CHANGES = 4
#: Characters between the first and the last change that are compared word by word. More of them are one change.
_MAX_COMPARED = 1 << 16
#: Keys that describe an object best. They come first, the others in their order.
_FIRST = ("role", "type", "name")
_WORD = re.compile(r"\w+")
#: Characters that are compared at once to find the first difference of two strings.
_STEP = 1 << 12


def format_path(segments: Iterable[str | int]) -> str:
    """Return a path as `messages[0].content`. The root is empty."""
    text = "".join(f"[{segment}]" if isinstance(segment, int) else f".{_name(segment)}" for segment in segments)
    return text.removeprefix(".")


def _name(key: str, room: int = MAX_CHARACTERS) -> str:
    return line(key if len(key) <= room else key[:room] + "…")


def format_value(document: Any, room: int = MAX_CHARACTERS) -> str:
    """Return a JSON value, or bytes, as `{role: 'user', content: 'Hi'}`, cut after `room` characters."""
    text = ""
    for piece in _pieces(document, room):
        text += piece
        if len(text) > room:
            return text[:room] + "…"
    return text


def _pieces(document: Any, room: int) -> Iterator[str]:
    if isinstance(document, dict):
        yield "{"
        for number, name in enumerate(_ordered(document)):
            yield f"{', ' if number else ''}{_name(name, room)}: "
            yield from _pieces(document[name], room)
        yield "}"
    elif isinstance(document, list):
        yield "["
        for number, inner in enumerate(document):
            yield ", " if number else ""
            yield from _pieces(inner, room)
        yield "]"
    elif isinstance(document, str | bytes):
        yield repr(document[: room + 1])
    elif document is None or isinstance(document, bool):
        yield {None: "null", True: "true", False: "false"}[document]
    else:
        yield repr(document)


def _ordered(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))


def format_changes(recorded: str, current: str, max_compared: int = _MAX_COMPARED) -> str:
    """Return the differences of two long strings, such as `… the [-quick-]{+slow+} brown fox …`.

    Empty if they are short or have little in common. Up to `max_compared` characters between the first and the last
    change are compared word by word. More of them are shown as one change.
    """
    longest = max(len(recorded), len(current))
    if longest <= MAX_CHARACTERS or recorded == current:
        return ""
    start, end = _ends(recorded, current)
    old, new = recorded[start : len(recorded) - end], current[start : len(current) - end]
    before, after = recorded[:start][-2 * _AROUND :], recorded[len(recorded) - end :][: 2 * _AROUND]
    between = word_diff.compare(old, new) if max(len(old), len(new)) <= max_compared else [word_diff.Piece(old, new)]
    same_length = start + end + sum(len(piece.old) for piece in between if piece.same)
    if same_length * 3 < longest:
        return ""
    pieces = [word_diff.Piece(before, before), *between, word_diff.Piece(after, after)]
    return _render(pieces, len(before) < start, len(after) < end)


def _ends(recorded: str, current: str) -> tuple[int, int]:
    """Return the lengths of the common start and end. A word that is only partly equal does not count."""
    start = _common_start(recorded, current)
    end = _common_end(recorded, current, min(len(recorded), len(current)) - start)
    if any(_WORD.match(text[start : start + 1]) for text in (recorded, current)):
        start -= _word_length(recorded[max(0, start - _AROUND - 1) : start][::-1])
    if any(_WORD.match(text[: len(text) - end][-1:]) for text in (recorded, current)):
        end -= _word_length(recorded[len(recorded) - end :][: _AROUND + 1])
    return start, end


def _word_length(text: str) -> int:
    """Return the length of the word at the start of `text`; 0 for a very long one, such as base64."""
    match = _WORD.match(text)
    return match.end() if match and match.end() <= _AROUND else 0


def _render(pieces: list[word_diff.Piece], before: bool, after: bool) -> str:
    """Render the pieces. `before` and `after` are True if the strings go on beyond the first and the last piece."""
    rendered = [_tail(pieces[0].old, before)]
    changed = [number for number, piece in enumerate(pieces) if not piece.same]
    last = changed[:_MAX_CHANGES][-1]
    for piece in pieces[1 : last + 1]:
        if not piece.same:
            old, new = (_cut(text) for text in piece)
            rendered.append((f"[-{old}-]" if old else "") + (f"{{+{new}+}}" if new else ""))
        elif len(piece.old) <= 2 * _AROUND:
            rendered.append(line(piece.old))
        else:
            rendered.append(_head(piece.old, True) + _tail(piece.old, True).removeprefix("…"))
    rendered.append(_head(pieces[last + 1].old, after or len(changed) > _MAX_CHANGES))
    if (hidden_changes := len(changed) - _MAX_CHANGES) > 0:
        rendered.append(f" and {hidden_changes} more change{'s' if hidden_changes > 1 else ''}")
    return "".join(rendered)


def _cut(text: str) -> str:
    return line(text if len(text) <= _MAX_CHANGE else f"{text[: _MAX_CHANGE // 2]}…{text[-_MAX_CHANGE // 4 :]}")


def _head(text: str, is_cut: bool) -> str:
    """Return the start of `text`, in whole words if possible. `is_cut` if the string continues after `text`."""
    if len(text) <= _AROUND:
        return line(text) + ("…" if is_cut else "")
    start = text[:_AROUND]
    words, space, _ = start.rpartition(" ")
    return line(words + space if words.strip() else start) + "…"


def _tail(text: str, is_cut: bool) -> str:
    """Return the end of `text`, in whole words if possible. `is_cut` if the string starts before `text`."""
    if len(text) <= _AROUND:
        return ("…" if is_cut else "") + line(text)
    end = text[-_AROUND:]
    _, space, words = end.partition(" ")
    return "…" + line(space + words if words.strip() else end)


def _common_start(first: str, second: str) -> int:
    """Return the length of the common start."""
    length, limit = 0, min(len(first), len(second))
    step = _STEP
    while step and length < limit:
        if first[length : length + step] == second[length : length + step] and length + step <= limit:
            length += step
        else:
            step //= 2
    return length


def _common_end(first: str, second: str, limit: int) -> int:
    """Return the length of the common end, at most `limit`."""
    length, step = 0, _STEP
    while step and length < limit:
        first_part, second_part = (text[len(text) - length - step : len(text) - length] for text in (first, second))
        if length + step <= limit and first_part == second_part:
            length += step
        else:
            step //= 2
    return length
