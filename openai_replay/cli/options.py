"""Options from the registry of settings: each may also come from the environment and from settings files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from openai_replay.config.setting import Kind, Scope, Setting, with_label
from openai_replay.config.settings import SECTIONS, SETTINGS, in_scope
from openai_replay.errors import UsageError

if TYPE_CHECKING:
    from openai_replay.config.files import FileValue
    from openai_replay.redaction.redactor import Redactor

F = TypeVar("F", bound=Callable[..., Any])

_SECTION_OF = {setting.name: section for section, settings in SECTIONS.items() for setting in settings}
#: Columns of the flags in `--help`; longer ones stand on a line of their own.
_FLAG_COLUMNS = 26
#: The key under which a context keeps the values of settings files.
_FILE_VALUES = "openai_replay.file_values"
_NOT_TYPED = (ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP)
_EXPLICIT = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)


class SettingOption(click.Option):
    """An option of a setting, in the section of `--help` that the setting belongs to."""

    def __init__(self, declarations: Sequence[str] = (), *, setting: Setting, hidden: bool = False) -> None:
        flags = setting.flags or (f"--{setting.key}",)
        super().__init__(
            [setting.name, *flags, *declarations],
            type=_click_type(setting),
            is_flag=setting.kind is Kind.FLAG,
            multiple=setting.kind is Kind.TEXTS,
            default=setting.default,
            show_default=setting.default is not None,
            metavar=setting.metavar,
            envvar=setting.variable,
            help=f"{setting.help} Can be repeated." if setting.kind is Kind.TEXTS else setting.help,
            hidden=hidden,
        )
        self.section = _SECTION_OF[setting.name]

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Return the first flag; a setting may have an alias."""
        return f"'{self.opts[0]}'"


class _Flag(click.types.BoolParamType):
    """The value of a flag, which only an environment variable writes out."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        """Return True or False. Raise click.BadParameter."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is neither true nor false.", param, ctx)


def _number_parser(setting: Setting) -> Callable[[Any], Any]:
    """Return a function that parses the text of a number. It raises click.BadParameter."""

    def parse(value: Any) -> Any:
        try:
            return setting.parse(int(value) if isinstance(value, str) and value.isdecimal() else value)
        except UsageError as error:
            raise click.BadParameter(error.message) from None

    return parse


def _click_type(setting: Setting) -> click.ParamType[Any] | None:
    match setting.kind:
        case Kind.CHOICE:
            return click.Choice([name for name in setting.choices if name not in setting.not_typed])
        case Kind.INTEGER:
            return click.types.FuncParamType(_number_parser(setting))
        case Kind.FLAG:
            return _Flag()
        case Kind.PATH:
            return click.Path(path_type=Path, dir_okay=False)
    return None


