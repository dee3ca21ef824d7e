"""Settings of a test: its options, its marker, its fixtures and its settings files; and the name of its cassette."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from openai_replay.config.setting import Kind, Scope, unknown_setting
from openai_replay.config.settings import SETTINGS, in_scope

if TYPE_CHECKING:
    from openai_replay.matching.suggestions import Wording

NAME = "openai_replay"  # of the fixture, the marker and the ini key of the mode
#: The record modes of `--mode`, `none`, and `rewrite`, which deletes the cassette of a test first.
MODES = ("none", "once", "new_episodes", "all", "rewrite", "off")
#: Settings of the marker and of the fixture `openai_replay_config`.
MARKER_SETTINGS = tuple(in_scope(Scope.PYTEST))
#: Lists add up: the tests of a package also ignore what the package ignores.
_LISTS = tuple(name for name, setting in in_scope(Scope.PYTEST).items() if setting.kind is Kind.TEXTS)
#: Help texts that are different in pytest.
_HELP = {
    "mode": f"Record mode: {', '.join(MODES)}. Default: none, or the mode of --record-mode.",
    "strict": "Fail a test that leaves a recording unplayed.",
    "orphans": "List the cassettes that no test of this run used.",
}
EXAMPLE = (
    '@pytest.mark.openai_replay("name", mode="once", pace="original", ignore=["/metadata"], on_exhausted="repeat")'
)
#: Bytes of a test's name in the name of its cassette. A file name has 255, and a digest and a suffix follow.
_NAME_BYTES = 120


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--openai-replay...`, and an ini key for each."""
    group = parser.getgroup("openai-replay", "record and replay of OpenAI traffic")
    for name in (*in_scope(Scope.PYTEST_OPTION), "orphans"):
        setting = SETTINGS.get(name)
        text = _HELP.get(name) or (setting.help if setting else "")
        if name != "mode" and setting is not None and setting.default is not None:
            text += f" Default: {setting.default}."
        if name == "mode":
            group.addoption("--openai-replay", dest="openai_replay_mode", metavar="MODE", choices=MODES, help=text)
            parser.addini(NAME, text, default="")
        elif setting is None or setting.kind is Kind.FLAG:
            group.addoption(f"--openai-replay-{name}", action="store_true", help=text)
            parser.addini(f"openai_replay_{name}", text, type="bool", default=False)
        else:
            group.addoption(f"--openai-replay-{setting.key}", metavar=setting.metavar, help=text)
            parser.addini(f"openai_replay_{name}", text, default="")


def refuse(message: str) -> NoReturn:
    """Fail a test with `message`, without a traceback."""
    raise pytest.fail.Exception(message, pytrace=False) from None


def command_line(config: pytest.Config, name: str) -> Any:
    """Return the value of `--openai-replay-NAME`, or nothing."""
    value = config.getoption(f"openai_replay_{name}")
    return value or (config.getoption("--record-mode", None) if name == "mode" else None)


def option(config: pytest.Config, name: str) -> Any:
    """Return the value on the command line, or else that of the ini key."""
    return command_line(config, name) or config.getini(NAME if name == "mode" else f"openai_replay_{name}")


def settings(item: pytest.Item, module_config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the settings of a test.

    The command line wins over the marker, and that over `module_config` (of the fixture `openai_replay_config`), the
    environment, the ini file, openai-replay.toml (of the cassettes' `folder` or above) and pyproject.toml.
    """
    config = item.config
    typed = {name: command_line(config, name) for name in ("mode", "pace", "upstream")}
    layers: list[tuple[str, Mapping[str, Any]]] = [
        ("openai_replay", _defaults(config, folder)),
        ("The fixture openai_replay_config", module_config),
        # The outermost first: the marker of a module holds for tests whose own markers say nothing else.
        *(("The marker openai_replay", marker.kwargs) for marker in reversed(list(item.iter_markers(NAME)))),
        ("", {name: value for name, value in typed.items() if value}),
    ]
    merged: dict[str, Any] = {}
    for source, values in layers:
        _check(source, values)
        for name, value in values.items():
            merged[name] = [*merged.get(name, ()), *value] if name in _LISTS else value
    return merged


def _defaults(config: pytest.Config, folder: Path) -> dict[str, Any]:
    """Return the settings of tests that set nothing themselves."""
    upstream, cassette_settings = _files(config.rootpath, folder)
    values = {
        "mode": option(config, "mode") or "none",
        "pace": option(config, "pace"),
        "upstream": os.environ.get(SETTINGS["upstream"].variable) or option(config, "upstream") or upstream,
        **cassette_settings,  # as on the command line
    }
    return {name: value for name, value in values.items() if value}


@cache
def _files(root: Path, folder: Path) -> tuple[str | None, dict[str, Any]]:
    """Return the upstream, and the matching and redaction, of the settings files for cassettes in `folder`."""
    from openai_replay.config import files
    from openai_replay.errors import ReplayError

    try:
        values = {**files.from_pyproject(root), **files.from_folder(folder)}
    except ReplayError as error:
        refuse(f"openai_replay: {error.text}")
    options = {name: value for name, (value, _) in values.items()}
    return options.get("upstream"), files.cassette_settings(options)


def _check(source: str, values: Mapping[str, Any]) -> None:
    if not isinstance(values, Mapping):
        refuse(f'{source} returned {values!r}.\nReturn settings, such as {{"ignore": ["/metadata"]}}.')
    for name, value in values.items():
        if name not in MARKER_SETTINGS:
            hint = unknown_setting("", name, MARKER_SETTINGS).hint
            refuse(f"{source} has an unknown setting {name!r}.\n{hint} Write for example {EXAMPLE}")
        if name == "mode" and value not in MODES:
            refuse(f"{source} has an unknown mode {value!r}.\nThe modes are {', '.join(MODES)}.")
        if name in _LISTS and not _is_list_of_strings(value):
            refuse(f'{source} has {name}={value!r}, which is not a list of strings.\nWrite for example {name}=["..."].')


def _is_list_of_strings(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(entry, str) for entry in value)


def advice(item: pytest.Item) -> Wording:
    """Return the suggestions after a miss, as the author of a test would follow them."""
    from openai_replay.matching.suggestions import Wording

    return Wording(
        f"pytest --openai-replay=new_episodes {shlex.quote(item.nodeid)}",
        lambda settings: f"@pytest.mark.openai_replay({', '.join(_keyword(*pair) for pair in settings.items())})",
        '@pytest.mark.openai_replay(on_exhausted="repeat") (the last one) or "cycle" (from the first)',
    )


def _keyword(name: str, values: str | Sequence[str]) -> str:
    return f"{name}={json.dumps(values, ensure_ascii=False)}"


def file_name(item: pytest.Item) -> str:
    """Return the name of the cassette: that in the closest marker with one, else `Class.test[param]`.

    A file name cannot hold every character. A digest keeps names apart that would be equal without theirs.
    """
    for marker in item.iter_markers(NAME):
        if len(marker.args) > 1 or not all(isinstance(name, (str, Path)) and str(name) for name in marker.args):
            names = ", ".join(map(repr, marker.args))
            refuse(f"The marker openai_replay takes one name, not {names}.\nWrite for example {EXAMPLE}")
        if marker.args:
            name = str(marker.args[0])
            return name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"
    name = ".".join([*(node.name for node in item.listchain() if isinstance(node, pytest.Class)), item.name])
    safe = re.sub(r"[^\w\-.\[\]=,+]+", "-", name).encode()[:_NAME_BYTES].decode(errors="ignore")
    if safe != name:
        import hashlib

        safe += f"-{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:8]}"
    return f"{safe}.yaml"
