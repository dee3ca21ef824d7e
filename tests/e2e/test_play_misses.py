"""Playing requests that match no recording: each miss is explained, and counted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.samples import asked, chat
from tests.support.proxy import (
    CHAT,
    Ended,
    cassette,
    command,
    item,
    playing,
    run,
)


async def test_the_shape_of_a_miss(tmp_path: Path) -> None:
    cassette(tmp_path / "tape.yaml", asked(chat("x", n=2)), asked(chat("Say hello")))
    async with command("play", "tape.yaml", cwd=tmp_path) as process:
        missed = await process.ask("POST", CHAT, chat("Say hi"))
        assert missed.status == 424
        assert missed.reason == "Failed Dependency"
        assert sorted(missed.headers) == [
            ("Content-Length", str(len(missed.body))),
            ("Content-Type", "application/json"),
            ("x-openai-replay-error", "cassette_miss"),
            ("x-should-retry", "false"),
        ]
        assert missed.json == {
            "error": {
                "type": "openai_replay",
                "code": "cassette_miss",
                "param": None,
                "reason": "no_match",
                "message": (
                    "No recording matches POST /v1/chat/completions in tape.yaml (mode none).\n"
                    "The closest recording is #2. It differs in:\n"
                    "  messages[0].content: recorded 'Say hello'  now 'Say hi'\n"
                    "The next closest is #1. It differs in messages[0].content, n\n"
                    "To record it, run:  openai-replay record tape.yaml -- <your command>\n"
                    "To ignore it, set:  --ignore /messages/0/content"
                ),
            }
        }
        assert "MISS" in process.stderr
        assert "messages[0].content: recorded 'Say hello'  now 'Say hi'" in process.stderr
        assert await process.stop() == 1
        assert "1 missed" in process.stderr


@pytest.mark.parametrize(
    ("target", "body", "message"),
    [
        (CHAT, chat("Say hello", n=2), "n: recorded absent  now 2"),
        (CHAT, {"model": "gpt-4o-mini"}, "messages: recorded [{role: 'user', content: 'Say hello'}]  now absent"),
        (CHAT, b"not json", "body: recorded is json  now is bytes"),
        (CHAT + "?api-version=1", chat("Say hello"), "query: recorded ''  now 'api-version=1'"),
        (
            "/v1/responses",
            chat("Say hello"),
            "It has no recording of that method and path, only POST /v1/chat/completions (1)",
        ),
    ],
    ids=["another key", "a key less", "another kind", "query", "path"],
)
async def test_a_miss_names_the_difference(tmp_path: Path, target: str, body: Any, message: str) -> None:
    tape = cassette(tmp_path / "tape.yaml", asked(chat("Say hello")))
    async with playing(tape) as player:
        missed = await player.ask("POST", target, body)
        assert missed.status == 424
        assert message in missed.json["error"]["message"]


async def test_the_closest_is_not_one_that_is_wholly_unlike(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", item('{"said": 1}', prompt="unlike"), asked(chat("Say hello")))
    async with playing(tape) as player:
        missed = await player.ask("POST", CHAT, chat("Say hi"))
        assert "The closest recording is #2" in missed.json["error"]["message"]


async def test_a_miss_of_another_method(tmp_path: Path) -> None:
    async with playing(cassette(tmp_path / "tape.yaml", asked(chat("x")))) as player:
        head = await player.ask("HEAD", CHAT)
        assert (head.status, head.body, head.ended) == (424, b"", Ended.COMPLETE)
        assert "no recording of that method and path" in (await player.ask("GET", CHAT)).json["error"]["message"]


async def test_a_miss_tells_no_secret(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", asked(chat("x")))
    key = "sk-proj-0123456789abcdefghijklmnop"
    async with command("play", tape) as process:
        missed = await process.ask(
            "POST", f"{CHAT}?api-key={key}", chat(f"it is {key}"), [("Authorization", f"Bearer {key}")]
        )
        journal = await process.ask("GET", "/@/journal")
        assert key.encode() not in missed.body + journal.body + process.stderr.encode()
        assert missed.status == 424


SDK = """
import openai
client = openai.OpenAI(max_retries=2)
try:
    client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Say hi"}])
except openai.OpenAIError as error:
    print(type(error).__name__, error.status_code, error.code, "The closest recording is #1" in str(error))
"""


async def test_the_sdk_makes_one_attempt(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", asked(chat("Say hello")))
    result = await run("play", tape, "--", sys.executable, "-c", SDK)
    assert result.stdout == "APIStatusError 424 cassette_miss True\n"
    assert result.stderr.count("MISS") == 1
    assert "1 missed" in result.stderr
    assert result.code == 1, "the child has swallowed the error and ended with 0"
