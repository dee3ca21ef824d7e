"""Settings become rules, wherever they come from: options, environment, files, a marker, a program, a session.

All of them are a mapping of the names below to plain values, and pass through here: so a setting means the same
everywhere, and what is wrong with one is said in the same words, with the name that it has where it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from openai_replay.config.rules import Rules
from openai_replay.errors import UsageError
from openai_replay.matching import matcher as matching
from openai_replay.matching import normalizers
from openai_replay.model import Fallback, Mode, OnExhausted
from openai_replay.playback import pace
from openai_replay.redaction import redactor
from openai_replay.text import json_codec, safe_regex

T = TypeVar("T")

#: Settings that decide the key, and what each is in a Matcher.
MATCHING = {"match_on": "on", "match_header": "headers", "normalize": "normalize", "ignore": "ignore"}
#: Settings that decide what is secret.
REDACTING = ("redact_header", "redact_pattern", "redact_pointer")
#: Settings that are lists of texts.
LISTS = ("ignore", "match_header", "normalize", *REDACTING)


def rules(given: Mapping[str, Any], base: Rules | None = None, label: Callable[[str], str] = str) -> Rules:
    """`base` (or the default) with what `given` says. None says nothing, but for `retry_after`, where it keeps what was
    recorded.

    `label` makes of a setting's name what its user calls it. Raises UsageError that begins with that.
    """
    said: dict[str, Any] = {}
    for name, value in given.items():
        if name not in _PARSE:
            raise unknown(label(name), name, _PARSE)
        if value is not None or name == "retry_after":
            said[name] = labelled(label(name), _PARSE[name], value)
    base = base or Rules()
    changes: dict[str, Any] = {field: said[name] for name, field in _FIELDS.items() if name in said}
    matcher = {field: said[name] for name, field in MATCHING.items() if name in said}
    if matcher:
        changes["matcher"] = replace(base.matcher, **matcher)
    if any(name in said for name in REDACTING):
        changes["redactor"] = redactor.redactor(*(said.get(name, ()) for name in REDACTING))
    return replace(base, **changes)


def labelled(label: str, parse: Callable[[Any], T], value: Any) -> T:
    """`parse(value)`; a UsageError of it says first what it is about."""
    try:
        return parse(value)
    except UsageError as error:
        raise UsageError(f"{label}: {error.message}", error.hint) from None


def unknown(where: str, name: str, names: Iterable[str]) -> UsageError:
    """That there is no setting `name`, and what may have been meant."""
    there_are = list(names)
    import difflib  # only now: most runs make no mistake

    near = difflib.get_close_matches(name, there_are, 1)
    return UsageError(
        f"{where}: there is no such setting",
        f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(there_are)}.",
    )


def as_option(name: str) -> str:
    """What a setting is called in files and, behind two dashes, on the command line: `match-header`."""
    return name.replace("_", "-")


# ------------------------------------------------------------------------------------------------ one each


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{value!r} is no text", "Put it in quotes.")
    return value


def _texts(value: Any) -> list[str]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise UsageError(f"{value!r} is no list of texts", 'Write for example ["/metadata"]')
    return [_text(one) for one in value]


def _each(parse: Callable[[str], T]) -> Callable[[Any], tuple[T, ...]]:
    return lambda value: tuple(parse(text) for text in _texts(value))


def _checked(parse: Callable[[str], object]) -> Callable[[Any], list[str]]:
    """The texts themselves, each known to parse."""

    def checked(value: Any) -> list[str]:
        for text in (texts := _texts(value)):
            parse(text)
        return texts

    return checked


def _one_of(kind: Callable[[str], T], names: Iterable[str]) -> Callable[[Any], T]:
    there_are = [str(name) for name in names]

    def chosen(value: Any) -> T:
        if value not in there_are:
            raise UsageError(f"there is no {value!r}", f"There are {', '.join(there_are)}.")
        return kind(value)

    return chosen


def _match_on(value: Any) -> tuple[str, ...]:
    return matching.parse_on(value if isinstance(value, str) else _texts(value))


def _retry_after(value: Any) -> float | None:
    if value is None or value == "keep":
        return None
    try:
        seconds = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else -1.0
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e6:
        raise UsageError(f"{value!r} is neither `keep` nor a number of seconds", "Write for example 0.")
    return seconds


def _seconds(value: Any) -> float:
    return pace.parse_duration(_text(value)) / 1000


_FIELDS = {
    "mode": "mode",
    "pace": "pace",
    "on_exhausted": "on_exhausted",
    "fallback": "fallback",
    "retry_after": "retry_after_s",
    "keep_headers": "all_headers",
    "drain_timeout": "drain_timeout_s",
}
_PARSE: dict[str, Callable[[Any], Any]] = {
    "mode": _one_of(Mode, Mode),
    "pace": lambda value: pace.parse_pace(_text(value)),
    "on_exhausted": _one_of(OnExhausted, OnExhausted),
    "fallback": _one_of(Fallback, Fallback),
    "retry_after": _retry_after,
    "keep_headers": _one_of(lambda text: text == "all", ("default", "all")),
    "drain_timeout": _seconds,
    "match_on": _match_on,
    "match_header": lambda value: matching.parse_headers(_texts(value)),
    "normalize": lambda value: normalizers.parse(_texts(value)),
    "ignore": _each(json_codec.parse_pointer),
    "redact_header": _checked(str),
    "redact_pattern": _checked(safe_regex.compiled),
    "redact_pointer": _checked(json_codec.parse_pointer),
}
#: Every setting that rules are made of.
SETTINGS = tuple(_PARSE)
