"""Finds the problems of a cassette: text in, findings with their lines out. `lint_rules` has the rules for one
recording.

A finding can be allowed: everywhere (`--allow RULE`), for a file by a comment at its top, or for one recording by a
comment above it: `# lint: allow secret, error`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from openai_replay.cassette import reader, writer
from openai_replay.config.lint_rule import Rule
from openai_replay.errors import CassetteError
from openai_replay.redaction import secret_scanner
from openai_replay.tools.lint_rules import (
    Finding,
    LintedRecording,
    describe_leak,
    find_unknown_keys,
    read_comments_above,
    recorded_at_s,
)

#: Bytes above which nobody reviews a file, while each clone of the repository pays for it.
MAX_BYTES = 1_000_000
_ALLOW = re.compile(r"^[ \t]*#[ \t]*lint:[ \t]*allow[ \t]+([a-z, \t]+?)[ \t]*\r?$", re.MULTILINE)


def find_problems(
    text: str, path: Path, is_torn: bool = False, now_s: float = 0.0, max_age_s: float | None = None
) -> list[Finding]:
    """Return the problems of the cassette `text`, in order of lines. `path` is for messages.

    `is_torn`: the last recording was left incomplete by a killed recorder, and has been taken off. Recordings that are
    more than `max_age_s` older than `now_s` (seconds since 1970) are stale; without `max_age_s`, none is.
    """
    findings = [*_check_file(text, is_torn)]
    try:
        document = reader.load(text, path) if text.strip() else None
        root, nodes = reader.nodes(text, path) if document else (None, [])
    except CassetteError as error:
        findings += [describe_unreadable(path, error), *_find_secrets_in_text(text)]
        return sorted(_without_allowed(findings, _ALLOW.findall(text[:2000])), key=lambda finding: finding.line)
    if document is None:
        return [*findings, Finding(1, Rule.SCHEMA, "The file is empty.")]
    findings += find_unknown_keys(
        root, ("version", "interactions"), "at the top level. pytest-recording cannot load it."
    )
    top = text[: nodes[0].start_mark.index] if nodes else text
    top = top[: len(top) - len(read_comments_above(text, nodes[0]))] if nodes else top
    edited = {response.number: response for response in document.edited}
    for number, (interaction, node) in enumerate(zip(document.interactions, nodes, strict=True), 1):
        recording = LintedRecording(text, node, interaction)
        recording_findings = [
            *recording.check_schema(),
            *recording.check_secrets(),
            *recording.check_reviewable(),
            *recording.check_errors(),
        ]
        if number in edited:
            recording_findings.append(Finding(edited[number].line, Rule.FRAMES, edited[number].problem))
        recorded_at = recorded_at_s(interaction.response) if max_age_s is not None else None
        if max_age_s is not None and recorded_at is not None and now_s - recorded_at > max_age_s:
            recording_findings.append(
                Finding(recording.line, Rule.STALE, f"Recorded {(now_s - recorded_at) / 86400:.0f} days ago.")
            )
        findings += _without_allowed(recording_findings, _ALLOW.findall(read_comments_above(text, node)))
    return sorted(_without_allowed(findings, _ALLOW.findall(top)), key=lambda finding: finding.line)


def describe_unreadable(path: Path, error: CassetteError) -> Finding:
    """Return a finding that says why the file at `path` cannot be read as a cassette."""
    rule = Rule.TORN if " is torn: " in error.message else Rule.SCHEMA
    message = error.message.removeprefix(f"{path}:").removeprefix(f"{error.line}:").strip()
    return Finding(error.line or 1, rule, message)


def fix_frames(text: str, path: Path) -> str:
    """Return `text` with new frames for each response whose body was edited."""
    return writer.recut_frames(text, reader.load(text, path).edited)


def _check_file(text: str, torn: bool) -> Iterator[Finding]:
    if torn:
        message = "A killed recorder left this recording incomplete. The next `record` removes it."
        yield Finding(text.count("\n") + 1, Rule.TORN, message)
    if (size := len(text.encode())) > MAX_BYTES:
        advice = "Split the file, or record shorter responses (smaller images, fewer embeddings)."
        message = f"{size / 1e6:.1f} MB are a lot to review. {advice}"
        yield Finding(1, Rule.LARGE, message)


def _find_secrets_in_text(text: str) -> Iterator[Finding]:
    """Yield the secrets in a file that cannot be read as a cassette."""
    for leak in secret_scanner.find_leaks(text):
        yield Finding(text.count("\n", 0, leak.start) + 1, Rule.SECRET, describe_leak(leak))


def _without_allowed(findings: Iterable[Finding], comments: Iterable[str]) -> list[Finding]:
    """Return `findings` without those that `comments` allow. Each comment is the part after `allow`."""
    rules = {rule.strip() for comment in comments for rule in re.split(r"[,\s]+", comment)}
    return [finding for finding in findings if finding.rule not in rules]
