"""What an option is when neither the command line nor the environment says: settings files.

Flag > environment (`OPENAI_REPLAY_...`) > openai-replay.toml > pyproject.toml > default. `[tool.openai-replay]` stands
in the nearest pyproject.toml, of the working directory or above it; an openai-replay.toml has the same keys at its
top, and holds for the cassettes of its folder and of those below that have none of their own. A list in the nearer
file takes the place of the other. click puts all in this order; here the files are read and checked.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from openai_replay.config import settings
from openai_replay.errors import UsageError
from openai_replay.playback.pace import parse_duration
from openai_replay.text.units import parse_size

#: The file of a folder of cassettes.
NAME = "openai-replay.toml"
#: Why a key is not named itself.
KEYS_ARE_NOT_SHOWN = "A key itself on a command line could be read by everybody on this machine."


class Found(NamedTuple):
    """What a file says, and which."""

    value: Any
    path: Path


def of(cassette: Path, working: Path) -> dict[str, Found]:
    """What files say for the `cassette`, a file or a folder, where `working` is the working directory; by the names of
    options in Python (`match_header`). Raises UsageError with file and key.
    """
    folder = cassette if cassette.is_dir() else cassette.parent
    return {**from_pyproject(working), **from_folder(folder.absolute())}


def from_folder(folder: Path) -> dict[str, Found]:
    """What the nearest openai-replay.toml says, in `folder` or above. Raises UsageError with file and key."""
    path = _nearest(folder, NAME)
    return _checked(path, "", _read(path)) if path else {}


def from_pyproject(folder: Path) -> dict[str, Found]:
    """What the nearest pyproject.toml says, in `folder` or above. Raises UsageError with file and key."""
    path = _nearest(folder, "pyproject.toml")
    tool = _read(path).get("tool", {}) if path else {}
    table = tool.get("openai-replay", {}) if isinstance(tool, dict) else {}
    return _checked(path, "[tool.openai-replay] ", table) if path and table else {}


def as_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of `options` that rules are made of."""
    return {name: value for name, value in options.items() if name in settings.SETTINGS}


def shared(options: dict[str, Any]) -> dict[str, Any]:
    """Those settings among `options` that are the same however a cassette is used: what matches, and what is secret."""
    names = {*settings.MATCHING, *settings.REDACTING}
    return {name: value for name, value in as_settings(options).items() if name in names}


def check(options: Mapping[str, Any], label: Callable[[str], str]) -> None:
    """Raises UsageError for the first of `options` that nothing could be made of; `label` is what its user calls it."""
    settings.rules(as_settings(options), label=label)
    for name, parse in _PARSE.items():
        for text in _listed(options.get(name)):
            settings.labelled(label(name), parse, text)


def variable(text: str) -> str:
    """The name of an environment variable that holds a key. Raises UsageError that shows nothing: it may be the key."""
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", text):
        raise UsageError("takes the name of an environment variable", KEYS_ARE_NOT_SHOWN)
    return text


def lint_rule(text: str) -> str:
    """The name of a rule of `lint`. Raises UsageError."""
    from openai_replay.config.lint_rule import Rule

    known = [str(rule) for rule in Rule]
    if text not in known:
        raise UsageError(f"there is no rule {text!r}", f"There are {', '.join(known)}.")
    return text


#: Options that no rules are made of, and what reads them.
_PARSE: dict[str, Callable[[str], object]] = {
    "idle_timeout": parse_duration,
    "max_age": parse_duration,
    "max_head": parse_size,
    "max_body": parse_size,
    "max_response": parse_size,
    "client_key_env": variable,
    "upstream_key_env": variable,
    "lint_allow": lint_rule,
}


def _listed(value: Any) -> Iterable[str]:
    return () if value is None else (value,) if isinstance(value, str) else value


def _nearest(folder: Path, name: str) -> Path | None:
    found = (one / name for one in (folder, *folder.parents) if (one / name).is_file())
    return next((path for path in found if not _is_shared(path.parent)), None)


def _is_shared(folder: Path) -> bool:
    """Whether it is one such as /tmp, where anybody may leave a file: it could send a key to an upstream of its own."""
    shared = stat.S_ISVTX | stat.S_IWOTH
    return folder.stat().st_mode & shared == shared


def _read(path: Path) -> dict[str, Any]:
    import tomllib  # only where there is a file

    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None


def _checked(path: Path, where: str, table: Any) -> dict[str, Found]:
    if not isinstance(table, dict):
        raise UsageError(f"{path}: {where}is {table!r}, and has to be a table", 'Write for example ignore = ["/user"].')
    from pydantic import ValidationError

    from openai_replay.config.file_schema import FileSettings  # most projects have no such file

    try:
        said = FileSettings.model_validate(table).model_dump(exclude_none=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            raise settings.unknown(f"{path}: {where}{key}", key, FileSettings.keys()) from None
        raise UsageError(f"{path}: {where}{key}: {first['msg']}", "See `openai-replay record --help`.") from None
    check(said, lambda name: f"{path}: {where}{settings.as_option(name)}")
    return {name: Found(value, path) for name, value in said.items()}
