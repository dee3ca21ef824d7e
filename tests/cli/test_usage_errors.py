"""Bad input on the command line: one line on the mistake, one on what to do. And `--help`, which fits a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from openai_replay.cli.root import main

COMMANDS = main.list_commands(main.make_context("openai-replay", ["--help"], resilient_parsing=True))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["recrod", "a.yaml"],
            "'recrod' is not a command.\nDid you mean record? Run `openai-replay --help` for the list.",
        ),
        (["zzz"], "'zzz' is not a command.\nRun `openai-replay --help` for the list."),
        (["--paec"], "--paec is not an option.\nRun `openai-replay --help` for the usage."),
        (
            ["play", "--paec", "2x"],
            "--paec is not an option.\nDid you mean --pace? Run `openai-replay play --help` for the usage.",
        ),
        (["play"], "The argument CASSETTE... is missing.\nRun `openai-replay play --help` for the usage."),
        (["export", "a.yaml"], "The option --to is missing.\nRun `openai-replay export --help` for the usage."),
        (["play", "--port"], "Option '--port' requires an argument.\nRun `openai-replay play --help` for the usage."),
        (
            ["play", "a.yaml", "--port", "x"],
            "--port: 'x' is not a number from 0 to 65535.\nRun `openai-replay play --help` for the usage.",
        ),
        (
            ["record", "a.yaml", "--record-mode", "none"],
            "--mode: 'none' is not one of 'once', 'new_episodes', 'all', 'off'.\n"
            "Run `openai-replay record --help` for the usage.",
        ),
        (["import", "none"], "SRC...: Path 'none' does not exist.\nRun `openai-replay import --help` for the usage."),
        (
            ["import", "{file}", "--assume-pace", "2x"],
            "--assume-pace: '2x' is not a synthetic pace.\nWrite for example",
        ),
        (
            ["explain", "a.yaml", "{file}", "--header", "x"],
            "--header: 'x' is not a header.\nWrite it like 'x-tenant: a'.",
        ),
        (
            ["export", "none.yaml", "--to", "har"],
            "none.yaml: does not exist.\nTo record it, run:  openai-replay record",
        ),
        (["play", "a.yaml", "--"], "The COMMAND after `--` is missing.\nWrite the command after `--` as in a shell."),
    ],
)
def test_an_error_names_the_mistake_and_the_correction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("{}")
    arguments = [argument.format(file="file") for argument in arguments]
    result = CliRunner().invoke(main, arguments, prog_name="openai-replay")
    assert result.exit_code == (3 if "does not exist.\nTo record" in text else 2)
    assert result.stderr.startswith(f"Error: {text}")
    assert result.stdout == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_80_columns(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"], prog_name="openai-replay", terminal_width=80)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
