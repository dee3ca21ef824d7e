"""The registry of settings, from which every interface takes them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from openai_replay.cli.root import main
from openai_replay.config import files
from openai_replay.config.build import build_rules
from openai_replay.config.rules import Rules
from openai_replay.config.setting import Kind, Scope
from openai_replay.config.settings import SECTIONS, SETTINGS, in_scope, of_rules
from openai_replay.model import Mode
from openai_replay.pytest_plugin import options
from openai_replay.server.embedded import PlaySettings, RecordSettings


def flags_of(command_name: str) -> set[str]:
    """Return the names of the options of a command that are settings."""
    command = main.get_command(main.make_context("openai-replay", ["--help"], resilient_parsing=True), command_name)
    assert command is not None
    return {str(parameter.name) for parameter in command.params} & set(SETTINGS)


@pytest.mark.parametrize(
    ("command_name", "scope"),
    [
        ("record", Scope.RECORD),
        ("play", Scope.PLAY),
        ("explain", Scope.EXPLAIN),
        ("config", Scope.FILE),
        ("lint", Scope.LINT),
        ("redact", Scope.REDACT),
        ("export", Scope.REDACT),
        ("import", Scope.REDACT | Scope.IMPORT),
        ("refresh", Scope.REDACT | Scope.REFRESH),
    ],
)
def test_a_command_takes_the_settings_of_its_scope(command_name: str, scope: Scope) -> None:
    assert flags_of(command_name) == set(in_scope(scope))


def test_the_signatures_of_play_and_record_equal_the_registry() -> None:
    """Editors read the written-out keywords; `record` has `upstream` and `mode` as parameters."""
    assert set(get_type_hints(PlaySettings)) == set(in_scope(Scope.PYTHON_PLAY))
    assert {*get_type_hints(RecordSettings), "upstream", "mode"} == set(in_scope(Scope.PYTHON_RECORD))


def test_a_settings_file_takes_every_setting_of_its_scope(tmp_path: Path) -> None:
    examples: dict[Kind, Any] = {Kind.TEXT: "name", Kind.TEXTS: [], Kind.FLAG: True, Kind.INTEGER: 2, Kind.PATH: "file"}
    settings = in_scope(Scope.FILE)
    values = {
        setting.key: setting.default or (*setting.choices, examples[setting.kind])[0] for setting in settings.values()
    }
    values["max-age"] = "90d"
    (tmp_path / files.NAME).write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
    assert files.from_folder(tmp_path).keys() == settings.keys()


def test_a_marker_takes_every_setting_of_its_scope() -> None:
    assert set(options.MARKER_SETTINGS) == set(in_scope(Scope.PYTEST))


def test_every_setting_is_an_option_of_some_command() -> None:
    commands = Scope.RECORD | Scope.PLAY | Scope.LINT
    assert set(in_scope(commands)) == set(SETTINGS)
    assert sum(map(len, SECTIONS.values())) == len(SETTINGS), "a name is declared twice"


def test_defaults_of_flags_are_the_defaults_of_the_rules() -> None:
    defaults = {name: setting.default for name, setting in of_rules().items() if setting.default is not None}
    assert build_rules({**defaults, "mode": "none"}) == Rules(Mode.NONE)


@pytest.mark.parametrize("name", SETTINGS)
def test_every_default_and_every_choice_parses(name: str) -> None:
    setting = SETTINGS[name]
    if setting.default is not None:
        setting.parse(setting.default)
    for choice in setting.choices:
        setting.parse(choice)
    assert bool(setting.choices) == (setting.kind is Kind.CHOICE)
    assert setting.help.endswith("."), "help texts are sentences"


def test_help_loads_no_heavy_library() -> None:
    program = "import sys; from openai_replay.cli.root import main; main(['record', '--help'], standalone_mode=False); "
    program += "print(*sorted({'pydantic', 'aiohttp', 'vcr', 'yaml', 'orjson'} & set(sys.modules)), file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stderr.strip() == ""
    assert "Recording:" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
