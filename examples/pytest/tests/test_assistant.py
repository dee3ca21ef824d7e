"""The app's tests. Their cassettes lie beside this file, in `cassettes/test_assistant/`."""

import subprocess
import sys

import pytest
from assistant import EXCUSE, reply, reply_to_all


@pytest.mark.parametrize("thing", ["bells", "tyres"])
def test_reply(thing, openai_replay):
    """Sync code: the client finds `OPENAI_BASE_URL`."""
    assert thing in reply(f"Do you sell {thing}?")


async def test_several_at_once(openai_replay):
    """Async code, in parallel."""
    answers = await reply_to_all(["Are you open on Sunday?", "Do you take old bicycles?"])
    assert "Sunday" in answers[0]
    assert "old bicycles" in answers[1]


def test_as_a_program(openai_replay):
    """A subprocess inherits the environment."""
    command = [sys.executable, "assistant.py", "Where", "are", "you?"]
    assert "Where are you?" in subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout


@pytest.mark.openai_replay(pace="original")
def test_the_same_question_twice(openai_replay):
    """Recordings of one request are played in their order, here as slowly as they were recorded."""
    assert EXCUSE not in (reply("Anything new?"), reply("Anything new?"))
    assert [one.frames > 1 for one in openai_replay.journal] == [True, True]


def test_the_excuse_is_polite():
    """A test that asks nobody needs no tape."""
    assert EXCUSE.startswith("Sorry")
