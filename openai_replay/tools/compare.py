"""Two tapes compared: what was asked, and what was answered, by JSON path; of streams the answer they come to.

What no two recordings have in common, ids and dates, is as expected: it is told apart, and makes no difference.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from openai_replay.matching import diff
from openai_replay.matching.diff import Apart, How
from openai_replay.matching.matcher import Matcher, Meaning
from openai_replay.model import Interaction, Request, Response
from openai_replay.openai_api import ids, transcript
from openai_replay.text import display, escape, json_codec
from openai_replay.tools import timeline

#: Keys whose values are made anew for every answer.
_CHANGING_KEYS = frozenset({"id", "created", "system_fingerprint", "obfuscation"})
_CHANGING_KEY_ENDS = ("_id", "_at")
_MATCHER = Matcher()


class Pair(NamedTuple):
    """Two recordings of one request, by their places in the two tapes (from 0); None where there is no other."""

    first: int | None
    second: int | None


class Differences(NamedTuple):
    """Where two recordings differ, a line each: `found`, and what is `expected` to differ."""

    unexpected: list[str]
    expected: list[str]


def pair_recordings(
    first: Sequence[Interaction], second: Sequence[Interaction], key: Callable[..., Hashable]
) -> list[Pair]:
    """Which recordings stand for each other: by the `key` of their requests in order, ids that answers gave counting
    as the same, then those of one method and path in order. One alone is always compared with one alone.
    """
    if len(first) == len(second) == 1:
        return [Pair(0, 0)]
    of_first = {one: number for number, one in enumerate(ids.aligned(first, second, key)) if one is not None}
    taken = set(of_first.values())
    waiting: dict[tuple[str, str], deque[int]] = defaultdict(deque)
    for number, one in enumerate(second):
        if number not in taken:
            waiting[one.request.method.upper(), one.request.path].append(number)
    for number, one in enumerate(first):
        left = waiting[one.request.method.upper(), one.request.path]
        if number not in of_first and left:
            of_first[number] = left.popleft()
    alone = sorted(number for left in waiting.values() for number in left)
    return [*(Pair(number, of_first.get(number)) for number in range(len(first))), *(Pair(None, one) for one in alone)]


def compare_recordings(first: Interaction, second: Interaction) -> Differences:
    """Where two recordings differ, but for their times."""
    found = Differences([], [])
    for apart in diff.differences(_comparable_request(first.request), _comparable_request(second.request)):
        _add(found, "request", apart)
    before, after = first.response, second.response
    for what, was, now in (
        ("status", before.head.status, after.head.status),
        ("end", str(before.end), str(after.end)),
    ):
        if was != now:
            found.unexpected.append(f"answer  {what}: {was}, now {now}")
    for apart in _compare_responses(before, after):
        _add(found, "answer", apart)
    old, new = (dict(sorted((name.lower(), value) for name, value in one.head.headers)) for one in (before, after))
    found.expected.extend(
        f"answer  header {escape.line(name)}: {_describe_change(old.get(name), new.get(name))}"
        for name in sorted({*old, *new} - {"content-type"})
        if old.get(name) != new.get(name)
    )
    return found


def compare_times(first: Response, second: Response) -> list[str]:
    """How long both took, a line each, whether they differ or not."""
    return [
        f"timing  {what}: {was} ms, now {now} ms"
        for what, was, now in (
            ("head", first.head_ms, second.head_ms),
            ("TTFT", timeline.first_token_ms(first), timeline.first_token_ms(second)),
            ("end", first.end_ms, second.end_ms),
        )
        if was is not None and now is not None
    ] + [f"timing  frames: {len(first.frames)}, now {len(second.frames)}"]


def _compare_responses(before: Response, after: Response) -> Iterator[Apart]:
    old, new = transcript.answer(before), transcript.answer(after)
    if old.media != new.media:
        yield Apart("content-type", (), How.CHANGED, old.media, new.media)
    if old.value is not None and new.value is not None:
        yield from diff.differences(_comparable_json(old.value), _comparable_json(new.value))
    elif old.body != new.body:
        yield Apart("body", (), How.CHANGED, _printable(old.body), _printable(new.body))


def _comparable_json(value: Any) -> Meaning:
    return Meaning("", "", [], "json", _with_parsed_arguments(value), [])


def _comparable_request(request: Request) -> Meaning:
    meaning = _MATCHER.meaning(request)
    try:
        return meaning._replace(body=_with_parsed_arguments(meaning.body)) if meaning.kind == "json" else meaning
    except RecursionError:  # nested too deeply, which `differing` says
        return meaning


def _with_parsed_arguments(value: Any) -> Any:
    """`value` with the arguments of calls, which are JSON in a text, as JSON."""
    if isinstance(value, list):
        return [_with_parsed_arguments(one) for one in value]
    if not isinstance(value, dict):
        return value
    new = {name: _with_parsed_arguments(inner) for name, inner in value.items()}
    if isinstance(arguments := value.get("arguments"), str):
        with suppress(ValueError):  # of a stream that was cut
            new["arguments"] = json_codec.shallow(arguments.encode("utf-8", "surrogatepass"))
    return new


def _printable(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return f"{len(body)} bytes"


def _add(found: Differences, side: str, apart: Apart) -> None:
    expected = apart.field == "body" and _is_expected(apart)
    (found.expected if expected else found.unexpected).append(f"{side:<7} {_describe(apart)}")


def _is_expected(apart: Apart) -> bool:
    name = next((one for one in reversed(apart.path) if isinstance(one, str)), "")
    if apart.how is not How.CHANGED:
        return False
    was, now = apart.recorded, apart.now
    if isinstance(was, str) and isinstance(now, str) and ids.kind(was) and ids.kind(was) == ids.kind(now):
        return True
    return type(was) is type(now) and (name in _CHANGING_KEYS or name.endswith(_CHANGING_KEY_ENDS))


def _describe(apart: Apart) -> str:
    where = display.path(apart.path) or apart.field
    match apart.how:
        case How.ADDED:
            return f"{where}: only in the second: {display.value(apart.now)}"
        case How.REMOVED:
            return f"{where}: only in the first: {display.value(apart.recorded)}"
        case How.MOVED:
            return f"{where}: the same in another order"
        case How.UNKNOWN:
            return f"{where}: nested too deeply to be compared"
    return f"{where}: {_describe_change(apart.recorded, apart.now)}"


def _describe_change(was: Any, now: Any) -> str:
    if isinstance(was, str) and isinstance(now, str) and (text := display.changes(was, now)):
        return text
    return f"{display.value(was)}, now {display.value(now)}"
