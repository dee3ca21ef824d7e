"""`-- COMMAND`, which runs any test runner. (tests/test_examples.py has node's.)"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM, Signals

import pytest

from tests.support.proxy import cassette, command, item, run

#: A test suite that asks once and is content whatever comes.
CONTENT = """
import os, urllib.error, urllib.request
for text in {texts!r}:
    request = urllib.request.Request(os.environ["OPENAI_BASE_URL"] + "/chat/completions", f'"{{text}}"'.encode(),
                                     {{"Content-Type": "application/json"}})
    try:
        print(urllib.request.urlopen(request).read().decode())
    except urllib.error.HTTPError as error:
        print(error.code)
raise SystemExit({code})
"""


@pytest.fixture
def cassette_path(tmp_path: Path) -> Path:
    return cassette(tmp_path / "chat.yaml", item("first"), item("second"))


def suite(*texts: str, code: int = 0) -> list[str]:
    return [sys.executable, "-c", CONTENT.format(texts=texts, code=code)]


async def test_the_exit_code_is_0_if_everything_was_played(cassette_path: Path) -> None:
    result = await run("play", cassette_path, "--strict", "--", *suite("hello", "hello"))
    assert (result.code, result.stdout) == (0, "first\nsecond\n")


async def test_a_miss_changes_the_exit_code_of_a_successful_command(cassette_path: Path) -> None:
    result = await run("play", cassette_path, "--", *suite("hello", "goodbye"))
    assert (result.code, result.stdout) == (1, "first\n424\n")
    assert (
        "MISS    POST /v1/chat/completions  424\n  No recording matches POST /v1/chat/completions in" in result.stderr
    )
    assert "body: recorded 'hello'  now 'goodbye'" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("openai-replay: 0 recorded, 1 played, 1 missed")


@pytest.mark.parametrize("code", [1, 5, 77])
async def test_the_exit_code_of_the_command_wins(cassette_path: Path, code: int) -> None:
    assert (await run("play", cassette_path, "--", *suite("goodbye", code=code))).code == code


async def test_strict_lists_unplayed_recordings_and_exits_with_1(cassette_path: Path) -> None:
    result = await run("play", cassette_path, "--strict", "--", *suite("hello"))
    assert result.code == 1
    assert f"1 not played:\n  #2 POST /v1/chat/completions  {cassette_path}" in result.stderr


TRAP = """
import signal, sys, time, os
def end(number, frame):
    print("heard", signal.Signals(number).name, flush=True)
    sys.exit(42)
for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(one, end)
print(os.environ["OPENAI_BASE_URL"], flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [SIGTERM, SIGINT, SIGHUP], ids=lambda number: number.name)
async def test_signals_reach_the_command_which_decides_the_exit_code(cassette_path: Path, number: Signals) -> None:
    async with command("play", cassette_path, "--", sys.executable, "-c", TRAP) as process:
        async with asyncio.timeout(20):
            while not process.stdout:
                await asyncio.sleep(0.01)
        assert process.stdout == process.base_url + "\n"
        assert await process.stop(number) == 42
        assert process.stdout.endswith(f"heard {number.name}\n")
