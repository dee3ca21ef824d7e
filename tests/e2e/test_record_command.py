"""The command `record`: its child, its signals, its errors, and large bodies."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import socket
import sys
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals

import pytest

from openai_replay.proxy.live_response import LiveResponse
from tests.e2e.samples import NEW, chunked
from tests.support.proxy import (
    CHAT,
    Connection,
    Ended,
    command,
    interactions,
    invoke,
    recording,
    run,
)
from tests.support.upstream import Chunk, End, Hold, Upstream, plain, sse

SMILE = "🙂".encode()
EVERY_BYTE = bytes(range(256)) * 3


# ------------------------------------------------------------------------------------------------ large bodies

LARGE = 200 << 20


def blob(size: int) -> bytes:
    """Bytes that no text format likes, and no two megabytes alike."""
    return b"".join(number.to_bytes(4) + EVERY_BYTE[:252] for number in range(size >> 8))


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["upload", "download"])
async def test_a_large_body(tmp_path: Path, direction: str, capsys: pytest.CaptureFixture[str]) -> None:
    body = blob(LARGE)
    kind = [("content-type", "application/octet-stream")]
    async with Upstream() as up:
        answer = body if direction == "download" else b"{}"
        up.script("POST", "/v1/files", plain(answer, headers=kind))
        async with command("record", tmp_path / "tape.yaml", "--upstream", up.url) as process:
            heard = await process.ask("POST", "/v1/files", body if direction == "upload" else b"x", kind)
            peak = process.peak_bytes
            assert await process.stop() == 0
        assert up.requests[0].body == (body if direction == "upload" else b"x")
        assert heard.body == answer
    with capsys.disabled():
        print(f" [{direction} of {LARGE >> 20} MB: peak {peak >> 20} MB]", end="")
    assert peak < 5 * LARGE
    size = (tmp_path / "tape.yaml").stat().st_size
    assert LARGE * 4 / 3 < size < LARGE * 1.5, "in base64, once"


async def test_a_large_body_does_not_stop_the_others(tmp_path: Path) -> None:
    """Law 3 holds beside it, too: the work on it is done in slices that nobody notices."""
    events = [b"data: %d\n\n" % number for number in range(100)]
    async with Upstream() as up:
        up.script("POST", CHAT, sse(*events, interval=0.02))
        up.script("POST", "/v1/files", plain(b"{}"))
        async with command("record", tmp_path / "tape.yaml", "--upstream", up.url) as process:
            small = asyncio.create_task(process.ask("POST", CHAT, {}))
            await asyncio.sleep(0.3)
            await process.ask("POST", "/v1/files", blob(64 << 20), [("content-type", "application/octet-stream")])
            heard = await small
        sent = [entry.at for entry in up.answers[0]][1:-1]
    late = [piece.at - (at - sent[0]) for piece, at in zip(heard.pieces, sent, strict=True)]
    assert heard.cuts == events
    assert max(late) - min(late) < 1.5


# ------------------------------------------------------------------------------------------------ the command

CHILD_ASKS = """
import json, os, sys, urllib.request
keys = ("OPENAI_BASE_URL", "OPENAI_API_KEY", "NO_PROXY", "no_proxy")
print(json.dumps({key: os.environ.get(key) for key in keys}))
url, headers = os.environ["OPENAI_BASE_URL"] + "/chat/completions", {"Content-Type": "application/json"}
request = urllib.request.Request(url, b"{}", headers)
print(urllib.request.urlopen(request).read().decode())
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize("code", [0, 7])
async def test_the_child_command(tmp_path: Path, code: int) -> None:
    tape = tmp_path / "tape.yaml"
    async with Upstream() as up:
        up.script("POST", CHAT, plain(NEW))
        env = {"OPENAI_API_KEY": "sk-mine", "NO_PROXY": "corp.example"}
        result = await run(
            "record", tape, "--upstream", up.url, "--", sys.executable, "-c", CHILD_ASKS, str(code), env=env
        )
    observed, text = result.stdout.splitlines()
    assert result.code == code
    assert text.encode() == NEW
    value = json.loads(observed)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", value["OPENAI_BASE_URL"])
    assert value["OPENAI_API_KEY"] == "sk-mine"
    assert value["NO_PROXY"] == "corp.example,127.0.0.1,localhost,::1"
    assert value["no_proxy"] == value["NO_PROXY"]
    assert len(interactions(tape)) == 1
    assert "1 recorded, 0 played" in result.stderr


async def test_the_upstream_is_not_taken_from_openai_base_url(tmp_path: Path) -> None:
    async with Upstream() as up:
        up.script("POST", CHAT, plain(NEW))
        env = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
        async with command("record", tmp_path / "tape.yaml", "--upstream", up.url, env=env) as process:
            assert (await process.ask("POST", CHAT, {})).body == NEW


