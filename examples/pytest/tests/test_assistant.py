"""The tests of the app. Their cassettes are in `cassettes/test_assistant/`, beside this file."""

import subprocess
import sys

import pytest
from assistant import EXCUSE, reply, reply_to_all


@pytest.mark.parametrize("product", ["bells", "tyres"])
def test_reply(product, openai_replay):
    """Call sync code. The client finds `OPENAI_BASE_URL`."""
    assert product in reply(f"Do you sell {product}?")


async def test_several_at_once(openai_replay):
    """Call async code, in parallel."""
    answers = await reply_to_all(["Are you open on Sunday?", "Do you take old bicycles?"])
    assert "Sunday" in answers[0]
    assert "old bicycles" in answers[1]


def test_as_a_program(openai_replay):
    """Run a subprocess. It inherits the environment."""
    command = [sys.executable, "assistant.py", "Where", "are", "you?"]
    assert "Where are you?" in subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout


@pytest.mark.openai_replay(pace="original")
def test_the_same_question_twice(openai_replay):
    """Send the same request twice. Its recordings play in order, here at the original pace."""
    assert EXCUSE not in (reply("Anything new?"), reply("Anything new?"))
    assert [exchange.frames > 1 for exchange in openai_replay.journal] == [True, True]


def test_the_excuse_is_polite():
    """Test without a request. This needs no cassette."""
    assert EXCUSE.startswith("Sorry")
