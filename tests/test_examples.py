"""The sample projects, used as their users would: recorded, played in parallel, edited."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.record_examples import NODE, NODE_MODULES, PYTEST, environment
from tests.support.upstream import Upstream, running_upstream

needs_node = pytest.mark.skipif(
    not (shutil.which("node") and (NODE_MODULES / "openai").is_dir()),
    reason="there is no node, or not its SDK: make test",
)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as server:
        yield server


class Shell:
    """A shell in a copy of an example."""

    def __init__(self, example: Path, folder: Path) -> None:
        self.folder = folder / "project"
        shutil.copytree(example, self.folder, ignore=shutil.ignore_patterns("__pycache__", "node_modules", ".*"))
        self.code = 0

    def run(self, command: str, upstream: Upstream | None = None) -> str:
        """Run `command`, which has to end with `code`, and return its output. Only with `upstream`, it has an API and a
        key."""
        # The virtual environment of these tests has plugins that a project of this kind has not.
        quick = "-p no:hypothesispytest -p no:pytest_cov"
        keys = {"OPENAI_API_KEY": "sk-test", "OPENAI_REPLAY_UPSTREAM": upstream.url} if upstream else {}
        result = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=environment(**keys, PYTEST_ADDOPTS=quick),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        self.code = result.returncode
        return result.stdout

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new), "utf-8")

    def cassettes(self) -> set[str]:
        return {os.path.relpath(path, self.folder) for path in self.folder.rglob("*.yaml")}


# ------------------------------------------------------------------------------------------------ examples/pytest


def test_its_cassettes_are_played_by_two_workers(tmp_path: Path) -> None:
    shell = Shell(PYTEST, tmp_path)
    text = shell.run("pytest -n 2")
    assert "6 passed" in text, text
    assert "openai-replay: 7 played, 0 recorded, 0 missed, 0 unplayed\n" in text


@pytest.mark.slow
def test_record_them_anew(tmp_path: Path, upstream: Upstream) -> None:
    shell = Shell(PYTEST, tmp_path)
    shipped = shell.cassettes()
    shutil.rmtree(shell.folder / "tests/cassettes")
    text = shell.run("pytest -n 2 --openai-replay=rewrite", upstream)
    assert "openai-replay: 0 played, 7 recorded, 0 missed, 0 unplayed\n" in text, text
    assert shell.cassettes() == shipped
    assert "openai-replay: 7 played, 0 recorded, 0 missed, 0 unplayed\n" in shell.run("pytest")


@pytest.mark.slow
def test_edit_a_prompt_see_the_miss_and_do_what_it_says(tmp_path: Path, upstream: Upstream) -> None:
    shell = Shell(PYTEST, tmp_path)
    shell.edit("assistant.py", "in one sentence", "in two sentences")
    text = shell.run("pytest -n 2")
    assert shell.code == 1
    assert "5 failed, 1 passed" in text, text
    assert (
        "The closest recording is #1. It differs in:\n"
        "  messages[0].content: recorded 'You answer the customers of a bicycle shop in "
        "one sentence.'  now 'You answer the customers of a bicycle shop in two sentences.'\n"
    ) in text
    [advice] = set(re.findall(r"To record it, run:  (pytest .*as_a_program.*)", text))
    shell.run(advice, upstream)
    assert shell.code == 0
    # What nobody plays any more is still there, and the project is strict about it.
    assert "The test left recordings of" in shell.run("pytest -k as_a_program")


# ------------------------------------------------------------------------------------------------ examples/node


def test_the_page_about_sessions_shows_its_lines() -> None:
    page = (PYTEST.parent.parent / "docs/sessions.md").read_text("utf-8")
    assert f"```js file=replay.mjs\n{(NODE / 'replay.mjs').read_text('utf-8')}```" in page


@pytest.fixture
def node(tmp_path: Path) -> Shell:
    shell = Shell(NODE, tmp_path)
    (shell.folder / "node_modules").symlink_to(NODE_MODULES)
    return shell


@needs_node
def test_nodes_test_runner_plays_them(node: Shell) -> None:
    text = node.run("npm test")
    assert node.code == 0, text
    assert "# pass 2" in text
    assert "openai-replay: 0 recorded, 2 played" in text


@needs_node
def test_nodes_test_runner_records_them(node: Shell, upstream: Upstream) -> None:
    (node.folder / "cassettes/assistant.yaml").unlink()
    text = node.run("npm run record", upstream)
    assert node.code == 0, text
    assert "openai-replay: 2 recorded, 0 played" in text
    assert "openai-replay: 0 recorded, 2 played" in node.run("npm test")


@needs_node
def test_a_miss_fails_nodes_test_though_the_app_swallows_it(node: Shell) -> None:
    node.edit("assistant.mjs", "in one sentence", "in two sentences")
    node.edit("assistant.test.mjs", "assert.match(", "assert.ok(")
    node.edit("assistant.test.mjs", "client), /bells/", "client)")
    node.edit("assistant.test.mjs", "client), /Where/", "client)")
    text = node.run("npm test")
    assert node.code == 1
    assert "# fail 2" in text, text
    # The runner says it, and the proxy at the terminal.
    assert text.count("The closest recording is #") == 4, text


@needs_node
def test_a_suite_that_is_content_in_spite_of_a_miss_is_not(node: Shell) -> None:
    """Without the sessions: the exit code says it."""
    (node.folder / "assistant.test.mjs").write_text(
        'import { test } from "node:test";\n'
        'import { reply } from "./assistant.mjs";\n'
        'test("asks something new", async () => { await reply("Something new?"); });\n'
    )
    text = node.run("npm test")
    assert "# pass 1" in text
    assert "# fail 0" in text
    assert node.code == 1
    assert "MISS    POST /v1/chat/completions  424\n  No recording matches" in text
