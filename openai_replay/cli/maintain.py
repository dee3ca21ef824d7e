"""`lint`, `redact` and `prune`: cassettes kept in order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openai_replay.cli.options import Configured, label, parsed, redactor, setting_options
from openai_replay.config import parsers
from openai_replay.config.setting import Scope, with_label
from openai_replay.errors import CassetteError, IncompleteJournalError, StartError

if TYPE_CHECKING:
    from openai_replay.redaction.redactor import Redactor
    from openai_replay.tools.lint_rules import Finding
    from openai_replay.tools.prune import CassetteUsage

_paths = click.argument("paths", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="CASSETTE...")
_cassettes = click.argument(
    "cassettes", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="CASSETTE..."
)


@click.command(cls=Configured)
@_paths
@click.option("--fix", is_flag=True, help="Cut the frames of edited answers anew.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "github"]),
    default="text",
    show_default=True,
    help="text: FILE:LINE: RULE: what. github: annotations of a GitHub workflow.",
)
@click.option("--rule", "rules", multiple=True, metavar="RULE", help="Look by this rule only; may be given again.")
@setting_options(Scope.LINT)
@click.pass_context
def lint(
    ctx: click.Context,
    /,
    paths: tuple[Path, ...],
    fix: bool,
    form: str,
    max_age: str | None,
    rules: tuple[str, ...],
    lint_allow: tuple[str, ...],
) -> None:
    """Say what is wrong with cassettes, files or folders of them.

    The rules: schema (no cassette, or not one that every reader takes), torn (a recorder was killed), frames (they do
    not sum up to an edited body), secret, unreviewable (text as compressed or endless lines), error (an answer that
    failed), large (over 1 MB), stale (see --max-age). A comment allows what it names for the item below it, or at the
    top for the whole file: # lint: allow error, secret

    Exit 1 if anything was found and not mended.
    """
    with_label(label(ctx, "rules"), parsers.lint_rules, rules)
    parsed(ctx, "lint_allow", lint_allow)
    max_age_s = parsed(ctx, "max_age", max_age) if max_age is not None else None
    clean = True
    for file in _files(paths):
        for finding in _findings(file, fix, max_age_s):
            if finding.rule not in lint_allow and (not rules or finding.rule in rules):
                click.echo(_annotation(file, finding) if form == "github" else _line(file, finding))
                clean = clean and finding.fixed
    ctx.exit(0 if clean else 1)


def _findings(path: Path, fix: bool, max_age_s: float | None) -> list[Finding]:
    from openai_replay.cassette import file_store
    from openai_replay.config.lint_rule import Rule
    from openai_replay.tools import lint as linting

    try:
        text, torn_at = file_store.read_text(path)
    except CassetteError as error:
        return [linting.describe_unreadable(path, error)]
    findings = linting.find_problems(text, path, torn_at is not None, time.time(), max_age_s)
    if fix and any(finding.rule is Rule.FRAMES for finding in findings):
        file_store.rewrite(path, lambda text: linting.fix_frames(text, path))
        findings = [
            finding._replace(message=f"{finding.message}; cut anew", fixed=True)
            if finding.rule is Rule.FRAMES
            else finding
            for finding in findings
        ]
    return findings


def _line(path: Path, finding: Finding) -> str:
    return f"{path}:{finding.line}: {finding.rule}: {finding.message}"


def _annotation(path: Path, finding: Finding) -> str:
    """A workflow command of GitHub Actions, escaped as its toolkit does (actions/toolkit, core/src/command.ts)."""
    level = "notice" if finding.fixed else "error"
    location = f"file={_escaped(str(path), ':,')},line={finding.line}"
    return f"::{level} {location},title=openai-replay {finding.rule}::{_escaped(finding.message)}"


def _escaped(text: str, characters: str = "") -> str:
    for character in f"%\r\n{characters}":  # the percent sign first: the others become one
        text = text.replace(character, f"%{ord(character):02X}")
    return text


@click.command(cls=Configured)
@_cassettes
@setting_options(Scope.REDACT)
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if something would change.")
@click.pass_context
def redact(ctx: click.Context, /, cassettes: tuple[Path, ...], check: bool, **options: Any) -> None:
    """Take secrets out of cassettes, files or folders of them, by the rules of recording.

    Recordings without a secret keep their text to the byte; in the others cuts and times stay as they were. A file is
    replaced at one stroke. Exit 1 where a body cannot be read: compressed with what only its client knows.
    """
    from openai_replay.cassette import file_store
    from openai_replay.tools import redact as redacting

    rules = redactor(options)
    clean = True
    for file in _files(cassettes):
        text, torn_at = file_store.read_text(file)
        if torn_at is not None and not check:
            file_store.drop_torn(file)
        redaction = redacting.redact_cassette(text, file, rules)
        if redaction.changed and not check:
            _redact(file, rules)
        for line, reason in redaction.unsearchable:
            click.echo(f"{file}:{line}: unreadable: {reason} Record it again: `record` asks for `identity`.")
        verb = "would be redacted" if check else "redacted"
        locations = f" ({', '.join(redaction.locations)})" if redaction.locations else ""
        click.echo(f"{file}: {redaction.changed} of {redaction.recordings} {verb}{locations}")
        clean = clean and not redaction.unsearchable and not (check and redaction.changed)
    ctx.exit(0 if clean else 1)


def _redact(file: Path, rules: Redactor) -> None:
    from openai_replay.cassette import file_store
    from openai_replay.tools import redact as redacting

    file_store.rewrite(file, lambda text: redacting.redact_cassette(text, file, rules).text)


@click.command(cls=Configured)
@_cassettes
@click.option(
    "--journal",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The journal of the runs that say what is needed.",
)
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if something would be dropped.")
@click.option("--force", is_flag=True, help="Prune though the journal tells of failures, or of a part of the tests.")
@click.option("--unused-files", is_flag=True, help="Delete cassettes of which nothing was played.")
@click.pass_context
def prune(
    ctx: click.Context,
    /,
    cassettes: tuple[Path, ...],
    journal: Path,
    check: bool,
    force: bool,
    unused_files: bool,
) -> None:
    """Drop what the runs of a journal did not play from cassettes, files or folders of them.

    A cassette that they never opened, or of which nothing was played, is left alone and said so; one that has changed
    since is refused. The other recordings keep their text, and each file is replaced at one stroke. Exit 1 if a
    cassette was refused.
    """
    from openai_replay.tools import prune as pruning

    try:
        with journal.open(encoding="utf-8") as lines:
            runs = with_label(str(journal), pruning.read_journal, lines)
    except (OSError, UnicodeDecodeError) as error:
        hint = "Write one with --journal of `play`, or --openai-replay-journal of pytest."
        raise StartError(f"{journal}: cannot be read: {error}", hint) from None
    if not force:
        pruning.require_complete(runs)
    clean = True
    for file in _files(cassettes):
        usage = runs.cassettes.get(str(file.resolve()))
        if usage is None or not usage.played:
            reason = "no run opened it" if usage is None else "no run played anything of it"
            if unused_files and file.is_file():
                click.echo(f"{file}: {'would be deleted' if check else 'deleted'}: {reason}")
                clean = clean and not check
                if not check:
                    file.unlink()
            else:
                click.echo(f"{file}: {reason}: left alone")
            continue
        try:
            clean = _prune(file, usage, check) and clean
        except IncompleteJournalError as error:
            click.echo(f"{file}: {error.message}")
            clean = False
    ctx.exit(0 if clean else 1)


def _prune(path: Path, usage: CassetteUsage, check: bool) -> bool:
    """Drop what `usage` did not play, and say what; False where it would be and is not.

    Raises IncompleteJournalError.
    """
    from openai_replay.cassette import editor, file_store, reader
    from openai_replay.tools import prune as pruning

    def kept(text: str) -> str:
        dropped = pruning.find_unplayed(path.read_bytes(), usage)
        return editor.edited(text, path, dict.fromkeys(dropped))

    text, torn_at = file_store.read_text(path)
    if torn_at is not None:
        raise IncompleteJournalError(
            "a recorder was killed while it added to it: left alone; the next `record` mends it"
        )
    dropped = pruning.find_unplayed(path.read_bytes(), usage)
    interactions = reader.load(text, path).interactions
    for number in dropped:
        request = interactions[number - 1].request
        click.echo(f"{path}: {'would drop' if check else 'drops'} #{number} {request.method} {request.path}")
    if dropped and not check:
        file_store.rewrite(path, kept)
    click.echo(f"{path}: {len(dropped)} of {len(interactions)} {'would be dropped' if check else 'dropped'}")
    return not (check and dropped)


def _files(paths: tuple[Path, ...]) -> Iterator[Path]:
    from openai_replay.cassette import recordings

    for path in paths:
        yield from recordings.cassette_files(path, lambda warning: click.echo(warning, err=True))
