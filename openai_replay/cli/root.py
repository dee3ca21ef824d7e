"""The command line: the list of commands, and the look of errors. Only the command that runs is loaded."""

from __future__ import annotations

import errno
import os
import sys
from importlib import import_module
from typing import Any

import click

from openai_replay import __version__
from openai_replay.cli.usage_errors import from_click, suggestion
from openai_replay.errors import ReplayError, UsageError

#: The sections of `--help`. Of each command: its module in `cli`, its name there, and a summary.
_SECTIONS = {
    "Record and play": {
        "record": ("serve", "record", "Forward requests to the API, and record its responses."),
        "play": ("serve", "play", "Play cassettes, without a network."),
        "config": ("config", "config", "Show the settings in effect, and the source of each."),
    },
    "Inspect": {
        "list": ("inspect", "list_", "List the recordings of cassettes, one per line."),
        "show": ("inspect", "show", "Show a recording, its timing or its bytes."),
        "stats": ("inspect", "stats", "Count tokens, time and bytes of cassettes, by model."),
        "diff": ("inspect", "diff", "Compare the requests and responses of two cassettes."),
        "explain": ("explain", "explain", "Show which recording a request matches, or why none does."),
    },
    "Maintain": {
        "lint": ("maintain", "lint", "Find problems in cassettes."),
        "redact": ("maintain", "redact", "Remove secrets from existing cassettes."),
        "prune": ("maintain", "prune", "Delete the recordings that no run played."),
        "refresh": ("refresh", "refresh", "Re-record a cassette, or check whether the API has changed."),
    },
    "Convert": {
        "import": ("convert", "import_", "Make cassettes from the recordings of other tools."),
        "export": ("convert", "export", "Write a cassette for vcrpy, HAR viewers, curl or as streams."),
    },
}
#: The error of newer versions of click for a call without arguments, which shows the help.
_HELP_ERRORS: tuple[type[Exception], ...] = (getattr(click.exceptions, "NoArgsIsHelpError", click.exceptions.Exit),)
_COMMANDS = {name: command for section in _SECTIONS.values() for name, command in section.items()}


class _Commands(click.Group):
    """Commands that are loaded when they run, and whose errors are two lines and an exit code."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            if isinstance(error, _HELP_ERRORS):
                raise
            raise click.exceptions.Exit(_show(from_click(error, "openai-replay"))) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ReplayError as error:
            ctx.exit(_show(error))
        except click.UsageError as error:
            ctx.exit(_show(from_click(error, f"{ctx.command_path} {ctx.invoked_subcommand or ''}".rstrip())))
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of stdout is gone: click ends quietly
                raise
            target = f"Could not read or write {error.filename}" if error.filename else "Could not write the output"
            code = _show(ReplayError(f"{target}: {error.strerror}."))
            # Python would try again to write to stdout at its end, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(code)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command. Raise UsageError with a suggestion for a name that is not one."""
        name = args[0]
        if name not in _COMMANDS and not name.startswith("-"):
            hint = f"Run `{ctx.command_path} --help` for the list."
            raise UsageError(f"{name!r} is not a command.", suggestion(name, _COMMANDS, hint))
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name, _ = _COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"openai_replay.cli.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one line per command, without loading any."""
        width = max(map(len, _COMMANDS))
        for title, section in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), summary) for name, (_, _, summary) in section.items()])


def _show(error: ReplayError) -> int:
    """Write `error` to stderr, and return the exit code."""
    from openai_replay.journal import console

    console.error(error)
    return error.exit_code


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="openai-replay")
def main() -> None:
    """Record OpenAI traffic through a proxy. Play it back byte for byte, on time, without a network."""
