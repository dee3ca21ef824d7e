"""The type of a setting: its name, kind of value, parser, scopes and help text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, Flag, auto
from typing import Any, TypeVar

from openai_replay.errors import UsageError

T = TypeVar("T")


class Kind(Enum):
    """The type of a value before it is parsed."""

    TEXT = auto()
    TEXTS = auto()  # a list; its flag may be given several times
    TEXT_OR_TEXTS = auto()  # a list, or one string with commas
    CHOICE = auto()
    FLAG = auto()
    INTEGER = auto()
    PATH = auto()  # of a file


class Scope(Flag):
    """The places in which a user may set something."""

    RECORD = auto()  # the commands
    PLAY = auto()
    EXPLAIN = auto()
    REDACT = auto()  # `redact`, `refresh`, `import` and `export`
    IMPORT = auto()
    REFRESH = auto()
    LINT = auto()
    FILE = auto()  # openai-replay.toml and pyproject.toml
    SESSION = auto()  # `POST /@/sessions`
    PYTHON_PLAY = auto()  # `openai_replay.play`
    PYTHON_RECORD = auto()  # `openai_replay.record`
    PYTEST = auto()  # the marker and the fixture `openai_replay_config`
    PYTEST_OPTION = auto()  # `--openai-replay-NAME` and the ini key `openai_replay_NAME`

    SERVER = RECORD | PLAY
    MATCHING = SERVER | EXPLAIN | FILE | SESSION | PYTHON_PLAY | PYTHON_RECORD | PYTEST
    REDACTING = SERVER | EXPLAIN | REDACT | FILE | PYTHON_PLAY | PYTHON_RECORD | PYTEST
    PLAYBACK = PLAY | FILE | SESSION | PYTHON_PLAY | PYTEST


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting: its name in Python, its type, its parser (raises UsageError), its help text, and its scopes."""

    name: str
    kind: Kind
    parse: Callable[[Any], Any]
    scopes: Scope
    help: str
    default: str | int | None = None
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    not_typed: tuple[str, ...] = ()  # choices that a flag does not offer
    flags: tuple[str, ...] = ()  # if they are not just `--name`
    rule: str = ""  # the field of `Rules` (or of its matcher or redactor) that the value becomes
    nullable: bool = False  # True if None is a value, and not the absence of one

    @property
    def key(self) -> str:
        """Return the name in files and, after two dashes, on the command line: `match-header`."""
        return self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Return the environment variable: `OPENAI_REPLAY_MATCH_HEADER`."""
        return f"OPENAI_REPLAY_{self.name.upper()}"


def with_label(label: str, parse: Callable[[Any], T], value: Any) -> T:
    """Return `parse(value)`. Put `label` in front of the message of a UsageError."""
    try:
        return parse(value)
    except UsageError as error:
        raise UsageError(f"{label}: {error.message}", error.hint) from None


def unknown_setting(label: str, name: str, names: Iterable[str]) -> UsageError:
    """Return the error for the setting `name`, which is not among `names`. Its hint suggests a similar name."""
    import difflib  # most runs make no such mistake

    names = list(names)
    close = difflib.get_close_matches(name, names, 1)
    return UsageError(
        f"{label}: unknown setting", f"Did you mean {close[0]!r}?" if close else f"The settings are {', '.join(names)}."
    )
