"""The pytest plugin as its users meet it: pytest runs of their own, real SDK clients, the simulated API upstream."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from textwrap import dedent

import pytest
from openai import OpenAI

import openai_replay
from openai_replay.model import Mode
from openai_replay.pytest_plugin.cassette_lock import exclusive_recording
from tests.support.proxy import cassette, interactions, item
from tests.support.upstream import Upstream, running_upstream

pytest_plugins = ["pytester"]

INI = """
[pytest]
asyncio_mode = strict
asyncio_default_fixture_loop_scope = function
filterwarnings = error
addopts = -p no:hypothesispytest -p no:pytest_cov --strict-markers
"""
#: What the tests of a project ask with.
ASK = """
import sys
import urllib.request, os
from openai import AsyncOpenAI, OpenAI

def messages(text):
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}

def ask(text, model="gpt-4o-mini", **client):
    with OpenAI(**client) as openai:
        return openai.chat.completions.create(**{**messages(text), "model": model}).choices[0].message.content

def swallow(text):
    try:
        ask(text)
    except Exception:
        pass

async def stream(text):
    async with AsyncOpenAI() as openai:
        chunks = await openai.chat.completions.create(**messages(text), stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

if __name__ == "__main__":
    print(ask(sys.argv[1]))
"""

#: The same without an SDK, for what does not depend on one: it starts a second faster.
RAW = """
import json, os, urllib.error, urllib.request

def post(text, model="gpt-4o-mini", base_url=None, **more):
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    request = urllib.request.Request(
        (base_url or os.environ["OPENAI_BASE_URL"]) + "/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": "Bearer sk-test"},
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return str(error.code)
"""


class Ran:
    """A pytest run that is over."""

    def __init__(self, result: pytest.RunResult) -> None:
        self.code = int(result.ret)
        self.out = result.stdout.str()
        self.err = result.stderr.str()
        self.seconds = result.duration

    @property
    def outcomes(self) -> dict[str, str]:
        """By test name, with its class and parameters: passed, failed, error, ..., the last of a test's."""
        actual = re.findall(r"^(PASSED|FAILED|ERROR|XFAIL|SKIPPED) (?:\S+?)::(.+?)(?: - .*)?$", self.out, re.MULTILINE)
        return {name: outcome.lower() for outcome, name in actual}

    @property
    def summary(self) -> str:
        """The plugin's line."""
        return "".join(re.findall(r"^openai-replay: \d+ played.*$", self.out, re.MULTILINE))

    def says_of(self, test: str) -> str:
        """The section of the report that is about a test."""
        parts = re.split(r"^_{3,} (.+?) _{3,}$", self.out, flags=re.MULTILINE)
        texts = [text for title, text in zip(parts[1::2], parts[2::2], strict=True) if title.endswith(test)]
        return re.split(r"^={3,}", "".join(texts), flags=re.MULTILINE)[0]


class Project:
    """A project with tests."""

    def __init__(self, pytester: pytest.Pytester, upstream: Upstream) -> None:
        self._pytester = pytester
        self._upstream = upstream
        self.path = pytester.path
        self.write("pytest.ini", INI)
        self.write("ask.py", ASK)
        self.write("raw.py", RAW)

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), "utf-8")

    def run(self, *arguments: str) -> Ran:
        """`pytest ARGUMENTS`, as a process of its own."""
        return Ran(self._pytester.runpytest_subprocess("-rA", *arguments, timeout=60))

    def record(self, mode: str = "new_episodes", *arguments: str) -> Ran:
        return self.run(f"--openai-replay={mode}", f"--openai-replay-upstream={self._upstream.url}", *arguments)

    def taped(self, name: str, *texts: str, model: str = "gpt-4o-mini") -> Path:
        """Record these questions to a cassette, without pytest."""
        path = self.path / name
        with openai_replay.record(path, self._upstream.url) as tape:
            client = OpenAI(base_url=tape.base_url, api_key="sk-test")
            for text in texts:
                client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])
            client.close()
        return path

    @property
    def cassettes(self) -> set[str]:
        """The cassettes there are, by their path in the project."""
        return {str(path.relative_to(self.path)) for path in self.path.rglob("*.yaml")}


