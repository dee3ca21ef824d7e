"""`list`, `show`, `stats` and `diff`: what is on a tape."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import click

from openai_replay.cli import output
from openai_replay.errors import UsageError
from openai_replay.text import escape

_PLACES = click.argument("places", nargs=-1, required=True, metavar="CASSETTE[#N]...")


@click.command("list")
@_PLACES
@click.option("--json", "as_json", is_flag=True, help="One JSON array, an object an interaction.")
def list_(places: tuple[str, ...], as_json: bool) -> None:
    """Show what is on cassettes, files or folders of them, a line an interaction.

    A line says number, method and path, model, whether it streams, status, how long it took, the time to the first
    token of a stream, how it ended if not as a whole, and what was said.
    """
    from openai_replay.journal import console
    from openai_replay.tools import select
    from openai_replay.tools import show as showing

    found = select.select(places, console.warn)
    if as_json:
        output.echo_json(
            {"cassette": str(one.path), **showing.summarize(one.number, one.interaction)._asdict()} for one in found
        )
        return

    def lines() -> Iterator[str]:
        several = _several(places)
        for number, (path, group) in enumerate(groupby(found, lambda one: one.path)):
            if several:
                yield from [""] * bool(number) + [escape.line(str(path))]
            yield from showing.format_table(
                [showing.summarize(one.number, one.interaction) for one in group], output.width()
            )

    output.echo(lines())


@click.command()
@click.argument("place", metavar="CASSETTE[#N]")
@click.option("--timing", "how", flag_value="timing", help="When the pieces of the answer came, as a drawing.")
@click.option(
    "--json", "how", flag_value="json", help="Request, answer and frames as JSON: an object for #N, else a list."
)
@click.option("--raw", "how", flag_value="raw", help="The bytes of the answer's body, and nothing else.")
def show(place: str, how: str | None) -> None:
    """Show request and answer of an interaction: CASSETTE#3 is the third, CASSETTE all of them."""
    from openai_replay.journal import console
    from openai_replay.tools import select, timeline
    from openai_replay.tools import show as showing

    found = select.select([place], console.warn)
    if how == "raw":
        several = list(found)
        if len(several) != 1:
            raise UsageError(
                f"--raw writes the body of one answer, and {place} has {len(several)}",
                f"Write for example  openai-replay show --raw '{place}#1'" if several else "",
            )
        sys.stdout.flush()
        sys.stdout.buffer.write(several[0].interaction.response.body)
        sys.stdout.buffer.flush()
    elif how == "json":
        values = (showing.as_json(one.number, one.interaction) for one in found)
        if select.split_reference(place)[1] is None:
            output.echo_json(values)
        else:
            output.echo(output.dumped(value) for value in values)
    else:
        style = timeline.UNICODE if output.is_utf8() else timeline.ASCII

        def lines() -> Iterator[str]:
            several = _several([place])
            path = None
            for count, one in enumerate(found):
                yield from [""] * bool(count)
                if several and one.path != path:
                    yield from [escape.line(str(one.path)), ""]
                path = one.path
                title = showing.format_heading(one.number, one.interaction)
                yield click.style(title, bold=True) if output.has_colour() else title
                if how == "timing":
                    yield from timeline.draw(one.interaction.response, output.width(), style)
                else:
                    yield from showing.format_recording(one.interaction)

        output.echo(lines())


@click.command()
@_PLACES
@click.option(
    "--price",
    "prices",
    multiple=True,
    metavar="MODEL=IN/OUT",
    help="What a million tokens of a model cost, in and out; MODEL=IN/OUT/CACHED if cached ones cost less.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object: `models` by name, and `total`.")
def stats(places: tuple[str, ...], prices: tuple[str, ...], as_json: bool) -> None:
    """Count what is on cassettes: interactions, tokens, time and bytes, by model and in total.

    Tokens are those that the answers say; nothing is estimated. Each time the cassettes are played instead of asking
    the API, the total is what is not waited for and not paid again.
    """
    from openai_replay.journal import console
    from openai_replay.tools import select
    from openai_replay.tools import stats as counting

    found = select.select(places, console.warn)
    given = dict(counting.parse_price(one) for one in prices)
    models: dict[str, Any] = {}
    for _, group in groupby(found, lambda one: one.path):
        for name, count in counting.count_by_model((one.interaction for one in group), given).items():
            models.setdefault(name, counting.Totals()).add(count)
    total = counting.sum_totals(models.values())
    if as_json:
        value = {"models": {name: count.as_json() for name, count in models.items()}, "total": total.as_json()}
        output.echo([output.dumped(value)])
    else:
        output.echo(counting.format_table(models, total))


def _several(places: Any) -> bool:
    """Whether there may be several files, which need a heading."""
    from pathlib import Path

    return len(places) > 1 or any(Path(place).is_dir() for place in places)


@click.command()
@click.argument("first", metavar="CASSETTE[#N]")
@click.argument("second", metavar="CASSETTE[#N]")
@click.option("--all", "everything", is_flag=True, help="Show what is expected to differ, too: ids, dates, headers.")
@click.option("--timing", is_flag=True, help="Show how long both took; times make no difference.")
@click.pass_context
def diff(ctx: click.Context, /, first: str, second: str, everything: bool, timing: bool) -> None:
    """Say where two cassettes differ, by what was asked and what was answered. Exit 1 if they do.

    Recordings of the same request are compared in order, then those of one method and path. Streams are compared by
    the answer they come to. What no two recordings have in common, ids and dates, is no difference.
    """
    from openai_replay.config.rules import Rules
    from openai_replay.journal import console
    from openai_replay.tools import compare, select
    from openai_replay.tools import show as showing

    sides = [list(select.select([place], console.warn)) for place in (first, second)]
    old, new = ([one.interaction for one in side] for side in sides)
    counts: Counter[str] = Counter()

    def lines() -> Iterator[str]:
        for pair in compare.pair_recordings(old, new, Rules().key):
            if pair.first is None or pair.second is None:
                side, place = (sides[1], pair.second) if pair.first is None else (sides[0], pair.first)
                one = side[place or 0]
                where = escape.line(second if pair.first is None else first)
                counts["second" if pair.first is None else "first"] += 1
                yield f"{showing.format_heading(one.number, one.interaction)}  only in {where}"
                continue
            a, b = sides[0][pair.first], sides[1][pair.second]
            found = compare.compare_recordings(a.interaction, b.interaction)
            counts["differ" if found.unexpected else "same"] += 1
            shown = found.unexpected + (found.expected if everything else [])
            if timing:
                shown += compare.compare_times(a.interaction.response, b.interaction.response)
            if shown:
                title = showing.format_heading(a.number, a.interaction).partition("  ")[2]
                yield f"#{a.number} and #{b.number}  {title}"
                yield from (f"    {line}" for line in shown)
                if found.expected and not everything:
                    yield f"    ({len(found.expected)} more as expected: --all shows them)"
        said = [f"{counts['same']} the same", f"{counts['differ']} differ"]
        said += [f"{counts[side]} only in the {side}" for side in ("first", "second") if counts[side]]
        yield ", ".join(said)

    output.echo(lines())
    ctx.exit(1 if counts.keys() - {"same"} else 0)
