"""What the terminal shows: a line an exchange, a line at the end, errors.

All of it to stderr; stdout belongs to the base URL.
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


def say(line: str) -> None:
    """Write one line (or several) to stderr. Who has closed it does not want to hear; answers go on."""
    with suppress(OSError):
        sys.stderr.write(line + "\n")  # in one go: several processes may write there
        sys.stderr.flush()


def warn(warning: str) -> None:
    """What is odd about a cassette, and does not stop anything."""
    say(f"Warning: {warning}")


def reading(done: int, size: int) -> None:
    """How much of a big tape has been read, in bytes: a bar at a terminal, a line at the start elsewhere."""
    if sys.stderr.isatty():
        with suppress(OSError):
            filled = 40 * done // size
            bar = f"\rreading {size / 1e6:,.0f} MB of cassettes  [{'#' * filled:40}] {100 * done // size} %"
            print(bar, end="\n" if done == size else "", file=sys.stderr, flush=True)
    elif not done:
        say(f"reading {size / 1e6:,.0f} MB of cassettes; what is found is remembered for the next time")


def error(problem: ReplayError) -> None:
    """Write `Error: FILE:LINE: what happened.`, and on the next line what to do."""
    is_sentence = "\n" in problem.message or problem.message.endswith((".", "?", "!", ":"))
    message = problem.message if is_sentence else f"{problem.message}."
    say(f"Error: {message}\n{problem.hint}" if problem.hint else f"Error: {message}")


def teller(quiet: bool) -> Callable[[Exchange], None]:
    """What to call with every exchange: a line each, or, if `quiet`, only what went wrong."""

    def tell(exchange: Exchange) -> None:
        if exchange.error or exchange.note or not quiet:
            say(line(exchange))

    return tell


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
    if exchange.said:
        said = exchange.said if len(exchange.said) <= _SAID else exchange.said[: _SAID - 1] + "…"
        parts.append(escape.line(json.dumps(said, ensure_ascii=False)))
    note = "\n  " + exchange.note.replace("\n", "\n  ") if exchange.note else ""
    return "  ".join(parts) + note


def closing(counts: Counter[Outcome], failures: Iterable[str], tape: str) -> str:
    """The last line: what was recorded, what was played, what went wrong; the name of the `tape`, if there is one."""
    parts = [f"{counts[outcome]} {outcome}" for outcome in (Outcome.RECORDED, Outcome.PLAYED)]
    parts += [
        f"{counts[outcome]} {outcome}"
        for outcome in Outcome
        if outcome not in (Outcome.RECORDED, Outcome.PLAYED) and counts[outcome]
    ]
    unlike = list(dict.fromkeys(failures))
    why = f" ({'; '.join(unlike[:3])}{'; …' if len(unlike) > 3 else ''})" if unlike else ""
    return f"openai-replay: {', '.join(parts)}{why}{f' - {tape}' if tape else ''}"


def unplayed(lines: list[str]) -> str:
    """Which recordings nobody asked for, a line each."""
    shown = [f"{len(lines)} not played:", *(f"  {line}" for line in lines[:_NAMED])]
    return "\n".join(shown + ([f"  and {len(lines) - _NAMED} more"] if len(lines) > _NAMED else []))
