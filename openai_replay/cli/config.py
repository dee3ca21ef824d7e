"""`config`: which settings hold, and where each is from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from openai_replay.cli.maintain import lint
from openai_replay.cli.options import Command, label, origin
from openai_replay.cli.serve import play, record


def _options() -> Iterator[click.Parameter]:
    """Those of `record`, `play` and `lint` that a file may give, each once."""
    found: dict[str, click.Parameter] = {}
    for command in (record, play, lint):
        for one in command.params:
            if isinstance(one, click.Option) and one.name is not None and one.envvar and one.name != "ready_file":
                found.setdefault(one.name, one)
    yield from found.values()


@click.command(
    cls=Command,
    params=[
        click.Argument(["cassette"], type=click.Path(path_type=Path), required=False),
        click.Option(["--json", "as_json"], is_flag=True, help="As JSON."),
        *_options(),
    ],
)
@click.pass_context
def config(ctx: click.Context, /, cassette: Path | None, as_json: bool, **options: Any) -> None:
    """Show which settings hold for CASSETTE (or here), and where each is from: a flag, an OPENAI_REPLAY_... variable,
    openai-replay.toml, pyproject.toml, or the default. It takes the options of record and play, and what a file can
    say to lint.
    """
    from openai_replay.config import files
    from openai_replay.model import Request
    from openai_replay.redaction.redactor import Redactor

    files.check(options, lambda name: label(ctx, name))
    if options["upstream"]:  # a URL may hold a password
        options["upstream"] = Redactor().request(Request("GET", options["upstream"])).uri
    names = [one.name for one in ctx.command.params if one.name in options]  # click puts what is given first
    rows = {name.replace("_", "-"): (options[name], origin(ctx, name)) for name in names if name is not None}
    if as_json:
        table = {name: {"value": value, "from": found} for name, (value, found) in rows.items()}
        click.echo(json.dumps(table, ensure_ascii=False, indent=2))
        return
    words = {name: value if isinstance(value, str) else json.dumps(value) for name, (value, _) in rows.items()}
    wide, long = max(map(len, rows)), min(60, max(map(len, words.values())))
    for name, (_, found) in rows.items():
        click.echo(f"{name:<{wide}}  {words[name]:<{long}}  {found}")