def asked(tape: Path) -> list[str]:
    """The questions on a tape."""
    return re.findall(r'"content": "(.*)"\n +}\n +\],?$', tape.read_text("utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as server:
        yield server


@pytest.fixture
def project(pytester: pytest.Pytester, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "NO_PROXY", "no_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    return Project(pytester, upstream)


# ------------------------------------------------------------------------------------------------ a fixture, any test


CLIENTS = """
import os, subprocess, sys, unittest
from pathlib import Path
import pytest
from openai import OpenAI
from ask import ask, stream

BEFORE = dict(os.environ)
HERE = Path(__file__).parent / "cassettes" / "test_clients"

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.fixture
def client(openai_replay):  # the environment is set when other fixtures are made
    with OpenAI() as client:
        yield client

def test_attributes(openai_replay):
    ask("hi")
    assert openai_replay.base_url == os.environ["OPENAI_BASE_URL"]
    assert openai_replay.cassette == HERE / "test_attributes.yaml"
    assert openai_replay.mode == os.environ["EXPECTED_MODE"]
    [one] = openai_replay.journal
    assert (one.outcome, one.method, one.path, one.status) == (
        os.environ["EXPECTED"], "POST", "/v1/chat/completions", 200)

def test_environment(openai_replay):
    placeholder = openai_replay.mode == "none"
    assert os.environ["OPENAI_API_KEY"] == ("sk-openai-replay" if placeholder else "sk-test")
    assert os.environ["NO_PROXY"] == "corp.example,10.0.0.1,127.0.0.1,localhost,::1"
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"]
    assert "simulated" in ask("around the proxy")

def test_the_base_url_by_hand(openai_replay, monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert "by hand" in ask("by hand", base_url=openai_replay.base_url, api_key="sk-mine")

def test_a_client_from_a_fixture(client):
    assert client.models.list().data

@pytest.mark.asyncio
async def test_asyncio(openai_replay):
    assert "streamed" in await stream("streamed")

@pytest.mark.anyio
async def test_anyio(openai_replay):
    assert "streamed" in await stream("streamed")

def test_subprocess(openai_replay):
    done = subprocess.run([sys.executable, "ask.py", "from a process"], capture_output=True, text=True, check=True)
    assert "from a process" in done.stdout

@pytest.mark.openai_replay
def test_the_marker_is_enough():
    assert "marked" in ask("marked")

@pytest.mark.usefixtures("openai_replay")
class TestCase(unittest.TestCase):
    def test_unittest(self):
        self.assertIn("unit", ask("unit"))

class TestOuter:
    class TestInner:
        def test_deep(self, openai_replay):
            assert openai_replay.cassette.name == "TestOuter.TestInner.test_deep.yaml"
            ask("deep")

@pytest.mark.parametrize("text", ["a/b", "a:b", "../up", "🌍", "x" * 300, "x" * 301, "A", "a", ".."])
def test_names(text, openai_replay):
    assert text in ask(text)

def test_LONG(openai_replay):
    ask("long")

def test_undone():
    assert {**os.environ, "PYTEST_CURRENT_TEST": ""} == {**BEFORE, "PYTEST_CURRENT_TEST": ""}
"""


def test_every_kind_of_test_is_recorded_and_played(
    project: Project, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("test_clients.py", CLIENTS.replace("LONG", "ü日" * 40))
    monkeypatch.setenv("no_proxy", "corp.example, 10.0.0.1")
    monkeypatch.setenv("EXPECTED_MODE", "new_episodes")
    monkeypatch.setenv("EXPECTED", "recorded")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    recorded = project.record()
    assert set(recorded.outcomes.values()) == {"passed"}, recorded.out
    assert recorded.summary == "openai-replay: 0 played, 20 recorded, 0 missed, 0 unplayed"

    names = {name.removeprefix("cassettes/test_clients/") for name in project.cassettes}
    assert len(names) == len(recorded.outcomes) - 1  # one each, and none for the test without
    assert {"test_attributes.yaml", "TestOuter.TestInner.test_deep.yaml", "TestCase.test_unittest.yaml"} <= names
    assert {"test_names[A].yaml", "test_names[a].yaml", "test_names[..].yaml"} <= names
    for name in names:
        assert re.fullmatch(r"[\w\-.\[\]=,+]+", name)
        assert len(name.encode()) < 160

    before = len(upstream.requests)
    monkeypatch.setenv("EXPECTED_MODE", "none")
    monkeypatch.setenv("EXPECTED", "played")
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nothing listens there
    played = project.run()
    assert played.outcomes == recorded.outcomes, played.out
    assert played.summary == "openai-replay: 20 played, 0 recorded, 0 missed, 0 unplayed"
    assert len(upstream.requests) == before


# ------------------------------------------------------------------------------------------------ a miss is loud


MISSES = """
import subprocess, sys, threading, time
import pytest
from ask import ask, swallow
from raw import post

def test_swallowed(openai_replay):
    swallow("new")
    assert len(openai_replay.journal) == 1  # one attempt

def test_unhandled(openai_replay):
    ask("new")

def test_in_a_process(openai_replay):
    subprocess.run([sys.executable, "ask.py", "new"], capture_output=True)

@pytest.fixture
def worker(openai_replay):
    threads = []
    yield lambda *args: threads.append(threading.Timer(0.3, post, args)) or threads[-1].start()
    for thread in threads:
        thread.join()

def test_in_a_thread_that_outlives_the_call(worker):
    worker("new")

@pytest.fixture
def asks_early(openai_replay):
    post("new")

def test_in_a_fixture(asks_early):
    pass

def test_skipped_because_of_it(openai_replay):
    if post("new") == "424":
        pytest.skip("the API is down")

@pytest.mark.xfail(strict=True)
def test_expected(openai_replay):
    post("new")

def test_nothing_is_missed(openai_replay):
    assert "old" in post("old")

@pytest.mark.usefixtures("openai_replay")
def test_nothing_is_asked():
    pass
"""

EXPLAINED = """\
No recording matches POST /v1/chat/completions in {path} (mode none).
The closest recording is #1. It differs in:
  messages[0].content: recorded 'old'  now 'new'
To record it, run:  pytest --openai-replay=new_episodes test_miss.py::{name}
To ignore it, set:  @pytest.mark.openai_replay(ignore=["/messages/0/content"])
"""


def test_a_miss_fails_the_test_whatever_became_of_it(project: Project) -> None:
    names = re.findall(r"def (test_\w+)", MISSES)
    for name in names[:-1]:
        project.taped(f"cassettes/test_miss/{name}.yaml", "old")
    project.write("test_miss.py", MISSES)
    ran = project.run()
    good = {"test_nothing_is_missed": "passed", "test_nothing_is_asked": "passed", "test_expected": "xfail"}
    # At teardown, pytest calls a failure an error.
    late = {"test_in_a_thread_that_outlives_the_call": "error", "test_skipped_because_of_it": "error"}
    assert ran.outcomes == {**dict.fromkeys(names, "failed"), **good, **late}, ran.out
    for name in names[:7]:
        if name not in good:
            path = project.path / "cassettes/test_miss" / f"{name}.yaml"
            explained = EXPLAINED.format(path=path, name=name)
            assert explained in ran.says_of(name), name
    assert ran.says_of("test_unhandled").count("No recording matches") == 2  # the SDK's exception, and the whole text
    assert ran.summary.startswith("openai-replay: 1 played, 0 recorded, 7 missed, 7 unplayed (test_miss.py::test_sw")
    assert ran.code == 1


def test_a_cassette_that_is_not_there_is_a_miss(project: Project) -> None:
    project.write("test_new.py", "from raw import post\ndef test_new(openai_replay):\n    post('hi')\n")
    ran = project.run()
    assert ran.outcomes == {"test_new": "failed"}
    assert "test_new.yaml (mode none).\nThe cassette is empty." in ran.out


# ------------------------------------------------------------------------------------------------ modes


MODES = """
import pytest
from raw import post

@pytest.mark.openai_replay(mode="none")
def test_none(openai_replay):
    assert post("old") != "424"

@pytest.mark.openai_replay(mode="once")
def test_once(openai_replay):
    assert post("old") != "424"

@pytest.mark.openai_replay(mode="once")
def test_once_new(openai_replay):
    post("old"), post("new")

@pytest.mark.openai_replay(mode="new_episodes")
def test_new_episodes(openai_replay):
    post("old"), post("new")

@pytest.mark.openai_replay(mode="all")
def test_all(openai_replay):
    post("old"), post("new")

@pytest.mark.openai_replay(mode="rewrite")
def test_rewrite(openai_replay):
    post("new")

@pytest.mark.openai_replay(mode="off")
def test_off(openai_replay):
    post("new")
"""


def test_modes(project: Project, monkeypatch: pytest.MonkeyPatch, upstream: Upstream) -> None:
    monkeypatch.setenv("OPENAI_REPLAY_UPSTREAM", upstream.url)
    tapes = {name: project.path / f"cassettes/test_modes/test_{name}.yaml" for name in [*Mode, "rewrite", "once_new"]}
    for path in list(tapes.values())[:-1]:
        project.taped(str(path), "old")
    project.write("test_modes.py", MODES)
    ran = project.run()
    assert set(ran.outcomes.values()) == {"passed"}, ran.out
    assert {name: asked(path) for name, path in tapes.items()} == {
        "none": ["old"],
        "once": ["old"],
        "once_new": ["old", "new"],
        "new_episodes": ["old", "new"],
        "all": ["old", "new"],
        "rewrite": ["new"],
        "off": ["old"],
    }
    assert ran.summary == "openai-replay: 3 played, 6 recorded, 0 missed, 0 unplayed, 1 forwarded"

    # What is typed goes before what the marker says.
    assert set(project.run("--openai-replay=off").outcomes.values()) == {"passed"}
    assert asked(tapes["all"]) == ["old", "new"]


def test_rewrite_empties_a_cassette_once_a_run(project: Project) -> None:
    shared = project.taped("cassettes/test_re/shared.yaml", "old")
    project.write(
        "test_re.py",
        """
        import pytest
        from raw import post
        pytestmark = pytest.mark.openai_replay("shared")
        @pytest.mark.parametrize("number", range(4))
        def test_one(number, openai_replay):
            post(f"new {number}")
        """,
    )
    for arguments in ([], [], ["-n", "2"]):
        ran = project.record("rewrite", *arguments)
        assert set(ran.outcomes.values()) == {"passed"}, ran.out
        assert ran.summary == "openai-replay: 0 played, 4 recorded, 0 missed, 0 unplayed"
        assert sorted(asked(shared)) == ["new 0", "new 1", "new 2", "new 3"]


ONE = "from raw import post\ndef test_one(openai_replay):\n    post('hi')\n"


def test_the_mode_of_pytest_recording_counts_where_ours_is_not_given(
    project: Project, monkeypatch: pytest.MonkeyPatch, upstream: Upstream
) -> None:
    monkeypatch.setenv("OPENAI_REPLAY_UPSTREAM", upstream.url)
    project.write("test_one.py", ONE)
    assert project.run("--record-mode=all", "--openai-replay=none").outcomes == {"test_one": "failed"}
    assert project.cassettes == set()
    assert project.run("--record-mode=new_episodes").outcomes == {"test_one": "passed"}
    assert project.cassettes == {"cassettes/test_one/test_one.yaml"}
    # Without pytest-recording the name is nobody's.
    assert project.run("-p", "no:recording").outcomes == {"test_one": "passed"}
    refused = project.run("-p", "no:recording", "--record-mode=all")
    assert refused.code == pytest.ExitCode.USAGE_ERROR
    assert "unrecognized arguments: --record-mode=all" in refused.err


# ------------------------------------------------------------------------------------------------ settings


def test_ini_keys_the_command_line_and_pyproject(project: Project, upstream: Upstream) -> None:
    keys = {"": "new_episodes", "_upstream": upstream.url, "_pace": "2x", "_strict": "true", "_orphans": "true"}
    project.write("pytest.ini", INI + "\n".join(f"openai_replay{name} = {value}" for name, value in keys.items()))
    project.write(
        "pyproject.toml",
        """
        [tool.openai-replay]
        ignore = ["/metadata"]
        redact-pattern = ["customer-[0-9]+"]
        pace = "original"
        """,
    )
    project.write(
        "test_ini.py",
        """
        import os
        import pytest
        from raw import post
        def test_ini(openai_replay):
            assert (openai_replay.mode, openai_replay.rules.pace.speed) == ("new_episodes", 2.0)
            post("customer-4711", metadata={"run": 1})
        def test_typed(openai_replay):
            if openai_replay.mode == "new_episodes":
                post("one"), post("two")
            else:
                assert openai_replay.rules.pace.speed == 1.0
                post("one", metadata={"run": 2})
        """,
    )
    assert set(project.run().outcomes.values()) == {"passed"}
    assert asked(project.path / "cassettes/test_ini/test_ini.yaml") == ["REDACTED"]
    ran = project.run("--openai-replay=none", "--openai-replay-pace=original", "-k", "typed")
    assert ran.outcomes == {"test_typed": "error"}  # strict
    assert (
        f"left recordings of {project.path / 'cassettes/test_ini/test_typed.yaml'} unplayed:\n  #2 POST /v1/chat"
        in ran.out
    )
    assert "openai-replay: 1 cassettes that no test of this run used\n  cassettes/test_ini/test_ini.yaml" in ran.out
    assert ran.summary == "openai-replay: 1 played, 0 recorded, 0 missed, 1 unplayed (test_ini.py::test_typed)"


def test_what_matches_is_as_the_file_beside_the_cassettes_and_the_marker_say(project: Project) -> None:
    project.write("cassettes/openai-replay.toml", "normalize = ['order=ORD-[0-9]+']")
    project.write(
        "test_match.py",
        """
        import pytest
        from raw import post
        def test_file(openai_replay):
            post("ORD-2")
            assert openai_replay.journal[0].fallback_note == ""
        @pytest.mark.openai_replay(match_on="method,path")
        def test_marker(openai_replay):
            post("else")
        @pytest.mark.openai_replay(fallback="sequence", match_header=["x-none"], normalize=["date"])
        def test_fallback(openai_replay):
            post("else")
            assert openai_replay.journal[0].fallback_note.startswith("fallback sequence: #1 is played")
        """,
    )
    for name in ("file", "marker", "fallback"):
        project.taped(f"cassettes/test_match/test_{name}.yaml", "ORD-1")
    ran = project.run()
    assert set(ran.outcomes.values()) == {"passed"}, ran.out
    assert ran.summary == "openai-replay: 3 played, 0 recorded, 0 missed, 0 unplayed, 1 by fallback"


def test_orphans_are_those_of_other_modules_too_but_not_those_of_pytest_recording(project: Project) -> None:
    project.write("test_one.py", ONE)
    project.taped("cassettes/test_one/test_one.yaml", "hi")
    project.taped("cassettes/test_one/test_gone.yaml", "hi")
    project.taped("cassettes/test_gone/test_gone.yaml", "hi")
    cassette(project.path / "cassettes/test_one/test_of_vcr.yaml", item("hi"))
    ran = project.run("--openai-replay-orphans")
    assert ran.out.partition("openai-replay: 2 cassettes that no test of this run used\n")[2].splitlines()[:2] == [
        "  cassettes/test_gone/test_gone.yaml",
        "  cassettes/test_one/test_gone.yaml",
    ]
    assert "no test of this run used" not in project.run().out


def test_a_recording_that_was_not_played(project: Project) -> None:
    project.write("test_one.py", ONE)
    project.taped("cassettes/test_one/test_one.yaml", "hi", "two", "three")
    ran = project.run()
    assert ran.outcomes == {"test_one": "passed"}
    assert ran.summary == "openai-replay: 1 played, 0 recorded, 0 missed, 2 unplayed (test_one.py::test_one)"
    strict = project.run("--openai-replay-strict")
    assert strict.outcomes == {"test_one": "error"}
    [text] = re.findall(r"^The test left recordings of .* unplayed:\n((?:  #.*\n)+)", strict.out, re.M)
    assert text == "  #2 POST /v1/chat/completions\n  #3 POST /v1/chat/completions\n"
    # Of a test that failed nobody expects that it played everything.
    project.write("test_one.py", ONE + "    assert False\n")
    assert project.run("--openai-replay-strict").outcomes == {"test_one": "failed"}


def test_fixtures_of_modules_and_packages_and_the_marker(project: Project) -> None:
    project.write(
        "pack/conftest.py",
        """
        import pytest
        from pathlib import Path
        @pytest.fixture(scope="package")
        def openai_replay_cassette_dir():
            return Path(__file__).parent / "tapes"
        @pytest.fixture(scope="package")
        def openai_replay_config():
            return {"ignore": ["/metadata"], "on_exhausted": "repeat", "pace": "original"}
        """,
    )
    project.write("pack/__init__.py", "")
    project.write(
        "pack/test_package.py",
        """
        import pytest
        from raw import post
        def test_package(openai_replay):
            post("hi", metadata={"a": 1}), post("hi", metadata={"a": 2})
            assert openai_replay.rules.pace.speed == 1.0
        @pytest.mark.openai_replay("one/tape", pace="3x", ignore=["/user"])
        class TestMarked:
            pytestmark = []
            @pytest.mark.openai_replay(ignore=["/seed"])
            def test_marker(self, openai_replay):
                post("hi", user="u", seed=1, metadata={"a": 1})
                assert openai_replay.rules.pace.speed == 3.0
                assert openai_replay.cassette.name == "tape.yaml"
        @pytest.mark.openai_replay("one/tape.yaml", on_exhausted="error", retry_after=None)
        def test_another_test_of_the_tape(openai_replay):
            post("hi")
            assert openai_replay.rules.retry_after_s is None
        """,
    )
    project.write(
        "pack/test_module.py",
        """
        import pytest
        from raw import post
        @pytest.fixture(scope="module")
        def openai_replay_cassette_dir():
            return "own"
        @pytest.fixture(scope="module")
        def openai_replay_config(openai_replay_config):
            return {**openai_replay_config, "pace": "instant"}
        def test_module(openai_replay):
            post("hi", metadata={"a": 1})
            assert openai_replay.rules.pace.speed != 1.0
        """,
    )
    for name in ("tapes/test_package", "tapes/one/tape", "own/test_module"):
        project.taped(f"pack/{name}.yaml", "hi")
    ran = project.run()
    assert set(ran.outcomes.values()) == {"passed"}, ran.out
    assert ran.summary == "openai-replay: 5 played, 0 recorded, 0 missed, 0 unplayed"


def test_defaults_fit_tests(project: Project) -> None:
    tape = project.taped("cassettes/test_defaults/test_retry.yaml", "hi", model="error-429")
    tape.write_text(re.sub(r"retry-after: \[.*?\]", 'retry-after: ["60"]', tape.read_text("utf-8")), "utf-8")
    project.write(
        "test_defaults.py",
        """
        import time
        from ask import ask
        def test_retry(openai_replay):
            start = time.monotonic()
            assert "hi" in ask("hi", model="error-429")
            assert [one.status for one in openai_replay.journal] == [429, 200]
            assert time.monotonic() - start < 50  # what was recorded says `retry-after: 60`
            openai_replay.rewind()
            ask("hi", model="error-429")
            try:
                ask("hi", model="error-429")
            except Exception:
                pass
        """,
    )
    ran = project.run()
    assert ran.outcomes == {"test_retry": "failed"}, ran.out
    assert "every recording of it has been played already" in ran.out
    assert (
        'To play it again, set:  @pytest.mark.openai_replay(on_exhausted="repeat") (the last one) or "cycle"' in ran.out
    )
    assert ran.summary.startswith("openai-replay: 4 played, 0 recorded, 1 missed, 0 unplayed")


# ------------------------------------------------------------------------------------------------ bad input


BAD = """
from pathlib import Path
import pytest

@pytest.mark.openai_replay(paces="original")
def test_unknown_argument(openai_replay): ...

@pytest.mark.openai_replay(zzz=1)
def test_nonsense(openai_replay): ...

@pytest.mark.openai_replay("one", "two")
def test_two_names(openai_replay): ...

@pytest.mark.openai_replay(5)
def test_a_number(openai_replay): ...

@pytest.mark.openai_replay(mode="replay")
def test_unknown_mode(openai_replay): ...

@pytest.mark.openai_replay(ignore="/metadata")
def test_no_list(openai_replay): ...

@pytest.mark.openai_replay(ignore=["metadata"])
def test_no_pointer(openai_replay): ...

@pytest.mark.openai_replay(pace="fast")
def test_unknown_pace(openai_replay): ...

@pytest.mark.openai_replay(pace=2)
def test_pace_no_text(openai_replay): ...

@pytest.mark.openai_replay(on_exhausted="fail")
def test_unknown_on_exhausted(openai_replay): ...

@pytest.mark.openai_replay(retry_after="soon")
def test_no_seconds(openai_replay): ...

@pytest.mark.openai_replay(mode="once", upstream="localhost")
def test_no_url(openai_replay): ...

@pytest.mark.openai_replay("taken/test", mode="once")
def test_unwritable(openai_replay): ...

@pytest.mark.openai_replay("taken/test", mode="rewrite")
def test_unwritable_again(openai_replay): ...

@pytest.mark.openai_replay("x" * 300)
def test_long_name(openai_replay): ...

@pytest.mark.openai_replay("broken")
def test_no_cassette(openai_replay): ...

@pytest.fixture(scope="session")
def client(openai_replay): ...

def test_wider_scope(client): ...

class TestConfig:
    @pytest.fixture
    def openai_replay_config(self):
        return ["/metadata"]

    def test_no_settings(self, openai_replay): ...
"""
SAYS = {
    "test_unknown_argument": "The marker openai_replay has an unknown setting 'paces'. Did you mean 'pace'?",
    "test_nonsense": "The settings are mode, upstream, pace, on_exhausted, fallback, retry_after, match_on, ",
    "test_two_names": "The marker openai_replay takes one name, not ('one', 'two'). For example",
    "test_a_number": "The marker openai_replay takes one name, not (5,). For example",
    "test_unknown_mode": "has an unknown mode 'replay'. The modes are none, once, new_episodes, all, rewrite, off.",
    "test_no_list": "has ignore='/metadata', which is not a list of strings. Write for example ignore=",
    "test_no_pointer": "'metadata'",
    "test_unknown_pace": "'fast'",
    "test_pace_no_text": "pace: 2 is not a string.\nPut it in quotes.",
    "test_unknown_on_exhausted": "on_exhausted: 'fail' is not a choice.\nThe choices are error, repeat, cycle.",
    "test_no_seconds": "retry_after: 'soon' is neither `keep` nor a number of seconds.\nWrite for example 0.",
    "test_no_url": "localhost",
    "test_unwritable": "taken/test.yaml: File exists",
    "test_unwritable_again": "taken/test.yaml: Not a directory.\nGive the cassette another name or folder.",
    "test_long_name": "File name too long.\nGive the cassette another name or folder.",
    "test_no_cassette": "broken.yaml:2: is not YAML: ",
    "test_wider_scope": "The fixture 'client' has the scope 'session' and uses `openai_replay`, a session of one test. "
    'Give it the scope "function", or use `with openai_replay.play("cassette.yaml") as session:`.',
    "TestConfig.test_no_settings": "The fixture openai_replay_config returned ['/metadata']. Return settings, such as",
}


def test_bad_input_is_an_error_that_says_what_to_write_instead(project: Project) -> None:
    project.write("test_bad.py", BAD)
    project.write("cassettes/test_bad/taken", "a file")
    project.write("cassettes/test_bad/broken.yaml", "a: [")
    ran = project.run()
    assert {name.replace("::", "."): outcome for name, outcome in ran.outcomes.items()} == dict.fromkeys(SAYS, "error")
    for name, text in SAYS.items():
        assert text in ran.says_of(name), (name, ran.says_of(name))
        assert len(ran.says_of(name).strip().splitlines()) <= 4, ran.says_of(name)
    assert "Traceback" not in ran.out
    assert "plugin.py" not in ran.out

    refused = project.run("--openai-replay=replay")
    assert refused.code == pytest.ExitCode.USAGE_ERROR
    assert "invalid choice: 'replay' (choose from" in refused.err
    project.write("pyproject.toml", '[tool.openai-replay]\nredact-headers = ["x"]')
    assert "[tool.openai-replay] redact-headers: unknown setting.\nDid you mean 'redact-header'?" in project.run().out


# ------------------------------------------------------------------------------------------------ in company


def test_two_workers_take_turns_at_one_cassette(project: Project) -> None:
    project.write(
        "test_turns.py",
        """
        import os, time
        import pytest
        from pathlib import Path
        from raw import post
        @pytest.mark.parametrize("number", range(6))
        @pytest.mark.openai_replay("shared")
        def test_shared(number, openai_replay):
            start = time.monotonic()
            time.sleep(0.15)
            post(str(number))
            Path(f"turn-{number}").write_text(f"{start} {time.monotonic()} {os.getpid()}")
        """,
    )
    ran = project.record("new_episodes", "-n", "2")
    assert set(ran.outcomes.values()) == {"passed"}, ran.out
    turns = sorted([float(word) for word in path.read_text().split()] for path in project.path.glob("turn-*"))
    assert all(first[1] <= second[0] for first, second in pairwise(turns))
    assert len({turn[2] for turn in turns}) == 2
    assert sorted(asked(project.path / "cassettes/test_turns/shared.yaml")) == list("012345")
    second_run = project.run("-n", "2")
    assert second_run.summary.startswith(
        "openai-replay: 6 played, 0 recorded, 0 missed, 30 unplayed (test_turns.py::test_"
    )


def test_a_turn_that_does_not_end_is_an_error(project: Project) -> None:
    project.write("conftest.py", "from openai_replay.pytest_plugin import cassette_lock\ncassette_lock.WAIT_S = 0.1\n")
    project.write("test_one.py", ONE)
    path = project.path / "cassettes/test_one/test_one.yaml"
    with exclusive_recording(path, "test_other.py::test_other"):
        ran = project.record()
    assert ran.outcomes == {"test_one": "error"}
    assert (
        f"{path}: another process has been recording to it for more than 0.1 s: test_other.py::test_other (process "
    ) in ran.out
    assert "Give each test its own cassette, or record without the option -n of xdist." in ran.out
    assert project.record().outcomes == {"test_one": "passed"}


BLOCKED = """
import socket
import pytest
from ask import ask, stream

def test_sync(openai_replay):
    assert "sync" in ask("sync")

@pytest.mark.asyncio
async def test_async(openai_replay):
    assert "async" in await stream("async")

@pytest.mark.openai_replay
def test_marked():
    assert "marked" in ask("marked")

@pytest.mark.block_network(allowed_hosts=["192\\\\.168\\\\."])
def test_of_its_own(openai_replay, allowed_hosts):
    assert "own" in ask("own")
    assert allowed_hosts[0].startswith("192")

def test_others_stay_blocked():
    with socket.socket() as one, pytest.raises(RuntimeError, match="Network is disabled"):
        one.connect(("127.0.0.1", 9))

@pytest.mark.vcr
def test_with_vcr_as_well(openai_replay):
    assert "vcr" in ask("vcr")

@pytest.fixture(scope="module")
def vcr_config():
    return {"ignore_localhost": True}
"""


def test_with_pytest_recording_and_a_blocked_network(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("test_blocked.py", BLOCKED)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    recorded = project.record("new_episodes", "--block-network")
    assert set(recorded.outcomes.values()) == {"passed"}, recorded.out
    played = project.run("--block-network")
    assert set(played.outcomes.values()) == {"passed"}, played.out
    assert played.summary == "openai-replay: 5 played, 0 recorded, 0 missed, 0 unplayed"


@pytest.mark.slow
def test_random_order_and_last_failed(project: Project) -> None:
    project.write(
        "conftest.py",
        """
        import random
        def pytest_addoption(parser):
            parser.addoption("--shuffle", type=int)
        def pytest_collection_modifyitems(config, items):
            random.Random(config.getoption("--shuffle")).shuffle(items)
        """,
    )
    text = """
    import pytest
    from raw import post
    @pytest.mark.parametrize("number", range(5))
    def test_own(number, openai_replay):
        post(f"own {number}")
    @pytest.mark.openai_replay("shared")
    @pytest.mark.parametrize("number", range(3))
    def test_shared(number, openai_replay):
        assert "once" in post("once")
    """
    project.write("test_order.py", text)
    assert set(project.record("new_episodes", "--shuffle=1").outcomes.values()) == {"passed"}
    assert asked(project.path / "cassettes/test_order/shared.yaml") == ["once"]
    for seed in "23":
        assert set(project.run(f"--shuffle={seed}").outcomes.values()) == {"passed"}
    project.write("test_order.py", text.replace('f"own {number}"', 'f"own {number % 4}"'))
    assert set(project.run("--shuffle=4").outcomes.values()) == {"passed", "failed"}
    second_run = project.run("--shuffle=5", "--lf")
    assert second_run.outcomes == {"test_own[4]": "failed"}
    assert "recorded 'own 4'  now 'own 0'" in second_run.out


# ------------------------------------------------------------------------------------------------ ends


def test_a_test_that_dies_loses_no_finished_recording(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    project.write(
        "test_dies.py",
        """
        import os
        from openai import OpenAI
        from raw import post
        def test_fails_in_a_stream(openai_replay):
            for chunk in OpenAI().chat.completions.create(model="long", messages=[], stream=True):
                raise ZeroDivisionError
        def test_dies(openai_replay):
            post("finished"), post("finished, too")
            os._exit(3)
        """,
    )
    assert project.record().code == 3
    folder = project.path / "cassettes/test_dies"
    assert asked(folder / "test_dies.yaml") == ["finished", "finished, too"]
    [interaction] = interactions(folder / "test_fails_in_a_stream.yaml")
    assert interaction.response.body.endswith(b"data: [DONE]\n\n")


def test_an_answer_that_nobody_reads_does_not_keep_pytest(project: Project) -> None:
    project.taped("cassettes/test_open/test_open.yaml", "hi", model="slow")
    project.write(
        "test_open.py",
        """
        import http.client, json, time
        from urllib.parse import urlsplit
        import pytest
        from ask import messages
        kept = []
        @pytest.mark.openai_replay(pace="0.001x")
        @pytest.mark.filterwarnings("ignore")
        def test_open(openai_replay):
            base_url = urlsplit(openai_replay.base_url)
            kept.append(http.client.HTTPConnection(base_url.hostname, base_url.port))
            body = json.dumps({**messages("hi"), "model": "slow"})
            kept[0].request("POST", base_url.path + "/chat/completions", body, {"Content-Type": "application/json"})
            while openai_replay.unplayed:
                time.sleep(0.01)
        """,
    )
    ran = project.run()
    assert ran.outcomes == {"test_open": "passed"}, ran.out
    assert ran.seconds < 60  # the answer would take minutes


def test_an_edited_cassette_is_a_warning_in_the_summary(project: Project) -> None:
    project.write("test_one.py", ONE)
    path = project.taped("cassettes/test_one/test_one.yaml", "hi")
    text = path.read_text("utf-8")
    path.write_text(text.replace("You said", "You have said"), "utf-8")
    ran = project.run()
    assert ran.outcomes == {"test_one": "passed"}
    assert f"openai-replay: Warning: {path}:" in ran.out


def test_what_could_not_be_recorded_fails_the_test(project: Project) -> None:
    project.write(
        "test_lost.py",
        """
        import os
        from raw import post
        def test_lost(openai_replay):
            openai_replay.cassette.mkdir(parents=True)
            assert "hi" in post("hi")  # the client gets its answer all the same
        """,
    )
    ran = project.record()
    assert ran.outcomes == {"test_lost": "failed"}
    assert "NOT RECORDED: " in ran.out
    assert ran.summary.endswith("0 unplayed, 1 lost")
