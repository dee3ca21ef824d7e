"""What has become another since an answer was recorded: the form of it, which breaks programs, and what is as expected.

Another text, other ids, times, cuts and headers are as expected: the model and the network never do the same twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from openai_replay.model import End, Headers, Response
from openai_replay.openai_api import transcript
from openai_replay.openai_api.transcript import Answer
from openai_replay.text import json_codec
from openai_replay.text.http_headers import NOISE
from openai_replay.text.sse import Event
from openai_replay.tools import json_shape

#: Events that only keep a connection open: they come when there is nothing else to come.
_KEEP_ALIVE_EVENTS = frozenset({"keepalive", "ping"})
#: An answer that takes so many times as long, and so many ms longer, is worth a word.
_SLOWER, _SLOWER_MS = 3.0, 1000
#: Headers that come and go.
_CHANGING_HEADERS = ("x-ratelimit-", "cf-", "set-cookie", "retry-after", "date", "age", "etag", "server-timing")


class Drift(NamedTuple):
    """What was found: `form` are the changes that a program may break on, `notes` the others that are worth a word."""

    breaking: list[str]
    notes: list[str]


def find_drift(recorded: Response, current: Response) -> Drift:
    """Compare the answer of today with the recorded one, both redacted by the same rules."""
    before, after = transcript.answer(recorded), transcript.answer(current)
    breaking = list(_breaking_changes(recorded, before, current, after))
    return Drift(breaking, list(_notes(recorded, before, current, after)))


def _breaking_changes(recorded: Response, before: Answer, current: Response, after: Answer) -> Iterator[str]:
    if recorded.head.status != current.head.status:
        yield f"status: was {recorded.head.status}, now {current.head.status}"
    if before.media != after.media:
        yield f"content-type: was {before.media or 'none'}, now {after.media or 'none'}"
    if recorded.end is not current.end:
        yield f"end: was {recorded.end}, now {current.end}"
    if before.media != after.media or recorded.head.status // 100 != current.head.status // 100:
        return  # two things that have nothing in common
    if before.is_stream:
        yield from _event_changes(before.events, after.events)
    else:
        yield from _json_changes(before, after)
    was, are = _finish_reasons(before), _finish_reasons(after)
    if was != are:
        yield f"finish reason: was {', '.join(was) or 'none'}, now {', '.join(are) or 'none'}"


def _json_changes(before: Answer, after: Answer) -> Iterator[str]:
    if before.value is None or after.value is None:
        for one, which in ((before, "was"), (after, "is")):
            if one.value is None and (before.value is not None or after.value is not None):
                yield f"body: {which} no JSON"
        return
    yield from json_shape.compare_shapes(json_shape.infer_shape([before.value]), json_shape.infer_shape([after.value]))


def _event_changes(before: Sequence[Event], after: Sequence[Event]) -> Iterator[str]:
    was, are = event_sequence(before), event_sequence(after)
    if collapse_repeats(was) != collapse_repeats(are):
        yield f"events: were {format_sequence(was)}; now {format_sequence(are)}"
    old, new = _group_by_kind(before), _group_by_kind(after)
    for kind in old:
        if kind in new:
            pieces = len(old[kind]) > 1 or len(new[kind]) > 1
            found = json_shape.compare_shapes(
                json_shape.infer_shape(old[kind], pieces), json_shape.infer_shape(new[kind], pieces), pieces
            )
            yield from (f"{kind} {line}" for line in found)


def event_kind(event: Event) -> str:
    """What sort of event it is: its type, by name or in its data; of a chunk, what object it is."""
    if event.data.strip() == "[DONE]":
        return "[DONE]"
    if event.type != "message":
        return event.type
    value = _parse_data(event)
    if isinstance(value, dict):
        for name in ("type", "object"):
            if isinstance(value.get(name), str):
                return str(value[name])
        return "error" if "error" in value else "data"
    return "data"


def event_sequence(events: Sequence[Event]) -> list[tuple[str, bool]]:
    """The sorts of `events` in order, runs of one as (sort, several)."""
    kinds = [kind for kind in map(event_kind, events) if kind not in _KEEP_ALIVE_EVENTS]
    return [(kind, len(list(run)) > 1) for kind, run in groupby(kinds)]


def format_sequence(found: Sequence[tuple[str, bool]]) -> str:
    """`created, delta+, completed`; of a long one both ends."""
    words = [f"{kind}+" if several else kind for kind, several in found]
    return ", ".join(words if len(words) <= 12 else [*words[:6], "…", *words[-6:]]) or "none"


def collapse_repeats(found: Sequence[tuple[str, bool]]) -> list[str]:
    """The order of sorts, where what comes again in the same order counts once: two calls of a tool, or ten."""
    kinds = [kind for kind, _ in found]
    for size in range(1, min(len(kinds) // 2, 20) + 1):
        kept: list[str] = []
        for kind in kinds:
            kept.append(kind)
            if len(kept) >= 2 * size and kept[-size:] == kept[-2 * size : -size]:
                del kept[-size:]
        kinds = kept
    return kinds


def _group_by_kind(events: Sequence[Event]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for event in events:
        if (value := _parse_data(event)) is not None:
            found[event_kind(event)].append(value)
    return found


def _parse_data(event: Event) -> Any:
    try:
        return json_codec.shallow(event.data.encode("utf-8", "surrogatepass"))
    except ValueError:
        return None


def _finish_reasons(answer: Answer) -> list[str]:
    return [one.finish for one in answer.messages if one.finish]


def _notes(recorded: Response, before: Answer, current: Response, after: Answer) -> Iterator[str]:
    if recorded.end is End.COMPLETE and recorded.head.status == current.head.status:
        was, are = recorded.end_ms, current.end_ms
        for slow, fast, word in ((are, was, "slower"), (was, are, "faster")):
            if slow - fast >= _SLOWER_MS and slow >= _SLOWER * fast:
                yield f"much {word}: took {was} ms, now {are} ms"
    old, new = _stable_header_names(recorded.head.headers), _stable_header_names(current.head.headers)
    if gone := sorted(old - new):
        yield f"headers gone: {', '.join(gone)}"
    if added := sorted(new - old):
        yield f"headers new: {', '.join(added)}"
    texts = [[one.text for one in answer.messages] for answer in (before, after)]
    if texts[0] != texts[1]:
        yield "the text is another"


def _stable_header_names(headers: Headers) -> set[str]:
    names = {name.lower() for name, _ in headers}
    return {name for name in names if not NOISE.fullmatch(name) and not name.startswith(_CHANGING_HEADERS)}
