"""The command `play` and its control API: its child, its signals, its exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM, Signals

import pytest

from tests.e2e.samples import FRAMES, SAME, asked, chat, said, stream
from tests.support.proxy import (
    CHAT,
    PATIENCE_S,
    Connection,
    Ended,
    ask,
    cassette,
    command,
    interactions,
    item,
    playing,
    run,
)

# ------------------------------------------------------------------------------------------------ the control API


async def test_health_journal_and_rewind(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME, asked(chat("Say hello")))
    async with command("play", tape, "--on-exhausted", "error") as process:
        health = (await process.ask("GET", "/@/health")).json
        assert (health["status"], health["mode"], health["recordings"]) == ("ok", "none", 4)
        await process.ask("POST", CHAT, "hello")
        await process.ask("POST", CHAT, "unknown")
        journal = (await process.ask("GET", "/@/journal?x=1")).json
        assert (journal["played"], journal["missed"], journal["recorded"], journal["unplayed"]) == (1, 1, 0, 3)
        played, missed = journal["exchanges"]
        assert (played["outcome"], played["method"], played["path"]) == ("played", "POST", CHAT)
        assert (played["status"], played["frames"], played["recording"], played["end"]) == (200, 1, 1, "complete")
        assert (missed["outcome"], missed["status"], missed["recording"]) == ("missed", 424, None)
        assert missed["error"].startswith("No recording matches POST /v1/chat/completions")
        assert (await process.ask("POST", "/@/rewind")).status == 200
        assert (await process.ask("GET", "/@/journal")).json["unplayed"] == 4
        assert said(await process.ask("POST", CHAT, "hello")) == 0
        assert await process.stop() == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/@/", 404),
        ("GET", "/@/nothing", 404),
        ("POST", "/@/health", 405),
        ("GET", "/@/rewind", 405),
        ("DELETE", "/@/journal", 405),
    ],
)
async def test_what_the_control_api_has_not(tmp_path: Path, method: str, path: str, status: int) -> None:
    async with playing(cassette(tmp_path / "tape.yaml", *SAME)) as player:
        heard = await player.ask(method, path)
        assert player.outcomes == []
    assert heard.status == status
    assert heard.header("x-should-retry") == "false"
    assert (heard.json["error"]["type"], heard.json["error"]["code"]) == ("openai_replay", "not_found")


async def test_the_control_api_is_for_this_machine_only(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; it only asks which address would be used
        except OSError:
            pytest.skip("this machine has only loopback addresses")
        address = probe.getsockname()[0]
    if address.startswith("127."):
        pytest.skip("this machine has only loopback addresses")
    async with command("play", tape, "--host", "0.0.0.0", "--allow-remote") as process:
        port = process.origin.rpartition(":")[2]
        outside, inside = f"http://{address}:{port}", f"http://127.0.0.1:{port}"
        assert said(await ask(outside, "POST", CHAT, "hello")) == 0
        assert (await ask(inside, "GET", "/@/health")).status == 200
        refused = await ask(outside, "GET", "/@/health")
        assert refused.status in (403, 404)
        assert refused.json["error"]["type"] == "openai_replay"


# ------------------------------------------------------------------------------------------------ the command

CHILD = """
import json, os, sys, urllib.request
keys = ("OPENAI_BASE_URL", "OPENAI_API_KEY", "NO_PROXY", "no_proxy")
print(json.dumps({key: os.environ.get(key) for key in keys}))
url, headers = os.environ["OPENAI_BASE_URL"] + "/chat/completions", {"Content-Type": "application/json"}
request = urllib.request.Request(url, b'"hello"', headers)
print(urllib.request.urlopen(request).read().decode())
"""


async def test_the_child_command(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME)
    env = {"HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1"}
    result = await run("play", tape, "--", sys.executable, "-c", CHILD, env=env)
    assert result.code == 0, result.stderr
    environment, answer = map(json.loads, result.stdout.splitlines())
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", environment["OPENAI_BASE_URL"])
    assert environment["OPENAI_API_KEY"]
    assert environment["NO_PROXY"] == environment["no_proxy"] == "127.0.0.1,localhost,::1"
    assert answer == {"said": 0}


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("pass", 0),
        ("import sys; sys.exit(7)", 7),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 128 + SIGKILL),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 128 + SIGTERM),
    ],
    ids=["0", "7", "SIGKILL", "SIGTERM"],
)
async def test_the_childs_exit_code_is_ours(tmp_path: Path, program: str, code: int) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME)
    assert (await run("play", tape, "--", sys.executable, "-c", program)).code == code


MISSES = """
import os, sys, urllib.error, urllib.request
try:
    urllib.request.urlopen(os.environ["OPENAI_BASE_URL"] + "/nothing")
