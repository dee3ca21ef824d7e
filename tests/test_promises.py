"""Each promise names its test, and that test exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "SECURITY.md", ROOT / "docs" / "promises.md", ROOT / "docs" / "threat-model.md"]
TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def named(text: str) -> list[tuple[str, str]]:
    """(file, test or nothing) of every test that a text names."""
    return TEST.findall(text)


def functions_of(path: Path) -> set[str]:
    """The names of the tests in a file."""
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_is_named_is_there(page: Path) -> None:
    tests = named(page.read_text("utf-8"))
    assert len(tests) >= 10
    for file, test in tests:
        assert (ROOT / file).is_file(), f"{page.name} names {file}"
        if test:
            assert test.startswith("test_")
            assert test in functions_of(ROOT / file), f"{page.name} names {file}::{test}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_promise_names_its_test(page: Path) -> None:
    """A promise is a numbered paragraph, or a row of a table."""
    text = page.read_text("utf-8")
    promises = re.findall(r"(?ms)^\d+\. \*\*.*?(?=^\d+\. |\Z|\n\n)", text)
    promises += re.findall(r"(?m)^\| (?!promise \||party \|).*$", text)
    assert len(promises) >= 8
    for promise in promises:
        assert named(promise), f"{page.name}: {promise[:80]}"


def test_reports_go_to_the_projects_page() -> None:
    text = PAGES[0].read_text("utf-8")
    assert "Report a vulnerability" in text
    assert not re.search(r"\S+@\S+\.\w+", text), "no personal address"
