"""The contract: a client cannot tell the upstream, `record` and `play` apart.

The client programs run fixed scenarios in a fixed order and print what they saw, without times.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.proxy import OPENAI_REPLAY, WITHOUT_UVLOOP, command, environment
from tests.upstream import running_upstream

CLIENTS = Path(__file__).parent / "clients"
NODE = CLIENTS / "node"
OPENAI_2 = Path(os.environ.get("OPENAI2_PATH") or Path(__file__).parent.parent / ".cache" / "openai2")
#: Seconds for one run of one client.
LIMIT_S = 90


class Client(NamedTuple):
    """A client program, what its environment needs, and, if it cannot run here, why (empty: it can)."""

    command: Sequence[str | Path]
    path: Path | None = None  # for PYTHONPATH
    missing: Callable[[], str] = lambda: ""


def no_openai_2() -> str:
    found = (OPENAI_2 / "openai").is_dir()
    return "" if found else f"no openai 2: pip install --target {OPENAI_2} 'openai>=2,<3', or set OPENAI2_PATH"


def no_node() -> str:
    if shutil.which("node") is None:
        return "no node"
    return "" if (NODE / "node_modules").is_dir() else f"no node_modules: npm ci --prefix {NODE}"


def no_curl() -> str:
    lacking = [name for name in ("bash", "curl", "openssl", "awk") if shutil.which(name) is None]
    return f"no {', '.join(lacking)}" if lacking else ""


PYTHON = (sys.executable, CLIENTS / "python_client.py")
ALL = {
    "openai 3 sync": Client((*PYTHON, "sync")),
    "openai 3 async": Client((*PYTHON, "async")),
    "openai 2 sync": Client((*PYTHON, "sync"), OPENAI_2, no_openai_2),
    "openai 2 async": Client((*PYTHON, "async"), OPENAI_2, no_openai_2),
    "openai of node": Client(("node", NODE / "client.mjs"), missing=no_node),
    "curl": Client((CLIENTS / "curl_client.sh",), missing=no_curl),
}


async def see(client: Client, base_url: str) -> str:
    """What `client` prints when it is told `base_url`."""
    env = environment({"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "sk-test"})
    if client.path is not None:
        env["PYTHONPATH"] = str(client.path)
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*client.command, env=env, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(LIMIT_S):
            out, err = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
    assert child.returncode == 0, err.decode()
    return out.decode()


async def see_direct(client: Client) -> str:
    """What `client` sees of the simulated upstream itself."""
    with running_upstream() as upstream:
        return await see(client, upstream.url)


async def see_recorded(client: Client, tape: Path, program: tuple[str, ...]) -> str:
    """What `client` sees while it is recorded on `tape`."""
    with running_upstream() as upstream:
        async with command("record", tape, "--upstream", upstream.url, program=program) as process:
            seen = await see(client, process.base_url)
            assert await process.stop() == 0, process.stderr
        assert upstream.abandoned == [], "also where the client left, the answer was read to its end"
    return seen


async def see_played(client: Client, tape: Path, program: tuple[str, ...], pace: str) -> str:
    """What `client` sees of `tape`: all of it, and nothing else, or this fails."""
    options = ["--pace", pace, "--on-exhausted", "error", "--strict"]
    async with command("play", tape, *options, program=program) as process:
        seen = await see(client, process.base_url)
        assert await process.stop() == 0, process.stderr
    return seen


@pytest.mark.parametrize(
    ("name", "program"),
    [
        *((name, OPENAI_REPLAY) for name in ALL),
        ("curl", WITHOUT_UVLOOP),
    ],
    ids=[*ALL, "curl, asyncio's own loop"],
)
async def test_direct_recorded_and_played_look_the_same(name: str, program: tuple[str, ...], tmp_path: Path) -> None:
    client = ALL[name]
    if why_not := client.missing():
        pytest.skip(why_not)
    tape = tmp_path / "tape.yaml"
    direct, live = await asyncio.gather(see_direct(client), see_recorded(client, tape, program))
    assert live == direct
    at_once, on_time = await asyncio.gather(
        see_played(client, tape, program, "instant"), see_played(client, tape, program, "original")
    )
    assert at_once == direct
    assert on_time == direct
