"""What is known of a difference, and the settings with which two requests would be the same.

A setting is named only if it has been tried: with it, the keys of the two requests are equal.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from openai_replay.matching.diff import Apart, How, Near, differences
from openai_replay.matching.matcher import Matcher
from openai_replay.matching.normalizers import parse
from openai_replay.model import Request
from openai_replay.redaction.masker import MARK
from openai_replay.text import json_codec
from openai_replay.text.json_codec import parse_pointer

#: Settings by their names in Python, and what they are to be.
Settings = Mapping[str, str | Sequence[str]]

#: What the built-in normalisers make the same.
_NORMALIZED = {
    "uuid": "a UUID",
    "date": "a date",
    "datetime": "a date and time",
    "epoch": "a time as a number",
    "tmp-path": "a temporary path",
    "call-id": "the id of a call",
    "data-url": "the way data is written in a URL",
    "defaults": "a default that is said or left out",
}
#: Bytes of a request that normalisers are tried on: each reads it all, several times.
_NORMALIZED_UP_TO = 1 << 20
#: Pointers to ignore are named up to here: who leaves out more does not want the same request.
_MOST = 8
_SAMPLING = re.compile(r"temperature|top_[pk]|seed|(presence|frequency)_penalty|logit_bias|max_(\w+_)?tokens")
#: `gpt-4o` and `gpt-4o-2024-08-06`, `gpt-4` and `gpt-4-0613`.
_DATED = re.compile(r"(.+?)-(?:\d{4}-\d{2}-\d{2}|\d{4})")


class Advice(NamedTuple):
    """How one helps oneself where the request came from: at the command line, in a test.

    `record` records what is missing, `accept` makes of settings what has them hold, `again` plays a recording more than
    once.
    """

    record: str
    accept: Callable[[Settings], str]
    again: str


def at_the_command_line(cassette: str) -> Advice:
    """For users of `openai-replay`."""
    return Advice(
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


def known(apart: Apart) -> str:
    """What kind of difference it is, in words: `only white space`; empty where it is of no kind that is known."""
    return next((kind for kind, holds in _KINDS.items() if holds(apart)), "")


def _white_space(apart: Apart) -> bool:
    return _texts(apart) and apart.recorded.split() == apart.now.split()


def _json_inside(apart: Apart) -> bool:
    """Arguments of a tool call, for one, are JSON in a string."""
    if not _texts(apart) or not all(text[:1] in ("{", "[") for text in apart[3:5]):
        return False
    try:
        one, other = (
            json_codec.canonical(json_codec.exact(text.encode("utf-8", "surrogatepass"))) for text in apart[3:5]
        )
    except ValueError:
        return False
    return one == other


def _alias(apart: Apart) -> bool:
    if not _texts(apart) or apart.path[-1:] != ("model",):
        return False
    dated = [match[1] if (match := _DATED.fullmatch(name)) else name for name in apart[3:5]]
    return dated[0] == dated[1] and apart.recorded != apart.now and dated[0] in apart[3:5]


def _taken_out(apart: Apart) -> bool:
    return _texts(apart) and (MARK.decode() in apart.recorded) is not (MARK.decode() in apart.now)


def _texts(apart: Apart) -> bool:
    return isinstance(apart.recorded, str) and isinstance(apart.now, str)


#: What is said of a difference, and when. The first that holds is.
_KINDS: dict[str, Callable[[Apart], bool]] = {
    "white space": _white_space,
    "the way the same JSON is written": _json_inside,
    "a model's alias": _alias,
    "a sampling parameter": lambda apart: len(apart.path) == 1 and bool(_SAMPLING.fullmatch(str(apart.path[0]))),
    "the order of a list": lambda apart: apart.how is How.MOVED,
    "a secret that was taken out": _taken_out,
    "whether the answer is a stream": lambda apart: apart.path == ("stream",),
}


# ------------------------------------------------------------------------------------------------ settings


class Advised(NamedTuple):
    """What kind each difference is of (empty where none is known), and settings with which there would be none; empty
    if none are to be named.
    """

    kinds: list[str]
    settings: Settings


def advise(now: Request, near: Near, matcher: Matcher) -> Advised:
    """What is known of the differences between `now` and `near`, and what would accept them beside `matcher`'s own."""
    steps = _Steps(now, near, matcher)
    found = [steps.accepting(one) for one in near.apart]
    kinds = [
        " and ".join(_NORMALIZED[name] for name in names) or known(one)
        for one, names in zip(near.apart, found, strict=True)
    ]
    names = list(dict.fromkeys(name for some in found for name in some))
    rest = [one for one, some in zip(near.apart, found, strict=True) if not some]
    tries = [*_tries(rest, matcher, names), *(_tries(near.apart, matcher, []) if names else [])]
    for more, settings in tries:
        if more.key(near.request) == more.key(now):
            return Advised(kinds, settings)
    return Advised(kinds, {})


