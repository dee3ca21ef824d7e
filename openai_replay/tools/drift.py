"""Finds how a response has changed since it was recorded: changes of its form, which break programs, and other notes.

Other texts, ids, times, frames and headers are expected: the model and the network never do the same twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from openai_replay.model import End, Headers, Response
from openai_replay.openai_api import transcript
from openai_replay.openai_api.transcript import ParsedResponse
from openai_replay.text import json_codec
from openai_replay.text.http_headers import NOISE
from openai_replay.text.sse import Event
from openai_replay.tools import json_shape

#: Events that only keep an idle connection open.
_KEEP_ALIVE_EVENTS = frozenset({"keepalive", "ping"})
#: A response is noted as slower if it takes this many times as long, and this many ms longer.
_SLOWER, _SLOWER_MS = 3.0, 1000
#: Headers that differ between any two responses.
_CHANGING_HEADERS = ("x-ratelimit-", "cf-", "set-cookie", "retry-after", "date", "age", "etag", "server-timing")


class Drift(NamedTuple):
    """The changes that were found: `breaking` ones may break a program, `notes` are other changes worth mentioning."""

    breaking: list[str]
    notes: list[str]


def find_drift(recorded: Response, current: Response) -> Drift:
    """Compare the current response with the recorded one, both redacted by the same rules."""
    before, after = transcript.parse_response(recorded), transcript.parse_response(current)
    breaking = list(_breaking_changes(recorded, before, current, after))
    return Drift(breaking, list(_notes(recorded, before, current, after)))


def _breaking_changes(
    recorded: Response, before: ParsedResponse, current: Response, after: ParsedResponse
) -> Iterator[str]:
    if recorded.head.status != current.head.status:
        yield f"status: was {recorded.head.status}, now {current.head.status}"
    if before.media != after.media:
        yield f"content-type: was {before.media or 'none'}, now {after.media or 'none'}"
    if recorded.end is not current.end:
        yield f"end: was {recorded.end}, now {current.end}"
    if before.media != after.media or recorded.head.status // 100 != current.head.status // 100:
        return  # the bodies have nothing in common
    if before.is_stream:
        yield from _event_changes(before.events, after.events)
    else:
        yield from _json_changes(before, after)
    old_reasons, new_reasons = _finish_reasons(before), _finish_reasons(after)
    if old_reasons != new_reasons:
        yield f"finish reason: was {', '.join(old_reasons) or 'none'}, now {', '.join(new_reasons) or 'none'}"


def _json_changes(before: ParsedResponse, after: ParsedResponse) -> Iterator[str]:
    if before.value is None or after.value is None:
        for response, verb in ((before, "was"), (after, "is")):
            if response.value is None and (before.value is not None or after.value is not None):
                yield f"body: {verb} not JSON"
        return
    yield from json_shape.compare_shapes(json_shape.infer_shape([before.value]), json_shape.infer_shape([after.value]))


def _event_changes(before: Sequence[Event], after: Sequence[Event]) -> Iterator[str]:
    old_sequence, new_sequence = event_sequence(before), event_sequence(after)
    if collapse_repeats(old_sequence) != collapse_repeats(new_sequence):
        yield f"events: were {format_sequence(old_sequence)}; now {format_sequence(new_sequence)}"
    old, new = _group_by_kind(before), _group_by_kind(after)
    for kind in old:
        if kind in new:
            are_fragments = len(old[kind]) > 1 or len(new[kind]) > 1
            changes = json_shape.compare_shapes(
                json_shape.infer_shape(old[kind], are_fragments),
                json_shape.infer_shape(new[kind], are_fragments),
                are_fragments,
            )
            yield from (f"{kind} {line}" for line in changes)


def event_kind(event: Event) -> str:
    """Return the kind of an event: its type, by name or in its data; for a chunk, its `object`."""
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
    """Return the kinds of `events` in order. Equal neighbours are one entry, (kind, is repeated)."""
    kinds = [kind for kind in map(event_kind, events) if kind not in _KEEP_ALIVE_EVENTS]
    return [(kind, len(list(run)) > 1) for kind, run in groupby(kinds)]


def format_sequence(sequence: Sequence[tuple[str, bool]]) -> str:
    """Return the sequence as `created, delta+, completed`; of a long one, both ends."""
    words = [f"{kind}+" if is_repeated else kind for kind, is_repeated in sequence]
    return ", ".join(words if len(words) <= 12 else [*words[:6], "…", *words[-6:]]) or "none"


def collapse_repeats(sequence: Sequence[tuple[str, bool]]) -> list[str]:
    """Return the kinds in order, with a repeated series of them once, so that two calls of a tool look like ten."""
    kinds = [kind for kind, _ in sequence]
    for size in range(1, min(len(kinds) // 2, 20) + 1):
        collapsed: list[str] = []
        for kind in kinds:
            collapsed.append(kind)
            if len(collapsed) >= 2 * size and collapsed[-size:] == collapsed[-2 * size : -size]:
                del collapsed[-size:]
        kinds = collapsed
    return kinds


def _group_by_kind(events: Sequence[Event]) -> dict[str, list[Any]]:
    values: dict[str, list[Any]] = defaultdict(list)
    for event in events:
        if (value := _parse_data(event)) is not None:
            values[event_kind(event)].append(value)
    return values


def _parse_data(event: Event) -> Any:
    try:
        return json_codec.shallow(event.data.encode("utf-8", "surrogatepass"))
    except ValueError:
        return None


def _finish_reasons(answer: ParsedResponse) -> list[str]:
    return [message.finish for message in answer.messages if message.finish]


def _notes(recorded: Response, before: ParsedResponse, current: Response, after: ParsedResponse) -> Iterator[str]:
    if recorded.end is End.COMPLETE and recorded.head.status == current.head.status:
        old_ms, new_ms = recorded.end_ms, current.end_ms
        for slow, fast, direction in ((new_ms, old_ms, "slower"), (old_ms, new_ms, "faster")):
            if slow - fast >= _SLOWER_MS and slow >= _SLOWER * fast:
                yield f"much {direction}: took {old_ms} ms, now {new_ms} ms"
    old, new = _stable_header_names(recorded.head.headers), _stable_header_names(current.head.headers)
    if removed := sorted(old - new):
        yield f"headers removed: {', '.join(removed)}"
    if added := sorted(new - old):
        yield f"headers added: {', '.join(added)}"
    texts = [[message.text for message in answer.messages] for answer in (before, after)]
    if texts[0] != texts[1]:
        yield "the text differs"


def _stable_header_names(headers: Headers) -> set[str]:
    names = {name.lower() for name, _ in headers}
    return {name for name in names if not NOISE.fullmatch(name) and not name.startswith(_CHANGING_HEADERS)}
