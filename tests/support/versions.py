"""Print which installed packages differ from a lock file: `python tests/support/versions.py requirements/dev.txt`."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PINNED = re.compile(r"(?m)^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)")


def differences(lock: str) -> list[str]:
    """Return a line for each package of a lock file's text that is installed in another version."""
    lines = []
    for name, locked in PINNED.findall(lock):
        try:
            installed = version(name)
        except PackageNotFoundError:  # for another platform or Python
            continue
        if installed != locked:
            lines.append(f"{name} {installed} is newer than the locked {locked}.")
    return lines


if __name__ == "__main__":
    print("\n".join(differences(Path(sys.argv[1]).read_text("utf-8"))) or "All locked versions are the newest.")
