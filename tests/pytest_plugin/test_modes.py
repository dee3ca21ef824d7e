"""Record modes of tests."""

from __future__ import annotations

import pytest

from openai_replay.model import Mode
from tests.support.pytest_project import ONE, Project, recorded_prompts
from tests.support.upstream import Upstream

pytest_plugins = ["pytester"]


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


def test_the_mode_of_a_marker_decides_what_is_recorded(
    project: Project, monkeypatch: pytest.MonkeyPatch, upstream: Upstream
) -> None:
    monkeypatch.setenv("OPENAI_REPLAY_UPSTREAM", upstream.url)
    cassettes = {
        name: project.path / f"cassettes/test_modes/test_{name}.yaml" for name in [*Mode, "rewrite", "once_new"]
    }
    for path in list(cassettes.values())[:-1]:
        project.record_cassette(str(path), "old")
    project.write("test_modes.py", MODES)
    ran = project.run()
    assert set(ran.outcomes.values()) == {"passed"}, ran.out
    assert {name: recorded_prompts(path) for name, path in cassettes.items()} == {
        "none": ["old"],
        "once": ["old"],
        "once_new": ["old", "new"],
        "new_episodes": ["old", "new"],
        "all": ["old", "new"],
        "rewrite": ["new"],
        "off": ["old"],
    }
    assert ran.summary == "openai-replay: 3 played, 6 recorded, 0 missed, 0 unplayed, 1 forwarded"

    # The command line wins over the marker.
    assert set(project.run("--openai-replay=off").outcomes.values()) == {"passed"}
    assert recorded_prompts(cassettes["all"]) == ["old", "new"]


def test_rewrite_deletes_a_cassette_once_per_run(project: Project) -> None:
    shared = project.record_cassette("cassettes/test_re/shared.yaml", "old")
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
        assert sorted(recorded_prompts(shared)) == ["new 0", "new 1", "new 2", "new 3"]


def test_the_mode_of_pytest_recording_applies_without_our_option(
    project: Project, monkeypatch: pytest.MonkeyPatch, upstream: Upstream
) -> None:
    monkeypatch.setenv("OPENAI_REPLAY_UPSTREAM", upstream.url)
    project.write("test_one.py", ONE)
    assert project.run("--record-mode=all", "--openai-replay=none").outcomes == {"test_one": "failed"}
    assert project.cassettes == set()
    assert project.run("--record-mode=new_episodes").outcomes == {"test_one": "passed"}
    assert project.cassettes == {"cassettes/test_one/test_one.yaml"}
    # Without pytest-recording, the option does not exist.
    assert project.run("-p", "no:recording").outcomes == {"test_one": "passed"}
    refused = project.run("-p", "no:recording", "--record-mode=all")
    assert refused.code == pytest.ExitCode.USAGE_ERROR
    assert "unrecognized arguments: --record-mode=all" in refused.err