except urllib.error.HTTPError as error:
    assert error.code == 424
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize(("custom", "code"), [(0, 1), (7, 7)])
async def test_misses_that_the_child_swallowed(tmp_path: Path, custom: int, code: int) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME)
    result = await run("play", tape, "--", sys.executable, "-c", MISSES, str(custom))
    assert result.code == code
    assert "1 missed" in result.stderr


async def test_strict_with_a_child(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME)
    result = await run("play", tape, "--strict", "--", sys.executable, "-c", CHILD)
    assert result.code == 1
    assert "2 not played:" in result.stderr


@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
async def test_a_signal_reaches_the_child(tmp_path: Path, number: Signals) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME)
    program = "import signal, sys, time; print('started', file=sys.stderr, flush=True); time.sleep(60)"
    async with command("play", tape, "--", sys.executable, "-c", program) as process:
        await process.says("started")
        assert await process.stop(number) == 128 + number


@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
async def test_a_signal_lets_finish_what_is_under_way(tmp_path: Path, number: Signals) -> None:
    tape = stream(tmp_path / "tape.yaml", 0, FRAMES, 700)
    async with command("play", tape, "--pace", "original") as process, Connection(process.origin) as client:
        client.send("POST", CHAT, "hello")
        await client.head()
        await client.piece()
        process.signal(number)
        heard = await client.rest()
        assert (len(heard.pieces), heard.ended) == (len(FRAMES), Ended.COMPLETE)
        assert await process.ended() == 0


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    tape = stream(tmp_path / "tape.yaml", 0, [(0, "data: 1\n\n"), (60_000, "data: 2\n\n")], 60_000)
    async with command("play", tape, "--pace", "original") as process, Connection(process.origin) as client:
        client.send("POST", CHAT, "hello")
        await client.head()
        await client.piece()
        process.signal(SIGTERM)
        await asyncio.sleep(0.3)
        assert process.popen.poll() is None
        assert await process.stop(SIGTERM) == -SIGTERM


async def test_stdout_carries_exactly_the_base_url(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME)
    for quiet in ([], ["--quiet"]):
        async with command("play", tape, *quiet) as process:
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", process.base_url)
            await process.ask("POST", CHAT, "hello")
            assert await process.stop() == 0
            assert process.stdout == process.base_url + "\n"
            if quiet:
                assert process.stderr == ""
            else:
                assert re.search(r"^play    POST /v1/chat/completions  200  1 frame  \d+ ms", process.stderr, re.M)
                assert "0 recorded, 1 played" in process.stderr


async def test_quiet_still_tells_of_misses(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME)
    async with command("play", tape, "-q") as process:
        await process.ask("POST", CHAT, "unknown")
        assert await process.stop() == 1
        assert "MISS" in process.stderr


async def test_the_ready_file(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME)
    ready = tmp_path / "ready"
    async with command("play", tape, "--ready-file", ready, ready=False) as process:
        async with asyncio.timeout(PATIENCE_S):
            while not ready.exists():
                await asyncio.sleep(0.01)
        text = ready.read_text()
        assert said(await ask(text.strip().removesuffix("/v1"), "POST", CHAT, "hello")) == 0
        assert await process.stop() == 0
        assert text == process.stdout
    assert not ready.exists()
    assert os.listdir(tmp_path) == ["tape.yaml"]


