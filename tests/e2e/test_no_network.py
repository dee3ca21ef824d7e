"""Law 6: play never opens a connection. There is no way from play to a socket going out."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import aiohttp
import pytest

import openai_replay
from openai_replay.proxy.upstream import Upstream
from tests.support.proxy import CHAT, Over, Process, cassette, command, item, playing

SAME = item('{"said": 0}')

#: The program in a Python where to connect to anything, or to look up a name, ends the process. On asyncio's own loop:
#: libuv, under uvloop, tells no audit hook what it does.
NO_WAY_OUT = (
    sys.executable,
    "-c",
    """
import os, sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg"):
        print("WENT OUT:", event, arguments, file=sys.stderr, flush=True)
        os._exit(99)

sys.addaudithook(refuse)
sys.modules["uvloop"] = sys.modules["redis"] = sys.modules["fsspec"] = None
from openai_replay.cli.root import main
main()
""",
)


async def do_everything(process: Process) -> None:
    """Hits, misses, errors and the whole control API."""
    assert (await process.ask("POST", CHAT, "hello")).json == {"said": 0}
    assert (await process.ask("POST", CHAT, "unknown")).status == 424
    assert (await process.ask("POST", CHAT, "hello", [("Host", "api.openai.com")])).status == 403
    assert (await process.ask("GET", "http://api.openai.com/v1/models")).status == 400
    for method, path in (("GET", "/@/health"), ("GET", "/@/journal"), ("POST", "/@/rewind"), ("GET", "/@/nothing")):
        await process.ask(method, path)
    for mode in ("all", "once", "new_episodes", "off"):
        opened = await process.ask("POST", "/@/sessions", {"cassette": "tape", "mode": mode})
        assert opened.status >= 400, f"a player opens no session of mode {mode}"
    assert (await process.ask("POST", "/@/sessions", {"cassette": "tape"})).status in (200, 404)
    assert (await process.ask("POST", f"/@tape{CHAT}", "hello")).status in (200, 424)


async def test_play_where_every_way_out_ends_the_process(tmp_path: Path) -> None:
    cassette(tmp_path / "tape.yaml", SAME)
    for path in (tmp_path / "tape.yaml", tmp_path):
        async with command("play", path, "--pace", "original", program=NO_WAY_OUT) as process:
            if path.is_file():
                await do_everything(process)
            else:
                await process.ask("GET", "/@/health")
            assert await process.stop() == (1 if path.is_file() else 0), process.stderr
            assert "WENT OUT" not in process.stderr


async def test_what_is_fetched_before_is_not_fetched_by_who_serves(tmp_path: Path) -> None:
    """By another process, which is over: in the one that serves there is neither a way out nor fsspec."""
    folder = tmp_path / "bucket"
    folder.mkdir()
    cassette(folder / "tape.yaml", SAME)
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    async with command("play", f"file://{folder}/tape.yaml", program=NO_WAY_OUT, env=env) as process:
        await do_everything(process)
        assert await process.stop() == 1
        assert "WENT OUT" not in process.stderr


#: The program in a Python where our own code that opens connections cannot be imported.
WITHOUT_UPSTREAM = (
    sys.executable,
    "-c",
    """
import sys

for name in ("proxy.upstream", "proxy.upstream_body", "proxy.recorder"):
    sys.modules[f"openai_replay.{name}"] = None
from openai_replay.cli.root import main
main()
""",
)


async def test_a_player_has_not_even_loaded_what_opens_connections(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", SAME)
    async with command("play", tape, program=WITHOUT_UPSTREAM) as process:
        await do_everything(process)
        assert await process.stop() == 1
        assert "Traceback" not in process.stderr
    with pytest.raises(AssertionError, match=r"import of openai_replay\.proxy\.upstream halted"):
        async with command("record", tape, "--upstream", "http://127.0.0.1:9/v1", program=WITHOUT_UPSTREAM):
            pass


async def test_the_trap_works(tmp_path: Path) -> None:
    upstream = ("--upstream", "http://127.0.0.1:9/v1")
    async with command("record", tmp_path / "tape.yaml", *upstream, program=NO_WAY_OUT) as process:
        with pytest.raises(Over):
            await process.ask("POST", CHAT, {})
        assert await process.ended() == 99
        assert "WENT OUT: socket.connect" in process.stderr


async def test_play_makes_no_upstream_and_no_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("play makes a client")

    monkeypatch.setattr(Upstream, "__init__", refuse)
    monkeypatch.setattr(aiohttp.ClientSession, "__init__", refuse)
    monkeypatch.setattr(aiohttp.TCPConnector, "__init__", refuse)
    async with playing(cassette(tmp_path / "tape.yaml", SAME)) as player:
        assert (await player.ask("POST", CHAT, "hello")).json == {"said": 0}
        assert (await player.ask("POST", CHAT, "unknown")).status == 424
        assert player.engine._recorder is None


async def test_upstream_options_are_unknown_to_play(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", SAME)
    (tmp_path / "pyproject.toml").write_text('[tool.openai-replay]\nupstream = "http://127.0.0.1:9/v1"\nmode = "all"\n')
    env = {"OPENAI_REPLAY_UPSTREAM": "http://127.0.0.1:9/v1", "OPENAI_REPLAY_MODE": "all"}
    async with command("play", tape, program=NO_WAY_OUT, env=env, cwd=tmp_path) as process:
        assert (await process.ask("GET", "/@/health")).json["mode"] == "none"
        assert (await process.ask("POST", CHAT, "unknown")).status == 424
        assert await process.stop() == 1


#: What opens connections: in asyncio, aiohttp, the standard library and other clients.
WAYS_OUT = {
    "ClientSession", "TCPConnector", "UnixConnector", "open_connection", "open_unix_connection", "create_connection",
    "create_unix_connection", "create_datagram_endpoint", "sock_connect", "connect", "connect_ex", "urlopen",
    "HTTPConnection", "HTTPSConnection", "PoolManager", "AsyncClient",
}  # fmt: skip


def test_only_upstream_names_a_way_out() -> None:
    folder = Path(openai_replay.__file__).parent
    uses: dict[str, set[str]] = {}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            if name in WAYS_OUT and ast.unparse(node) != "sqlite3.connect":  # of a file
                uses.setdefault(path.name, set()).add(name)
    assert set(uses) == {"upstream.py"}, json.dumps({name: sorted(names) for name, names in uses.items()})


def test_uvloop_changes_nothing_about_that() -> None:
    """The program with uvloop is the same program: no module but `process` knows of it."""
    folder = Path(openai_replay.__file__).parent
    assert [path.name for path in folder.rglob("*.py") if "import uvloop" in path.read_text("utf-8")] == ["process.py"]
