"""Why nothing matched: the nearest recording and what exactly is different, in words a person can act on."""

from __future__ import annotations

import shlex
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from openai_replay.matching import Matcher, Meaning
from openai_replay.model import Request

#: More differences than this are counted, not shown.
_SHOWN = 8
#: Characters of a value that are shown around the place where two of them part.
_VALUE = 80
#: Candidates whose bodies are compared one by one; further ones on the same path would only make a miss slow.
_COMPARED = 200


class _Word(str):
    """Said as it is, not as a value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


_ABSENT = _Word("absent")


class Difference(NamedTuple):
    """One place where a recording and the request differ: `pointer` is empty where it is not inside a body that
    `--ignore` reaches.
    """

    place: str
    recorded: str
    now: str
    pointer: str = ""


class Advice(NamedTuple):
    """How one helps oneself where the request came from: at the command line, in a test.

    `record` records what is missing, `ignore` makes of JSON pointers what leaves them out, `again` plays a recording
    more than once.
    """

    record: str
    ignore: Callable[[list[str]], str]
    again: str


def at_the_command_line(cassette: str) -> Advice:
    """For users of `openai-replay`."""
    return Advice(
        f"openai-replay record {cassette} -- <your command>",
        lambda pointers: " ".join(f"--ignore {shlex.quote(pointer)}" for pointer in pointers),
        "--on-exhausted repeat (the last one) or cycle (from the first)",
    )


class Nearest(NamedTuple):
    """The recording that comes closest, its number (from 1), and where it differs."""

    number: int
    differences: list[Difference]


_PLAIN = Matcher()
#: Place, recorded value, value now, pointer.
_Apart = tuple[str, Any, Any, str]


def _as_it_is(request: Request) -> Request:
    return request


def nearest(
    request: Request,
    candidates: Sequence[Request],
    matcher: Matcher = _PLAIN,
    clean: Callable[[Request], Request] = _as_it_is,
) -> Nearest | None:
    """The candidate with the least different among those of the same method and path; None if there is none of
    them. What `matcher` leaves out is no difference. `clean` takes the secrets out of a candidate.
    """
    best: tuple[int, int, list[_Apart]] | None = None
    target = matcher.target(request)
    same = (
        (number, candidate) for number, candidate in enumerate(candidates, 1) if matcher.target(candidate) == target
    )
    now = matcher.meaning(request)
    for number, candidate in islice(same, _COMPARED):
        try:
            found = list(_differences(matcher.meaning(clean(candidate)), now))
            weight = sum(max(_leaves(was), _leaves(is_now)) for _, was, is_now, _ in found)
        except RecursionError:
            found, weight = [("body", _Word("nested"), _Word("nested too deeply to be compared"), "")], sys.maxsize
        if best is None or weight < best[0]:
            best = weight, number, found
    if best is None:
        return None
    return Nearest(best[1], [Difference(place, *_shown(was, is_now), at) for place, was, is_now, at in best[2]])


def _leaves(value: Any) -> int:
    """How much a difference weighs: a message that is not there is more than a word that is another."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(map(_leaves, inner)) or 1


def _differences(recorded: Meaning, now: Meaning) -> Iterator[_Apart]:
    """Where two requests of the same method and path differ: query first, then headers and the body."""
    if recorded.query != now.query:
        yield "query", _query(recorded.query), _query(now.query), ""
    if recorded.headers != now.headers:
        yield "headers", _headers(recorded.headers), _headers(now.headers), ""
    if recorded.kind != now.kind:
        yield "body", _Word(f"is {recorded.kind}"), _Word(f"is {now.kind}"), ""
    else:
        yield from _walk(recorded.body, now.body, "", "")


def _query(pairs: list[list[str]]) -> str:
    return "&".join(f"{name}={value}" for name, value in pairs)


def _headers(pairs: list[list[str]]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in pairs)


def _walk(recorded: Any, now: Any, place: str, pointer: str) -> Iterator[_Apart]:
    if isinstance(recorded, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*recorded, *now]):
            escaped = name.replace("~", "~0").replace("/", "~1")
            inner = f"{place}.{name}" if place else name
            yield from _walk(recorded.get(name, _ABSENT), now.get(name, _ABSENT), inner, f"{pointer}/{escaped}")
    elif isinstance(recorded, list) and isinstance(now, list):
        for index in range(max(len(recorded), len(now))):
            was = recorded[index] if index < len(recorded) else _ABSENT
            is_now = now[index] if index < len(now) else _ABSENT
            yield from _walk(was, is_now, f"{place}[{index}]", f"{pointer}/{index}")
    elif type(recorded) is not type(now) or recorded != now:
        yield place or "body", recorded, now, pointer


def _shown(recorded: Any, now: Any) -> tuple[str, str]:
    """Both values as text, long ones cut to the place where they part."""
    first, second = repr(recorded), repr(now)
    if max(len(first), len(second)) <= _VALUE:
        return first, second
    common = bisect_left(range(min(len(first), len(second))), True, key=lambda i: first[: i + 1] != second[: i + 1])
    start = max(0, common - _VALUE // 3)
    return _window(first, start), _window(second, start)


def _window(text: str, start: int) -> str:
    end = start + _VALUE
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")


def explain(
    request: Request,
    candidates: Sequence[Request],
    tape: str,
    mode: str,
    advice: Advice,
    matcher: Matcher = _PLAIN,
    clean: Callable[[Request], Request] = _as_it_is,
) -> tuple[str, str]:
    """Message and hint for a request that no recording on `tape` matches.

    `advice` says how one helps oneself there, `matcher` decides what is compared, `clean` takes the secrets out of a
    recording of other hands.
    """
    target = request.path + (f"?{request.query}" if request.query else "")
    message = [f"No recording matches {request.method} {target} in {tape} (mode {mode})."]
    hint = [f"Record it:  {advice.record}"]
    closest = nearest(request, candidates, matcher, clean)
    if closest is None:
        message.append(_what_there_is(candidates))
    elif not closest.differences:
        message.append(f"#{closest.number} is the same request, but every recording of it has been played already.")
        hint.append(f"Play it again:  {advice.again}")
    else:
        message.append(f"Closest is #{closest.number}; it differs at")
        shown = closest.differences[:_SHOWN]
        message += [f"  {one.place}: recorded {one.recorded}  now {one.now}" for one in shown]
        if more := len(closest.differences) - len(shown):
            message.append(f"  and at {more} more places")
        if pointers := [one.pointer for one in shown if one.pointer]:
            hint.append(f"Ignore it:  {advice.ignore(pointers)}")
    return "\n".join(message), "\n".join(hint)


def _what_there_is(candidates: Sequence[Request]) -> str:
    if not candidates:
        return "There is nothing on it."
    counts = Counter(f"{candidate.method} {candidate.path}" for candidate in candidates)
    shown = ", ".join(f"{name} ({count})" for name, count in counts.most_common(5))
    return f"It has no recording of that method and path, only {shown}{', …' if len(counts) > 5 else ''}."
