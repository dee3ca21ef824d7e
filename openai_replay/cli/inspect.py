"""`list`, `show`, `stats` and `diff`: the contents of cassettes."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import click

from openai_replay.cli import output
from openai_replay.errors import UsageError
from openai_replay.text import escape

_REFERENCES = click.argument("references", nargs=-1, required=True, metavar="CASSETTE[#N]...")


@click.command("list")
@_REFERENCES
@click.option("--json", "as_json", is_flag=True, help="Write a JSON array with one object per recording.")
def list_(references: tuple[str, ...], as_json: bool) -> None:
    """List the recordings of cassettes, files or folders of them, one per line. CASSETTE#3 is the third recording.

    Each line has the number, method and path, the model, `stream` if it streams, the status, the duration, the time to
    the first token of a stream, the ending unless it is complete, and the start of the text.
    """
    from openai_replay.journal import console
    from openai_replay.tools import select
    from openai_replay.tools.show import format_table, summarize

    selection = select.select(references, console.warn)
    if as_json:
        output.echo_json(
            {"cassette": str(recording.path), **summarize(recording.number, recording.interaction)._asdict()}
            for recording in selection
        )
        return

    def lines() -> Iterator[str]:
        with_headings = _may_be_several(references)
        for index, (path, recordings) in enumerate(groupby(selection, lambda recording: recording.path)):
            if with_headings:
                yield from [""] * bool(index) + [escape.line(str(path))]
            rows = [summarize(recording.number, recording.interaction) for recording in recordings]
            yield from format_table(rows, output.width())

    output.echo(lines())


@click.command()
@click.argument("reference", metavar="CASSETTE[#N]")
@click.option("--timing", "view", flag_value="timing", help="Draw the times at which the frames arrived.")
@click.option(
    "--json",
    "view",
    flag_value="json",
    help="Write request, response and frames as JSON: an object for #N, otherwise an array.",
)
@click.option("--raw", "view", flag_value="raw", help="Write the bytes of the response body, and nothing else.")
def show(reference: str, view: str | None) -> None:
    """Show the request and the response of recordings: the third in CASSETTE#3, or all in CASSETTE."""
    from openai_replay.journal import console
    from openai_replay.tools import select, timeline
    from openai_replay.tools.show import as_json, format_heading, format_recording

    selection = select.select([reference], console.warn)
    if view == "raw":
        recordings = list(selection)
        if len(recordings) != 1:
            raise UsageError(
                f"--raw writes the body of one response, but {reference} has {len(recordings)}.",
                f"Run for example  openai-replay show --raw '{reference}#1'" if recordings else "",
            )
        sys.stdout.flush()
        sys.stdout.buffer.write(recordings[0].interaction.response.body)
        sys.stdout.buffer.flush()
    elif view == "json":
        values = (as_json(recording.number, recording.interaction) for recording in selection)
        if select.split_reference(reference)[1] is None:
            output.echo_json(values)
        else:
            output.echo(output.dumped(value) for value in values)
    else:
        style = timeline.UNICODE if output.is_utf8() else timeline.ASCII

        def lines() -> Iterator[str]:
            with_headings = _may_be_several([reference])
            path = None
            for index, recording in enumerate(selection):
                yield from [""] * bool(index)
                if with_headings and recording.path != path:
                    yield from [escape.line(str(recording.path)), ""]
                path = recording.path
                title = format_heading(recording.number, recording.interaction)
                yield click.style(title, bold=True) if output.has_colour() else title
                if view == "timing":
                    yield from timeline.draw(recording.interaction.response, output.width(), style)
                else:
                    yield from format_recording(recording.interaction)

        output.echo(lines())


@click.command()
@_REFERENCES
@click.option(
    "--price",
    "prices",
    multiple=True,
    metavar="MODEL=IN/OUT",
    help="Price of a million input and output tokens of a model. Write MODEL=IN/OUT/CACHED if cached input costs "
    "less. Can be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Write a JSON object with `models` by name, and `total`.")
