"""`refresh`: the upstream asked again."""

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
@click.option("--check", is_flag=True, help="Write nothing; say where the API has become another. Exit 1 if so.")
@click.option(
    "--upstream",
    "api",  # not the name that files have for it: the author of a file beside a cassette must not get the key
    default=SETTINGS["upstream"].default,
    envvar=SETTINGS["upstream"].variable,
    show_default=True,
    metavar="URL",
    help="Base URL of the API. If you name it, it gets the key even if the recordings came from another host.",
)
@click.option("--keep-going", is_flag=True, help="Ask for the others where one fails; that one stays as it is.")
@setting_options(Scope.REFRESH | Scope.REDACT)
@click.pass_context
def refresh(ctx: click.Context, /, cassette: Path, check: bool, api: str, keep_going: bool, **options: Any) -> None:
    """Ask the API again what CASSETTE has recorded, and put the new answers in the place of the old ones.

    The key comes from OPENAI_API_KEY. Requests are sent in order, one after the other; ids that new answers give go
    into the requests behind them. If one fails, the cassette stays as it is.
    """
    from openai_replay.cassette import file_store, reader
    from openai_replay.proxy.upstream import Upstream
    from openai_replay.text import escape
    from openai_replay.text.safe_regex import compile_pattern
    from openai_replay.tools.refresh import cannot_resend, check_key

    key = check_key(os.environ.get("OPENAI_API_KEY", ""))
    rules = redactor(options)
    if len(key) >= 8:  # an answer may repeat it
        rules = replace(rules, patterns=(*rules.patterns, compile_pattern(re.escape(key))))
    upstream = Upstream(api, parsed(ctx, "idle_timeout", options["idle_timeout"]))
    text, torn_at = file_store.read_text(cassette)
    if torn_at is not None:
        raise CassetteError(cassette, None, "a recorder was killed while it added to it", "The next `record` mends it.")
    recorded = reader.load(text, cassette).interactions if text.strip() else []
    if not check:
        _check_writable(cassette, text, recorded)
    named = ctx.get_parameter_source("api") is not click.core.ParameterSource.DEFAULT
    problems = {
        number: why
        for number, one in enumerate(recorded, 1)
        if (why := cannot_resend(one.request, None if named else upstream.origin))
    }
    output.echo(f"#{number}  cannot be asked again: {escape.line(why)}" for number, why in problems.items())
    if problems and not (keep_going or check):
        output.echo(["Nothing was asked, nothing changed. --keep-going asks for the others."])
        ctx.exit(1)
    count = len(recorded) - len(problems)
    output.echo([f"asking {upstream.origin} again: {count} request{'' if count == 1 else 's'} of {cassette}"])
    work = _Work(recorded, frozenset(problems), check, keep_going)
    asyncio.run(work.run(upstream, key, rules))
    if not check and work.fresh and (keep_going or not work.failed):
        _write(cassette, recorded, work.fresh)
    output.echo([work.closing()])
    ctx.exit(1 if problems or work.failed or (check and work.drifted) else 0)


class _Work:
    """What is asked, and what has become of it so far."""

    def __init__(self, recorded: list[Interaction], skip: frozenset[int], check: bool, keep_going: bool) -> None:
        self.fresh: dict[int, Interaction] = {}
        self.failed = 0
        self.drifted = 0
        self._recorded, self._skip = recorded, skip
        self._check, self._keep_going = check, keep_going

    async def run(self, api: Any, key: str, redactor: Redactor) -> None:
        from contextlib import aclosing

        from openai_replay.tools.refresh import resend

        async with api, aclosing(resend(self._recorded, api, key, redactor, self._skip)) as answers:
            async for one in answers:
                output.echo(self._told(one))
                if self.failed and not (self._keep_going or self._check):
                    return

    def _told(self, one: RefreshResult) -> Iterator[str]:
        """What has come of a request, in lines, and noted."""
        from openai_replay.text import escape
        from openai_replay.tools import drift, show

        title = show.format_heading(one.number, one.current or one.recorded)
        if one.current is None or (one.refusal and not self._check):
            self.failed += 1
            yield f"{title}  FAILED: {escape.line(one.refusal)}"
            return
        self.fresh[one.number] = one.current
        found = drift.find_drift(one.recorded.response, one.current.response)
        self.drifted += bool(found.breaking)
        yield f"{title}  {'DRIFT' if found.breaking else 'as recorded' if self._check else 'fresh'}"
        yield from (f"    {escape.line(line)}" for line in found.breaking)
        yield from (f"    (as expected: {escape.line(line)})" for line in found.notes)

    def closing(self) -> str:
        """The last line."""
        failed = f", {self.failed + len(self._skip)} failed" if self.failed or self._skip else ""
        if self._check:
            return f"{self.drifted} of {len(self.fresh)} drifted{failed}"
        if self.failed and not self._keep_going:
            return "The cassette is as it was. --keep-going refreshes the others."
        return f"{len(self.fresh)} refreshed{failed}"


def _check_writable(cassette: Path, text: str, recorded: list[Interaction]) -> None:
    """Find out before the first request is paid for."""
    from openai_replay.cassette import editor, file_store

    file_store.check_writable(cassette)
    editor.edited(text, cassette, dict(enumerate(recorded, 1)))


def _write(cassette: Path, recorded: list[Interaction], fresh: dict[int, Interaction]) -> None:
    from openai_replay.cassette import editor, file_store, reader

    def change(text: str) -> str:
        if reader.load(text, cassette).interactions != recorded:
            raise CassetteError(
                cassette, None, "somebody else has changed it while the API was asked", "It is as they left it."
            )
        return editor.edited(text, cassette, fresh)

    file_store.rewrite(cassette, change)
