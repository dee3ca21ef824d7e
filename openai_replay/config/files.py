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
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"Could not read {path}: {reason}", "Correct the file, or remove it.") from None


def _checked(path: Path, section: str, table: Any) -> dict[str, FileValue]:
    if not isinstance(table, dict):
        raise UsageError(
            f"{path}: {section}is {table!r}, not a table",
            'Write [tool.openai-replay], and below it ignore = ["/user"].',
        )
    settings = {setting.key: setting for setting in in_scope(Scope.FILE).values()}
    for key, value in table.items():
        label = f"{path}: {section}{key}"
        if key not in settings:
            raise unknown_setting(label, key, settings)
        with_label(label, settings[key].parse, value)
    return {settings[key].name: FileValue(value, path) for key, value in table.items()}
