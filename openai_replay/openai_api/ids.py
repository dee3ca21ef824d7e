"""The ids that the API gives (`call_…`, `resp_…`, `thread_…`, `file-…`): where they come from, and other ones in their
place.

An id is found where an answer gives it: as the value of a key `id` or `…_id`. So no word of prose is taken for one,
and what is to be an id needs no list that grows old: `chatcmpl-9x8…`, `toolu_01A…`, `D681PevKs` and a UUID are ids,
`gpt-4o` is none.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from openai_replay.model import Interaction, Request, Response, header

_GIVEN = re.compile(rb'"(?:[A-Za-z_]*_)?id"[ \t\r\n]*:[ \t\r\n]*"([A-Za-z0-9_-]{1,200})"')
#: A word and what tells it from others of its kind: `call_abc`, `chatcmpl-123`, `thread_run_7`.
_PREFIXED = re.compile(r"([A-Za-z]+(?:[_-][A-Za-z]+)*?)[_-]([A-Za-z0-9][A-Za-z0-9_-]*)")
#: What OpenAI's ids begin with; whatever follows makes one. Others have to look like chance.
_KNOWN = re.compile(
    "asst|batch|call|chatcmpl|cmpl|conv|eval|evalrun|fc|file|ftjob|item|modr|msg|rs|resp|run|step|thread|tool|toolu|"
    "upload|vs|vsfb|ws"
)
#: Letters and digits mixed. So `gpt-4o-mini-2024-07-18` and other names of models are no ids.
_CHANCE = re.compile(r"(?=[A-Za-z_-]*[0-9])(?=[0-9_-]*[A-Za-z])[A-Za-z0-9_-]{8,}")
_UUID = re.compile(r"(?i:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
# An escape belongs to no word (`\ncall_1`, `%2Fthread_1`).
_WORD = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)|%[0-9A-Fa-f]{2}|([A-Za-z0-9_-]+)", re.DOTALL)


def kind(word: str) -> str:
    """What sort of id `word` is: `call`, `thread`, or, where it has no prefix, `uuid` or `id`; empty if it is none."""
    if _UUID.fullmatch(word):
        return "uuid"
    if match := _PREFIXED.fullmatch(word):
        prefix, rest = match.groups()
        if _KNOWN.fullmatch(prefix) or ("-" not in rest and _CHANCE.fullmatch(rest)):
            return prefix
        return ""
    return "id" if "-" not in word and _CHANCE.fullmatch(word) else ""


def given(answer: Response | bytes) -> list[str]:
    """The ids in an answer, or in its body, each once, in the order of their first appearance.

    The body is searched as text, a stream's events as well as a JSON document; what is compressed has none.
    """
    body = answer if isinstance(answer, bytes) else answer.body
    words = dict.fromkeys(_GIVEN.findall(body))
    return [word for word in map(bytes.decode, words) if kind(word)]


def not_given(names: Iterable[str], answers: Iterable[Response]) -> set[str]:
    """Those ids among `names` that none of `answers` gave. All are read until every id is found; what is compressed may
    give any.
    """
    left = set(names)
    for answer in answers if left else ():
        if header(answer.head.headers, "content-encoding").strip().lower() not in ("", "identity"):
            return set()
        body = answer.body
        left -= {name for name in left if f'"{name}"'.encode() in body}
        if not left:
            break
    return left


def renamed(request: Request, mapping: Mapping[str, str]) -> Request:
    """`request` with every id that is a key of `mapping` replaced by its value, in path, query and body, wherever it
    stands as a word of its own; the same object if there is none.
    """
    if not mapping:
        return request

    def other(match: re.Match[str]) -> str:
        return mapping.get(match[1], match[0]) if match[1] else match[0]

    uri = _WORD.sub(other, request.uri)
    text = request.body.decode("latin-1")  # every byte is a character, and ids are ASCII
    body = _WORD.sub(other, text)
    if uri == request.uri and body == text:
        return request
    return request._replace(uri=uri, body=body.encode("latin-1"))


def paired(recorded: Response | bytes, anew: Response | bytes) -> dict[str, str]:
    """Which id of the answer `anew` is in the place of which one of the answer `recorded`, as {recorded: anew}: the
    first `call_…` of one is the first of the other, whatever else they give.
    """
    places: dict[str, deque[str]] = defaultdict(deque)
    for word in given(anew):
        places[kind(word)].append(word)
    return {word: places[kind(word)].popleft() for word in given(recorded) if places[kind(word)]}


def aligned(
    recorded: Sequence[Interaction], anew: Sequence[Interaction], key: Callable[[Request], Hashable]
) -> list[int | None]:
    """For each interaction of `anew`, in order, the index of the one in `recorded` that it records again; None where
    it is new.

    Ids that answers of `anew` gave count as those that the answers they replace gave. Where no request is the same
    even so, because a model has put something else beside the id, it is the first with the same method and path that
    speaks of the same ids.
    """
    waiting: dict[Hashable, deque[int]] = defaultdict(deque)
    kin: dict[Hashable, list[int]] = defaultdict(list)
    known: set[str] = set()  # ids that recorded answers gave
    for place, one in enumerate(recorded):
        waiting[key(one.request)].append(place)
        if spoken := _spoken(one.request, known):
            kin[one.request.method, one.request.path, spoken].append(place)
        known.update(given(one.response))
    taken: set[int] = set()
    mapping: dict[str, str] = {}  # ids given anew to those they replace
    found: list[int | None] = []
    for one in anew:
        request = renamed(one.request, mapping)
        candidates = waiting.get(key(request), deque())
        while candidates and candidates[0] in taken:
            candidates.popleft()
        index: int | None = candidates[0] if candidates else None
        if index is None and (spoken := _spoken(request, known)):
            index = next((i for i in kin[request.method, request.path, spoken] if i not in taken), None)
        found.append(index)
        if index is not None:
            taken.add(index)
            mapping |= paired(one.response, recorded[index].response)
    return found


def _spoken(request: Request, known: set[str]) -> frozenset[str]:
    """The ids among `known` that `request` speaks of."""
    if not known:
        return frozenset()
    words = {match[1] for text in (request.uri, request.body.decode("latin-1")) for match in _WORD.finditer(text)}
    return frozenset(words & known)
