"""Bad input of the plugin is an error that names the correction."""

from __future__ import annotations

import pytest

from tests.support.pytest_project import Project

pytest_plugins = ["pytester"]


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
CORRECTIONS = {
    "test_unknown_argument": "The marker openai_replay has an unknown setting 'paces'.\nDid you mean 'pace'?",
    "test_nonsense": "The settings are mode, upstream, pace, on_exhausted, fallback, retry_after, match_on, ",
    "test_two_names": "The marker openai_replay takes one name, not 'one', 'two'.\nWrite for example",
    "test_a_number": "The marker openai_replay takes one name, not 5.\nWrite for example",
    "test_unknown_mode": "has an unknown mode 'replay'.\nThe modes are none, once, new_episodes, all, rewrite, off.",
    "test_no_list": "has ignore='/metadata', which is not a list of strings.\nWrite for example ignore=",
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
    "test_wider_scope": "The fixture 'client' has the scope 'session' and uses `openai_replay`, a session of one "
    "test.\n"
    'Give it the scope "function", or use `with openai_replay.play("cassette.yaml") as session:`.',
    "TestConfig.test_no_settings": "The fixture openai_replay_config returned ['/metadata'].\nReturn settings, such as",
}


def test_bad_input_is_an_error_with_a_correction(project: Project) -> None:
    project.write("test_bad.py", BAD)
    project.write("cassettes/test_bad/taken", "a file")
    project.write("cassettes/test_bad/broken.yaml", "a: [")
    ran = project.run()
    assert {name.replace("::", "."): outcome for name, outcome in ran.outcomes.items()} == dict.fromkeys(
        CORRECTIONS, "error"
    )
    for name, text in CORRECTIONS.items():
        assert text in ran.report_of(name), (name, ran.report_of(name))
        assert len(ran.report_of(name).strip().splitlines()) <= 4, ran.report_of(name)
    assert "Traceback" not in ran.out
    assert "plugin.py" not in ran.out

    refused = project.run("--openai-replay=replay")
    assert refused.code == pytest.ExitCode.USAGE_ERROR
    assert "invalid choice: 'replay' (choose from" in refused.err
    project.write("pyproject.toml", '[tool.openai-replay]\nredact-headers = ["x"]')
    assert "[tool.openai-replay] redact-headers: unknown setting.\nDid you mean 'redact-header'?" in project.run().out
