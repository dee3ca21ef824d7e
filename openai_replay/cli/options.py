"""How options are declared: each may come from the environment and from settings files as well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from openai_replay.redaction.redactor import Redactor

F = TypeVar("F", bound=Callable[..., Any])


def option(name: str, *arguments: Any, **settings: Any) -> Callable[[F], F]:
    """A click option that can come from the environment as well: `--on-exhausted` is `OPENAI_REPLAY_ON_EXHAUSTED`."""
    return click.option(name, *arguments, envvar=variable(name), **settings)


def variable(flag: str) -> str:
    """The environment variable of an option."""
    return "OPENAI_REPLAY_" + flag.removeprefix("--").replace("-", "_").upper()


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator."""

    def decorate(function: F) -> F:
        for one in reversed(options):
            function = one(function)
        return function

    return decorate


#: What decides which requests are the same.
matching_options = together(
    option(
        "--match-on",
        default="method,path,query,body",
        show_default=True,
        metavar="NAMES",
        help="What of a request has to be the same: some of these.",
    ),
    option("--match-header", multiple=True, metavar="NAME", help="This header has to be the same, too."),
    option(
        "--normalize",
        multiple=True,
        metavar="NAMES",
        help="What may differ: uuid, datetime, date, epoch, tmp-path, call-id, data-url, defaults (with commas "
        "between), or NAME=REGEX of your own.",
    ),
    option(
        "--ignore",
        multiple=True,
        metavar="POINTER",
        help="JSON pointer to leave out of matching; * is any key or index. Fields of forms and uploads by name.",
    ),
)
redacting_options = together(
    option("--redact-header", multiple=True, metavar="NAME", help="Redact this header, too."),
    option("--redact-pattern", multiple=True, metavar="REGEX", help="Redact what this matches in bodies and headers."),
    option(
        "--redact-pointer", multiple=True, metavar="POINTER", help="Redact the string there in JSON bodies and events."
    ),
)

journal_option = option(
    "--journal",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Add a line of JSON to this file for every request that is over; `prune` reads it.",
)

#: Where a context keeps what files say.
_FOUND = "openai_replay.found"
_ELSEWHERE = (ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP)
_GIVEN = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)


def given(ctx: click.Context) -> dict[str, Any]:
    """The options that the command line or the environment gives."""
    return {name: value for name, value in ctx.params.items() if ctx.get_parameter_source(name) in _GIVEN}


def origin(ctx: click.Context, name: str) -> str:
    """Where the value of the option `name` is from, in words: `--ignore`, `OPENAI_REPLAY_IGNORE`, a file, `default`."""
    match ctx.get_parameter_source(name):
        case ParameterSource.ENVIRONMENT:
            return variable(name)
        case ParameterSource.DEFAULT_MAP:
            return str(ctx.meta[_FOUND][name].path)
        case ParameterSource.COMMANDLINE:
            return _flag(ctx, name)
    return "default"


def label(ctx: click.Context, name: str) -> str:
    """What the user calls the option `name`, for messages."""
    match ctx.get_parameter_source(name):
        case ParameterSource.DEFAULT_MAP:
            return f"{origin(ctx, name)}: {name.replace('_', '-')}"
        case ParameterSource.ENVIRONMENT:
            return variable(name)
    return _flag(ctx, name)


def _flag(ctx: click.Context, name: str) -> str:
    """How the option `name` is typed: of `lint_allow` it is `--allow`."""
    flags = (one.opts[0] for one in ctx.command.params if one.name == name)
    return next(flags, f"--{name.replace('_', '-')}")


def redactor(options: dict[str, Any]) -> Redactor:
    """The rules of redaction that the current command is given. Raises UsageError that names the option."""
    from openai_replay.config import files as settings
    from openai_replay.config import settings as building

    ctx = click.get_current_context()
    said = {name: value for name, value in settings.as_settings(options).items() if name in building.REDACTING}
    return building.rules(said, label=lambda name: label(ctx, name)).redactor


def _cassette(params: dict[str, Any]) -> Path:
    """The cassette that a command is about, the first of several."""
    several = (
        params.get("cassettes") or params.get("paths") or (params.get("cassette") or params.get("destination") or ".",)
    )
    return Path(several[0])


def _plain(name: str, value: Any) -> Any:
    return ",".join(value) if name == "match_on" and isinstance(value, list) else value


class Configured(click.Command):
    """A command that takes defaults from settings files."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """What is not given is looked for in the environment (by click), then in the files beside the cassette and the
        project.
        """
        from openai_replay.config import files as settings

        found: dict[str, settings.Found] = {}
        if "--help" not in args:
            # Which files count hangs on where the cassette is: the arguments are read twice.
            first = super().make_context(info_name, list(args), parent, resilient_parsing=True, **extra)
            found = settings.of(_cassette(first.params), Path.cwd())
            names = {parameter.name for parameter in self.params}
            extra["default_map"] = {name: _plain(name, one.value) for name, one in found.items() if name in names}
        try:
            ctx = super().make_context(info_name, args, parent, **extra)
        except click.BadParameter as error:
            name = error.param.name if error.param else None
            if not error.ctx or not name or error.ctx.get_parameter_source(name) not in _ELSEWHERE:
                raise
            error.ctx.meta[_FOUND] = found
            said = f"{error.message} It is from {origin(error.ctx, name)}."
            raise click.BadParameter(said, error.ctx, error.param, error.param_hint) from None
        ctx.meta[_FOUND] = found
        return ctx


class Command(Configured):
    """A configured command that tells what stands after `--` from its own arguments."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """The command behind `--` becomes the context's `obj`."""
        if "--" in args:
            position = args.index("--")
            args, extra["obj"] = args[:position], tuple(args[position + 1 :])
            if not extra["obj"]:
                raise click.UsageError("there is no command after --")
        return super().make_context(info_name, args, parent, **extra)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """`[OPTIONS] CASSETTE [-- COMMAND...]`."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]
