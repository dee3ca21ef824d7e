"""Normalizers: values that change on each run, such as dates, random IDs and temporary paths, become marks.

A mark has its kind and a number (`«uuid 1»`). It replaces the value in recorded and in new requests before the key is
made. A date never equals an ID, because the kinds differ. IDs are numbered by their first appearance in the request, so
two IDs that change places are noticed. Normalizing a normalized request changes nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from openai_replay.errors import UsageError
from openai_replay.openai_api import defaults, ids
from openai_replay.text.safe_regex import Match, UserPattern, compile_pattern

#: Characters of a string that users' patterns search. A longer string is data, not prose.
_SEARCHED = 1 << 20
#: A run of characters that is data, too: an image as text, a key, a hash of hashes.
_DATA = r"([\w+/=-]{4096,})"
#: Maximum rounds for a text. Each round marks at least one more value.
_ROUNDS = 16

# A date may follow an escape (`\n2026-11-21`), so only a digit before it rules it out.
_DAY = r"(?:0[1-9]|[12][0-9]|3[01])"
_MONTH = r"(?:0[1-9]|1[0-2])"
_YEAR = r"(?:19|20)[0-9]{2}"
_NAMED_DAY = r"(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?"
_NAMED_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|"
    r"Nov(?:ember)?|Dec(?:ember)?)"
)
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::(?:[0-5][0-9]|60)(?:[.,][0-9]{1,9})?)?(?: ?[AaPp][Mm])?"
_ZONE = r"(?:Z| ?(?:UTC|GMT)(?:[+-][0-9]{1,2}(?::?[0-9]{2})?)?| ?[+-](?:0[0-9]|1[0-4]):?[0-9]{2}|)"
_ISO_DAY = rf"{_YEAR}(?:-{_MONTH}-{_DAY}|/{_MONTH}/{_DAY})"
_SAID_DAY = (
    rf"(?:{_NAMED_DAY},? )?(?:{_NAMED_MONTH}\.? [0-9]{{1,2}}(?:st|nd|rd|th)?,? {_YEAR}|"
    rf"[0-9]{{1,2}}(?:st|nd|rd|th)?(?: of)?[ -]{_NAMED_MONTH}\.?,?[ -]{_YEAR})"
)
_SHORT_DAY = rf"(?:[0-9]{{1,2}}/[0-9]{{1,2}}/{_YEAR}|[0-9]{{1,2}}\.[0-9]{{1,2}}\.{_YEAR})"
_ANY_DAY = rf"(?:{_ISO_DAY}|{_SAID_DAY}|{_SHORT_DAY})"
_ALONE = r"(?<![0-9])(?:{})(?![0-9])"
_ESCAPE = r"(?:(?<=\\[nrtbf])|(?<![0-9A-Za-z]))"

_TEMPORARY = r"(?:/private)?(?:/var/folders/[^/\s\"']{1,9}/[^/\s\"']{1,99}/T|/var/tmp|/tmp|/dev/shm)"
_FOLDER = r"[^/\\\s\"'`<>|:;,?*()\[\]{}]{1,255}"

#: The pattern of each kind, and True if its values are identities, which are numbered.
_LOOKS: dict[str, tuple[str, bool]] = {
    "uuid": (
        r"(?:(?<=\\[bf])|(?<![0-9A-Fa-f]))(?:[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12})(?![0-9A-Fa-f])",
        True,
    ),
    "datetime": (
        _ALONE.format(
            rf"{_ANY_DAY}(?:T|,? (?:at )?){_TIME}{_ZONE}"
            rf"|{_YEAR}{_MONTH}{_DAY}T(?:[01][0-9]|2[0-3])[0-5][0-9](?:[0-5][0-9])?{_ZONE}"
            rf"|{_NAMED_DAY} {_NAMED_MONTH} +[0-9]{{1,2}} {_TIME}(?: [A-Z]{{3,4}})? {_YEAR}"
        ),
        False,
    ),
    "date": (_ALONE.format(_ANY_DAY), False),
    # Seconds from 2001 to 2065, milliseconds, microseconds or nanoseconds; a fraction, too.
    "epoch": (r"(?<![0-9.])[12][0-9]{9}(?:[0-9]{3}){0,3}(?:\.[0-9]{1,9})?(?![0-9])", False),
    "tmp-path": (
        rf"(?:(?<=\\[nrtbf])|(?<=://)|(?<![\w./-])){_TEMPORARY}/(?:pytest-of-[^/\s\"']{{1,99}}/pytest-[^/\s\"']{{1,99}}"
        rf"|{_FOLDER})"
        rf"|(?<![A-Za-z])[A-Za-z]:[\\/]{{1,4}}(?:{_FOLDER}[\\/]{{1,4}}){{0,6}}?(?:Temp|TEMP|tmp)[\\/]{{1,4}}{_FOLDER}",
        True,
    ),
}
_DATA_URL = r"data:([\w.+-]{1,99}/[\w.+-]{1,99})?((?:;[\w=.+-]{1,99}){0,5});base64,([A-Za-z0-9+/_=-]+)"
#: Keys whose value is the id of a call.
_CALL = frozenset({"tool_call_id", "call_id", "tool_use_id"})
#: Values of `type` in an object whose `id` is one.
_CALLS = frozenset({"function", "function_call", "custom", "custom_tool_call", "tool_use"})
_WORD = re.compile(rf"{_ESCAPE}[A-Za-z0-9_-]+")

BUILT_IN = (*_LOOKS, "call-id", "data-url", "defaults")


@dataclass(frozen=True, slots=True)
class Normalizer:
    """One kind of changing value: a built-in `name`, or a user's name with its `pattern`."""

    name: str
    pattern: UserPattern | None = None

    def __str__(self) -> str:
        return f"{self.name}={self.pattern.text}" if self.pattern else self.name


