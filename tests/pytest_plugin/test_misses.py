"""Misses fail tests."""

from __future__ import annotations

import re

from tests.support.pytest_project import Project

pytest_plugins = ["pytester"]


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


def test_a_miss_fails_the_test_even_if_the_test_swallows_it(project: Project) -> None:
    names = re.findall(r"def (test_\w+)", MISSES)
    for name in names[:-1]:
        project.record_cassette(f"cassettes/test_miss/{name}.yaml", "old")
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
            assert explained in ran.report_of(name), name
    assert ran.report_of("test_unhandled").count("No recording matches") == 2  # the SDK's exception, and the whole text
    assert ran.summary.startswith("openai-replay: 1 played, 0 recorded, 7 missed, 7 unplayed (test_miss.py::test_sw")
    assert ran.code == 1


def test_a_missing_cassette_is_a_miss(project: Project) -> None:
    project.write("test_new.py", "from raw import post\ndef test_new(openai_replay):\n    post('hi')\n")
    ran = project.run()
    assert ran.outcomes == {"test_new": "failed"}
    assert "test_new.yaml (mode none).\nThe cassette has no recordings." in ran.out
