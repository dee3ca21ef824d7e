"""The pytest plugin: the fixture `openai_replay` gives a test a base URL; its cassette is a file beside the test.

Modes, folders and names follow the habits of pytest-recording. Each pytest process (or xdist worker) runs one server in
a thread, which the first test that needs it starts; each test has a session of its own there. Slow imports happen then,
so that a run without the fixture does not pay for them.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from openai_replay.pytest_plugin.options import (
    EXAMPLE,
    MARKER_SETTINGS,
    NAME,
    advice,
    file_name,
    option,
    refuse,
    settings,
)
from openai_replay.pytest_plugin.options import pytest_addoption as pytest_addoption  # pytest looks for it here

if TYPE_CHECKING:
    from openai_replay.config.rules import Rules
    from openai_replay.server.background import Background
    from openai_replay.server.embedded import Session

#: Outcomes that the summary names only if there are any.
_RARE = ("forwarded", "failed", "lost", "by fallback")

_run = pytest.StashKey["Run"]()
_state = pytest.StashKey["SessionOfTest"]()


@dataclass(slots=True)
class SessionOfTest:
    """The session of a test, and the state of the test."""

    session: Session
    folder: Path
    records: bool  # True if a request may reach the API
    reported: int = 0  # failed requests that a report has named
    passed: bool = False  # the test function itself

    def new_failures(self) -> str:
        """Return the explanation of each request that was missed or not recorded since the last call."""
        from openai_replay.journal.exchanges import Outcome

        failures = [
            exchange.error for exchange in self.session.journal if exchange.outcome in (Outcome.MISSED, Outcome.LOST)
        ][self.reported :]
        self.reported += len(failures)
        return "\n\n".join(failures)


class Run:
    """The run of one pytest process: its server, and the outcomes of its sessions."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        worker: dict[str, str] = getattr(config, "workerinput", {})  # of xdist: all workers of a run share a name
        self.name = worker.get("testrunuid") or f"{os.getpid()} {time.time_ns()}"
        self.journal: Path | None = None  # a file that exchanges are written to
        self._background: Background | None = None
        self._counts: Counter[str] = Counter()
        self._unplayed: list[str] = []  # node ids
        self._used: set[str] = set()  # cassettes
        self._folders: set[str] = set()  # the folders of these
        self._warnings: dict[str, None] = {}  # a set that keeps its order

    def session(self, cassette: Path, rules: Rules, upstream: str | None) -> Session:
        """Return a session on the server, which starts with the first one. A cassette to play may not exist yet."""
        from openai_replay.server.background import Background
        from openai_replay.server.embedded import Session

        if self._background is None:  # failures stand in the reports, not on stderr
            self._background = Background(on_exchange=lambda exchange: None, journal=self.journal)
        return Session((cassette,), rules, upstream, self._background, may_be_new=True)

    def stop(self) -> None:
        """End the server."""
        if self._background is not None:
            self._background.stop()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the outcome of each session; xdist also brings the reports of its workers here."""
        outcome = getattr(report, NAME, None)
        if outcome is not None:
            self._counts.update(outcome["counts"])
            self._used.add(outcome["cassette"])
            self._folders.add(outcome["folder"])
            self._warnings.update(dict.fromkeys(outcome["warnings"]))
            if outcome["counts"]["unplayed"]:
                self._unplayed.append(report.nodeid)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write `openai-replay: 14 played, 0 recorded, 0 missed, 2 unplayed (test_chat.py::test_a)`."""
        if not self._used:
            return
        for warning in self._warnings:
            terminalreporter.write_line(f"openai-replay: Warning: {warning}")
        tests = ", ".join(self._unplayed[:3]) + (", …" if len(self._unplayed) > 3 else "")
        line = ", ".join(f"{self._counts[name]} {name}" for name in ("played", "recorded", "missed", "unplayed"))
        line += f" ({tests})" if tests else ""
        line += "".join(f", {count} {name}" for name in _RARE if (count := self._counts[name]))
        terminalreporter.write_line(f"openai-replay: {line}")
        if option(self.config, "orphans"):
            orphans = self._orphans()
            terminalreporter.write_line(f"openai-replay: cassettes that no test of this run used: {len(orphans)}")
            for orphan in orphans:
                terminalreporter.write_line(f"  {os.path.relpath(orphan, self.config.invocation_params.dir)}")

    def _orphans(self) -> list[str]:
        """Return the cassettes in the folders of the used ones, and of other modules, that no test used."""
        roots = {folder.parent if folder.parent.name == "cassettes" else folder for folder in map(Path, self._folders)}
        unused = {file for root in roots for file in root.rglob("*.y*ml") if str(file.resolve()) not in self._used}
        # Cassettes without our key belong to pytest-recording, which uses the same folders.
        return sorted(str(file) for file in unused if re.search(rb"(?m)^ +wire:$", file.read_bytes()))


# ------------------------------------------------------------------------------------------------ start and end


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and the run."""
    config.addinivalue_line(
        "markers",
        f"openai_replay(name, {', '.join(MARKER_SETTINGS)}): use a session with these settings. Example: {EXAMPLE}",
    )
    config.stash[_run] = Run(config)
    config.pluginmanager.register(config.stash[_run], "openai_replay_run")
    if journal := option(config, "journal"):
        from openai_replay.pytest_plugin.journal import RunJournal

        config.stash[_run].journal = path = config.invocation_params.dir / journal
        config.pluginmanager.register(RunJournal(path, config), "openai_replay_journal")
    if config.pluginmanager.has_plugin("recording"):
        from openai_replay.pytest_plugin.pytest_recording import AllowedHosts

        config.pluginmanager.register(AllowedHosts(), "openai_replay_with_recording")


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the server."""
    if _run in config.stash:
        config.stash[_run].stop()


