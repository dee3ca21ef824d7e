"""What the pytest plugin costs a test run: `python benchmarks/plugin_costs.py`.

Medians of several runs, each in a process of its own, with no other plugin. Exit 1 if a bar is missed.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

RUNS = 15
#: Tests with the fixture in the run that finds out what one costs, each with a cassette of its own.
TESTS = 200
CASSETTE = Path(__file__).parent.parent / "cassettes" / "chat-stream.yaml"

#: Notes how long set-up and teardown of every test took, in ms.
CONFTEST = """
import json, pytest
times = {}
def pytest_runtest_logreport(report):
    if report.when != "call":
        times[report.nodeid] = times.get(report.nodeid, 0) + report.duration * 1000
def pytest_unconfigure():
    with open("times.json", "w") as file:
        json.dump(list(times.values()), file)
"""


class Cost(NamedTuple):
    """One line of the table; `bar_ms` is what it may be at most."""

    what: str
    ms: float
    bar_ms: float


def pytest(folder: Path, test: str, *arguments: str, python: Sequence[str] = ()) -> str:
    """Run `test` with the plugin and no other; what it wrote to stderr. Set-up times are in `times.json` then."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_cost.py").write_text(test)
    command = [sys.executable, *python, "-m", "pytest", "-q", "-p", "openai_replay.pytest_plugin.plugin", *arguments]
    ran = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-1000:]
    return ran.stderr


def imports_ms(folder: Path) -> float:
    """What the plugin adds to the start of a run that does not use it, itself and all that it imports."""
    times = pytest(folder, "def test_nothing(): ...", "-s", python=["-X", "importtime"])
    # `import time: self | cumulative | name`, indented by depth: ours are imported by pytest, not by each other.
    found = re.findall(r"^import time: +\d+ \| +(\d+) \|( +)(openai_replay\S*)$", times, re.MULTILINE)
    outermost = min(len(indent) for _, indent, _ in found)
    return sum(int(us) for us, indent, _ in found if len(indent) == outermost) / 1000


def times_ms(folder: Path, test: str) -> list[float]:
    """Set-up and teardown of every test of a run."""
    pytest(folder, test)
    times: list[float] = json.loads((folder / "times.json").read_text())
    return times


def main() -> int:
    """Measure, print the table. 0 if every bar holds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tapes = folder / "cassettes" / "test_cost"
        tapes.mkdir(parents=True)
        for number in range(TESTS):
            (tapes / f"test_one[{number}].yaml").symlink_to(CASSETTE)
        many = f"import pytest{{}}\n@pytest.mark.parametrize('number', range({TESTS}))\ndef test_one({{}}number): ...\n"
        plain, with_sdk, alone = (
            [times_ms(folder, many.format(*how)) for _ in range(RUNS)]
            for how in (("", ""), (", openai", "openai_replay, "), ("", "openai_replay, "))
        )
        nothing = statistics.median(one for run in plain for one in run)
        each = statistics.median(one for run in with_sdk for one in run[1:])
        costs = [
            Cost("a run that does not use it", statistics.median(imports_ms(folder) for _ in range(RUNS)), 10),
            Cost("the first test that does", statistics.median(run[0] for run in with_sdk) - nothing, 300),
            Cost("the first test, in a suite without an SDK", statistics.median(run[0] for run in alone), 300),
            Cost("every further test, in the median", each - nothing, 5),
        ]
    print("| the plugin adds to | ms | may be at most |\n|---|---:|---:|")
    for cost in costs:
        print(f"| {cost.what} | {cost.ms:.1f} | {cost.bar_ms:.0f} |")
    return 0 if all(cost.ms <= cost.bar_ms for cost in costs) else 1


if __name__ == "__main__":
    raise SystemExit(main())
