"""The pytest plugin: a test that asks for `openai_replay` gets a base URL; its tape is a file beside it.

Modes, folders and names follow the habits of pytest-recording. One server a session (or xdist worker) runs in a
thread and is started by the first test that needs it; every test is a session of its own on it. Everything that costs
time to import is imported then: a run that does not use the plugin does not pay for it.
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

from openai_replay.pytest_plugin.options import EXAMPLE, NAME, SETTINGS, advice, file_name, option, refuse, settings
from openai_replay.pytest_plugin.options import pytest_addoption as pytest_addoption  # for pytest, which finds it here

if TYPE_CHECKING:
    from openai_replay.config.rules import Rules
    from openai_replay.server.embedded import Background, Session

#: Outcomes that the summary names only where there are any.
_SELDOM = ("forwarded", "failed", "lost", "by fallback")
_LOOPBACK = (r"127\.0\.0\.1$", "localhost$", "::1$")

_run = pytest.StashKey["Run"]()
_session_of_test = pytest.StashKey["SessionOfTest"]()


@dataclass(slots=True)
class SessionOfTest:
    """The tape of a test, and what is known of the test so far."""

    session: Session
    folder: Path
    records: bool  # whether a request may reach the API
    told: int = 0  # how many of its troubles a report has named
    passed: bool = False  # by its own lights

    def troubles(self) -> str:
        """The explanation of every request that was missed, or not recorded, since the last time."""
        from openai_replay.journal.exchanges import Outcome

        bad = (Outcome.MISSED, Outcome.LOST)
        new = [one.error for one in self.session.journal if one.outcome in bad][self.told :]
        self.told += len(new)
        return "\n\n".join(new)


class Run:
    """What one pytest process knows about its run: the server, and what became of the tapes."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        worker: dict[str, str] = getattr(config, "workerinput", {})  # xdist's: all workers of a run have one name
        self.name = worker.get("testrunuid") or f"{os.getpid()} {time.time_ns()}"
        self.journal: Path | None = None  # a file that exchanges are written to
        self._background: Background | None = None
        self._counts: Counter[str] = Counter()
        self._unplayed: list[str] = []  # node ids
        self._used: set[str] = set()  # cassettes
        self._folders: set[str] = set()  # where they lie
        self._warnings: dict[str, None] = {}  # a set that keeps its order

    def session(self, cassette: Path, rules: Rules, upstream: str | None) -> Session:
        """A tape on the server, which the first test that needs it starts. A cassette to play may not be there yet."""
        from openai_replay.server import embedded as tape

        if self._background is None:
            self._background = tape.Background(tell=lambda exchange: None, journal=self.journal)  # the reports say it
        return tape.Session((cassette,), rules, upstream, self._background, may_be_new=True)

    def stop(self) -> None:
        """End the server."""
        if self._background is not None:
            self._background.stop()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Gather what became of every tape; xdist brings the reports of its workers here as well."""
        said = getattr(report, NAME, None)
        if said is not None:
            self._counts.update(said["counts"])
            self._used.add(said["cassette"])
            self._folders.add(said["folder"])
            self._warnings.update(dict.fromkeys(said["warnings"]))
            if said["counts"]["unplayed"]:
                self._unplayed.append(report.nodeid)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """`openai-replay: 14 played, 0 recorded, 0 missed, 2 unplayed (test_chat.py::test_a)`."""
        if not self._used:
            return
        for warning in self._warnings:
            terminalreporter.write_line(f"openai-replay: warning: {warning}")
        named = ", ".join(self._unplayed[:3]) + (", …" if len(self._unplayed) > 3 else "")
        line = ", ".join(f"{self._counts[name]} {name}" for name in ("played", "recorded", "missed", "unplayed"))
        line += f" ({named})" if named else ""
        line += "".join(f", {count} {name}" for name in _SELDOM if (count := self._counts[name]))
        terminalreporter.write_line(f"openai-replay: {line}")
        if option(self.config, "orphans"):
            orphans = self._orphans()
            terminalreporter.write_line(f"openai-replay: {len(orphans)} cassettes that no test of this run used")
            for orphan in orphans:
                terminalreporter.write_line(f"  {os.path.relpath(orphan, self.config.invocation_params.dir)}")

    def _orphans(self) -> list[str]:
        """The cassettes beside the used ones, and in the folders of other modules, that nobody used."""
        roots = {folder.parent if folder.parent.name == "cassettes" else folder for folder in map(Path, self._folders)}
        found = {file for root in roots for file in root.rglob("*.y*ml") if str(file.resolve()) not in self._used}
        # Those without our key belong to pytest-recording, which keeps its own in the same folders.
        return sorted(str(file) for file in found if re.search(rb"(?m)^ +wire:$", file.read_bytes()))


class WithRecording:
    """What pytest-recording has to be told where it blocks the network: this machine's own server is none."""

    @pytest.fixture
    def allowed_hosts(self, request: pytest.FixtureRequest, allowed_hosts: list[str] | None) -> list[str] | None:
        """The hosts that are allowed, this machine among them; any, where the test records, as is its own rule."""
        if NAME not in request.fixturenames and request.node.get_closest_marker(NAME) is None:
            return allowed_hosts
        beside = request.path.parent / request.getfixturevalue("openai_replay_cassette_dir")
        said = settings(request.node, request.getfixturevalue("openai_replay_config"), beside)
        return [*(allowed_hosts or ()), *(_LOOPBACK if said["mode"] == "none" else (".*",))]


# ------------------------------------------------------------------------------------------------ start and end


