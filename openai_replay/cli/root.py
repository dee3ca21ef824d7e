"""The command line: which commands there are. Only the one that runs is loaded: `--help` is instant."""

from __future__ import annotations

import errno
import os
import sys
from importlib import import_module
from typing import Any

import click

from openai_replay import __version__
from openai_replay.errors import ReplayError

#: The sections of `--help`, and of each command there where it is (module and name in `commands`), and what it does.
_SECTIONS = {
    "Record and play": {
        "record": ("serve.record", "Forward requests to the API, and keep its answers in a cassette."),
        "play": ("serve.play", "Answer requests from cassettes, without a network."),
        "config": ("config.config", "Show which settings hold, and where each is from."),
    },
    "Inspect": {
        "list": ("inspect.list_", "Show what is on cassettes, a line an interaction."),
        "show": ("inspect.show", "Show request and answer of an interaction, its timing or its bytes."),
        "stats": ("inspect.stats", "Count tokens, time and bytes of cassettes, by model."),
        "diff": ("inspect.diff", "Say where two cassettes differ, by what was asked and answered."),
        "explain": ("explain.explain", "Say which recording a request matches, or why there is none."),
    },
    "Maintain": {
        "lint": ("maintain.lint", "Say what is wrong with cassettes."),
        "redact": ("maintain.redact", "Take secrets out of cassettes that are there already."),
        "prune": ("maintain.prune", "Drop the recordings that a run did not play."),
        "refresh": ("refresh.refresh", "Ask the API again, or check whether it has become another."),
    },
    "Convert": {
        "import": ("convert.import_", "Make cassettes of what other tools have recorded."),
        "export": ("convert.export", "Write a cassette for other tools: vcrpy, HAR, curl, raw streams."),
    },
}
_COMMANDS = {name: what for section in _SECTIONS.values() for name, what in section.items()}


class _Commands(click.Group):
    """Commands whose errors are two lines and an exit code, and that are loaded when they are asked for."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ReplayError as problem:
            from openai_replay.journal import console

            console.error(problem)
            ctx.exit(problem.exit_code)
        except OSError as problem:
            if problem.errno == errno.EPIPE:  # who reads has had enough: click ends quietly
                raise
            from openai_replay.journal import console

            console.say(f"error: {': '.join(str(part) for part in (problem.filename, problem.strerror) if part)}")
            # What stdout did not take, Python would try to write once more at its end, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(1)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(".")
        command: click.Command = getattr(import_module(f"openai_replay.cli.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A line a command; none of them is loaded for it."""
        width = max(map(len, _COMMANDS))
        for title, section in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), said) for name, (_, said) in section.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="openai-replay")
def main() -> None:
    """Record OpenAI traffic through a proxy, and play it back byte for byte, on time, without a network."""
