"""`--openai-replay-journal FILE`: what became of every request of a run, and whether the run says what `prune` has to
know: a test that did not pass, or was left out, may need what nobody asked for.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from openai_replay.pytest_plugin.options import NAME

if TYPE_CHECKING:
    from openai_replay.journal.jsonl import JournalFile


class JournalOfRun:
    """What one pytest process adds to the journal at `path`; all workers of a run add to one file."""

    def __init__(self, path: Path, config: pytest.Config) -> None:
        self.path = path
        self._config = config
        self._file: JournalFile | None = None

    def pytest_sessionstart(self) -> None:
        """Begin, and note where only a part of the tests was asked for."""
        from openai_replay.errors import ReplayError
        from openai_replay.journal.jsonl import JournalFile

        try:
            self._file = JournalFile(self.path)
        except ReplayError as error:
            raise pytest.UsageError(error.text) from None
        arguments = self._config.invocation_params.args
        if some := [one for one in map(str, arguments) if "::" in one or one.endswith(".py")]:
            self._flawed(f"pytest ran a part of the tests only: {' '.join(some)}")
        if self._config.getoption("lf", False):
            self._flawed("pytest ran a part of the tests only: --last-failed")

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Note the tests with a session that were left out."""
        if left := sum(_has_session(item) for item in items):
            self._flawed(f"{left} tests with a session were deselected")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note a test with a session that did not pass."""
        report = yield
        if report.outcome != "passed" and _has_session(item):
            self._flawed(f"{report.nodeid} {report.outcome}")
        return report

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Note a run that was interrupted, or in which tests could not even be collected."""
        if exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
            self._flawed(f"pytest ended with {int(exitstatus)}")
        if self._file is not None:
            self._file.ended()

    def _flawed(self, why: str) -> None:
        if self._file is not None:
            self._file.flawed(why)


def _has_session(item: pytest.Item) -> bool:
    return NAME in getattr(item, "fixturenames", ()) or item.get_closest_marker(NAME) is not None