def _says_another_thing(apart: Apart) -> bool:
    """Whether to leave `apart` out would be no help: who asks for a stream cannot read another answer, and who has said
    one thing more is at another place of the conversation.
    """
    item = apart.how in (How.ADDED, How.REMOVED) and len(apart.path) == 2 and apart.path[0] in ("messages", "input")
    return item or apart.path == ("stream",)


class _Steps:
    """Which built-in normalisers make which differences go away."""

    def __init__(self, now: Request, near: Near, matcher: Matcher) -> None:
        self._requests = near.request, now
        self._matcher = matcher
        used = {step.name for step in matcher.normalize}
        large = max(len(request.body) for request in self._requests) > _NORMALIZED_UP_TO
        self._names = [] if large else [name for name in _NORMALIZED if name not in used]
        self._left: dict[tuple[str, ...], set[tuple[object, ...]]] = {}

    def accepting(self, apart: Apart) -> tuple[str, ...]:
        """The normaliser that accepts `apart`, or those that do together; empty if none do."""
        if apart.field == "kind" or not self._accept(self._names, apart):
            return ()
        for name in self._names:
            if self._accept([name], apart):
                return (name,)
        names = self._names
        for name in self._names:
            fewer = [one for one in names if one != name]
            if self._accept(fewer, apart):
                names = fewer
        return tuple(names)

    def _accept(self, names: Sequence[str], apart: Apart) -> bool:
        if not names:
            return False
        given = tuple(names)
        if given not in self._left:
            more = _with(self._matcher, normalize=given)
            left = differences(*(more.meaning(request) for request in self._requests))
            self._left[given] = {one[:2] for one in left}
        return apart[:2] not in self._left[given]


def _with(matcher: Matcher, normalize: Sequence[str]) -> Matcher:
    return replace(matcher, normalize=parse([*map(str, matcher.normalize), *normalize]))


def _tries(apart: list[Apart], matcher: Matcher, names: list[str]) -> Iterator[tuple[Matcher, Settings]]:
    """Matchers that may accept `apart` and what the normalisers `names` do, and what to set for each."""
    pointers = [one.pointer for one in apart if one.field == "body"]
    fields = {one.field for one in apart if one.field != "body"}
    if len(pointers) > _MOST or not all(pointer and pointer.isprintable() for pointer in pointers):
        return
    if any(_says_another_thing(one) for one in apart):
        return
    settings: dict[str, str | list[str]] = {"normalize": names} if names else {}
    if fields:
        left = tuple(one for one in matcher.on if one not in fields)
        if fields != {"query"} or not left:
            return
        matcher = replace(matcher, on=left)
        settings["match_on"] = ",".join(left)
    matcher = _with(matcher, names)
    # What is left out of a list moves what stands behind it: of two items, the later one goes first.
    for order in (pointers, pointers[::-1]) if len(pointers) > 1 else (pointers,):
        parsed = tuple(parse_pointer(pointer) for pointer in order)
        yield replace(matcher, ignore=(*matcher.ignore, *parsed)), {**settings, **({"ignore": order} if order else {})}
