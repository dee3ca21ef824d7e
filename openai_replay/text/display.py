"""Values as short texts that no terminal trips over: bounded, escaped, of two long strings only what differs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from openai_replay.text import word_diff
from openai_replay.text.escape import line

#: Characters of a value that are shown.
MAX_CHARACTERS = 80
#: Characters that are shown around a change in a long string.
_AROUND = 30
#: Characters of a change that are shown.
_MAX_CHANGE = 60
#: Changes in one string that are shown.
_MAX_CHANGES = 4
#: Characters between the first and the last change that are compared word by word; what is longer is one change.
_MAX_COMPARED = 1 << 16
#: What tells most of an object goes first, the other keys in their order.
_FIRST = ("role", "type", "name")
_WORD = re.compile(r"\w+")
#: Characters that are compared at once to find where two strings part.
_STEP = 1 << 12


def format_path(segments: Iterable[str | int]) -> str:
    """`messages[0].content`; empty for the root."""
    text = "".join(f"[{segment}]" if isinstance(segment, int) else f".{_name(segment)}" for segment in segments)
    return text.removeprefix(".")


def _name(key: str, room: int = MAX_CHARACTERS) -> str:
    return line(key if len(key) <= room else key[:room] + "…")


def format_value(document: Any, room: int = MAX_CHARACTERS) -> str:
    """A JSON value (or bytes) as text: `{role: user, content: 'Hi'}`; what goes beyond `room` characters is cut."""
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


def format_changes(recorded: str, current: str) -> str:
    """Return the differences of two long strings: `… the [-quick-]{+slow+} brown fox …`. Empty if they are short, or
    have little in common.
    """
    longest = max(len(recorded), len(current))
    if longest <= MAX_CHARACTERS or recorded == current:
        return ""
    start, end = _ends(recorded, current)
    old, new = recorded[start : len(recorded) - end], current[start : len(current) - end]
    before, after = recorded[:start][-2 * _AROUND :], recorded[len(recorded) - end :][: 2 * _AROUND]
    between = word_diff.compare(old, new) if max(len(old), len(new)) <= _MAX_COMPARED else [word_diff.Piece(old, new)]
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
    """The first characters of `text`, whole words where it has some; `more`: the string goes on behind it."""
    if len(text) <= _AROUND:
        return line(text) + ("…" if is_cut else "")
    start = text[:_AROUND]
    words, space, _ = start.rpartition(" ")
    return line(words + space if words.strip() else start) + "…"


def _tail(text: str, is_cut: bool) -> str:
    """The last characters of `text`, whole words where it has some; `more`: the string begins before it."""
    if len(text) <= _AROUND:
        return ("…" if is_cut else "") + line(text)
    end = text[-_AROUND:]
    _, space, words = end.partition(" ")
    return "…" + line(space + words if words.strip() else end)


def _common_start(first: str, second: str) -> int:
    """Return the length of the common start."""
    at, limit = 0, min(len(first), len(second))
    step = _STEP
    while step and at < limit:
        if first[at : at + step] == second[at : at + step] and at + step <= limit:
            at += step
        else:
            step //= 2
    return at


def _common_end(first: str, second: str, limit: int) -> int:
    """Return the length of the common end, at most `limit`."""
    at, step = 0, _STEP
    while step and at < limit:
        first_part, second_part = (text[len(text) - at - step : len(text) - at] for text in (first, second))
        if at + step <= limit and first_part == second_part:
            at += step
        else:
            step //= 2
    return at
