"""Output on the terminal: one line per exchange, the summary, warnings and errors.

All of it goes to stderr; stdout belongs to the base URL.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress

from openai_replay.errors import ReplayError
from openai_replay.journal.exchanges import Exchange, Outcome
from openai_replay.model import End
from openai_replay.text import escape

_VERBS = {
    Outcome.PLAYED: "play",
    Outcome.RECORDED: "record",
    Outcome.FORWARDED: "forward",
    Outcome.MISSED: "MISS",
    Outcome.FAILED: "FAILED",
    Outcome.LOST: "LOST",
}
_SAID = 48
#: Unplayed recordings that are named; the others are counted.
_NAMED = 20


def print_line(line: str) -> None:
    """Write one line (or several) to stderr. If stderr is closed, drop the line: the server goes on."""
    with suppress(OSError):
        sys.stderr.write(line + "\n")  # in one go: several processes may write there
        sys.stderr.flush()


def warn(warning: str) -> None:
    """Print a warning, for example about a cassette that can still be used."""
    print_line(f"Warning: {warning}")


def reading(read_bytes: int, size: int) -> None:
    """Show how many bytes of a large cassette have been read: a bar on a terminal, one line at the start elsewhere."""
    if sys.stderr.isatty():
        with suppress(OSError):
            filled = 40 * read_bytes // size
            bar = f"\rreading {size / 1e6:,.0f} MB of cassettes  [{'#' * filled:40}] {100 * read_bytes // size} %"
            print(bar, end="\n" if read_bytes == size else "", file=sys.stderr, flush=True)
    elif not read_bytes:
        print_line(f"reading {size / 1e6:,.0f} MB of cassettes, and remembering their contents for the next time")


def error(problem: ReplayError) -> None:
    """Write `Error: FILE:LINE: message.`, and on the next line the hint."""
    print_line(f"Error: {problem.text}")


def exchange_printer(quiet: bool) -> Callable[[Exchange], None]:
    """Return a function that prints each exchange, or, if `quiet`, only failures and fallbacks."""

    def print_exchange(exchange: Exchange) -> None:
        if exchange.error or exchange.fallback_note or not quiet:
            print_line(line(exchange))

    return print_exchange


def line(exchange: Exchange) -> str:
    """`record  POST /v1/chat/completions  200  43 frames  1826 ms  "Hello…"`."""
    parts = [escape.line(f"{_VERBS[exchange.outcome]:<7} {exchange.method} {exchange.path}")]
    if exchange.status:
        parts.append(str(exchange.status))
    if exchange.error:
        return "  ".join(parts) + "\n  " + exchange.error.replace("\n", "\n  ")
    parts += [f"{exchange.frames} frame{'' if exchange.frames == 1 else 's'}", f"{exchange.ms} ms"]
    if exchange.end is not End.COMPLETE:
        parts.append(exchange.end)
    if exchange.preview:
        preview = exchange.preview if len(exchange.preview) <= _SAID else exchange.preview[: _SAID - 1] + "…"
        parts.append(escape.line(json.dumps(preview, ensure_ascii=False)))
    note = "\n  " + exchange.fallback_note.replace("\n", "\n  ") if exchange.fallback_note else ""
    return "  ".join(parts) + note


def summary_line(counts: Counter[Outcome], failures: Iterable[str], cassette: str) -> str:
    """Return the last line: how many exchanges had which outcome, and the name of the cassette, if any."""
    parts = [f"{counts[outcome]} {outcome}" for outcome in (Outcome.RECORDED, Outcome.PLAYED)]
    parts += [
        f"{counts[outcome]} {outcome}"
        for outcome in Outcome
        if outcome not in (Outcome.RECORDED, Outcome.PLAYED) and counts[outcome]
    ]
    unlike = list(dict.fromkeys(failures))
    reasons = f" ({'; '.join(unlike[:3])}{'; …' if len(unlike) > 3 else ''})" if unlike else ""
    return f"openai-replay: {', '.join(parts)}{reasons}{f' - {cassette}' if cassette else ''}"


def unplayed(lines: list[str]) -> str:
    """Return the list of recordings that were not played, one line each."""
    text_lines = [f"{len(lines)} not played:", *(f"  {line}" for line in lines[:_NAMED])]
    return "\n".join(text_lines + ([f"  and {len(lines) - _NAMED} more"] if len(lines) > _NAMED else []))
