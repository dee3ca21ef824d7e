"""`lint`, `redact` and `prune`: problems, secrets and unused recordings of existing cassettes."""

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

_cassettes = click.argument(
    "cassettes", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="CASSETTE..."
)


@click.command(cls=Configured)
@_cassettes
@click.option("--fix", is_flag=True, help="Adjust the frames of responses whose text was edited.")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "github"]),
    default="text",
    show_default=True,
    help="`text` writes FILE:LINE: RULE: MESSAGE. `github` writes annotations for a GitHub workflow.",
)
@click.option("--rule", "rules", multiple=True, metavar="RULE", help="Only check this rule. Can be repeated.")
@setting_options(Scope.LINT)
@click.pass_context
def lint(
    ctx: click.Context,
    /,
    cassettes: tuple[Path, ...],
    fix: bool,
    output_format: str,
    max_age: str | None,
    rules: tuple[str, ...],
    lint_allow: tuple[str, ...],
) -> None:
    """Find problems in cassettes, files or folders of them. Exit with 1 if a problem remains.

    \b
    schema        not a cassette, or not one that vcrpy can read
    torn          a killed recorder left a recording incomplete
    frames        a response was edited, and its frames have other sizes
    secret        a key, a password or a token
    unreviewable  compressed text, or lines of thousands of characters
    error         a response that failed
    large         a file over 1 MB
    stale         a recording older than --max-age

    To allow a finding, write a comment above its recording, or at the top for the whole file:

      # lint: allow error, secret
    """
    with_label(label(ctx, "rules"), parsers.lint_rules, rules)
    parsed(ctx, "lint_allow", lint_allow)
    max_age_s = parsed(ctx, "max_age", max_age) if max_age is not None else None
    clean = True
    for file in _files(cassettes):
        for finding in _findings(file, fix, max_age_s):
            if finding.rule not in lint_allow and (not rules or finding.rule in rules):
                click.echo(_annotation(file, finding) if output_format == "github" else _line(file, finding))
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
            finding._replace(message=f"{finding.message} Fixed.", fixed=True)
            if finding.rule is Rule.FRAMES
            else finding
            for finding in findings
        ]
    return findings


def _line(path: Path, finding: Finding) -> str:
    return f"{path}:{finding.line}: {finding.rule}: {finding.message}"


def _annotation(path: Path, finding: Finding) -> str:
    """Return a workflow command of GitHub Actions, escaped as in actions/toolkit, core/src/command.ts."""
    level = "notice" if finding.fixed else "error"
    location = f"file={_escaped(str(path), ':,')},line={finding.line}"
    return f"::{level} {location},title=openai-replay {finding.rule}::{_escaped(finding.message)}"


def _escaped(text: str, characters: str = "") -> str:
    for character in f"%\r\n{characters}":  # the percent sign first, because the others become one
        text = text.replace(character, f"%{ord(character):02X}")
    return text


@click.command(cls=Configured)
@_cassettes
@setting_options(Scope.REDACT)
@click.option("--check", is_flag=True, help="Write nothing. Exit with 1 if a file would change.")
@click.pass_context
def redact(ctx: click.Context, /, cassettes: tuple[Path, ...], check: bool, **options: Any) -> None:
    """Remove secrets from cassettes, files or folders of them, by the rules of recording.

    Recordings without a secret keep their text to the byte. The others keep the sizes and times of their frames. Each
    file is replaced in a single step. Exit with 1 if a body cannot be searched, for example because it is compressed
    with brotli.
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
            click.echo(
                f"{file}:{line}: unreadable: {reason} Record it again: `record` requests bodies without compression."
            )
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
    help="Journal of the runs that used the cassettes, from --journal or --openai-replay-journal.",
)
@click.option("--check", is_flag=True, help="Write nothing. Exit with 1 if a recording would be deleted.")
@click.option("--force", is_flag=True, help="Prune even if the journal has failures, or only some of the tests ran.")
@click.option("--unused-files", is_flag=True, help="Also delete cassettes of which no recording was played.")
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
    """Delete the recordings that no run of a journal played from cassettes, files or folders of them.

    A cassette that no run opened, or of which no recording was played, is kept and reported. A cassette that has
    changed since the runs is refused, and the exit code is 1. The other recordings keep their text, and each file is
    replaced in a single step.
    """
    from openai_replay.tools import prune as pruning

    try:
        with journal.open(encoding="utf-8") as lines:
            runs = with_label(str(journal), pruning.read_journal, lines)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        hint = "Write one with --journal of `play`, or --openai-replay-journal of pytest."
        raise StartError(f"Could not read {journal}: {reason}.", hint) from None
    if not force:
        pruning.require_complete(runs)
    clean = True
    for file in _files(cassettes):
        usage = runs.cassettes.get(str(file.resolve()))
        if usage is None or not usage.played:
            reason = "no run opened it" if usage is None else "no run played a recording of it"
            if unused_files and file.is_file():
                click.echo(f"{file}: {'would be deleted' if check else 'deleted'}: {reason}")
                clean = clean and not check
                if not check:
                    file.unlink()
            else:
                click.echo(f"{file}: kept: {reason}")
            continue
        try:
            clean = _prune(file, usage, check) and clean
        except IncompleteJournalError as error:
            click.echo(f"{file}: {error.message}")
            clean = False
    ctx.exit(0 if clean else 1)


def _prune(path: Path, usage: CassetteUsage, check: bool) -> bool:
    """Delete the recordings that `usage` did not play, and list them. Return False if they are only listed.

    Raise IncompleteJournalError.
    """
    from openai_replay.cassette import editor, file_store, reader
    from openai_replay.tools import prune as pruning

    def without_unplayed(text: str) -> str:
        return editor.edited(text, path, dict.fromkeys(pruning.find_unplayed(path.read_bytes(), usage)))

    text, torn_at = file_store.read_text(path)
    if torn_at is not None:
        raise IncompleteJournalError(
            "A killed recorder left the last recording incomplete. The cassette was kept. The next `record` repairs it."
        )
    unplayed = pruning.find_unplayed(path.read_bytes(), usage)
    interactions = reader.load(text, path).interactions
    for number in unplayed:
        request = interactions[number - 1].request
        click.echo(f"{path}: {'would delete' if check else 'deletes'} #{number} {request.method} {request.path}")
    if unplayed and not check:
        file_store.rewrite(path, without_unplayed)
    click.echo(f"{path}: {len(unplayed)} of {len(interactions)} {'would be deleted' if check else 'deleted'}")
    return not (check and unplayed)


def _files(paths: tuple[Path, ...]) -> Iterator[Path]:
    from openai_replay.cassette import recordings

    for path in paths:
        yield from recordings.cassette_files(path, lambda warning: click.echo(warning, err=True))
