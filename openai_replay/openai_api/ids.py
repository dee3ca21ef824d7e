"""IDs that the API issues (`call_…`, `resp_…`, `thread_…`, `file-…`): finding and pairing them, and replacing them in
requests.

An ID is recognized where a response issues it: as the value of a key `id` or `…_id`. So no word of prose is taken for
an ID, and no list of prefixes can become outdated: `chatcmpl-9x8…`, `toolu_01A…`, `D681PevKs` and a UUID are IDs,
`gpt-4o` is not.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from openai_replay.model import Interaction, Request, Response, header

_ISSUED = re.compile(rb'"(?:[A-Za-z_]*_)?id"[ \t\r\n]*:[ \t\r\n]*"([A-Za-z0-9_-]{1,200})"')
#: The prefix of an ID, and the part that distinguishes it: `call_abc`, `chatcmpl-123`, `thread_run_7`.
_PREFIXED = re.compile(r"([A-Za-z]+(?:[_-][A-Za-z]+)*?)[_-]([A-Za-z0-9][A-Za-z0-9_-]*)")
#: Prefixes of OpenAI's IDs. After any other prefix, the rest of an ID has to look random.
_OPENAI_PREFIX = re.compile(
    "asst|batch|call|chatcmpl|cmpl|conv|eval|evalrun|fc|file|ftjob|item|modr|msg|rs|resp|run|step|thread|tool|toolu|"
    "upload|vs|vsfb|ws"
)
#: Letters and digits mixed, so that `gpt-4o-mini-2024-07-18` and other names of models are not IDs.
_RANDOM = re.compile(r"(?=[A-Za-z_-]*[0-9])(?=[0-9_-]*[A-Za-z])[A-Za-z0-9_-]{8,}")
_UUID = re.compile(r"(?i:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
# An escape is not part of a word (`\ncall_1`, `%2Fthread_1`).
_WORD = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)|%[0-9A-Fa-f]{2}|([A-Za-z0-9_-]+)", re.DOTALL)


def classify(word: str) -> str:
    """Return the kind of the ID `word`: its prefix, such as `call`, or `uuid` or `id`. Empty if it is not an ID."""
    if _UUID.fullmatch(word):
        return "uuid"
    if match := _PREFIXED.fullmatch(word):
        prefix, suffix = match.groups()
        if _OPENAI_PREFIX.fullmatch(prefix) or ("-" not in suffix and _RANDOM.fullmatch(suffix)):
            return prefix
        return ""
    return "id" if "-" not in word and _RANDOM.fullmatch(word) else ""


def find_issued(response: Response | bytes) -> list[str]:
    """Return the IDs that a response or its body issues, each once, in the order of their first appearance.

    The body is searched as text, so that streams and JSON documents work alike. No IDs are found in a compressed body.
    """
    body = response if isinstance(response, bytes) else response.body
    words = dict.fromkeys(_ISSUED.findall(body))
    return [word for word in map(bytes.decode, words) if classify(word)]


def find_unissued(names: Iterable[str], responses: Iterable[Response]) -> set[str]:
    """Return the IDs among `names` that none of `responses` issued. A compressed response may issue any."""
    unresolved = set(names)
    for response in responses if unresolved else ():
        if header(response.head.headers, "content-encoding").strip().lower() not in ("", "identity"):
            return set()
        body = response.body
        unresolved -= {name for name in unresolved if f'"{name}"'.encode() in body}
        if not unresolved:
            break
    return unresolved


def rename_ids(request: Request, mapping: Mapping[str, str]) -> Request:
    """Return `request` with each ID that is a key of `mapping` replaced by its value, in path, query and body.

    Only whole words are replaced. Without any, the same object is returned.
    """
    if not mapping:
        return request

    def replacement(match: re.Match[str]) -> str:
        return mapping.get(match[1], match[0]) if match[1] else match[0]

    uri = _WORD.sub(replacement, request.uri)
    text = request.body.decode("latin-1")  # each byte is a character, and IDs are ASCII
    body = _WORD.sub(replacement, text)
    if uri == request.uri and body == text:
        return request
    return request._replace(uri=uri, body=body.encode("latin-1"))


def pair_ids(recorded: Response | bytes, fresh: Response | bytes) -> dict[str, str]:
    """Return {recorded ID: fresh ID} for two responses: the first `call_…` of one corresponds to the first of the
    other, whatever other IDs they issue.
    """
    ids_by_path: dict[str, deque[str]] = defaultdict(deque)
    for word in find_issued(fresh):
        ids_by_path[classify(word)].append(word)
    return {
        word: ids_by_path[classify(word)].popleft() for word in find_issued(recorded) if ids_by_path[classify(word)]
    }


def pair_interactions(
    recorded: Sequence[Interaction], fresh: Sequence[Interaction], key: Callable[[Request], Hashable]
) -> list[int | None]:
    """Return for each interaction of `fresh` the index of the interaction in `recorded` that it re-records, or None.

    IDs from fresh responses count as the IDs of the responses that they replace. If no request is equal even then,
    because a model wrote something else beside the ID, the partner is the first request with the same method, path and
    IDs.
    """
    waiting: dict[Hashable, deque[int]] = defaultdict(deque)
    same_ids: dict[Hashable, list[int]] = defaultdict(list)
    recorded_ids: set[str] = set()  # issued by recorded responses
    for position, interaction in enumerate(recorded):
        waiting[key(interaction.request)].append(position)
        if mentioned := _mentioned_ids(interaction.request, recorded_ids):
            same_ids[interaction.request.method, interaction.request.path, mentioned].append(position)
        recorded_ids.update(find_issued(interaction.response))
    paired_indexes: set[int] = set()
    mapping: dict[str, str] = {}  # from fresh IDs to those that they replace
    partners: list[int | None] = []
    for interaction in fresh:
        request = rename_ids(interaction.request, mapping)
        candidates = waiting.get(key(request), deque())
        while candidates and candidates[0] in paired_indexes:
            candidates.popleft()
        index: int | None = candidates[0] if candidates else None
        if index is None and (mentioned := _mentioned_ids(request, recorded_ids)):
            index = next(
                (i for i in same_ids[request.method, request.path, mentioned] if i not in paired_indexes), None
            )
        partners.append(index)
        if index is not None:
            paired_indexes.add(index)
            mapping |= pair_ids(interaction.response, recorded[index].response)
    return partners


def _mentioned_ids(request: Request, recorded_ids: set[str]) -> frozenset[str]:
    """Return the IDs among `recorded_ids` that `request` contains."""
    if not recorded_ids:
        return frozenset()
    words = {match[1] for text in (request.uri, request.body.decode("latin-1")) for match in _WORD.finditer(text)}
    return frozenset(words & recorded_ids)