def pytest_configure(config: pytest.Config) -> None:
    """Say what the marker is."""
    config.addinivalue_line("markers", f"openai_replay(name, {', '.join(SETTINGS)}): for example {EXAMPLE}")
    config.stash[_run] = Run(config)
    config.pluginmanager.register(config.stash[_run], "openai_replay_run")
    if journal := option(config, "journal"):
        from openai_replay.pytest_plugin.journal import JournalOfRun

        config.stash[_run].journal = path = config.invocation_params.dir / journal
        config.pluginmanager.register(JournalOfRun(path, config), "openai_replay_journal")
    if config.pluginmanager.has_plugin("recording"):
        config.pluginmanager.register(WithRecording(), "openai_replay_with_recording")


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the server."""
    if _run in config.stash:
        config.stash[_run].stop()


# ------------------------------------------------------------------------------------------------ fixtures


@pytest.fixture(scope="module")
def openai_replay_cassette_dir(request: pytest.FixtureRequest) -> Path:
    """Where the cassettes of a module lie: `cassettes/<module>` beside it. Override it to put them elsewhere."""
    return request.path.parent / "cassettes" / request.path.stem


@pytest.fixture(scope="module")
def openai_replay_config() -> dict[str, Any]:
    """Settings of a module or package, of the marker's names: `{"ignore": ["/metadata"]}`.

    The marker goes before it.
    """
    return {}


@pytest.fixture(autouse=True)
def _openai_replay_of_marker(request: pytest.FixtureRequest) -> None:
    """A test that has the marker needs not ask for the fixture."""
    if request.node.get_closest_marker(NAME) is not None:
        request.getfixturevalue(NAME)


@pytest.fixture
def openai_replay(
    request: pytest.FixtureRequest, openai_replay_cassette_dir: str | Path, openai_replay_config: dict[str, Any]
) -> Iterator[Session]:
    """A tape of this test alone, and its `base_url`, which clients find in `OPENAI_BASE_URL`.

    A request that nothing on the tape matches fails the test, whoever sent it and whatever became of the answer.
    """
    from openai_replay.errors import ReplayError
    from openai_replay.pytest_plugin.cassette_lock import turn
    from openai_replay.server import embedded as tapes
    from openai_replay.server.child_process import environment

    run, item = request.config.stash[_run], request.node
    folder = request.path.parent / openai_replay_cassette_dir
    path = folder / file_name(item)
    said = settings(item, openai_replay_config, path.parent)
    mode, upstream = said.pop("mode"), said.pop("upstream", tapes.DEFAULT_UPSTREAM)
    with ExitStack() as stack:
        try:
            rules = tapes.rules({**said, "mode": "new_episodes" if mode == "rewrite" else mode}, advice(item))
            if mode not in ("none", "off"):
                stack.enter_context(turn(path, item.nodeid, run.name if mode == "rewrite" else None))
            tape = stack.enter_context(run.session(path, rules, None if mode == "none" else upstream))
        except ReplayError as error:
            refuse(f"openai_replay: {error.text}")
        except OSError as error:
            refuse(f"openai_replay: {path}: {error.strerror}\nGive the cassette another name or place.")
        records = mode != "none" and not (mode == "once" and tape.served.engine.cassette.was_on_disk)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in environment(os.environ, tape.base_url, records).items():
            patch.setenv(name, value)
        item.stash[_session_of_test] = taped = SessionOfTest(tape, folder, records)
        yield tape
    if troubles := taped.troubles():
        refuse(troubles)
    if option(request.config, "strict") and taped.passed and not records and tape.unplayed:
        refuse(f"not played of {path}:\n" + "\n".join(f"  {one}" for one in tape.unplayed))


# ------------------------------------------------------------------------------------------------ hooks


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Say what to write instead where a fixture of a wider scope asks for a tape, which belongs to one test."""
    if _session_of_test in item.stash:  # of an earlier try
        del item.stash[_session_of_test]
    if NAME not in getattr(item, "fixturenames", ()):
        return
    # pytest has no public way to a fixture's scope and arguments.
    fixtures: dict[str, Any] = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]
    for name, definitions in fixtures.items():
        for definition in definitions:
            if NAME in definition.argnames and definition.scope != "function":
                refuse(
                    f"fixture {name!r} has the scope {definition.scope!r} and asks for `openai_replay`, a session of "
                    'one test. Give it the scope "function", or use '
                    '`with openai_replay.play("cassette.yaml") as session:`.'
                )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """A test that was content in spite of a miss is not."""
    __tracebackhide__ = True
    result = yield
    taped = item.stash.get(_session_of_test, None)
    if taped is not None:
        if troubles := taped.troubles():
            refuse(troubles)
        taped.passed = True
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the explanations into the report of a test that failed by itself, and what became of the tape into the last
    one.
    """
    report = yield
    taped = item.stash.get(_session_of_test, None)
    if taped is None:
        return report
    error = call.excinfo
    # A miss behind a skip is a miss that nobody would hear of: it stays for the teardown.
    failed = report.when != "teardown" and error is not None and not error.errisinstance(pytest.skip.Exception)
    if failed and (troubles := taped.troubles()):
        report.sections.append(("openai-replay", troubles))
    if report.when == "teardown":
        tape = taped.session
        counts = {str(outcome): count for outcome, count in tape.served.engine.journal.counts.items()}
        said = {
            "counts": {
                **counts,
                "unplayed": 0 if taped.records else len(tape.unplayed),
                "by fallback": sum(bool(one.note) for one in tape.journal),
            },
            "cassette": str(tape.cassette.resolve()),
            "folder": str(taped.folder.resolve()),
            "warnings": tape.served.engine.cassette.warnings,
        }
        setattr(report, NAME, said)  # xdist carries it to the controller
    return report