#: A name that users give.
_OWN = re.compile(r"[a-z][a-z0-9_-]{0,39}")


def parse(texts: Iterable[str]) -> tuple[Normalizer, ...]:
    """Return the normalizers that `texts` name: built-in names with commas, or one `NAME=REGEX` per text.

    `datetime` always runs before `date`. Raises UsageError.
    """
    parsed: dict[str, Normalizer] = {}
    for text in texts:
        name, equals, pattern = text.partition("=")
        if equals:
            if not _OWN.fullmatch(name):
                raise UsageError(
                    f"Invalid normalizer name {name!r}.",
                    'Use lower-case letters, digits, "-" and "_": order=ORD-[0-9]+',
                )
            if name in BUILT_IN:
                raise UsageError(f"{name!r} is a built-in normalizer.", "Give yours another name.")
            if not pattern:
                raise UsageError(f"{text!r} has no expression.", "Write for example order=ORD-[0-9]+")
            parsed[name] = Normalizer(name, compile_pattern(pattern))
            continue
        for name in text.split(","):
            name = name.strip()
            if name not in BUILT_IN:
                raise UsageError(
                    f"{name!r} is not a normalizer.", f"Use {', '.join(BUILT_IN)}, or your own NAME=REGEX."
                )
            parsed[name] = Normalizer(name)
    names = list(parsed)
    if "date" in names and "datetime" in names[names.index("date") :]:
        names.remove("datetime")
        names.insert(names.index("date"), "datetime")
    return tuple(parsed[name] for name in names)


def normalized(steps: Sequence[Normalizer], path: str, kind: str, body: Any, *texts: Any) -> tuple[Any, ...]:
    """Return `path`, `body` and `texts` (all JSON values) with marks. `kind` is the kind of the body.

    Keys of objects stay as they are, and so do the names of models, which may contain a date.
    """
    value: list[Any] = [path, *texts, body]
    for step in steps:
        if step.name == "defaults":
            value[-1] = defaults.drop_defaults(path, kind, value[-1])
    run = _Run(steps, value)
    path, *middle, body = (run.walked(part, "") for part in value)
    return path, body, *middle


