"""The contract with other people's libraries can fail, hides nothing, and docs/clients.md is of the pinned versions.

What it finds is found by `make contract`, which installs them.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.clients import CLIENTS, Client, Registry
from tests.contract.environments import GUARD, UNDERNEATH, Broken, Unavailable, install
from tests.contract.page import PAGE
from tests.contract.running import WAYS, through_all_ways
from tests.contract.ways import nowhere


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_the_page_tells_of_every_client_in_its_pinned_version(client: Client) -> None:
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith(f"| {client.name} |")]
    assert len(rows) == 2, "run: make contract"
    for pin in client.pinned:
        name, _, version = pin.partition("==")
        if pin == client.pinned[0] or name in UNDERNEATH or client.registry is Registry.NPM:
            assert f"{name} {version}" in rows[0], "run: make contract"
    assert rows[0].count("**=**") == len(WAYS)


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_pins_are_exact_and_locks_name_no_registry(client: Client) -> None:
    assert all(re.fullmatch(r"[@\w./\[\]-]+==\d[\w.]*", pin) for pin in client.pinned), client.pinned
    if client.registry is Registry.NPM:
        text = (client.program.parent / "package-lock.json").read_text("utf-8")
        locked = json.loads(text)["packages"]
        assert [f"{name}=={locked[f'node_modules/{name}']['version']}" for name in client.packages] == [*client.pinned]
        assert '"resolved"' not in text


def shell(folder: Path, text: str) -> Client:
    """A client that is a shell script."""
    script = folder / "client.sh"
    script.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    script.chmod(0o755)
    return Client("script", Registry.MACHINE, script)


ASK = 'curl --silent --noproxy "*" --header "Authorization: Bearer x" "$OPENAI_BASE_URL/models"'
needs_curl = pytest.mark.skipif(not (shutil.which("curl") and shutil.which("openssl")), reason="no curl or no openssl")


@needs_curl
async def test_a_client_that_sees_the_same_is_fine(tmp_path: Path) -> None:
    result = await through_all_ways(shell(tmp_path, ASK))
    assert result.fine, result.differences
    assert set(result.differences) == {"direct", "forwarded", *WAYS, "reached"}
    assert result.request == "/models 1"


@needs_curl
async def test_a_client_that_sees_something_else_is_not(tmp_path: Path) -> None:
    result = await through_all_ways(shell(tmp_path, f"echo $$; {ASK}"))
    assert not result.fine
    assert all(re.search(r"^-\d+$", result.differences[mode], re.MULTILINE) for mode in WAYS), result.differences


@needs_curl
async def test_a_client_that_asks_something_else_on_replay_is_not(tmp_path: Path) -> None:
    result = await through_all_ways(shell(tmp_path, f'{ASK}?once=$$ >/dev/null; echo "said"'))
    assert result.differences["record"] == ""
    assert "No recording matches GET /v1/models" in result.differences["play"]


@needs_curl
async def test_a_client_that_fails_is_not_skipped(tmp_path: Path) -> None:
    result = await through_all_ways(shell(tmp_path, "echo it broke >&2; exit 3"))
    assert not result.skipped
    assert result.differences == {"direct": "exit code 3\nit broke"}


def test_only_a_registry_out_of_reach_is_a_reason_to_skip(tmp_path: Path) -> None:
    fails = (sys.executable, "-c", "raise SystemExit('no such version')")
    works = (sys.executable, "-c", "")
    install(works, fails, tmp_path)
    with pytest.raises(Broken, match="no such version"):
        install(fails, works, tmp_path)
    with pytest.raises(Unavailable, match="no such version"):
        install(fails, fails, tmp_path)


GOES_OUT = {
    "python": (
        [sys.executable, "-c", "import socket; socket.create_connection(('api.example', 443))"],
        {"PYTHONPATH": str(GUARD)},
    ),
    "python, by address": (
        [sys.executable, "-c", "import socket; socket.socket().connect(('192.0.2.1', 443))"],
        {"PYTHONPATH": str(GUARD)},
    ),
    "node": (
        ["node", "-e", "fetch('https://api.example/v1').catch(() => process.exit(1))"],
        {"NODE_OPTIONS": f"--import={(GUARD / 'guard.mjs').as_uri()}"},
    ),
}


@pytest.mark.parametrize("name", GOES_OUT)
def test_nothing_goes_out_unseen(name: str, tmp_path: Path) -> None:
    arguments, variables = GOES_OUT[name]
    if shutil.which(arguments[0]) is None:
        pytest.skip("no node")
    env = {**os.environ, **variables, "CONTRACT_WENT_OUT": str(tmp_path / "went-out")}
    result = subprocess.run(arguments, env=env, capture_output=True, timeout=60, check=False)
    assert result.returncode == 1, result.stderr
    assert (tmp_path / "went-out").read_text("utf-8").split() == ["192.0.2.1" if "address" in name else "api.example"]


@needs_curl
async def test_the_proxy_that_leads_nowhere_notes_who_asks_for_whom() -> None:
    async with nowhere() as (url, hosts):
        for target in ("https://api.example/v1", "http://other.example/"):
            process = await asyncio.create_subprocess_exec("curl", "--silent", "--proxy", url, target)
            assert await process.wait() in (0, 56)
    assert hosts == ["api.example:443", "other.example"]
