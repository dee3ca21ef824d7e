"""Settings files: openai-replay.toml beside the cassettes, and `[tool.openai-replay]` in pyproject.toml.

A flag wins over the environment (`OPENAI_REPLAY_...`), that over openai-replay.toml, that over pyproject.toml, and that
over the default. The nearest pyproject.toml counts, in the working directory or above. An openai-replay.toml has the
same keys at its top level and holds for the cassettes of its folder, and of the folders below that have no such file.
A list in the nearer file replaces the other list. This module reads and checks the files; click applies the order.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from openai_replay.config.setting import Scope, unknown_setting, with_label
from openai_replay.config.settings import SETTINGS, in_scope, of_rules
from openai_replay.errors import UsageError

#: The settings file of a folder of cassettes.
NAME = "openai-replay.toml"


class FileValue(NamedTuple):
    """A value, and the file that it is from."""

    value: Any
    path: Path


def load(cassette: Path, working: Path) -> dict[str, FileValue]:
    """Return the values for `cassette` (a file or a folder) in the directory `working`, by the names of settings.

    Raise UsageError with file and key.
    """
    folder = cassette if cassette.is_dir() else cassette.parent
    return {**from_pyproject(working), **from_folder(folder.absolute())}


def from_folder(folder: Path) -> dict[str, FileValue]:
    """Return the values of the nearest openai-replay.toml, in `folder` or above. Raise UsageError with file and key."""
    path = _nearest(folder, NAME)
    return _checked(path, "", _read(path)) if path else {}


def from_pyproject(folder: Path) -> dict[str, FileValue]:
    """Return the values of the nearest pyproject.toml, in `folder` or above. Raise UsageError with file and key."""
    path = _nearest(folder, "pyproject.toml")
    tool = _read(path).get("tool", {}) if path else {}
    table = tool.get("openai-replay", {}) if isinstance(tool, dict) else {}
    return _checked(path, "[tool.openai-replay] ", table) if path and table else {}


def rule_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of `values` that rules are made of."""
    names = of_rules()
    return {name: value for name, value in values.items() if name in names}


def cassette_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of `values` that belong to a cassette, however it is used: the matching and the redaction."""
    parts = ("matcher.", "redactor.")
    return {name: value for name, value in values.items() if SETTINGS[name].rule.startswith(parts)}


def check(values: Mapping[str, Any], label: Callable[[str], str]) -> None:
    """Parse all `values`. Raise UsageError for the first wrong one; `label` returns the user's name of a setting."""
    for name, value in values.items():
        if value is not None:
            with_label(label(name), SETTINGS[name].parse, value)


def _nearest(folder: Path, name: str) -> Path | None:
    paths = (parent / name for parent in (folder, *folder.parents) if (parent / name).is_file())
    return next((path for path in paths if not _is_shared(path.parent)), None)


def _is_shared(folder: Path) -> bool:
    """Return True for a folder such as /tmp: any user may leave a file there that sends a key to another upstream."""
    shared = stat.S_ISVTX | stat.S_IWOTH
    return folder.stat().st_mode & shared == shared


def _read(path: Path) -> dict[str, Any]:
    import tomllib  # most projects have no such file

    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path}: could not be read: {error}") from None


def _checked(path: Path, section: str, table: Any) -> dict[str, FileValue]:
    if not isinstance(table, dict):
        raise UsageError(f"{path}: {section}is {table!r}, not a table", 'Write for example ignore = ["/user"].')
    from pydantic import ValidationError

    from openai_replay.config.models import file_settings

    try:
        values = file_settings().model_validate(table).model_dump(exclude_none=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            keys = [setting.key for setting in in_scope(Scope.FILE).values()]
            raise unknown_setting(f"{path}: {section}{key}", key, keys) from None
        raise UsageError(f"{path}: {section}{key}: {first['msg']}", "Run `openai-replay record --help`.") from None
    check(values, lambda name: f"{path}: {section}{SETTINGS[name].key}")
    return {name: FileValue(value, path) for name, value in values.items()}
