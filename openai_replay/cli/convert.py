"""`import` and `export`: cassettes from and for other tools."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openai_replay.cli.options import Configured, redactor, setting_options
from openai_replay.config.setting import Scope, with_label
from openai_replay.tools.formats import EXPORT_FORMATS, IMPORT_FORMATS

if TYPE_CHECKING:
    from openai_replay.tools.importers.run import Outcome


@click.command("import", cls=Configured)
@click.argument("sources", type=click.Path(exists=True, path_type=Path), nargs=-1, required=True, metavar="SRC...")
@click.option(
    "-o",
    "--output",
    "destination",
    type=click.Path(path_type=Path),
    default=Path("cassettes"),
    show_default=True,
    metavar="DST",
    help="Folder for the cassettes, with the layout of SRC. For one file, DST may be a name that ends in .yaml.",
)
@click.option(
    "--format",
    "name",
    type=click.Choice(IMPORT_FORMATS),
    default="auto",
    show_default=True,
    metavar="FORMAT",
    help=f"Format of SRC: {', '.join(IMPORT_FORMATS)}.",
)
@click.option("--check", is_flag=True, help="Write nothing. Report what would be imported.")
@click.option("--force", is_flag=True, help="Replace existing cassettes.")
@click.option(
    "--assume-pace",
    metavar="PACE",
    help="Give streams without times a synthetic schedule, which is marked as such: ttft=300ms,50tps.",
)
@click.option(
    "--request",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the request body of a raw response.",
)
@click.option(
    "--method", default="POST", metavar="METHOD", show_default=True, help="Method of the request of a raw response."
)
@click.option("--url", metavar="URL", help="URL of the request of a raw response, if the response does not name it.")
@setting_options(Scope.IMPORT | Scope.REDACT)
@click.pass_context
def import_(ctx: click.Context, /, sources: tuple[Path, ...], destination: Path, **options: Any) -> None:
    """Make cassettes from the recordings of other tools. SRC is a file or a folder, and each file becomes a cassette.

    The content of a file decides its format: cassettes of vcrpy, Ruby's and R's vcr and go-vcr, recordings of nock,
    Polly.JS, httprr, mitmproxy, Azure's test proxy and DataDog's test agent, HTTP archives (HAR), fixtures of aimock,
    and, with --request, raw event streams. Secrets are redacted as in recording. Times that a format does not have are
    not invented.

    Exit with 1 if a file could not be imported. The others are imported.
    """
    from openai_replay.errors import UsageError
    from openai_replay.playback import synthetic
    from openai_replay.text import escape
    from openai_replay.tools.importers import SuppliedRequest, run

    body = options["request"].read_bytes() if options["request"] else None
    settings = run.ImportSettings(
        format_name=options["name"],
        supplied_request=SuppliedRequest(body, options["method"], options["url"]) if body is not None else None,
        assumed=with_label("--assume-pace", synthetic.parse, options["assume_pace"])
        if options["assume_pace"]
        else None,
        redactor=redactor(options),
        all_headers=options["keep_headers"] == "all",
        write=not options["check"],
        overwrite=options["force"],
    )
    jobs = run.plan_jobs(sources, destination)
    if destination.suffix in (".yaml", ".yml") and len(jobs) > 1:
        raise UsageError(f"{destination} is one file, and SRC has {len(jobs)} files.", "Give -o the name of a folder.")
    with_bar = click.progressbar(jobs, label="import", file=sys.stderr) if sys.stderr.isatty() else nullcontext(jobs)
    with with_bar as remaining_jobs:
        outcomes = [run.run_job(job, settings) for job in remaining_jobs]
    for outcome in outcomes:
        if outcome.error:
            click.echo(escape.line(f"{outcome.job.source}: {outcome.error}"), err=True)
        for reason in outcome.skipped:
            click.echo(escape.line(f"{outcome.job.source}: left out: {reason}"), err=True)
    click.echo("\n".join(_table(outcomes)))
    ctx.exit(1 if any(outcome.error for outcome in outcomes) else 0)


@click.command(cls=Configured)
@click.argument("cassette", type=click.Path(path_type=Path))
@click.option("--to", "name", type=click.Choice(EXPORT_FORMATS), required=True, help="Format to write.")
@click.option(
    "-o",
    "--output",
    "destination",
    type=click.Path(path_type=Path),
    metavar="DST",
    help="File to write, or a folder for it. Without it, stdout.",
)
@click.option("--force", is_flag=True, help="Replace existing files.")
@setting_options(Scope.REDACT)
@click.pass_context
def export(
    ctx: click.Context, /, cassette: Path, name: str, destination: Path | None, force: bool, **options: Any
) -> None:
    """Write CASSETTE for other tools.

    \b
    vcrpy   a plain vcrpy cassette, without times and frames
    har     an HTTP archive (HAR 1.2), with times
    curl    a shell script that sends the requests, with your own key
    sse     the event streams as they arrived, one file each

    Losses are reported on stderr. Secrets are redacted here as well.
    """
    from openai_replay.text import escape
    from openai_replay.tools import exporters
    from openai_replay.tools.exporters import run

    written = exporters.FORMATS[name](run.read_recordings(cassette, redactor(options)))
    for note in written.notes:
        click.echo(escape.line(f"{cassette}: {note}"), err=True)
    if not written.files:
        click.echo(escape.line(f"{cassette}: holds nothing to export."), err=True)
        ctx.exit(1)
    if destination is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(run.single_file(written, cassette))
    else:
        run.write_files(written, cassette, destination, force)


def _table(outcomes: Iterable[Outcome]) -> Iterable[str]:
    """Return one line per format and one for all, and the number of repairs of each kind."""
    rows: dict[str, Counter[str]] = {}
    repairs: Counter[str] = Counter()
    for outcome in outcomes:
        row = {
            "files": 1,
            "interactions": outcome.interactions,
            "streams": outcome.streams,
            "repaired": len(outcome.repaired),
            "left out": len(outcome.skipped) + bool(outcome.error),
        }
        for name in (outcome.format_name or "not imported", "all"):
            rows.setdefault(name, Counter()).update(row)
        repairs.update(outcome.repaired)
    columns = ("files", "interactions", "streams", "repaired", "left out")
    rows["all"] = rows.pop("all", Counter())
    yield f"{'format':<14}" + "".join(f"{column:>14}" for column in columns)
    for name, counts in rows.items():
        yield f"{name:<14}" + "".join(f"{counts[column]:>14}" for column in columns)
    for repair, count in repairs.most_common():
        yield f"{count} x {repair}"
