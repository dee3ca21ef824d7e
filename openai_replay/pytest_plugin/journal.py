"""`--openai-replay-journal FILE`: every request of a run, and the reasons why `prune` may not rely on the run.

A test that did not pass, or was left out, may need recordings that no request has played.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from openai_replay.pytest_plugin.options import NAME

if TYPE_CHECKING:
    from openai_replay.journal.jsonl import JournalFile


class RunJournal:
    """The part of the journal at `path` that one pytest process writes; all workers of a run write to one file."""

    def __init__(self, path: Path, config: pytest.Config) -> None:
        self.path = path
        self._config = config
        self._file: JournalFile | None = None

    def pytest_sessionstart(self) -> None:
        """Open the journal, and mark it if the command line selects only some tests."""
        from openai_replay.errors import ReplayError
        from openai_replay.journal.jsonl import JournalFile

        try:
            self._file = JournalFile(self.path)
        except ReplayError as error:
            raise pytest.UsageError(error.text) from None
        arguments = self._config.invocation_params.args
        if selected := [name for name in map(str, arguments) if "::" in name or name.endswith(".py")]:
            self._mark_incomplete(f"pytest ran only a part of the tests: {' '.join(selected)}")
        if self._config.getoption("lf", False):
            self._mark_incomplete("pytest ran only a part of the tests: --last-failed")

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Mark the journal if tests with a session were deselected."""
        if count := sum(_has_session(item) for item in items):
            tests = "1 test with a session was" if count == 1 else f"{count} tests with a session were"
            self._mark_incomplete(f"{tests} deselected")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Mark the journal if a test with a session did not pass."""
        report = yield
        if report.outcome != "passed" and _has_session(item):
            self._mark_incomplete(f"{report.nodeid} {report.outcome}")
        return report

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Mark the journal if the run was interrupted, or if tests could not be collected."""
        if exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
            self._mark_incomplete(f"pytest exited with {int(exitstatus)}")
        if self._file is not None:
            self._file.ended()

    def _mark_incomplete(self, reason: str) -> None:
        if self._file is not None:
            self._file.mark_incomplete(reason)


def _has_session(item: pytest.Item) -> bool:
    return NAME in getattr(item, "fixturenames", ()) or item.get_closest_marker(NAME) is not None
