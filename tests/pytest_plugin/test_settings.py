"""Settings of tests: markers, fixtures, ini keys, settings files and the command line."""

from __future__ import annotations

import re

from tests.support.proxy import cassette, item
from tests.support.pytest_project import INI, ONE, Project, recorded_prompts
from tests.support.upstream import Upstream

pytest_plugins = ["pytester"]


def test_the_command_line_wins_over_ini_keys_and_pyproject(project: Project, upstream: Upstream) -> None:
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
    assert recorded_prompts(project.path / "cassettes/test_ini/test_ini.yaml") == ["REDACTED"]
    ran = project.run("--openai-replay=none", "--openai-replay-pace=original", "-k", "typed")
    assert ran.outcomes == {"test_typed": "error"}  # strict
    assert (
        f"left recordings of {project.path / 'cassettes/test_ini/test_typed.yaml'} unplayed:\n  #2 POST /v1/chat"
        in ran.out
    )
    assert "openai-replay: cassettes that no test of this run used: 1\n  cassettes/test_ini/test_ini.yaml" in ran.out
    assert ran.summary == "openai-replay: 1 played, 0 recorded, 0 missed, 1 unplayed (test_ini.py::test_typed)"


def test_settings_files_and_markers_change_the_matching(project: Project) -> None:
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
        project.record_cassette(f"cassettes/test_match/test_{name}.yaml", "ORD-1")
    ran = project.run()
    assert set(ran.outcomes.values()) == {"passed"}, ran.out
    assert ran.summary == "openai-replay: 3 played, 0 recorded, 0 missed, 0 unplayed, 1 by fallback"


def test_orphans_include_other_modules_but_not_pytest_recording(project: Project) -> None:
    project.write("test_one.py", ONE)
    project.record_cassette("cassettes/test_one/test_one.yaml", "hi")
    project.record_cassette("cassettes/test_one/test_gone.yaml", "hi")
    project.record_cassette("cassettes/test_gone/test_gone.yaml", "hi")
    cassette(project.path / "cassettes/test_one/test_of_vcr.yaml", item("hi"))
    ran = project.run("--openai-replay-orphans")
    assert ran.out.partition("openai-replay: cassettes that no test of this run used: 2\n")[2].splitlines()[:2] == [
        "  cassettes/test_gone/test_gone.yaml",
        "  cassettes/test_one/test_gone.yaml",
    ]
    assert "no test of this run used" not in project.run().out


def test_strict_fails_a_test_that_leaves_a_recording_unplayed(project: Project) -> None:
    project.write("test_one.py", ONE)
    project.record_cassette("cassettes/test_one/test_one.yaml", "hi", "two", "three")
    ran = project.run()
    assert ran.outcomes == {"test_one": "passed"}
    assert ran.summary == "openai-replay: 1 played, 0 recorded, 0 missed, 2 unplayed (test_one.py::test_one)"
    strict = project.run("--openai-replay-strict")
    assert strict.outcomes == {"test_one": "error"}
    [text] = re.findall(r"^The test left recordings of .* unplayed:\n((?:  #.*\n)+)", strict.out, re.M)
    assert text == "  #2 POST /v1/chat/completions\n  #3 POST /v1/chat/completions\n"
    # A test that failed need not have played everything.
    project.write("test_one.py", ONE + "    assert False\n")
    assert project.run("--openai-replay-strict").outcomes == {"test_one": "failed"}


def test_markers_win_over_fixtures_of_modules_and_packages(project: Project) -> None:
    project.write(
        "pack/conftest.py",
        """
        import pytest
        from pathlib import Path
        @pytest.fixture(scope="package")
        def openai_replay_cassette_dir():
            return Path(__file__).parent / "cassettes"
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
        @pytest.mark.openai_replay("shared/chat", pace="3x", ignore=["/user"])
        class TestMarked:
            pytestmark = []
            @pytest.mark.openai_replay(ignore=["/seed"])
            def test_marker(self, openai_replay):
                post("hi", user="u", seed=1, metadata={"a": 1})
                assert openai_replay.rules.pace.speed == 3.0
                assert openai_replay.cassette.name == "chat.yaml"
        @pytest.mark.openai_replay("shared/chat.yaml", on_exhausted="error", retry_after=None)
        def test_another_test_of_the_cassette(openai_replay):
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
    for name in ("cassettes/test_package", "cassettes/shared/chat", "own/test_module"):
        project.record_cassette(f"pack/{name}.yaml", "hi")
    ran = project.run()
    assert set(ran.outcomes.values()) == {"passed"}, ran.out
    assert ran.summary == "openai-replay: 5 played, 0 recorded, 0 missed, 0 unplayed"


def test_retries_do_not_wait_and_recordings_play_once_by_default(project: Project) -> None:
    path = project.record_cassette("cassettes/test_defaults/test_retry.yaml", "hi", model="error-429")
    path.write_text(re.sub(r"retry-after: \[.*?\]", 'retry-after: ["60"]', path.read_text("utf-8")), "utf-8")
    project.write(
        "test_defaults.py",
        """
        import time
        from ask import ask
        def test_retry(openai_replay):
            start = time.monotonic()
            assert "hi" in ask("hi", model="error-429")
            assert [exchange.status for exchange in openai_replay.journal] == [429, 200]
            assert time.monotonic() - start < 50  # the recording has `retry-after: 60`
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
