"""Errors of click become errors of ours: one sentence on the mistake, and one on what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import click

from openai_replay.errors import UsageError


def from_click(error: click.UsageError, command: str) -> UsageError:
    """Return `error` as one of ours. `command`, such as `openai-replay play`, is for errors that name no command."""
    hint = f"Run `{error.ctx.command_path if error.ctx else command} --help` for the usage."
    match error:
        case click.NoSuchOption():
            return UsageError(
                f"{error.option_name} is not an option.", suggestion(error.option_name, error.possibilities or (), hint)
            )
        case click.MissingParameter():
            kind = "option" if isinstance(error.param, click.Option) else "argument"
            return UsageError(f"The {kind} {_name(error)} is missing.", hint)
        case click.BadParameter() if _name(error):
            return UsageError(f"{_name(error)}: {error.message}", hint)
    return UsageError(error.format_message(), hint)


def suggestion(name: str, names: Iterable[str], hint: str) -> str:
    """Return `hint`, after the name among `names` that is the most like `name`, if one is."""
    similar = difflib.get_close_matches(name, list(names), 1)
    return f"Did you mean {similar[0]}? {hint}" if similar else hint


def _name(error: click.BadParameter) -> str:
    """Return the name of the option or argument as users write it; empty if the error does not know it."""
    hint = error.param_hint or (error.param.get_error_hint(error.ctx) if error.param and error.ctx else "")
    return (hint if isinstance(hint, str) else " / ".join(hint)).strip("'")