def stats(references: tuple[str, ...], prices: tuple[str, ...], as_json: bool) -> None:
    """Count the recordings, tokens, time and bytes of cassettes, by model and in total.

    The token counts are those in the responses. None is estimated. Each run that plays the cassettes saves the
    total. CASSETTE#3 is the third recording.
    """
    from openai_replay.journal import console
    from openai_replay.tools import select
    from openai_replay.tools.stats import Totals, count_by_model, format_table, parse_price, sum_totals

    selection = select.select(references, console.warn)
    price_of = dict(parse_price(price) for price in prices)
    models: dict[str, Any] = {}
    for _, recordings in groupby(selection, lambda recording: recording.path):
        for name, totals in count_by_model((recording.interaction for recording in recordings), price_of).items():
            models.setdefault(name, Totals()).add(totals)
    total = sum_totals(models.values())
    if as_json:
        value = {"models": {name: totals.as_json() for name, totals in models.items()}, "total": total.as_json()}
        output.echo([output.dumped(value)])
    else:
        output.echo(format_table(models, total))


def _may_be_several(references: Sequence[str]) -> bool:
    """Return True if the references may lead to several files, which need headings."""
    from pathlib import Path

    return len(references) > 1 or any(Path(reference).is_dir() for reference in references)


@click.command()
@click.argument("first", metavar="CASSETTE[#N]")
@click.argument("second", metavar="CASSETTE[#N]")
@click.option("--all", "show_expected", is_flag=True, help="Also show expected differences: IDs, dates and headers.")
@click.option("--timing", is_flag=True, help="Also show both durations, which do not count as a difference.")
@click.pass_context
def diff(ctx: click.Context, /, first: str, second: str, show_expected: bool, timing: bool) -> None:
    """Compare the requests and responses of two cassettes. Exit with 1 if they differ.

    Recordings of the same request are compared in order, then those of one method and path. Streams are compared by
    the response that they add up to. Values that always differ, such as IDs and dates, do not count.
    """
    from openai_replay.config.rules import Rules
    from openai_replay.journal import console
    from openai_replay.tools import compare, select
    from openai_replay.tools.show import format_heading

    sides = [list(select.select([reference], console.warn)) for reference in (first, second)]
    old, new = ([recording.interaction for recording in side] for side in sides)
    counts: Counter[str] = Counter()

    def lines() -> Iterator[str]:
        for pair in compare.pair_recordings(old, new, Rules().key):
            if pair.first is None or pair.second is None:
                side, index = (sides[1], pair.second) if pair.first is None else (sides[0], pair.first)
                recording = side[index or 0]
                reference = escape.line(second if pair.first is None else first)
                counts["second" if pair.first is None else "first"] += 1
                yield f"{format_heading(recording.number, recording.interaction)}  only in {reference}"
                continue
            a, b = sides[0][pair.first], sides[1][pair.second]
            difference = compare.compare_recordings(a.interaction, b.interaction)
            counts["differ" if difference.unexpected else "same"] += 1
            details = difference.unexpected + (difference.expected if show_expected else [])
            if timing:
                details += compare.compare_times(a.interaction.response, b.interaction.response)
            if details:
                title = format_heading(a.number, a.interaction).partition("  ")[2]
                yield f"#{a.number} and #{b.number}  {title}"
                yield from (f"    {line}" for line in details)
                if difference.expected and not show_expected:
                    yield f"    ({len(difference.expected)} more, as expected. --all shows them.)"
        summary = [f"{counts['same']} the same", f"{counts['differ']} differ"]
        summary += [f"{counts[side]} only in the {side}" for side in ("first", "second") if counts[side]]
        yield ", ".join(summary)

    output.echo(lines())
    ctx.exit(1 if counts.keys() - {"same"} else 0)
