"""`refresh`: re-records a cassette, or compares it with the API."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openai_replay.cli import output
from openai_replay.cli.options import Configured, parsed, redactor, setting_options
from openai_replay.config.setting import Scope
from openai_replay.config.settings import SETTINGS
from openai_replay.errors import CassetteError

if TYPE_CHECKING:
    from openai_replay.model import Interaction
    from openai_replay.redaction.redactor import Redactor
    from openai_replay.tools.refresh import RefreshResult


@click.command(cls=Configured)
@click.argument("cassette", type=click.Path(path_type=Path))
@click.option(
    "--check", is_flag=True, help="Write nothing. Report where the API has changed, and exit with 1 if it has."
)
@click.option(
    "--upstream",
    "api",  # not the name that files have for it: the author of a file beside a cassette must not get the key
    default=SETTINGS["upstream"].default,
    envvar=SETTINGS["upstream"].variable,
    show_default=True,
    metavar="URL",
    help="Base URL of the API. If you set it, your key is sent there even if the recordings came from another host.",
)
@click.option("--keep-going", is_flag=True, help="If a request fails, keep its recording and refresh the others.")
@setting_options(Scope.REFRESH | Scope.REDACT)
@click.pass_context
def refresh(ctx: click.Context, /, cassette: Path, check: bool, api: str, keep_going: bool, **options: Any) -> None:
    """Send the recorded requests of CASSETTE to the API again, and replace the recorded responses.

    The key comes from OPENAI_API_KEY. Requests are sent one after the other. IDs from new responses replace the old
    IDs in later requests. If a request fails, the cassette stays as it is.
    """
    from openai_replay.cassette import file_store, reader
    from openai_replay.proxy.upstream import Upstream
    from openai_replay.text import escape
    from openai_replay.text.safe_regex import compile_pattern
    from openai_replay.tools.refresh import cannot_resend, check_key

    key = check_key(os.environ.get("OPENAI_API_KEY", ""))
    rules = redactor(options)
    if len(key) >= 8:  # a response may repeat it
        rules = replace(rules, patterns=(*rules.patterns, compile_pattern(re.escape(key))))
    upstream = Upstream(api, parsed(ctx, "idle_timeout", options["idle_timeout"]))
    text, torn_at = file_store.read_text(cassette)
    if torn_at is not None:
        raise CassetteError(
            cassette, None, "a recorder was killed while it wrote to it.", "Run `record` with it, which repairs it."
        )
    recorded = reader.load(text, cassette).interactions if text.strip() else []
    if not check:
        _check_writable(cassette, text, recorded)
    is_explicit = ctx.get_parameter_source("api") is not click.core.ParameterSource.DEFAULT
    problems = {
        number: problem
        for number, interaction in enumerate(recorded, 1)
        if (problem := cannot_resend(interaction.request, None if is_explicit else upstream.origin))
    }
    output.echo(f"#{number}  cannot be sent again: {escape.line(problem)}" for number, problem in problems.items())
    if problems and not (keep_going or check):
        output.echo(["No request was sent, and nothing changed. --keep-going sends the others."])
        ctx.exit(1)
    count = len(recorded) - len(problems)
    output.echo([f"Sending {count} request{'' if count == 1 else 's'} of {cassette} to {upstream.origin} again."])
    progress = _Progress(recorded, frozenset(problems), check, keep_going)
    asyncio.run(progress.run(upstream, key, rules))
    if not check and progress.fresh and (keep_going or not progress.failed):
        _write(cassette, recorded, progress.fresh)
    output.echo([progress.summary()])
    ctx.exit(1 if problems or progress.failed or (check and progress.drifted) else 0)


class _Progress:
    """The requests that are sent again, and their results so far."""

    def __init__(self, recorded: list[Interaction], skip: frozenset[int], check: bool, keep_going: bool) -> None:
        self.fresh: dict[int, Interaction] = {}
        self.failed = 0
        self.drifted = 0
        self._recorded, self._skip = recorded, skip
        self._check, self._keep_going = check, keep_going

    async def run(self, api: Any, key: str, redactor: Redactor) -> None:
        from contextlib import aclosing

        from openai_replay.tools.refresh import resend

        async with api, aclosing(resend(self._recorded, api, key, redactor, self._skip)) as results:
            async for result in results:
                output.echo(self._report(result))
                if self.failed and not (self._keep_going or self._check):
                    return

    def _report(self, result: RefreshResult) -> Iterator[str]:
        """Count a result, and return it as lines."""
        from openai_replay.text import escape
        from openai_replay.tools import drift, show

        title = show.format_heading(result.number, result.current or result.recorded)
        if result.current is None or (result.refusal and not self._check):
            self.failed += 1
            yield f"{title}  FAILED: {escape.line(result.refusal)}"
            return
        self.fresh[result.number] = result.current
        difference = drift.find_drift(result.recorded.response, result.current.response)
        self.drifted += bool(difference.breaking)
        yield f"{title}  {'DRIFT' if difference.breaking else 'as recorded' if self._check else 'fresh'}"
        yield from (f"    {escape.line(line)}" for line in difference.breaking)
        yield from (f"    (as expected: {escape.line(line)})" for line in difference.notes)

    def summary(self) -> str:
        """Return the last line."""
        failed = f", {self.failed + len(self._skip)} failed" if self.failed or self._skip else ""
        if self._check:
            return f"{self.drifted} of {len(self.fresh)} drifted{failed}"
        if self.failed and not self._keep_going:
            return "The cassette did not change. --keep-going refreshes the others."
        return f"{len(self.fresh)} refreshed{failed}"


def _check_writable(cassette: Path, text: str, recorded: list[Interaction]) -> None:
    """Raise CassetteError if `cassette` cannot be written, before the first request costs money."""
    from openai_replay.cassette import editor, file_store

    file_store.check_writable(cassette)
    editor.edited(text, cassette, dict(enumerate(recorded, 1)))


def _write(cassette: Path, recorded: list[Interaction], fresh: dict[int, Interaction]) -> None:
    from openai_replay.cassette import editor, file_store, reader

    def change(text: str) -> str:
        if reader.load(text, cassette).interactions != recorded:
            raise CassetteError(
                cassette,
                None,
                "another program changed it while requests were sent.",
                "It has the contents of that program. Run `refresh` again.",
            )
        return editor.edited(text, cassette, fresh)

    file_store.rewrite(cassette, change)
