"""The fixture `openai_replay` in every kind of test, with real SDK clients and the simulated API."""

from __future__ import annotations

import re

import pytest

from tests.support.proxy import interactions
from tests.support.pytest_project import ONE, Project, recorded_prompts
from tests.support.upstream import Upstream

pytest_plugins = ["pytester"]


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
    [exchange] = openai_replay.journal
    assert (exchange.outcome, exchange.method, exchange.path, exchange.status) == (
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
    assert len(names) == len(recorded.outcomes) - 1  # all but the test without a session
    assert {"test_attributes.yaml", "TestOuter.TestInner.test_deep.yaml", "TestCase.test_unittest.yaml"} <= names
    assert {"test_names[A].yaml", "test_names[a].yaml", "test_names[..].yaml"} <= names
    for name in names:
        assert re.fullmatch(r"[\w\-.\[\]=,+]+", name)
        assert len(name.encode()) < 160

    before = len(upstream.requests)
    monkeypatch.setenv("EXPECTED_MODE", "none")
    monkeypatch.setenv("EXPECTED", "played")
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # a closed port
    played = project.run()
    assert played.outcomes == recorded.outcomes, played.out
    assert played.summary == "openai-replay: 20 played, 0 recorded, 0 missed, 0 unplayed"
    assert len(upstream.requests) == before


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
    assert recorded_prompts(folder / "test_dies.yaml") == ["finished", "finished, too"]
    [interaction] = interactions(folder / "test_fails_in_a_stream.yaml")
    assert interaction.response.body.endswith(b"data: [DONE]\n\n")


def test_an_unread_response_does_not_delay_the_end_of_pytest(project: Project) -> None:
    project.record_cassette("cassettes/test_open/test_open.yaml", "hi", model="slow")
    project.write(
        "test_open.py",
        """
        import http.client, json, time
        from urllib.parse import urlsplit
        import pytest
        from ask import messages
        connections = []
        @pytest.mark.openai_replay(pace="0.001x")
        @pytest.mark.filterwarnings("ignore")
        def test_open(openai_replay):
            base_url = urlsplit(openai_replay.base_url)
            connections.append(http.client.HTTPConnection(base_url.hostname, base_url.port))
            body = json.dumps({**messages("hi"), "model": "slow"})
            headers = {"Content-Type": "application/json"}
            connections[0].request("POST", base_url.path + "/chat/completions", body, headers)
            while openai_replay.unplayed:
                time.sleep(0.01)
        """,
    )
    ran = project.run()
    assert ran.outcomes == {"test_open": "passed"}, ran.out
    assert ran.seconds < 60  # the response would take minutes


def test_an_edited_cassette_is_a_warning_in_the_summary(project: Project) -> None:
    project.write("test_one.py", ONE)
    path = project.record_cassette("cassettes/test_one/test_one.yaml", "hi")
    text = path.read_text("utf-8")
    path.write_text(text.replace("You said", "You have said"), "utf-8")
    ran = project.run()
    assert ran.outcomes == {"test_one": "passed"}
    assert f"openai-replay: Warning: {path}:" in ran.out


def test_a_lost_recording_fails_the_test(project: Project) -> None:
    project.write(
        "test_lost.py",
        """
        import os
        from raw import post
        def test_lost(openai_replay):
            openai_replay.cassette.mkdir(parents=True)
            assert "hi" in post("hi")  # the client gets its response
        """,
    )
    ran = project.record()
    assert ran.outcomes == {"test_lost": "failed"}
    assert "NOT RECORDED: " in ran.out
    assert ran.summary.endswith("0 unplayed, 1 lost")
