"""How options are declared: each may come from the environment and from settings files as well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def option(name: str, *arguments: Any, **settings: Any) -> Callable[[F], F]:
    """A click option that can come from the environment as well: `--on-exhausted` is `OPENAI_REPLAY_ON_EXHAUSTED`."""
    variable = "OPENAI_REPLAY_" + name.removeprefix("--").replace("-", "_").upper()
    return click.option(name, *arguments, envvar=variable, **settings)


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator."""

    def decorate(function: F) -> F:
        for one in reversed(options):
            function = one(function)
        return function

    return decorate


class Command(click.Command):
    """A command that tells what stands after `--` from its own arguments, and takes defaults from pyproject.toml."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """What is not given is looked for in the environment (by click), then in pyproject.toml."""
        from openai_replay import settings

        if "--" in args:
            position = args.index("--")
            args, extra["obj"] = args[:position], tuple(args[position + 1 :])
            if not extra["obj"]:
                raise click.UsageError("there is no command after --")
        if "--help" not in args:
            names = {parameter.name for parameter in self.params}
            found = settings.from_pyproject(Path.cwd())
            extra["default_map"] = {name: value for name, value in found.items() if name in names}
        return super().make_context(info_name, args, parent, **extra)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """`[OPTIONS] CASSETTE [-- COMMAND...]`."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]