def setting_options(scope: Scope, hidden: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Return a decorator that adds an option for each setting in `scope`; those in `hidden` are not in `--help`."""

    def decorate(function: F) -> F:
        for setting in reversed(in_scope(scope).values()):
            function = click.option(cls=SettingOption, setting=setting, hidden=setting.name in hidden)(function)
        return function

    return decorate


def explicit_values(ctx: click.Context) -> dict[str, Any]:
    """Return the options that the command line or the environment sets."""
    return {name: value for name, value in ctx.params.items() if ctx.get_parameter_source(name) in _EXPLICIT}


def origin(ctx: click.Context, name: str) -> str:
    """Return the source of the value of the option `name`: `--ignore`, `OPENAI_REPLAY_IGNORE`, a file, or `default`."""
    match ctx.get_parameter_source(name):
        case ParameterSource.ENVIRONMENT:
            return SETTINGS[name].variable
        case ParameterSource.DEFAULT_MAP:
            return str(ctx.meta[_FILE_VALUES][name].path)
        case ParameterSource.COMMANDLINE:
            return _flag(ctx, name)
    return "default"


def label(ctx: click.Context, name: str) -> str:
    """Return the user's name of the option `name`, for messages."""
    match ctx.get_parameter_source(name):
        case ParameterSource.DEFAULT_MAP:
            return f"{origin(ctx, name)}: {SETTINGS[name].key}"
        case ParameterSource.ENVIRONMENT:
            return SETTINGS[name].variable
    return _flag(ctx, name)


def parsed(ctx: click.Context, name: str, value: Any) -> Any:
    """Return the value of the setting `name`, parsed. Raise UsageError that names the option."""
    return with_label(label(ctx, name), SETTINGS[name].parse, value)


def _flag(ctx: click.Context, name: str) -> str:
    """Return the flag of the option `name`; that of `lint_allow` is `--allow`."""
    flags = (parameter.opts[0] for parameter in ctx.command.params if parameter.name == name)
    return next(flags, f"--{name.replace('_', '-')}")


def redactor(options: dict[str, Any]) -> Redactor:
    """Return the redaction rules of the current command. Raise UsageError that names the option."""
    from openai_replay.config.build import build_rules

    ctx = click.get_current_context()
    values = {name: value for name, value in options.items() if name in SETTINGS and _is_redaction(name)}
    return build_rules(values, label=lambda name: label(ctx, name)).redactor


def _is_redaction(name: str) -> bool:
    return SETTINGS[name].rule.startswith("redactor.")


def _first_cassette(params: dict[str, Any]) -> Path:
    """Return the cassette that a command works on, or the first of several."""
    cassettes = params.get("cassettes")
    return Path(cassettes[0] if cassettes else params.get("cassette") or params.get("destination") or ".")


def _as_default(name: str, value: Any) -> Any:
    """Return a value of a settings file as click takes it: TOML may have a list where a flag has commas."""
    return ",".join(value) if name == "match_on" and isinstance(value, list) else value


class Configured(click.Command):
    """A command that takes defaults from settings files, with its options in sections."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Take each value from the command line, the environment (click does both), or the settings files."""
        from openai_replay.config import files

        values: dict[str, FileValue] = {}
        if "--help" not in args:
            # The position of the cassette decides which files count, so the arguments are read twice.
            first = super().make_context(info_name, list(args), parent, resilient_parsing=True, **extra)
            values = files.load(_first_cassette(first.params), Path.cwd())
            names = {parameter.name for parameter in self.params}
            extra["default_map"] = {
                name: _as_default(name, value) for name, (value, _) in values.items() if name in names
            }
        try:
            ctx = super().make_context(info_name, args, parent, **extra)
        except click.BadParameter as error:
            name = error.param.name if error.param else None
            if error.ctx and name and error.ctx.get_parameter_source(name) in _NOT_TYPED:
                error.ctx.meta[_FILE_VALUES] = values
                error.param_hint = label(error.ctx, name)
            raise
        ctx.meta[_FILE_VALUES] = values
        return ctx

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each section; options that are not settings come first, and `--help` last."""
        records: dict[str, list[tuple[str, str]]] = {"Options": []}
        records |= {section: [] for section in SECTIONS}
        help_record = None
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if parameter.name == "help":
                help_record = record
            elif record:
                records[getattr(parameter, "section", "Options")].append(record)
        sections = {section: rows for section, rows in records.items() if rows} or {"Options": []}
        if help_record:
            sections[list(sections)[-1]].append(help_record)
        width = max(len(flags) for flags in _short_flags(sections))
        for section, rows in sections.items():
            with formatter.section(section):
                formatter.write_dl([(flags.ljust(width), text) for flags, text in rows], col_max=width)


def _short_flags(sections: dict[str, list[tuple[str, str]]]) -> Iterator[str]:
    yield ""
    for rows in sections.values():
        yield from (flags for flags, _ in rows if len(flags) <= _FLAG_COLUMNS)


class Command(Configured):
    """A configured command that separates the COMMAND after `--` from its own arguments."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Put the COMMAND after `--` into the context's `obj`."""
        if "--" in args:
            position = args.index("--")
            args, extra["obj"] = args[:position], tuple(args[position + 1 :])
            if not extra["obj"]:
                raise UsageError("The COMMAND after `--` is missing.", "Write the command after `--` as in a shell.")
        return super().make_context(info_name, args, parent, **extra)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return `[OPTIONS] CASSETTE [-- COMMAND...]`."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]
