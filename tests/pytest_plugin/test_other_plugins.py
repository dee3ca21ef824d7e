"""The plugin together with pytest-xdist, pytest-recording and other orders of tests."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.support.pytest_project import Project, recorded_prompts

pytest_plugins = ["pytester"]


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
    assert sorted(recorded_prompts(project.path / "cassettes/test_turns/shared.yaml")) == list("012345")
    second_run = project.run("-n", "2")
    assert second_run.summary.startswith(
        "openai-replay: 6 played, 0 recorded, 0 missed, 30 unplayed (test_turns.py::test_"
    )


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
    with socket.socket() as client, pytest.raises(RuntimeError, match="Network is disabled"):
        client.connect(("127.0.0.1", 9))

@pytest.mark.vcr
def test_with_vcr_as_well(openai_replay):
    assert "vcr" in ask("vcr")

@pytest.fixture(scope="module")
def vcr_config():
    return {"ignore_localhost": True}
"""


def test_pytest_recording_does_not_block_the_session(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("test_blocked.py", BLOCKED)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    recorded = project.record("new_episodes", "--block-network")
    assert set(recorded.outcomes.values()) == {"passed"}, recorded.out
    played = project.run("--block-network")
    assert set(played.outcomes.values()) == {"passed"}, played.out
    assert played.summary == "openai-replay: 5 played, 0 recorded, 0 missed, 0 unplayed"


@pytest.mark.slow
def test_tests_find_their_cassettes_in_random_order_and_with_last_failed(project: Project) -> None:
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
    assert recorded_prompts(project.path / "cassettes/test_order/shared.yaml") == ["once"]
    for seed in "23":
        assert set(project.run(f"--shuffle={seed}").outcomes.values()) == {"passed"}
    project.write("test_order.py", text.replace('f"own {number}"', 'f"own {number % 4}"'))
    assert set(project.run("--shuffle=4").outcomes.values()) == {"passed", "failed"}
    second_run = project.run("--shuffle=5", "--lf")
    assert second_run.outcomes == {"test_own[4]": "failed"}
    assert "recorded 'own 4'  now 'own 0'" in second_run.out