class _Run:
    """The marks of one request."""

    def __init__(self, steps: Sequence[Normalizer], value: Any) -> None:
        self._numbers: dict[tuple[str, str], int] = {}
        self._counts: dict[str, int] = {}
        names = "|".join(re.escape(step.name) for step in steps)
        self._marks = re.compile(rf"«(?:{names})(?: [\w/.+ -]+)?»")
        self._epoch = any(step.name == "epoch" for step in steps)
        self._calls = set(_call_ids(value)) if any(step.name == "call-id" for step in steps) else set()
        self._finds = [self._find(step) for step in steps if step.name != "defaults"]

    def walked(self, value: Any, key: str) -> Any:
        """Return `value` with marks in each string. Keys are sorted: their order must not decide the numbers."""
        if isinstance(value, str):
            return value if key == "model" else self._text(value)
        if isinstance(value, list):
            return [self.walked(entry, "") for entry in value]
        if isinstance(value, dict):
            return {name: self.walked(value[name], name) for name in sorted(value)}
        if self._epoch and isinstance(value, (int, float)) and not isinstance(value, bool) and _is_epoch(value):
            return f"«epoch {'int' if isinstance(value, int) else 'float'}»"
        return value

    def _text(self, text: str) -> str:
        for _ in range(_ROUNDS):
            before = text
            for find in self._finds:
                text = find(text)
            if text == before:
                break
        return text

    def _find(self, step: Normalizer) -> Callable[[str], str]:
        name = step.name
        if step.pattern is not None:
            user_pattern = step.pattern
            parted = user_pattern.begins_anywhere()
            return lambda text: self._replace_user_pattern(user_pattern, parted, text, f"«{name}»")
        if name == "call-id":
            return lambda text: self._replaced(_WORD, text, self._call)
        if name == "data-url":
            return lambda text: self._replaced(_compiled(_DATA_URL), text, _digest) if "base64," in text else text
        look, numbered = _LOOKS[name]
        pattern = _compiled(look)
        if numbered:
            return lambda text: self._replaced(pattern, text, lambda match: self._numbered(name, match[0]))
        return lambda text: self._replaced(pattern, text, lambda match: f"«{name}»")

    def _replace_user_pattern(self, pattern: UserPattern, parted: bool, text: str, mark: str) -> str:
        """`text` with what one's own pattern finds marked; `parted`: but not in long runs of data, where that could
        take for ever.
        """
        if len(text) > _SEARCHED:
            return text
        pieces = _compiled(_DATA).split(text) if parted else [text]
        pieces[::2] = [self._replaced(pattern, piece, lambda match: mark) for piece in pieces[::2]]
        return "".join(pieces)

    def _replaced(self, pattern: re.Pattern[str] | UserPattern, text: str, mark: Callable[[Match], str]) -> str:
        """`text` with what `pattern` finds marked, but for what touches a mark."""
        spans = [match.span() for match in self._marks.finditer(text)] if "«" in text else []
        stops = [stop for _, stop in spans]  # there may be as many marks as words

        def marked(match: Match) -> str:
            start, end = match.span()
            after = bisect_right(stops, start)  # the first mark that is not over when `found` begins
            if start == end or (after < len(spans) and spans[after][0] < end):
                return match[0]
            return mark(match)

        return pattern.sub(marked, text)

    def _numbered(self, name: str, text: str) -> str:
        identity = name, text.lower() if name == "uuid" else text
        if identity not in self._numbers:
            self._counts[name] = self._counts.get(name, 0) + 1
            self._numbers[identity] = self._counts[name]
        return f"«{name} {self._numbers[identity]}»"

    def _call(self, match: Match) -> str:
        word = match[0]
        is_one = word in self._calls or (
            len(word) > 12 and ids.classify(word) in ("call", "toolu", "fc") and _mixed(word)
        )
        return self._numbered("call-id", word) if is_one else word


_patterns: dict[str, re.Pattern[str]] = {}


def _compiled(text: str) -> re.Pattern[str]:
    """Return the compiled pattern. It is compiled on first use, so that other runs do not wait for it."""
    if text not in _patterns:
        _patterns[text] = re.compile(text)
    return _patterns[text]


def _mixed(word: str) -> bool:
    """Return True if `word` looks random: `call_9f3Kb2…` does, `call_the_weather_service` does not."""
    return any(char.isdigit() for char in word) and any(char.isalpha() for char in word.rpartition("_")[2])


def _is_epoch(number: float) -> bool:
    integer = int(number) if abs(number) < 1e19 else 0
    return len(str(integer)) in (10, 13, 16, 19) and str(integer)[0] in "12"


def _call_ids(value: Any) -> Iterator[str]:
    """Yield the IDs of tool calls in a body."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, str) and inner and (key in _CALL or (key == "id" and value.get("type") in _CALLS)):
                yield inner
            yield from _call_ids(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _call_ids(inner)


def _digest(match: Match) -> str:
    """Return the mark of a data URL, with the digest of its content."""
    media, data = match[1], match[3]
    try:
        content = base64.b64decode(data.translate(_URL_SAFE) + "=" * (-len(data) % 4))
    except (binascii.Error, ValueError):
        return match[0]
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    return f"«data-url {media or 'text/plain'} {len(content)} bytes {digest}»"


_URL_SAFE = str.maketrans("-_", "+/")
