"""`lint`: cassettes kept in order."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("paths", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="PATH...")
@click.option("--fix", is_flag=True, help="Cut the frames of edited answers anew.")
@click.pass_context
def lint(ctx: click.Context, /, paths: tuple[Path, ...], fix: bool) -> None:
    """Say what is wrong with cassettes, files or folders of them: torn items, and frames that do not sum up to an
    edited body.

    Exit 1 if anything was found and not mended.
    """
    from openai_replay import cassette

    clean = True
    for path in paths:
        for file in cassette.files(path):
            clean = cassette.lint(file, fix, click.echo) and clean
    ctx.exit(0 if clean else 1)
