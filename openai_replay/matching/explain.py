"""Why nothing matched: the nearest recordings and what exactly is different, in words a person can act on."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, MutableMapping, Sequence
from typing import Any, NamedTuple

from openai_replay.errors import MissReason
from openai_replay.matching import suggestions
from openai_replay.matching.diff import Apart, How, Near, Recorded, called, nearest
from openai_replay.matching.matcher import Matcher
from openai_replay.matching.suggestions import Advice
from openai_replay.model import Request
from openai_replay.openai_api import ids
from openai_replay.text import display, escape, json_codec
from openai_replay.text.json_codec import Path

#: More differences than this are counted, not shown.
_SHOWN = 8
#: Items that are added to, or missing from, a list one after the other are one line from this number on.
_MANY = 3
#: Places that are named of a recording that is not the nearest.
_NAMED = 3
#: A recording that is farther off than the nearest by this factor is only counted out.
_FAR = 4
#: Ids that nobody gave, a line each.
_IDS = 3
#: Keys of a body whose value is an id that an earlier answer gave.
_GIVEN = re.compile(
    r"(?:previous_response|response|conversation|tool_call|call|thread|run|file|input_file|vector_store|batch|container)"
    r"_ids?|conversation|container"
)


class Tape(NamedTuple):
    """The tape that a request was not found on.

    `not_given` makes of ids those that no answer on the tape gave; it may read all of them, so it is only asked where
    a request speaks of ids. `seen` is kept from one miss to the next. `fallback` names the rule by which a recording
    would be played all the same, if there is one.
    """

    name: str
    mode: str
    recorded: Sequence[Recorded]
    not_given: Callable[[Collection[str]], Collection[str]]
    seen: MutableMapping[bytes, frozenset[int]]
    fallback: Callable[[Near], str] = lambda near: ""


class Explanation(NamedTuple):
    """A miss in words, and its reason for programs."""

    message: str
    hint: str
    reason: MissReason


def explain(
    request: Request, tape: Tape, advice: Advice, matcher: Matcher, clean: Callable[[Request], Request]
) -> Explanation:
    """Return message, hint and reason for `request`, which holds no secret and which no recording on `tape` matches.

    `advice` says how one helps oneself there, `matcher` decides what is compared, `clean` takes the secrets out of a
    recording of other hands.
    """
    target = request.path + (f"?{request.query}" if request.query else "")
    message = [f"No recording matches {request.method} {target} in {tape.name} (mode {tape.mode})."]
    hint = [f"Record it:  {advice.record}"]
    near = nearest(request, tape.recorded, matcher, clean, tape.seen)
    reason = MissReason.NO_MATCH
    if not near:
        reason = MissReason.UNKNOWN_ENDPOINT if tape.recorded else MissReason.EMPTY
        message.append(_what_there_is(request, tape.recorded))
    elif not near[0].apart:
        reason = MissReason.EXHAUSTED
        number = near[0].recorded.number
        message.append(f"#{number} is the same request, but every recording of it has been played already.")
        hint.append(f"Play it again:  {advice.again}")
    else:
        kinds, settings = suggestions.advise(request, near[0], matcher)
        message += _nearest(near[0], kinds, request)
        message += [_further(one, near[0]) for one in near[1:]]
        if settings:
            verb = "Ignore" if [*settings] == ["ignore"] else "Accept"
            hint.append(f"{verb} it:  {advice.accept(settings)}")
        elif rule := tape.fallback(near[0]):
            hint.append(f"Play #{near[0].recorded.number} for it:  {advice.accept({'fallback': rule})}")
    if not near or near[0].apart:
        message += _unknown_ids(request, tape)
    return Explanation("\n".join(map(escape.line, message)), "\n".join(map(escape.line, hint)), reason)


def differences(near: Near, request: Request) -> list[str]:
    """Where `near` and `request` differ, a line a place, as a miss has it; `request` holds no secret."""
    lines = [line for line, _ in _lines(near.apart, [""] * len(near.apart), request)]
    more = [f"and at {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return [escape.line(line) for line in [*lines[:_SHOWN], *more]]


# ------------------------------------------------------------------------------------------------ the recordings


def _nearest(near: Near, kinds: list[str], request: Request) -> Iterator[str]:
    number, apart = near.recorded.number, near.apart
    if all(kinds):
        yield f"Closest is #{number}; all that differs is {_listed(list(dict.fromkeys(kinds)))}, at"
    else:
        yield f"Closest is #{number}; it differs at"
    lines = list(_lines(apart, [] if all(kinds) else kinds, request))
    yield from (f"  {line}" for line, _ in lines[:_SHOWN])
    if more := sum(count for _, count in lines[_SHOWN:]):
        yield f"  and at {more} more place{'s' if more > 1 else ''}"


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _further(near: Near, first: Near) -> str:
    """A recording that is not the nearest, in a line."""
    start = f"Next is #{near.recorded.number}; it differs at"
    places = list(dict.fromkeys(_place(one) for one in near.apart))
    if near.weight > _FAR * first.weight and near.apart[0].how is not How.UNKNOWN:
        return f"{start} {len(places)} place{'s' if len(places) > 1 else ''}"
    if len(near.apart) == 1:
        return f"{start} {_line(near.apart[0])}"
    more = len(places) - _NAMED
    rest = f" and {more} more place{'s' if more > 1 else ''}" if more > 0 else ""
    return f"{start} {', '.join(places[:_NAMED])}{rest}"


def _lines(apart: list[Apart], kinds: list[str], request: Request) -> Iterator[tuple[str, int]]:
    """A line a difference, and how many places it speaks of; items of one list that are all new are one line."""
    index = 0
    while index < len(apart):
        one = apart[index]
        run = _run(apart, index)
        if run >= _MANY:
            last = apart[index + run - 1]
            place = f"{display.path(one.path[:-1])}[{one.path[-1]}] to [{last.path[-1]}]"
            yield f"{place}: {one.how.name.lower()}: {run} items, the last {_item(last)}", run
            index += run
            continue
        kind = kinds[index] if kinds else ""
        said = _no_json(request) if (one.recorded, one.now) == ("json", "bytes") and one.field == "kind" else kind
        yield _line(one) + (f"  ({said})" if said else ""), 1
        index += 1


def _run(apart: list[Apart], index: int) -> int:
    """How many differences from `index` on are items, one after the other, that only one of two lists has."""
    first = apart[index]
    if first.how not in (How.ADDED, How.REMOVED) or not first.path or not isinstance(first.path[-1], int):
        return 1
    end = index + 1
    while (
        end < len(apart)
        and apart[end].how is first.how
        and apart[end].path == (*first.path[:-1], first.path[-1] + end - index)
    ):
        end += 1
    return end - index


def _place(apart: Apart) -> str:
    return display.path(apart.path) or "body" if apart.field in ("body", "kind") else apart.field


def _line(apart: Apart) -> str:
    place = _place(apart)
    if apart.how is How.UNKNOWN:
        return f"{place}: nested too deeply to be compared"
    if apart.how is How.MOVED:
        return f"{place}: the same {len(apart.now)} items in another order"
    if apart.path and isinstance(apart.path[-1], int) and apart.how is not How.CHANGED:
        return f"{place}: {apart.how.name.lower()}: {_item(apart)}"
    if apart.field == "kind":
        return f"{place}: recorded is {apart.recorded}  now is {apart.now}"
    recorded, now = (_joined(one, apart.field) for one in apart[3:5])
    if isinstance(recorded, str) and isinstance(now, str) and (changes := display.changes(recorded, now)):
        return f"{place}: {changes}"
    was = "absent" if apart.how is How.ADDED else display.value(recorded)
    return f"{place}: recorded {was}  now {'absent' if apart.how is How.REMOVED else display.value(now)}"


def _item(apart: Apart) -> str:
    """An item that only one list has: a tool by its name, anything else by how it begins."""
    item = apart.now if apart.how is How.ADDED else apart.recorded
    name = (
        called(item)
        if isinstance(item, dict) and "role" not in item and apart.path[0] in ("tools", "functions")
        else ""
    )
    return name or display.value(item)


def _joined(value: Any, field: str) -> Any:
    """Names and values of a query, or of headers, as one text."""
    if field not in ("query", "headers"):
        return value
    equals, comma = ("=", "&") if field == "query" else (": ", ", ")
    return comma.join(name + equals + value for name, value in value)


def _no_json(request: Request) -> str:
    """Where a body that should be JSON is none."""
    if not request.body.strip():
        return "there is none"
    try:
        json.loads(request.body)
    except json.JSONDecodeError as error:
        return f"not JSON: {error.msg[:1].lower()}{error.msg[1:]} in line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError):
        pass
    return "not JSON"


def _what_there_is(request: Request, recorded: Sequence[Recorded]) -> str:
    """What the tape has, where it has nothing of that method and path."""
    if not recorded:
        return "There is nothing on it."
    counts = Counter((one.request.method, one.request.path) for one in recorded)
    for method, path in counts:
        if method.upper() == request.method.upper() and (more := _more_of_a_path(path, request.path)):
            return f"It has {method} {path}: the path differs only by {more}. Is the base URL right?"
    shown = ", ".join(f"{method} {path} ({count})" for (method, path), count in counts.most_common(5))
    return f"It has no recording of that method and path, only {shown}{', …' if len(counts) > 5 else ''}."


def _more_of_a_path(one: str, other: str) -> str:
    """What one of two paths has before the other one, or that slashes alone tell them apart; else nothing."""
    if re.sub("/+", "/", one).rstrip("/") == re.sub("/+", "/", other).rstrip("/"):
        return "slashes"
    longer, shorter = sorted((one, other), key=len, reverse=True)
    return longer.removesuffix(shorter) if shorter.strip("/") and longer.endswith(shorter) else ""


# ------------------------------------------------------------------------------------------------ ids


def _unknown_ids(request: Request, tape: Tape) -> list[str]:
    """Ids that `request` speaks of, and that neither an answer nor a request on the tape does."""
    places: dict[str, str] = {}
    for place, name in _spoken(request):
        places.setdefault(name, place)
    new = [name for name in places if not any(name.encode() in one.request.body for one in tape.recorded)]
    new = [name for name in new if not any(name in one.request.uri for one in tape.recorded)]
    if not new:
        return []
    unknown = tape.not_given(new)
    return [f"{places[name]}: {name} was given by no recording on this tape" for name in new if name in unknown][:_IDS]


def _spoken(request: Request) -> Iterator[tuple[str, str]]:
    """The ids in `request` that an earlier answer must have given, and where they stand."""
    yield from (("path", part) for part in request.path.split("/") if ids.kind(part))
    try:
        body = json_codec.loads(request.body)
        json_codec.canonical(body)
    except ValueError:  # no JSON, or nested too deeply
        return
    for path, value in _strings(body, ()):
        name = next((one for one in reversed(path) if isinstance(one, str) and one != "id"), "")
        if _GIVEN.fullmatch(name) and ids.kind(value):
            yield display.path(path), value


def _strings(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _strings(inner, (*path, name))