@pytest.mark.parametrize(
    ("environment", "pyproject", "arguments", "answers"),
    [
        ({}, "", [], [0, 1, 1]),
        ({}, 'on-exhausted = "cycle"', [], [0, 1, 0]),
        ({"OPENAI_REPLAY_ON_EXHAUSTED": "error"}, 'on-exhausted = "cycle"', [], [0, 1, 424]),
        ({"OPENAI_REPLAY_ON_EXHAUSTED": "error"}, 'on-exhausted = "cycle"', ["--on-exhausted", "repeat"], [0, 1, 1]),
    ],
    ids=["default", "pyproject", "environment", "flag"],
)
async def test_flag_before_environment_before_pyproject_before_default(
    tmp_path: Path, environment: dict[str, str], pyproject: str, arguments: list[str], answers: list[int]
) -> None:
    cassette(tmp_path / "tape.yaml", *SAME[:2])
    (tmp_path / "pyproject.toml").write_text(f"[tool.openai-replay]\n{pyproject}\n")
    async with command("play", "tape.yaml", *arguments, env=environment, cwd=tmp_path) as process:
        assert [said(await process.ask("POST", CHAT, "hello")) for _ in answers] == answers


async def test_a_tape_is_never_written_to(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", *SAME)
    before = (tape.read_bytes(), tape.stat().st_mtime_ns)
    tape.chmod(0o444)
    async with playing(tape) as player:
        await player.ask("POST", CHAT, "hello")
        await player.ask("POST", CHAT, "unknown")
        await player.ask("POST", "/@/rewind")
    assert (tape.read_bytes(), tape.stat().st_mtime_ns) == before
    assert len(interactions(tape)) == 3
    assert os.listdir(tmp_path) == ["tape.yaml"]


async def test_strict_counts_what_was_played_by_name(tmp_path: Path) -> None:
    """The tape of the whole folder does not count where its cassettes are played one by one; an ended session does."""
    cassette(tmp_path / "one.yaml", *SAME[:1])
    async with command("play", tmp_path, "--strict") as process:
        await process.ask("POST", f"/@one{CHAT}", "hello")
        assert await process.stop() == 0
    async with command("play", tmp_path, "--strict") as process:
        opened = await process.ask("POST", "/@/sessions", {"cassette": "one"})
        await process.ask("DELETE", f"/@/sessions/{opened.json['id']}", b"")
        assert await process.stop() == 1
        assert "1 not played" in process.stderr


async def test_a_session_that_is_not_there_is_a_miss(tmp_path: Path) -> None:
    cassette(tmp_path / "one.yaml", *SAME[:1])
    async with command("play", tmp_path) as process:
        heard = await process.ask("POST", f"/@typo{CHAT}", "hello")
        assert (heard.status, heard.header("x-should-retry")) == (424, "false")
        assert await process.stop() == 1
        assert "has no cassette 'typo'" in process.stderr


async def test_head_gets_no_body_of_ours(tmp_path: Path) -> None:
    async with playing(cassette(tmp_path / "tape.yaml", *SAME)) as player, Connection(player.origin) as client:
        missed = await client.ask("HEAD", "/v1/nope", b"")
        assert (missed.status, missed.body) == (424, b"")
        assert (await client.ask("POST", CHAT, "hello")).status == 200


async def test_a_double_slash_at_the_start(tmp_path: Path) -> None:
    azure = item('{"said": 1}').replace("https://api.openai.com/v1", "https://azure.example//openai/deployments/x")
    async with playing(cassette(tmp_path / "tape.yaml", azure)) as player:
        assert (await player.ask("POST", "//openai/deployments/x/chat/completions", "hello")).status == 200
