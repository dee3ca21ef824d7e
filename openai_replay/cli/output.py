"""How commands write to stdout: whatever encoding it has, whoever reads it, for as long as they do."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable
from typing import Any


def echo(lines: Iterable[str]) -> None:
    """Write `lines` as they come. What the encoding does not have is escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    for line in lines:
        sys.stdout.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()  # what is said before something is done is read before it


def echo_json(values: Iterable[Any]) -> None:
    """Write `values` as a JSON array, an element a line, each as it comes."""
    sys.stdout.write("[")
    for number, value in enumerate(values):
        sys.stdout.write((",\n" if number else "\n") + dumped(value))
    sys.stdout.write("\n]\n")


def dumped(value: Any) -> str:
    """`value` as JSON in ASCII, so that no encoding and no terminal can take it for something else."""
    return json.dumps(value)


def width() -> int:
    """Columns of the terminal; where stdout is none, `COLUMNS` or 100."""
    return shutil.get_terminal_size((100, 24)).columns


def is_utf8() -> bool:
    """Whether stdout can show lines and bars."""
    return (sys.stdout.encoding or "").lower().replace("-", "") in ("utf8", "utf8sig")


def has_colour() -> bool:
    """Whether stdout is a terminal that may be coloured (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