# ------------------------------------------------------------------------------------------------ fixtures


@pytest.fixture(scope="module")
def openai_replay_cassette_dir(request: pytest.FixtureRequest) -> Path:
    """Return the folder of a module's cassettes, `cassettes/<module>` beside it. You may override this fixture."""
    return request.path.parent / "cassettes" / request.path.stem


@pytest.fixture(scope="module")
def openai_replay_config() -> dict[str, Any]:
    """Return settings of a module or package, such as `{"ignore": ["/metadata"]}`. Markers win over them."""
    return {}


@pytest.fixture(autouse=True)
def _openai_replay_of_marker(request: pytest.FixtureRequest) -> None:
    """Use the fixture in tests that have the marker."""
    if request.node.get_closest_marker(NAME) is not None:
        request.getfixturevalue(NAME)


@pytest.fixture
def openai_replay(
    request: pytest.FixtureRequest, openai_replay_cassette_dir: str | Path, openai_replay_config: dict[str, Any]
) -> Iterator[Session]:
    """Give a test its own session. Clients find its `base_url` in `OPENAI_BASE_URL`.

    A request that no recording matches fails the test, even if the app swallows the error.
    """
    from openai_replay.config.settings import DEFAULT_UPSTREAM
    from openai_replay.errors import ReplayError
    from openai_replay.pytest_plugin.cassette_lock import exclusive_recording
    from openai_replay.server import embedded
    from openai_replay.server.child_process import environment

    run, item = request.config.stash[_run], request.node
    folder = request.path.parent / openai_replay_cassette_dir
    path = folder / file_name(item)
    values = settings(item, openai_replay_config, path.parent)
    mode, upstream = values.pop("mode"), values.pop("upstream", DEFAULT_UPSTREAM)
    with ExitStack() as stack:
        try:
            values["mode"] = "new_episodes" if mode == "rewrite" else mode
            rules = embedded.rules_of_tests(values, advice(item))
            if mode not in ("none", "off"):
                stack.enter_context(exclusive_recording(path, item.nodeid, run.name if mode == "rewrite" else None))
            session = stack.enter_context(run.session(path, rules, None if mode == "none" else upstream))
        except ReplayError as error:
            refuse(f"openai_replay: {error.text}")
        except OSError as error:
            refuse(f"openai_replay: Could not use {path}: {error.strerror}.\nGive the cassette another name or folder.")
        records = mode != "none" and not (mode == "once" and session.served.engine.cassette.was_on_disk)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in environment(os.environ, session.base_url, records).items():
            patch.setenv(name, value)
        item.stash[_state] = state = SessionOfTest(session, folder, records)
        yield session
    if failures := state.new_failures():
        refuse(failures)
    if option(request.config, "strict") and state.passed and not records and session.unplayed:
        refuse(
            f"The test left recordings of {path} unplayed:\n"
            + "\n".join(f"  {recording}" for recording in session.unplayed)
        )


# ------------------------------------------------------------------------------------------------ hooks


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail with a hint if a fixture of a wider scope uses `openai_replay`, whose session belongs to one test."""
    if _state in item.stash:  # of an earlier attempt
        del item.stash[_state]
    if NAME not in getattr(item, "fixturenames", ()):
        return
    # pytest has no public API for the scope and the arguments of a fixture.
    fixtures: dict[str, Any] = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]
    for name, definitions in fixtures.items():
        for definition in definitions:
            if NAME in definition.argnames and definition.scope != "function":
                refuse(
                    f"The fixture {name!r} has the scope {definition.scope!r} and uses `openai_replay`, a session of "
                    'one test.\nGive it the scope "function", or use '
                    '`with openai_replay.play("cassette.yaml") as session:`.'
                )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail a test that passed in spite of a miss."""
    __tracebackhide__ = True
    result = yield
    state = item.stash.get(_state, None)
    if state is not None:
        if failures := state.new_failures():
            refuse(failures)
        state.passed = True
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the explanations to the report of a failed test, and the outcome of the session to the last report."""
    report = yield
    state = item.stash.get(_state, None)
    if state is None:
        return report
    error = call.excinfo
    # A skip would hide a miss, so the teardown reports it.
    failed = report.when != "teardown" and error is not None and not error.errisinstance(pytest.skip.Exception)
    if failed and (failures := state.new_failures()):
        report.sections.append(("openai-replay", failures))
    if report.when == "teardown":
        session = state.session
        counts = {str(outcome): count for outcome, count in session.served.engine.journal.counts.items()}
        outcome = {
            "counts": {
                **counts,
                "unplayed": 0 if state.records else len(session.unplayed),
                "by fallback": sum(bool(exchange.fallback_note) for exchange in session.journal),
            },
            "cassette": str(session.cassette.resolve()),
            "folder": str(state.folder.resolve()),
            "warnings": session.served.engine.cassette.warnings,
        }
        setattr(report, NAME, outcome)  # xdist carries it to the controller
    return report
