"""The documentation is true: its commands run, its cassettes load, and docs/cli.md shows the `--help` texts.

`python -m tests.test_docs` writes docs/cli.md.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from openai_replay.cassette import reader, writer
from openai_replay.cli.root import main
from tests.support.upstream import running_upstream

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "cassettes/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
CLI = ROOT / "docs" / "cli.md"
NODE_MODULES = ROOT / "tests" / "clients" / "node" / "node_modules"
#: The README's links begin with it; pyproject.toml names the same repository.
REPOSITORY = "https://github.com/openai-replay/openai-replay/blob/main/"
#: Names in docs/architecture.md that are not modules.
LIBRARY_WORDS = {"answer", "lint"}
FENCE = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


CLI_INTRODUCTION = """\
# Command line

This page shows the `--help` text of every command. You can also set the options of `record` and `play` without a flag.
The first of these that has a setting wins:

1. a flag, such as `--on-exhausted`
2. an environment variable, such as `OPENAI_REPLAY_ON_EXHAUSTED`
3. an `openai-replay.toml` beside the cassette, with keys such as `on-exhausted`
4. `[tool.openai-replay]` in pyproject.toml, with the same keys
5. the default

Files cannot set `--ready-file`.

| exit code | meaning |
|---|---|
| 0 | success |
| 1 | misses, lost recordings, findings, or unplayed recordings under `--strict` |
| 2 | a usage error |
| 3 | the server could not start |
| other | the exit code of COMMAND |
"""


def page_id(page: Path) -> str:
    """Return the path of a page in the repository: two pages are called README.md."""
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    """(file name or nothing, text) of every fenced block of `language` on a page."""
    return [(name, text) for kind, name, text in FENCE.findall(page.read_text("utf-8")) if kind == language]


def cli_page() -> str:
    """docs/cli.md: the help of every command, as the terminal shows it at 80 columns."""
    lines = CLI_INTRODUCTION.splitlines()
    commands = {name: main.get_command(click.Context(main), name) for name in main.list_commands(click.Context(main))}
    for name, command in {"": main, **commands}.items():
        assert command is not None
        title = f"openai-replay {name}".strip()
        with click.Context(
            command, info_name=title, terminal_width=80, max_content_width=80, help_option_names=["-h", "--help"]
        ) as context:
            lines += ["", f"## {title}", "", "```text", command.get_help(context), "```"]
    return "\n".join(lines) + "\n"


def test_cli_page_shows_the_help() -> None:
    assert CLI.read_text("utf-8") == cli_page(), "run: python -m tests.test_docs"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_cassette_shown_loads_and_sums_up(page: Path) -> None:
    for _, text in blocks(page, "yaml"):
        text = text if text.startswith("version:") else writer.HEADER + text
        document = reader.load(text, page)
        assert document.interactions
        assert document.edited == []


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = set(re.findall(r"\]\((\w[\w-]*\.md)\)", index.read_text("utf-8")))
    assert linked == {page.name for page in index.parent.glob("*.md")} - {index.name}


def test_the_architecture_names_modules_that_exist() -> None:
    """A path stands for a module or package of ours or a test; a bare name belongs to the package of its paragraph."""
    package = ROOT / "openai_replay"
    for paragraph in (ROOT / "docs" / "architecture.md").read_text("utf-8").split("\n\n"):
        head = re.match(r"\*\*`([\w/]+)`\*\*", paragraph)
        folder = package / head[1] if head else package
        for name in re.findall(r"`([a-z_]+(?:/[a-z_]+)*(?:\.py)?)`", paragraph):
            if head and "/" not in name:
                candidates = [folder / f"{name}.py", package / name, package / f"{name}.py"]
            else:
                candidates = [package / name, package / f"{name}.py", ROOT / name]
            assert name in LIBRARY_WORDS or any(path.exists() for path in candidates), f"{name} in: {paragraph}"


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) < 200


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_link_leads_somewhere(page: Path) -> None:
    """The README's links are absolute, so that they also work on PyPI."""
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert page.name != "README.md" or page.parent != ROOT, f"{target} is relative: write {REPOSITORY}{target}"
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
    for target in re.findall(rf"\]\({re.escape(REPOSITORY)}([^)#]+)", text):
        assert (ROOT / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_row_of_a_table_has_the_same_cells(page: Path) -> None:
    """A pipe inside a cell, or a cell over several lines, would break the table."""
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text("utf-8"))
    for table in re.findall(r"(?m)(?:^\|.*\n)+", text):
        rows = table.splitlines()
        assert re.fullmatch(r"[|: -]+", rows[1]), f"no table begins with {rows[0]}"
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1, rows[0]


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CONTRIBUTING.md"], ids=page_id)
def test_every_anchor_is_a_heading(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)#([^)]+)\)", page.read_text("utf-8")):
        path = ROOT / target.removeprefix(REPOSITORY) if REPOSITORY in target else page.parent / target
        headings = re.findall(r"(?m)^#+ (.*)$", (path if target else page).read_text("utf-8"))
        anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in anchors, f"{page.name} links to {target}#{anchor}"


#: `make test` runs the commands of the README; `make test-all` runs those of the other pages.
BY_COST = [
    pytest.param(page, marks=() if page == PAGES[0] else pytest.mark.slow, id=page_id(page))
    for page in PAGES
    if page.name != "CONTRIBUTING.md"  # its commands need a clone
]


@pytest.mark.parametrize("page", BY_COST)
def test_every_command_runs(page: Path, tmp_path: Path) -> None:
    """Run them in one folder and in order, with the simulated API instead of the live one."""
    for language in ("python", "js", "sh"):
        for name, text in blocks(page, language):
            if name:
                (tmp_path / name).write_text(text, "utf-8")
    if NODE_MODULES.is_dir():
        (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    with running_upstream() as upstream:
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "OPENAI_REPLAY_UPSTREAM": upstream.url,
            "OPENAI_API_KEY": "sk-test",
        }
        for name, text in blocks(page, "sh"):
            if name or "make " in text:  # a file of its own; what .ci/run runs
                continue
            if "node " in text and not (shutil.which("node") and (NODE_MODULES / "openai").is_dir()):
                continue
            ran = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", text],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                timeout=300,
            )
            assert ran.returncode == 0, f"{text}\n{ran.stdout.decode()}\n{ran.stderr.decode()}"


if __name__ == "__main__":
    CLI.write_text(cli_page(), "utf-8")
