"""`python -m tests.fuzz SECONDS [TARGET...]`: every target for its share of the time, under atheris (`make fuzz`).

A finding ends its target: it is written to `.cache/fuzz/`, and belongs among the seeds once it is mended. What is
found on the way lies there as well, and the next run goes on from it.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

#: Seconds and megabytes that one input may take: more is a finding.
LONGEST_S, MOST_MB = 20, 2048
FOUND = Path(".cache/fuzz")


def one(name: str, arguments: list[str]) -> None:
    """Fuzz one target in this process; libFuzzer ends it."""
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=["openai_replay"]):
        from tests.fuzz.targets import TARGETS
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


def main(seconds: int, names: list[str]) -> int:
    """Every target after the other; 1 if there was a finding."""
    code = 0
    for name in names:
        corpus = FOUND / name
        corpus.mkdir(parents=True, exist_ok=True)
        limits = [
            f"-max_total_time={max(1, seconds // len(names))}",
            f"-timeout={LONGEST_S}",
            f"-rss_limit_mb={MOST_MB}",
        ]
        paths = [f"-artifact_prefix={FOUND}/{name}-", "-max_len=4096", str(corpus), f"tests/fuzz/corpus/{name}"]
        print(f"== {name}", flush=True)
        code |= subprocess.run([sys.executable, "-m", "tests.fuzz", "--one", name, *limits, *paths]).returncode != 0
    return code


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        one(sys.argv[2], sys.argv[3:])
    else:
        from tests.fuzz.targets import TARGETS

        sys.exit(main(int(sys.argv[1]), sys.argv[2:] or list(TARGETS)))
