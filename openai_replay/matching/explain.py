"""The explanation of a miss: the nearest recordings, each difference, and what to do."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, MutableMapping, Sequence
from typing import Any, NamedTuple

from openai_replay.errors import MissReason
from openai_replay.matching import suggestions
from openai_replay.matching.diff import Candidate, Change, Difference, Recorded, called, nearest
from openai_replay.matching.matcher import Matcher
from openai_replay.matching.suggestions import Wording
from openai_replay.model import Request
from openai_replay.openai_api import ids
from openai_replay.text import display, escape, json_codec
from openai_replay.text.json_codec import Path

#: More differences than this are counted, not shown.
_SHOWN = 8
#: From this number on, adjacent items that only one list has are one line.
_MANY = 3
#: Differences that are named for a recording that is not the nearest.
_NAMED = 3
#: For a recording that is farther away than the nearest by this factor, differences are only counted.
_FAR = 4
#: Unknown IDs that are shown.
_IDS = 3
#: Keys of a body whose value is an ID that an earlier response issued.
_GIVEN = re.compile(
    r"(?:previous_response|response|conversation|tool_call|call|thread|run|file|input_file|vector_store|batch|container)"
    r"_ids?|conversation|container"
)


class MissContext(NamedTuple):
    """The cassette that has no recording for a request.

    `not_given` returns those IDs of its argument that no response in the cassette issued. It may read all responses, so
    it is only called for a request with IDs. `parts_cache` is shared by all misses. `fallback` returns the name of the
    fallback that would play a candidate, or nothing.
    """

    name: str
    mode: str
    recorded: Sequence[Recorded]
    not_given: Callable[[Collection[str]], Collection[str]]
    parts_cache: MutableMapping[bytes, frozenset[int]]
    fallback: Callable[[Candidate], str] = lambda near: ""


class Explanation(NamedTuple):
    """The texts of a miss, and its reason for programs."""

    message: str
    hint: str
    reason: MissReason


def explain(
    request: Request, context: MissContext, advice: Wording, matcher: Matcher, clean: Callable[[Request], Request]
) -> Explanation:
    """Explain why no recording in `context` matches the redacted `request`.

    `advice` has the words for what to do, `matcher` decides what is compared, and `clean` redacts a recorded request.
    """
    target = request.path + (f"?{request.query}" if request.query else "")
    message = [f"No recording matches {request.method} {target} in {context.name} (mode {context.mode})."]
    hint = [f"To record it, run:  {advice.record}"]
    candidates = nearest(request, context.recorded, matcher, clean, context.parts_cache)
    reason = MissReason.NO_MATCH
    if not candidates:
        reason = MissReason.UNKNOWN_ENDPOINT if context.recorded else MissReason.EMPTY
        message.append(_other_endpoints(request, context.recorded))
    elif not candidates[0].differences:
        reason = MissReason.EXHAUSTED
        number = candidates[0].recorded.number
        message.append(f"#{number} is the same request, but every recording of it has been played already.")
        hint.append(f"To play it again, set:  {advice.play_again}")
    else:
        kinds, settings = suggestions.suggest(request, candidates[0], matcher)
        message += _nearest_lines(candidates[0], kinds, request)
        message += [_further_line(candidate, candidates[0]) for candidate in candidates[1:]]
        if settings:
            verb = "ignore" if [*settings] == ["ignore"] else "accept"
            hint.append(f"To {verb} it, set:  {advice.accept(settings)}")
        elif rule := context.fallback(candidates[0]):
            hint.append(f"To play #{candidates[0].recorded.number} instead, set:  {advice.accept({'fallback': rule})}")
    if not candidates or candidates[0].differences:
        message += _unknown_ids(request, context)
    return Explanation("\n".join(map(escape.line, message)), "\n".join(map(escape.line, hint)), reason)


def differences(candidate: Candidate, request: Request) -> list[str]:
    """Return the differences of `candidate` and the redacted `request`, one line each, as in the text of a miss."""
    lines = [line for line, _ in _difference_lines(candidate.differences, [""] * len(candidate.differences), request)]
    uncounted = [f"and in {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return [escape.line(line) for line in [*lines[:_SHOWN], *uncounted]]


# ------------------------------------------------------------------------------------------------ the recordings


def _nearest_lines(candidate: Candidate, kinds: list[str], request: Request) -> Iterator[str]:
    number, differences_found = candidate.recorded.number, candidate.differences
    if all(kinds):
        distinct_kinds = list(dict.fromkeys(kinds))
        verb = "differs" if len(distinct_kinds) == 1 else "differ"
        yield f"The closest recording is #{number}. Only {_listed(distinct_kinds)} {verb}:"
    else:
        yield f"The closest recording is #{number}. It differs in:"
    lines = list(_difference_lines(differences_found, [] if all(kinds) else kinds, request))
    yield from (f"  {line}" for line, _ in lines[:_SHOWN])
    if hidden := sum(count for _, count in lines[_SHOWN:]):
        yield f"  and in {hidden} more place{'s' if hidden > 1 else ''}"


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _further_line(candidate: Candidate, first: Candidate) -> str:
    """Describe a recording that is not the nearest in one line."""
    start = f"The next closest is #{candidate.recorded.number}. It differs in"
    names = list(dict.fromkeys(_location(difference) for difference in candidate.differences))
    if candidate.weight > _FAR * first.weight and candidate.differences[0].change is not Change.UNKNOWN:
        return f"{start} {len(names)} place{'s' if len(names) > 1 else ''}"
    if len(candidate.differences) == 1:
        return f"{start} {_difference_line(candidate.differences[0])}"
    hidden = len(names) - _NAMED
    ending = f" and {hidden} more place{'s' if hidden > 1 else ''}" if hidden > 0 else ""
    return f"{start} {', '.join(names[:_NAMED])}{ending}"


def _difference_lines(
    found_differences: list[Difference], kinds: list[str], request: Request
) -> Iterator[tuple[str, int]]:
    """Yield lines with the number of differences in each: adjacent new items of a list are one line."""
    index = 0
    while index < len(found_differences):
        difference = found_differences[index]
        run = _run_length(found_differences, index)
        if run >= _MANY:
            last = found_differences[index + run - 1]
            name = f"{display.format_path(difference.path[:-1])}[{difference.path[-1]}] to [{last.path[-1]}]"
            yield f"{name}: {difference.change.name.lower()}: {run} items, the last {_item(last)}", run
            index += run
            continue
        kind = kinds[index] if kinds else ""
        remark = (
            _no_json(request)
            if (difference.recorded, difference.current) == ("json", "bytes") and difference.field == "kind"
            else kind
        )
        yield _difference_line(difference) + (f"  ({remark})" if remark else ""), 1
        index += 1


def _run_length(found_differences: list[Difference], index: int) -> int:
    """Return how many differences from `index` on are adjacent items that only one of two lists has."""
    first = found_differences[index]
    if first.change not in (Change.ADDED, Change.REMOVED) or not first.path or not isinstance(first.path[-1], int):
        return 1
    end = index + 1
    while (
        end < len(found_differences)
        and found_differences[end].change is first.change
        and found_differences[end].path == (*first.path[:-1], first.path[-1] + end - index)
    ):
        end += 1
    return end - index


def _location(difference: Difference) -> str:
    return display.format_path(difference.path) or "body" if difference.field in ("body", "kind") else difference.field


def _difference_line(difference: Difference) -> str:
    name = _location(difference)
    if difference.change is Change.UNKNOWN:
        return f"{name}: nested too deeply to be compared"
    if difference.change is Change.MOVED:
        return f"{name}: the same {len(difference.current)} items in another order"
    if difference.path and isinstance(difference.path[-1], int) and difference.change is not Change.CHANGED:
        return f"{name}: {difference.change.name.lower()}: {_item(difference)}"
    if difference.field == "kind":
        return f"{name}: recorded is {difference.recorded}  now is {difference.current}"
    recorded, current = (_joined(value, difference.field) for value in difference[3:5])
    if (
        isinstance(recorded, str)
        and isinstance(current, str)
        and (changes := display.format_changes(recorded, current))
    ):
        return f"{name}: {changes}"
    recorded_text = "absent" if difference.change is Change.ADDED else display.format_value(recorded)
    current_text = "absent" if difference.change is Change.REMOVED else display.format_value(current)
    return f"{name}: recorded {recorded_text}  now {current_text}"


def _item(difference: Difference) -> str:
    """Describe an item that only one list has: a tool by its name, anything else by its start."""
    item = difference.current if difference.change is Change.ADDED else difference.recorded
    name = (
        called(item)
        if isinstance(item, dict) and "role" not in item and difference.path[0] in ("tools", "functions")
        else ""
    )
    return name or display.format_value(item)


def _joined(value: Any, field: str) -> Any:
    """Return the names and values of a query or of headers as one text."""
    if field not in ("query", "headers"):
        return value
    equals, comma = ("=", "&") if field == "query" else (": ", ", ")
    return comma.join(name + equals + value for name, value in value)


def _no_json(request: Request) -> str:
    """Describe the error in a body that should be JSON."""
    if not request.body.strip():
        return "the body is empty"
    try:
        json.loads(request.body)
    except json.JSONDecodeError as error:
        return f"not JSON: {error.msg[:1].lower()}{error.msg[1:]} in line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError):
        pass
    return "not JSON"


def _other_endpoints(request: Request, recorded: Sequence[Recorded]) -> str:
    """Describe the contents of a cassette that has no recording of the method and path."""
    if not recorded:
        return "The cassette has no recordings."
    counts = Counter((recording.request.method, recording.request.path) for recording in recorded)
    for method, path in counts:
        if method.upper() == request.method.upper() and (extra_path := _path_difference(path, request.path)):
            return f"It has {method} {path}: the path differs only by {extra_path}. Is the base URL right?"
    endpoints = ", ".join(f"{method} {path} ({count})" for (method, path), count in counts.most_common(5))
    return f"It has no recording of that method and path, only {endpoints}{', …' if len(counts) > 5 else ''}."


def _path_difference(first: str, second: str) -> str:
    """Return the start that only one of two paths has, or "slashes" if only these differ; else nothing."""
    if re.sub("/+", "/", first).rstrip("/") == re.sub("/+", "/", second).rstrip("/"):
        return "slashes"
    longer, shorter = sorted((first, second), key=len, reverse=True)
    return longer.removesuffix(shorter) if shorter.strip("/") and longer.endswith(shorter) else ""


# ------------------------------------------------------------------------------------------------ ids


def _unknown_ids(request: Request, context: MissContext) -> list[str]:
    """Return a line for each ID in `request` that neither a response nor a request in the cassette contains."""
    locations: dict[str, str] = {}
    for location, name in _contained_ids(request):
        locations.setdefault(name, location)
    new = [
        name for name in locations if not any(name.encode() in recording.request.body for recording in context.recorded)
    ]
    new = [name for name in new if not any(name in recording.request.uri for recording in context.recorded)]
    if not new:
        return []
    unknown = context.not_given(new)
    return [
        f"{locations[name]}: {name} was issued by no recording in this cassette" for name in new if name in unknown
    ][:_IDS]


def _contained_ids(request: Request) -> Iterator[tuple[str, str]]:
    """Yield the location and the text of each ID in `request` that an earlier response must have issued."""
    yield from (("path", part) for part in request.path.split("/") if ids.classify(part))
    try:
        body = json_codec.loads(request.body)
        json_codec.canonical(body)
    except ValueError:  # not JSON, or nested too deeply
        return
    for path, value in _strings(body, ()):
        name = next((segment for segment in reversed(path) if isinstance(segment, str) and segment != "id"), "")
        if _GIVEN.fullmatch(name) and ids.classify(value):
            yield display.format_path(path), value


def _strings(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _strings(inner, (*path, name))
