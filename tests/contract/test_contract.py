"""The contract: a client cannot tell the upstream, `record` and `play` apart.

The client programs run fixed scenarios in a fixed order and print what they saw, without times. These need no registry;
those of other libraries are run by `make contract` (tests/contract).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.contract.ways import Program, see_direct, see_played, see_recorded
from tests.support.proxy import OPENAI_REPLAY, WITHOUT_UVLOOP

CLIENTS = Path(__file__).parents[1] / "clients"
NODE = CLIENTS / "node"
OPENAI_2 = Path(os.environ.get("OPENAI2_PATH") or Path(__file__).parents[2] / ".cache" / "openai2")


class Client(NamedTuple):
    """A client program, and, if it cannot run here, why (empty: it can)."""

    program: Program
    missing: Callable[[], str] = lambda: ""


def no_openai_2() -> str:
    is_installed = (OPENAI_2 / "openai").is_dir()
    return "" if is_installed else f"no openai 2: pip install --target {OPENAI_2} 'openai>=2,<3', or set OPENAI2_PATH"


def no_node() -> str:
    if shutil.which("node") is None:
        return "no node"
    return "" if (NODE / "node_modules").is_dir() else f"no node_modules: npm ci --prefix {NODE}"


def no_curl() -> str:
    lacking = [name for name in ("bash", "curl", "openssl", "awk") if shutil.which(name) is None]
    return f"no {', '.join(lacking)}" if lacking else ""


PYTHON = (sys.executable, CLIENTS / "python_client.py")
WITH_OPENAI_2 = {"PYTHONPATH": str(OPENAI_2)}
ALL = {
    "openai 3 sync": Client(Program((*PYTHON, "sync"))),
    "openai 3 async": Client(Program((*PYTHON, "async"))),
    "openai 2 sync": Client(Program((*PYTHON, "sync"), WITH_OPENAI_2), no_openai_2),
    "openai 2 async": Client(Program((*PYTHON, "async"), WITH_OPENAI_2), no_openai_2),
    "openai of node": Client(Program(("node", NODE / "client.mjs")), no_node),
    "curl": Client(Program((CLIENTS / "curl_client.sh",)), no_curl),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "proxy"),
    [
        *(pytest.param(name, OPENAI_REPLAY) for name in ALL),
        pytest.param("curl", WITHOUT_UVLOOP),
    ],
    ids=[*ALL, "curl, asyncio's own loop"],
)
async def test_direct_recorded_and_played_look_the_same(name: str, proxy: tuple[str, ...], tmp_path: Path) -> None:
    client = ALL[name]
    if why_not := client.missing():
        pytest.skip(why_not)
    tape, program = tmp_path / "tape.yaml", client.program
    (direct, _), (live, _) = await asyncio.gather(see_direct(program), see_recorded(program, tape, proxy))
    assert live == direct
    at_once, on_time = await asyncio.gather(
        see_played(program, tape, "instant", proxy), see_played(program, tape, "original", proxy)
    )
    assert at_once == direct
    assert on_time == direct
