"""Output of commands on stdout, in any encoding, to a terminal or a pipe."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable
from typing import Any


def echo(lines: Iterable[str]) -> None:
    """Write each of `lines` at once. Characters that the encoding does not have are escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    for line in lines:
        sys.stdout.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()  # an announcement has to be readable before the work starts


def echo_json(values: Iterable[Any]) -> None:
    """Write `values` as a JSON array with one element per line, each at once."""
    sys.stdout.write("[")
    for number, value in enumerate(values):
        sys.stdout.write((",\n" if number else "\n") + dumped(value))
    sys.stdout.write("\n]\n")


def dumped(value: Any) -> str:
    """Return `value` as JSON in ASCII, which every encoding and terminal shows correctly."""
    return json.dumps(value)


def width() -> int:
    """Return the columns of the terminal; if stdout is not one, `COLUMNS` or 100."""
    return shutil.get_terminal_size((100, 24)).columns


def is_utf8() -> bool:
    """Return True if stdout can show lines and bars."""
    return (sys.stdout.encoding or "").lower().replace("-", "") in ("utf8", "utf8sig")


def has_colour() -> bool:
    """Return True if stdout is a terminal that may have colours (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
