"""`config`: the settings in effect, and their sources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from openai_replay.cli.options import Command, label, origin, setting_options
from openai_replay.config.setting import Kind, Scope
from openai_replay.config.settings import in_scope


@click.command(cls=Command)
@click.argument("cassette", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@setting_options(Scope.FILE)
@click.pass_context
def config(ctx: click.Context, /, cassette: Path | None, as_json: bool, **options: Any) -> None:
    """Show the settings in effect for CASSETTE (or for this folder), and the source
    of each: a flag, an OPENAI_REPLAY_... variable, openai-replay.toml,
    pyproject.toml, or the default.

    You can pass the options of `record`, `play` and `lint`. COMMAND does not run.
    """
    from openai_replay.config import files
    from openai_replay.model import Request
    from openai_replay.redaction.redactor import Redactor

    files.check(options, lambda name: label(ctx, name))
    if options["upstream"]:  # a URL may hold a password
        options["upstream"] = Redactor().redact_request(Request("GET", options["upstream"])).uri
    rows = {
        setting.key: (bool(options[name]) if setting.kind is Kind.FLAG else options[name], origin(ctx, name))
        for name, setting in in_scope(Scope.FILE).items()
    }
    if as_json:
        table = {key: {"value": value, "from": source} for key, (value, source) in rows.items()}
        click.echo(json.dumps(table, ensure_ascii=False, indent=2, default=str))
        return
    texts = {key: _format(value) for key, (value, _) in rows.items()}
    key_width, text_width = max(map(len, rows)), min(60, max(map(len, texts.values())))
    for key, (_, source) in rows.items():
        click.echo(f"{key:<{key_width}}  {texts[key]:<{text_width}}  {source}")


def _format(value: Any) -> str:
    """Return a value as text: strings without quotes, and `-` for a setting without a value."""
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, default=str)
