"""Regular expressions of one's own: compiled, or refused where they could run for ever.

`re` tries every way to match. Where a repeat holds another one, or alternatives that begin alike, there are twice as
many ways for every character: `(a+)+x` is not done with forty of them in this century, and everybody waits. Such an
expression is refused before it meets a text. What Python 3.11 matches without going back (`a++`, `(?>...)`) is fine,
and so is what says itself where one round ends and the next begins: `(?:[a-z]+-)+`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from re import _constants as sre  # type: ignore[attr-defined]  # what `re` parses has no public name
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from openai_replay.errors import UsageError

#: One step of an expression as `re` has parsed it: what it is, and what belongs to it.
_Step = tuple[Any, Any]
#: Rounds from which on a repeat counts as one without an end.
_MANY = 16
#: The characters that stand for all: ASCII, Latin-1, and one each of what `\w`, `\d`, `\s` know beyond.
_SAMPLE = frozenset([*map(chr, range(256)), "ж", "漢", "٣", "\u2028", "🌍"])
_CATEGORIES = {
    sre.CATEGORY_DIGIT: r"\d",
    sre.CATEGORY_NOT_DIGIT: r"\D",
    sre.CATEGORY_SPACE: r"\s",
    sre.CATEGORY_NOT_SPACE: r"\S",
    sre.CATEGORY_WORD: r"\w",
    sre.CATEGORY_NOT_WORD: r"\W",
}
_REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT)


def compiled(text: str) -> re.Pattern[str]:
    """`text` as a pattern. Raises UsageError, with the place where there is one, for what does not parse, and for what
    could take for ever.
    """
    try:
        pattern = re.compile(text)
        steps = list(parser.parse(text))
        why = _danger(steps, bool(pattern.flags & re.IGNORECASE))
    except re.error as error:
        raise _none(text, error.msg + (f" at position {error.pos}" if error.pos is not None else "")) from None
    except (OverflowError, RecursionError) as error:
        raise _none(text, str(error)) from None
    if why:
        raise UsageError(
            f"{text!r} could take for ever on some texts: {why}",
            "Make the inner one possessive (`a++`, `(?>...)`), or let each round begin with a character of its own.",
        )
    return pattern


def begins_anywhere(pattern: re.Pattern[str]) -> bool:
    """Whether `pattern` begins with a repeat without an end, such as `\\w+@`: in a text of nothing but such characters
    it is tried from each of them to the last, which is the square of their number.
    """
    any_case = bool(pattern.flags & re.IGNORECASE)
    for code, value in _flat(list(parser.parse(pattern.pattern))):
        inner = (
            [(code, value)] if code in _REPEATS else [step for one in _inner(code, value) for step in _flat(one)[:1]]
        )
        if any(_endless(*step) for step in inner):
            return True
        if not _nullable([(code, value)]) and _begins(code, value, any_case):
            return False
    return False


def _none(text: str, why: str) -> UsageError:
    shown = text if len(text) <= 80 else text[:79] + "…"
    return UsageError(f"{shown!r} is not a regular expression: {why}", "See Python's re syntax.")


def _danger(steps: list[_Step], any_case: bool, last: bool = True) -> str:
    """Why a sequence could take for ever; empty where it could not. `last`: nothing that could fail follows it."""
    steps = _flat(steps)
    for position, (code, value) in enumerate(steps):
        rest = steps[position + 1 :]
        for one in _inner(code, value):
            if why := _danger(one, any_case, last=False):
                return why
        if _endless(code, value):
            if why := _ambiguous(list(value[2]), any_case):
                return why
            if _shares(_first(list(value[2]), any_case), rest, any_case, last):
                return "two repeats of the same characters stand side by side"
    return ""


def _endless(code: Any, value: Any) -> bool:
    return code in _REPEATS and value[1] >= _MANY


def _shares(chars: frozenset[str], rest: list[_Step], any_case: bool, last: bool) -> bool:
    """Whether a repeat in `rest` can take over what one of `chars` before it has matched (`a*a*`), and what follows can
    fail: then every share is tried.
    """
    for position, (code, value) in enumerate(rest):
        if _endless(code, value) and chars & _first(list(value[2]), any_case):
            return not (last and all(kind in _REPEATS and not most[0] for kind, most in rest[position + 1 :]))
        if not _nullable([(code, value)]):
            return False
    return False


def _inner(code: Any, value: Any) -> list[list[_Step]]:
    """The sequences inside a step."""
    if code in _REPEATS or code is sre.POSSESSIVE_REPEAT:
        return [list(value[2])]
    if code is sre.ATOMIC_GROUP:
        return [list(value)]
    if code is sre.BRANCH:
        return [list(one) for one in value[1]]
    if code in (sre.ASSERT, sre.ASSERT_NOT):
        return [list(value[1])]
    if code is sre.GROUPREF_EXISTS:
        return [list(one or ()) for one in value[1:]]
    return []


def _ambiguous(body: list[_Step], any_case: bool) -> str:
    """Why `body`, repeated, can match one text in several ways; empty where each character says which way it is."""
    body = _flat(body)
    start = _first(body, any_case)
    for position, (code, value) in enumerate(body):
        after = _first(body[position + 1 :], any_case)
        if _nullable(body[position + 1 :]):
            after |= start  # the next round
        if code in _REPEATS and value[0] != value[1] and _first(list(value[2]), any_case) & after:
            return "a repeat inside a repeat can share out the same characters in many ways"
        if code is sre.BRANCH:
            ways = [list(one) for one in value[1]]
            firsts = [_first(one, any_case) for one in ways]
            alike = any(one & other for at, one in enumerate(firsts) for other in firsts[:at])
            alike |= any(map(_nullable, ways)) and bool(frozenset().union(*firsts) & after)
            if alike or sum(map(_nullable, ways)) > 1:
                return "alternatives inside a repeat begin with the same character"
            if why := next((why for one in ways if (why := _ambiguous([*one, *body[position + 1 :]], any_case))), ""):
                return why
    return ""


def _flat(steps: list[_Step]) -> list[_Step]:
    """`steps` without groups, which say nothing about how often something matches."""
    flat: list[_Step] = []
    for code, value in steps:
        flat += _flat(list(value[3])) if code is sre.SUBPATTERN else [(code, value)]
    return flat


def _first(steps: list[_Step], any_case: bool) -> frozenset[str]:
    """What `steps` can begin with."""
    found: frozenset[str] = frozenset()
    for code, value in _flat(steps):
        found |= _begins(code, value, any_case)
        if not _nullable([(code, value)]):
            break
    return found


def _begins(code: Any, value: Any, any_case: bool) -> frozenset[str]:
    """The characters of the sample that one step can begin with."""
    if code is sre.LITERAL:
        # A character beyond the sample stands for itself.
        return frozenset(_cases(chr(value)) if any_case else chr(value))
    if code is sre.NOT_LITERAL:
        return _SAMPLE - {chr(value)}
    if code is sre.ANY:
        return _SAMPLE
    if code is sre.IN:
        negated = value[0][0] is sre.NEGATE
        found = frozenset(char for one in value[negated:] for char in _of_class(one, any_case))
        return _SAMPLE - found if negated else found
    if code in (*_REPEATS, sre.POSSESSIVE_REPEAT, sre.ATOMIC_GROUP, sre.BRANCH, sre.GROUPREF_EXISTS):
        return frozenset().union(*(_first(one, any_case) for one in _inner(code, value)))
    return _SAMPLE if code is sre.GROUPREF else frozenset()  # the others match no character


def _of_class(member: _Step, any_case: bool) -> Iterable[str]:
    code, value = member
    if code is sre.CATEGORY:
        return [char for char in _SAMPLE if re.match(_CATEGORIES[value], char)]
    low, high = value if code is sre.RANGE else (value, value)
    inside = {chr(low), chr(high), *(char for char in _SAMPLE if low <= ord(char) <= high)}
    return {case for char in inside for case in _cases(char)} if any_case else inside


def _cases(char: str) -> str:
    return char + char.lower() + char.upper()


def _nullable(steps: list[_Step]) -> bool:
    """Whether `steps` can match nothing at all."""
    for code, value in _flat(steps):
        if code in (sre.AT, sre.ASSERT, sre.ASSERT_NOT, sre.GROUPREF):
            continue
        if code in (*_REPEATS, sre.POSSESSIVE_REPEAT):
            if value[0] and not _nullable(list(value[2])):
                return False
        elif code in (sre.BRANCH, sre.GROUPREF_EXISTS, sre.ATOMIC_GROUP):
            if not any(map(_nullable, _inner(code, value))):
                return False
        else:
            return False
    return True