async def test_the_upstreams_path_is_what_clients_are_told(tmp_path: Path) -> None:
    async with Upstream() as up:
        up.script("POST", "/api/v1/chat/completions", plain(NEW))
        async with command("record", tmp_path / "tape.yaml", "--upstream", f"{up.origin}/api/v1/") as process:
            assert process.base_url == f"{process.origin}/api/v1"
            assert (await process.ask("POST", "/api/v1/chat/completions", {})).body == NEW
    async with command("play", tmp_path / "tape.yaml") as process:
        assert process.base_url == f"{process.origin}/api/v1"


@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
async def test_a_signal_lets_finish_what_is_under_way(tmp_path: Path, number: Signals) -> None:
    tape = tmp_path / "tape.yaml"
    hold, never = asyncio.Event(), asyncio.Event()
    async with Upstream() as up:
        up.script("POST", CHAT, chunked(Chunk(b"data: 1\n\n"), Hold(hold), Chunk(b"data: 2\n\n"), End()))
        up.script("POST", "/v1/left", chunked(Chunk(b"a"), Hold(hold), Chunk(b"b"), End()))
        async with (
            command("record", tape, "--upstream", up.url) as process,
            Connection(process.origin) as client,
            Connection(process.origin) as idle,
        ):
            idle.send("GET", "/@/health")
            await idle.rest()
            async with Connection(process.origin) as leaves:
                leaves.send("POST", "/v1/left", {})
                await leaves.head()
                await leaves.piece()
            client.send("POST", CHAT, {})
            await client.head()
            assert await client.piece() == b"data: 1\n\n"
            process.signal(number)
            assert await idle.closed() == Ended.EARLY
            with pytest.raises(ConnectionRefusedError):
                await process.ask("GET", "/@/health")
            assert process.popen.poll() is None
            hold.set()
            heard = await client.rest()
            assert (heard.body, heard.ended) == (b"data: 1\n\ndata: 2\n\n", Ended.COMPLETE)
            assert await process.ended() == 0
        never.set()
    assert sorted(interaction.response.body for interaction in interactions(tape)) == [b"ab", b"data: 1\n\ndata: 2\n\n"]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (
            ["--upstream", "api.openai.com/v1"],
            2,
            "Error: --upstream 'api.openai.com/v1' is not the URL of an API.\nWrite for example https://",
        ),
        (["--upstream", "http://"], 2, "is not the URL of an API"),
        (["--upstream", "http://x:notaport/v1"], 2, "is not the URL of an API"),
        (["--upstream", "http://user:pw@x/v1"], 2, "is not the URL of an API"),
        (["--upstream", "http://x/v1?a=1"], 2, "is not the URL of an API"),
        (["--mode", "sometimes"], 2, "Error: --mode: 'sometimes' is not one of 'once'"),
        (["--drain-timeout", "long"], 2, "'long' is not a duration"),
        (["--idle-timeout", "5"], 2, "'5' is not a duration"),
        (["--redact-pattern", "("], 2, "is not a regular expression"),
        (["--ignore", "messages"], 2, "is not a JSON pointer"),
        (["--"], 2, "Error: The COMMAND after `--` is missing."),
        (["--", "/no/such/program"], 3, "Could not run '/no/such/program': No such file or directory"),
    ],
)
def test_usage(tmp_path: Path, arguments: list[str], code: int, text: str) -> None:
    result = invoke("record", tmp_path / "tape.yaml", *arguments)
    assert result.code == code, result.stderr
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    tape = tmp_path / "file" / "tape.yaml"
    result = invoke("record", tape, "--port", "0")
    assert result.code == 3
    assert f"Error: Could not write {tape}: " in result.stderr
    assert "Give the cassette another path." in result.stderr
    assert (tmp_path / "file").read_text() == "not a folder"


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        port = used.getsockname()[1]
        result = invoke("record", tmp_path / "tape.yaml", "--port", str(port))
    assert result.code == 3
    assert f"Error: Could not listen on 127.0.0.1:{port}: Address already in use.\n" in result.stderr


async def test_stdout_carries_one_line_and_quiet_is_quiet(tmp_path: Path) -> None:
    async with Upstream() as up:
        up.script("POST", CHAT, plain(b"{}"))
        for quiet in ([], ["-q"]):
            async with command(
                "record", tmp_path / "tape.yaml", "--upstream", up.url, "--mode", "all", *quiet
            ) as process:
                await process.ask("POST", CHAT, {})
                assert await process.stop() == 0
                assert process.stdout == process.base_url + "\n"
                assert (
                    process.stderr == ""
                    if quiet
                    else "record  POST /v1/chat/completions  200  1 frame" in process.stderr
                )


async def test_what_has_been_recorded_is_not_held(tmp_path: Path) -> None:
    """Neither by the connections that it came on, nor by timers: answers may be large."""
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml") as proxy:
        for number in range(6):
            up.script("POST", f"/v1/{number}", plain(b"%d" % number))
        await asyncio.gather(*(proxy.ask("POST", f"/v1/{number}", "hello") for number in range(6)))
        assert len(interactions(tmp_path / "tape.yaml")) == 6
        gc.collect()
        assert [entry for entry in gc.get_objects() if isinstance(entry, LiveResponse) and entry.closed] == []
