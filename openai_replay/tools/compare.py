"""Compares two cassettes: requests and responses by JSON path; streams by the response they add up to.

Ids and dates differ between any two recordings: these differences are expected, and are listed apart.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from openai_replay.matching import diff
from openai_replay.matching.diff import Change, Difference
from openai_replay.matching.matcher import ComparableRequest, Matcher
from openai_replay.model import Interaction, Request, Response
from openai_replay.openai_api import ids, transcript
from openai_replay.text import display, escape, json_codec
from openai_replay.tools import timeline

#: Keys whose values are new in each response.
_CHANGING_KEYS = frozenset({"id", "created", "system_fingerprint", "obfuscation"})
_CHANGING_KEY_ENDS = ("_id", "_at")
_MATCHER = Matcher()


class Pair(NamedTuple):
    """Two recordings of one request, by their index in the two cassettes, from 0; None if one cassette has none."""

    first: int | None
    second: int | None


class Differences(NamedTuple):
    """The differences of two recordings, one line each: the `unexpected`, and those that are `expected`."""

    unexpected: list[str]
    expected: list[str]


def pair_recordings(
    first: Sequence[Interaction], second: Sequence[Interaction], key: Callable[..., Hashable]
) -> list[Pair]:
    """Return which recordings of two cassettes correspond.

    First by the `key` of their requests in order, where ids that responses gave count as the same. Then those of one
    method and path, in order. Two cassettes of one recording each are always compared.
    """
    if len(first) == len(second) == 1:
        return [Pair(0, 0)]
    aligned = enumerate(ids.pair_interactions(first, second, key))
    partners = {first_number: second_number for second_number, first_number in aligned if first_number is not None}
    paired = set(partners.values())
    unpaired: dict[tuple[str, str], deque[int]] = defaultdict(deque)
    for number, recording in enumerate(second):
        if number not in paired:
            unpaired[recording.request.method.upper(), recording.request.path].append(number)
    for number, recording in enumerate(first):
        candidates = unpaired[recording.request.method.upper(), recording.request.path]
        if number not in partners and candidates:
            partners[number] = candidates.popleft()
    unpaired_second = sorted(number for candidates in unpaired.values() for number in candidates)
    return [
        *(Pair(number, partners.get(number)) for number in range(len(first))),
        *(Pair(None, number) for number in unpaired_second),
    ]


def compare_recordings(first: Interaction, second: Interaction) -> Differences:
    """Return the differences of two recordings, except those of their times."""
    differences = Differences([], [])
    for difference in diff.differences(_comparable_request(first.request), _comparable_request(second.request)):
        _add(differences, "request", difference)
    before, after = first.response, second.response
    for part, recorded, current in (
        ("status", before.head.status, after.head.status),
        ("end", str(before.end), str(after.end)),
    ):
        if recorded != current:
            differences.unexpected.append(f"response {part}: {recorded}, now {current}")
    for difference in _compare_responses(before, after):
        _add(differences, "response", difference)
    old, new = (
        dict(sorted((name.lower(), value) for name, value in response.head.headers)) for response in (before, after)
    )
    differences.expected.extend(
        f"response header {escape.line(name)}: {_describe_change(old.get(name), new.get(name))}"
        for name in sorted({*old, *new} - {"content-type"})
        if old.get(name) != new.get(name)
    )
    return differences


def compare_times(first: Response, second: Response) -> list[str]:
    """Return how long both took, one line each, even where they do not differ."""
    return [
        f"timing   {part}: {recorded} ms, now {current} ms"
        for part, recorded, current in (
            ("head", first.head_ms, second.head_ms),
            ("TTFT", timeline.first_token_ms(first), timeline.first_token_ms(second)),
            ("end", first.end_ms, second.end_ms),
        )
        if recorded is not None and current is not None
    ] + [f"timing   frames: {len(first.frames)}, now {len(second.frames)}"]


def _compare_responses(before: Response, after: Response) -> Iterator[Difference]:
    old, new = transcript.parse_response(before), transcript.parse_response(after)
    if old.media != new.media:
        yield Difference("content-type", (), Change.CHANGED, old.media, new.media)
    if old.value is not None and new.value is not None:
        yield from diff.differences(_comparable_json(old.value), _comparable_json(new.value))
    elif old.body != new.body:
        yield Difference("body", (), Change.CHANGED, _printable(old.body), _printable(new.body))


def _comparable_json(value: Any) -> ComparableRequest:
    return ComparableRequest("", "", [], "json", _with_parsed_arguments(value), [])


def _comparable_request(request: Request) -> ComparableRequest:
    meaning = _MATCHER.comparable(request)
    try:
        return meaning._replace(body=_with_parsed_arguments(meaning.body)) if meaning.kind == "json" else meaning
    except RecursionError:  # nested too deeply, which `diff` reports
        return meaning


def _with_parsed_arguments(value: Any) -> Any:
    """Return `value` with the arguments of calls, which are JSON in a text, as JSON."""
    if isinstance(value, list):
        return [_with_parsed_arguments(item) for item in value]
    if not isinstance(value, dict):
        return value
    copy = {name: _with_parsed_arguments(inner) for name, inner in value.items()}
    if isinstance(arguments := value.get("arguments"), str):
        with suppress(ValueError):  # the stream was cut off
            copy["arguments"] = json_codec.shallow(arguments.encode("utf-8", "surrogatepass"))
    return copy


def _printable(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return f"{len(body)} bytes"


def _add(differences: Differences, side: str, difference: Difference) -> None:
    expected = difference.field == "body" and _is_expected(difference)
    (differences.expected if expected else differences.unexpected).append(f"{side:<8} {_describe(difference)}")


def _is_expected(difference: Difference) -> bool:
    name = next((key for key in reversed(difference.path) if isinstance(key, str)), "")
    if difference.change is not Change.CHANGED:
        return False
    recorded, current = difference.recorded, difference.current
    if (
        isinstance(recorded, str)
        and isinstance(current, str)
        and ids.classify(recorded)
        and ids.classify(recorded) == ids.classify(current)
    ):
        return True
    return type(recorded) is type(current) and (name in _CHANGING_KEYS or name.endswith(_CHANGING_KEY_ENDS))


def _describe(difference: Difference) -> str:
    path = display.format_path(difference.path) or difference.field
    match difference.change:
        case Change.ADDED:
            return f"{path}: only in the second: {display.format_value(difference.current)}"
        case Change.REMOVED:
            return f"{path}: only in the first: {display.format_value(difference.recorded)}"
        case Change.MOVED:
            return f"{path}: the same in another order"
        case Change.UNKNOWN:
            return f"{path}: nested too deeply to be compared"
    return f"{path}: {_describe_change(difference.recorded, difference.current)}"


def _describe_change(recorded: Any, current: Any) -> str:
    if isinstance(recorded, str) and isinstance(current, str) and (text := display.format_changes(recorded, current)):
        return text
    return f"{display.format_value(recorded)}, now {display.format_value(current)}"
