"""`explain`: the recording that a request matches, or the reason for a miss, without a proxy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from openai_replay.cli import output
from openai_replay.cli.options import Configured, label, setting_options
from openai_replay.config.setting import Scope, with_label
from openai_replay.errors import UsageError


@click.command(cls=Configured)
@click.argument("cassettes", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="CASSETTE...")
@click.argument("request", metavar="REQUEST.json")
@click.option(
    "--method", default="", metavar="METHOD", help="Method of the request. Without it, that in REQUEST.json, or POST."
)
@click.option(
    "--path",
    default="",
    metavar="PATH",
    help="Path and query of the request. Without it, that in REQUEST.json, or one that its body is for.",
)
@click.option(
    "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Header of the request. Can be repeated."
)
@setting_options(Scope.EXPLAIN)
@click.pass_context
def explain(
    ctx: click.Context,
    /,
    cassettes: tuple[Path, ...],
    request: str,
    method: str,
    path: str,
    headers: tuple[str, ...],
    **options: Any,
) -> None:
    """Show which recording of cassettes, files or folders of them, a request matches. Exit with 1 if none does, and
    show why.

    REQUEST.json (- for stdin) is the JSON body of the request, or an object with method, path, headers and body, as
    `show --json` writes it.
    """
    from openai_replay.cassette.cassette import Cassette
    from openai_replay.config import build, files
    from openai_replay.journal import console
    from openai_replay.model import Request
    from openai_replay.proxy import miss
    from openai_replay.tools import request_file

    rules = build.build_rules(files.rule_values(options), label=lambda name: label(ctx, name))
    overrides = request_file.RequestOverrides(
        method, path, tuple(with_label("--header", request_file.parse_header, text) for text in headers)
    )
    text = _read(request)
    cassette = Cassette.for_play(cassettes, rules.key, rules.matching_summary)
    for warning in cassette.warnings:
        console.warn(warning)
    recorded = [
        recording.loaded.request
        if recording.loaded
        else Request(recording.method, f"http://cassette{recording.request_path}")
        for recording in cassette.recordings
    ]
    name = "stdin" if request == "-" else request
    clean = rules.redactor.redact_request(request_file.parse(text, name, overrides, recorded))
    key = rules.matcher.key(clean)
    if matches := [f"#{recording.number}" for recording in cassette.recordings if recording.key == key]:
        output.echo([f"matches {', '.join(matches)}"])
        return
    output.echo(miss.miss(rules, cassette, clean, {}).text.split("\n"))
    ctx.exit(1)


def _read(name: str) -> bytes:
    """Return the contents of the file `name`, or of stdin for `-`. Raise UsageError."""
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"Could not read {name}: {error.strerror}.", "Name a file, or - for stdin.") from None
