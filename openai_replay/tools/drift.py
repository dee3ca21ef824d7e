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
_KEPT_ALIVE = frozenset({"keepalive", "ping"})
#: An answer that takes so many times as long, and so many ms longer, is worth a word.
_SLOWER, _SLOWER_MS = 3.0, 1000
#: Headers that come and go.
_CHANGING = ("x-ratelimit-", "cf-", "set-cookie", "retry-after", "date", "age", "etag", "server-timing")


class Drift(NamedTuple):
    """What was found: `form` are the changes that a program may break on, `notes` the others that are worth a word."""

    form: list[str]
    notes: list[str]


def drift(recorded: Response, now: Response) -> Drift:
    """Compare the answer of today with the recorded one, both redacted by the same rules."""
    before, after = transcript.answer(recorded), transcript.answer(now)
    form = list(_form(recorded, before, now, after))
    return Drift(form, list(_notes(recorded, before, now, after)))


def _form(recorded: Response, before: Answer, now: Response, after: Answer) -> Iterator[str]:
    if recorded.head.status != now.head.status:
        yield f"status: was {recorded.head.status}, now {now.head.status}"
    if before.media != after.media:
        yield f"content-type: was {before.media or 'none'}, now {after.media or 'none'}"
    if recorded.end is not now.end:
        yield f"end: was {recorded.end}, now {now.end}"
    if before.media != after.media or recorded.head.status // 100 != now.head.status // 100:
        return  # two things that have nothing in common
    if before.is_stream:
        yield from _events(before.events, after.events)
    else:
        yield from _documents(before, after)
    was, are = _finishes(before), _finishes(after)
    if was != are:
        yield f"finish reason: was {', '.join(was) or 'none'}, now {', '.join(are) or 'none'}"


def _documents(before: Answer, after: Answer) -> Iterator[str]:
    if before.value is None or after.value is None:
        for one, which in ((before, "was"), (after, "is")):
            if one.value is None and (before.value is not None or after.value is not None):
                yield f"body: {which} no JSON"
        return
    yield from json_shape.differences(json_shape.shape([before.value]), json_shape.shape([after.value]))


def _events(before: Sequence[Event], after: Sequence[Event]) -> Iterator[str]:
    was, are = sequence(before), sequence(after)
    if without_repeats(was) != without_repeats(are):
        yield f"events: were {shown(was)}; now {shown(are)}"
    old, new = _by_kind(before), _by_kind(after)
    for kind in old:
        if kind in new:
            pieces = len(old[kind]) > 1 or len(new[kind]) > 1
            found = json_shape.differences(
                json_shape.shape(old[kind], pieces), json_shape.shape(new[kind], pieces), pieces
            )
            yield from (f"{kind} {line}" for line in found)


def kind_of(event: Event) -> str:
    """What sort of event it is: its type, by name or in its data; of a chunk, what object it is."""
    if event.data.strip() == "[DONE]":
        return "[DONE]"
    if event.type != "message":
        return event.type
    value = _loads(event)
    if isinstance(value, dict):
        for name in ("type", "object"):
            if isinstance(value.get(name), str):
                return str(value[name])
        return "error" if "error" in value else "data"
    return "data"


def sequence(events: Sequence[Event]) -> list[tuple[str, bool]]:
    """The sorts of `events` in order, runs of one as (sort, several)."""
    kinds = [kind for kind in map(kind_of, events) if kind not in _KEPT_ALIVE]
    return [(kind, len(list(run)) > 1) for kind, run in groupby(kinds)]


def shown(found: Sequence[tuple[str, bool]]) -> str:
    """`created, delta+, completed`; of a long one both ends."""
    words = [f"{kind}+" if several else kind for kind, several in found]
    return ", ".join(words if len(words) <= 12 else [*words[:6], "…", *words[-6:]]) or "none"


def without_repeats(found: Sequence[tuple[str, bool]]) -> list[str]:
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


def _by_kind(events: Sequence[Event]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for event in events:
        if (value := _loads(event)) is not None:
            found[kind_of(event)].append(value)
    return found


def _loads(event: Event) -> Any:
    try:
        return json_codec.shallow(event.data.encode("utf-8", "surrogatepass"))
    except ValueError:
        return None


def _finishes(answer: Answer) -> list[str]:
    return [one.finish for one in answer.messages if one.finish]


def _notes(recorded: Response, before: Answer, now: Response, after: Answer) -> Iterator[str]:
    if recorded.end is End.COMPLETE and recorded.head.status == now.head.status:
        was, are = recorded.end_ms, now.end_ms
        for slow, fast, word in ((are, was, "slower"), (was, are, "faster")):
            if slow - fast >= _SLOWER_MS and slow >= _SLOWER * fast:
                yield f"much {word}: took {was} ms, now {are} ms"
    old, new = _names(recorded.head.headers), _names(now.head.headers)
    if gone := sorted(old - new):
        yield f"headers gone: {', '.join(gone)}"
    if added := sorted(new - old):
        yield f"headers new: {', '.join(added)}"
    texts = [[one.text for one in answer.messages] for answer in (before, after)]
    if texts[0] != texts[1]:
        yield "the text is another"


def _names(headers: Headers) -> set[str]:
    names = {name.lower() for name, _ in headers}
    return {name for name in names if not NOISE.fullmatch(name) and not name.startswith(_CHANGING)}
