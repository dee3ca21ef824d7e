"""Suggestions for a near miss: the kind of each difference, and settings with which the two requests would be equal.

Settings are only suggested after they have been tried: with them, the keys of the two requests are equal.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from openai_replay.matching.diff import Candidate, Change, Difference, differences
from openai_replay.matching.matcher import Matcher
from openai_replay.matching.normalizers import parse
from openai_replay.model import Request
from openai_replay.redaction.masker import MARK
from openai_replay.text import json_codec
from openai_replay.text.json_pointer import parse_pointer

#: Values of settings by their names in Python.
Settings = Mapping[str, str | Sequence[str]]

#: The kinds of differences that the built-in normalizers accept.
_NORMALIZED = {
    "uuid": "a UUID",
    "date": "a date",
    "datetime": "a date and time",
    "epoch": "a time as a number",
    "tmp-path": "a temporary path",
    "call-id": "the id of a call",
    "data-url": "the way data is written in a URL",
    "defaults": "a default that is given or left out",
}
#: Bytes of a request up to which normalizers are tried: each reads all of it, several times.
_NORMALIZED_UP_TO = 1 << 20
#: Maximum number of pointers to suggest: a request that differs in more places is another request.
_MOST = 8
_SAMPLING = re.compile(r"temperature|top_[pk]|seed|(presence|frequency)_penalty|logit_bias|max_(\w+_)?tokens")
#: `gpt-4o` and `gpt-4o-2024-08-06`, `gpt-4` and `gpt-4-0613`.
_DATED = re.compile(r"(.+?)-(?:\d{4}-\d{2}-\d{2}|\d{4})")


class Wording(NamedTuple):
    """The words for what to do, on the command line or in a test.

    `record` records the request, `accept` returns settings as the user would write them, and `play_again` plays a
    recording more than once.
    """

    record: str
    accept: Callable[[Settings], str]
    play_again: str


def at_the_command_line(cassette: str) -> Wording:
    """Return the wording for users of the command line."""
    return Wording(
        f"openai-replay record {shlex.quote(cassette)} -- <your command>",
        _as_options,
        "--on-exhausted repeat (the last one) or cycle (from the first)",
    )


def _as_options(settings: Settings) -> str:
    return " ".join(
        f"--{name.replace('_', '-')} {shlex.quote(value)}"
        for name, values in settings.items()
        for value in ([values] if isinstance(values, str) else values)
    )


def kind_of_difference(difference: Difference) -> str:
    """Return the kind of a difference in words, such as `white space`; empty for unknown kinds."""
    return next((kind for kind, holds in _KINDS.items() if holds(difference)), "")


def _white_space(difference: Difference) -> bool:
    return _texts(difference) and difference.recorded.split() == difference.current.split()


def _json_inside(difference: Difference) -> bool:
    """Return True for equal JSON inside strings, for example the arguments of a tool call."""
    if not _texts(difference) or not all(text[:1] in ("{", "[") for text in difference[3:5]):
        return False
    try:
        recorded, current = (
            json_codec.canonical(json_codec.exact(text.encode("utf-8", "surrogatepass"))) for text in difference[3:5]
        )
    except ValueError:
        return False
    return recorded == current


def _alias(difference: Difference) -> bool:
    if not _texts(difference) or difference.path[-1:] != ("model",):
        return False
    dated = [match[1] if (match := _DATED.fullmatch(name)) else name for name in difference[3:5]]
    return dated[0] == dated[1] and difference.recorded != difference.current and dated[0] in difference[3:5]


def _redacted(difference: Difference) -> bool:
    return _texts(difference) and (MARK.decode() in difference.recorded) is not (MARK.decode() in difference.current)


def _texts(difference: Difference) -> bool:
    return isinstance(difference.recorded, str) and isinstance(difference.current, str)


#: Kinds of differences with their tests. The first that applies is used.
_KINDS: dict[str, Callable[[Difference], bool]] = {
    "white space": _white_space,
    "the way the same JSON is written": _json_inside,
    "a model's alias": _alias,
    "a sampling parameter": lambda difference: (
        len(difference.path) == 1 and bool(_SAMPLING.fullmatch(str(difference.path[0])))
    ),
    "the order of a list": lambda difference: difference.change is Change.MOVED,
    "a redacted secret": _redacted,
    "whether the response is a stream": lambda difference: difference.path == ("stream",),
}


# ------------------------------------------------------------------------------------------------ settings


class Suggestion(NamedTuple):
    """The kind of each difference (empty if unknown), and settings that accept them all (empty if there are none)."""

    kinds: list[str]
    settings: Settings


def suggest(request: Request, candidate: Candidate, matcher: Matcher) -> Suggestion:
    """Return the kinds of the differences between `request` and `candidate`, and settings in addition to `matcher`."""
    steps = _NormalizerTrials(request, candidate, matcher)
    accepted_by = [steps.accepting(difference) for difference in candidate.differences]
    kinds = [
        " and ".join(_NORMALIZED[name] for name in names) or kind_of_difference(difference)
        for difference, names in zip(candidate.differences, accepted_by, strict=True)
    ]
    names = list(dict.fromkeys(name for accepting in accepted_by for name in accepting))
    unexplained = [
        difference for difference, accepting in zip(candidate.differences, accepted_by, strict=True) if not accepting
    ]
    tries = [
        *_candidates(unexplained, matcher, names),
        *(_candidates(candidate.differences, matcher, []) if names else []),
    ]
    for wider_matcher, settings in tries:
        if wider_matcher.key(candidate.request) == wider_matcher.key(request):
            return Suggestion(kinds, settings)
    return Suggestion(kinds, {})


def _is_semantic_change(difference: Difference) -> bool:
    """Return True if ignoring `difference` would not help: a client of a stream cannot read another response, and an
    additional message is another point of the conversation.
    """
    item = (
        difference.change in (Change.ADDED, Change.REMOVED)
        and len(difference.path) == 2
        and difference.path[0] in ("messages", "input")
    )
    return item or difference.path == ("stream",)


class _NormalizerTrials:
    """Tries which built-in normalizers accept which differences."""

    def __init__(self, request: Request, candidate: Candidate, matcher: Matcher) -> None:
        self._requests = candidate.request, request
        self._matcher = matcher
        used = {step.name for step in matcher.normalize}
        large = max(len(request.body) for request in self._requests) > _NORMALIZED_UP_TO
        self._names = [] if large else [name for name in _NORMALIZED if name not in used]
        self._remaining: dict[tuple[str, ...], set[tuple[object, ...]]] = {}

    def accepting(self, difference: Difference) -> tuple[str, ...]:
        """Return the normalizer that accepts `difference`, or those that do together; empty if none do."""
        if difference.field == "kind" or not self._accept(self._names, difference):
            return ()
        for name in self._names:
            if self._accept([name], difference):
                return (name,)
        names = self._names
        for name in self._names:
            fewer = [kept_name for kept_name in names if kept_name != name]
            if self._accept(fewer, difference):
                names = fewer
        return tuple(names)

    def _accept(self, names: Sequence[str], difference: Difference) -> bool:
        if not names:
            return False
        trial = tuple(names)
        if trial not in self._remaining:
            wider_matcher = _with(self._matcher, normalize=trial)
            remaining = differences(*(wider_matcher.comparable(request) for request in self._requests))
            self._remaining[trial] = {difference_left[:2] for difference_left in remaining}
        return difference[:2] not in self._remaining[trial]


def _with(matcher: Matcher, normalize: Sequence[str]) -> Matcher:
    return replace(matcher, normalize=parse([*map(str, matcher.normalize), *normalize]))


def _candidates(
    differences_to_accept: list[Difference], matcher: Matcher, names: list[str]
) -> Iterator[tuple[Matcher, Settings]]:
    """Yield matchers that may accept the differences together with the normalizers `names`, and their settings."""
    pointers = [difference.pointer for difference in differences_to_accept if difference.field == "body"]
    fields = {difference.field for difference in differences_to_accept if difference.field != "body"}
    if len(pointers) > _MOST or not all(pointer and pointer.isprintable() for pointer in pointers):
        return
    if any(_is_semantic_change(difference) for difference in differences_to_accept):
        return
    settings: dict[str, str | list[str]] = {"normalize": names} if names else {}
    if fields:
        remaining_fields = tuple(difference for difference in matcher.on if difference not in fields)
        if fields != {"query"} or not remaining_fields:
            return
        matcher = replace(matcher, on=remaining_fields)
        settings["match_on"] = ",".join(remaining_fields)
    matcher = _with(matcher, names)
    # Removing an item moves the items after it, so the later one of two is removed first.
    for order in (pointers, pointers[::-1]) if len(pointers) > 1 else (pointers,):
        parsed = tuple(parse_pointer(pointer) for pointer in order)
        yield replace(matcher, ignore=(*matcher.ignore, *parsed)), {**settings, **({"ignore": order} if order else {})}
