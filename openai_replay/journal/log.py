"""The log of internal events, on stderr. It never holds a secret.

The message of an exception, and with it a traceback as Python prints it, may hold anything that was sent. So the log
shows only the types of the exceptions and their locations in the code.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from openai_replay.model import Headers

log = logging.getLogger("openai_replay")


def safe_traceback(error: BaseException | None) -> str:
    """Return a traceback without values: the locations and the types of the errors, causes first."""
    parts: list[str] = []
    while error is not None and len(parts) < 20:
        stack = "".join(traceback.format_list(traceback.extract_tb(error.__traceback__)))
        parts.append(f"{stack}{type(error).__module__}.{type(error).__qualname__}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return (
        "\nwhile that was handled:\n".join(reversed(parts))
        + "\n(The message is left out, because it may contain request data.)"
    )


def head(first: str, headers: Headers) -> str:
    """Return the head of an HTTP message, one line per header."""
    return "\n".join([first, *(f"    {name}: {value}" for name, value in headers)])


@contextmanager
def to_stderr(level: str) -> Iterator[None]:
    """Show what is logged from `level` (debug, info, warning) on, while the block runs."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    before, propagates = log.level, log.propagate
    log.setLevel(level.upper())
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
        log.propagate = propagates


def loop_failed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an exception that no task waits for, without values (an exception handler of the event loop)."""
    log.error("openai-replay failed: %s\n%s", context.get("message"), safe_traceback(context.get("exception")))
