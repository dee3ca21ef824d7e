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
from openai_replay.config.setting import Scope

if TYPE_CHECKING:
    from openai_replay.tools.importers.run import Outcome

#: As `importers.NAMES` has them; `--help` does not load it.
_FORMATS = (
    "auto",
    "vcrpy",
    "ruby-vcr",
    "go-vcr",
    "nock",
    "har",
    "azure",
    "datadog",
    "aimock",
    "httprr",
    "mitmproxy",
    "raw",
)
#: As `exporters.FORMATS` has them.
_TARGETS = ("vcrpy", "har", "curl", "sse")


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
    help="Folder for the cassettes, laid out as SRC is; for one file a name that ends in .yaml, too.",
)
@click.option("--format", "name", type=click.Choice(_FORMATS), default="auto", show_default=True, help="What SRC is.")
@click.option("--check", is_flag=True, help="Only say what would be imported.")
@click.option("--force", is_flag=True, help="Replace cassettes that are there.")
@click.option(
    "--assume-pace",
    metavar="PACE",
    help="Give streams without times a made-up schedule, marked as such: ttft=300ms,50tps.",
)
@click.option(
    "--request",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Body of the request of a raw answer.",
)
@click.option("--method", default="POST", metavar="METHOD", show_default=True, help="Method of that request.")
@click.option("--url", metavar="URL", help="URL of that request, where the answer does not tell.")
@setting_options(Scope.IMPORT | Scope.REDACT)
@click.pass_context
def import_(ctx: click.Context, /, sources: tuple[Path, ...], destination: Path, **options: Any) -> None:
    """Make cassettes of what other tools have recorded: SRC is a file or a folder of them, one cassette comes of each.

    A file is known by its content: cassettes of vcrpy, Ruby's and R's vcr and go-vcr, recordings of nock, Polly.JS,
    httprr, mitmproxy, Azure's test proxy and DataDog's test agent, HTTP archives (HAR), fixtures of aimock, and, with
    --request, raw event streams. Secrets are redacted as while recording. What a format does not say, such as times, is
    not made up.

    Exit 1 if a file could not be imported; the others are.
    """
    from openai_replay.errors import UsageError
    from openai_replay.playback import synthetic
    from openai_replay.text import escape
    from openai_replay.tools.importers import SuppliedRequest, run

    body = options["request"].read_bytes() if options["request"] else None
    settings = run.ImportSettings(
        format_name=options["name"],
        supplied_request=SuppliedRequest(body, options["method"], options["url"]) if body is not None else None,
        assumed=synthetic.parse(options["assume_pace"]) if options["assume_pace"] else None,
        redactor=redactor(options),
        all_headers=options["keep_headers"] == "all",
        write=not options["check"],
        overwrite=options["force"],
    )
    found = run.plan_jobs(sources, destination)
    if destination.suffix in (".yaml", ".yml") and len(found) > 1:
        raise UsageError(f"{destination} is one file, and SRC has {len(found)}", "Give -o the name of a folder.")
    shown = click.progressbar(found, label="import", file=sys.stderr) if sys.stderr.isatty() else nullcontext(found)
    with shown as waiting:
        outcomes = [run.run_job(job, settings) for job in waiting]
    for one in outcomes:
        if one.error:
            click.echo(escape.line(f"{one.job.source}: {one.error}"), err=True)
        for why in one.skipped:
            click.echo(escape.line(f"{one.job.source}: left out: {why}"), err=True)
    click.echo("\n".join(_table(outcomes)))
    ctx.exit(1 if any(one.error for one in outcomes) else 0)


@click.command(cls=Configured)
@click.argument("cassette", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--to", "name", type=click.Choice(_TARGETS), required=True, help="What to write.")
@click.option(
    "-o",
    "--output",
    "destination",
    type=click.Path(path_type=Path),
    metavar="DST",
    help="File to write, or folder for it; without it, stdout.",
)
@click.option("--force", is_flag=True, help="Replace files that are there.")
@setting_options(Scope.REDACT)
@click.pass_context
def export(
    ctx: click.Context, /, cassette: Path, name: str, destination: Path | None, force: bool, **options: Any
) -> None:
    """Write CASSETTE for other tools.

    \b
    vcrpy   a plain vcrpy cassette, without times and cuts
    har     an HTTP archive (HAR 1.2), with the times
    curl    a shell script that asks everything again, the key from the environment
    sse     the event streams as they came, a file each

    What a format cannot say is told on stderr. Secrets are redacted here as well.
    """
    from openai_replay.text import escape
    from openai_replay.tools import exporters
    from openai_replay.tools.exporters import run

    written = exporters.FORMATS[name](run.read_recordings(cassette, redactor(options)))
    for note in written.notes:
        click.echo(escape.line(f"{cassette}: {note}"), err=True)
    if not written.files:
        click.echo(escape.line(f"{cassette}: holds nothing to export"), err=True)
        ctx.exit(1)
    if destination is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(run.single_file(written, cassette))
    else:
        run.write_files(written, cassette, destination, force)


def _table(outcomes: Iterable[Outcome]) -> Iterable[str]:
    """A line a format and one for all, and how often what was mended."""
    rows: dict[str, Counter[str]] = {}
    mended: Counter[str] = Counter()
    for one in outcomes:
        row = {
            "files": 1,
            "interactions": one.interactions,
            "streams": one.streams,
            "repaired": len(one.repaired),
            "left out": len(one.skipped) + bool(one.error),
        }
        for name in (one.format_name or "not imported", "all"):
            rows.setdefault(name, Counter()).update(row)
        mended.update(one.repaired)
    columns = ("files", "interactions", "streams", "repaired", "left out")
    rows["all"] = rows.pop("all", Counter())
    yield f"{'format':<14}" + "".join(f"{column:>14}" for column in columns)
    for name, counts in rows.items():
        yield f"{name:<14}" + "".join(f"{counts[column]:>14}" for column in columns)
    for what, times in mended.most_common():
        yield f"{times} x {what}"
