"""Names and docstrings name things: ceilings for filler names, and for docstrings that begin with a wh-word.

`python -m tests.test_names [PATH...]` lists the offenders and the two figures.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
#: Words that name nothing: pronouns, adverbs, participles. A variable or parameter is the noun instead.
_FILLER_WORDS = """
about again alike all_ alone also anew another any_ anything apart are asked away began begun both came come done
each either else enough every everything few found given gone had has here how however it kept known left made many
meant mine more most much named needed neither none nothing now of off one ones other others ours out own place
places read_ rest said same seen several shown so some somebody something such taken tell tells that theirs them
then there these they thing things this those told too wanted was way ways what whatever when where whether which
who whole whom whose why yet
"""
FILLERS = frozenset(_FILLER_WORDS.split())
WH_WORD = re.compile(r"(What|Whether|Where|Who|Whoever|Whose|Whom|How|When|Which|Why|That which)\b")
#: Shares in percent. They only go down.
CEILINGS = {
    "openai_replay": {"filler names": 0.2, "wh-docstrings": 0.0},
    "tests": {"filler names": 0.2, "wh-docstrings": 0.0},
}


class Binding(NamedTuple):
    """A name that code binds: a variable, a parameter, the target of a loop, a `with` or an `except`."""

    path: Path
    line: int
    name: str


class Docstring(NamedTuple):
    """The first line of a docstring, and where it stands."""

    path: Path
    line: int
    text: str


def python_files(folder: Path) -> list[Path]:
    """Return the Python files below `folder`, but for those of installed packages."""
    paths = [folder] if folder.is_file() else sorted(folder.rglob("*.py"))
    return [path for path in paths if not {"node_modules", ".venv"} & set(path.parts)]


def bindings(path: Path) -> Iterator[Binding]:
    """Yield each name that the code in `path` binds, as often as it does."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.arg):
            yield Binding(path, node.lineno, node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield Binding(path, node.lineno, node.id)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield Binding(path, node.lineno, node.name)


def docstrings(path: Path) -> Iterator[Docstring]:
    """Yield the docstrings of the module, its classes and its functions."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield Docstring(path, node.body[0].lineno, text.partition("\n")[0])


def is_filler(name: str) -> bool:
    """Return True if `name` says nothing about its value."""
    return name.strip("_") in FILLERS or name in FILLERS


def fillers(folder: Path) -> tuple[list[Binding], int]:
    """Return the filler names below `folder`, and the number of all names."""
    names = [binding for path in python_files(folder) for binding in bindings(path)]
    return [binding for binding in names if is_filler(binding.name)], len(names)


def wh_docstrings(folder: Path) -> tuple[list[Docstring], int]:
    """Return the docstrings below `folder` that begin with a wh-word, and the number of all docstrings."""
    texts = [docstring for path in python_files(folder) for docstring in docstrings(path)]
    return [docstring for docstring in texts if WH_WORD.match(docstring.text)], len(texts)


@pytest.mark.parametrize("folder", CEILINGS)
def test_few_names_are_fillers(folder: str) -> None:
    offenders, count = fillers(ROOT / folder)
    share = 100 * len(offenders) / count
    assert share <= CEILINGS[folder]["filler names"], (
        f"{share:.1f} %: list them with python -m tests.test_names {folder}"
    )


@pytest.mark.parametrize("folder", CEILINGS)
def test_few_docstrings_begin_with_a_wh_word(folder: str) -> None:
    offenders, count = wh_docstrings(ROOT / folder)
    share = 100 * len(offenders) / count
    assert share <= CEILINGS[folder]["wh-docstrings"], (
        f"{share:.1f} %: list them with python -m tests.test_names {folder}"
    )


def test_the_gate_sees_fillers_and_wh_words(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        'def f(what, size):\n    """Whether it is."""\n    one = size\n    for _x in one: pass\n'
    )
    names, name_count = fillers(tmp_path)
    texts, text_count = wh_docstrings(tmp_path)
    assert ([binding.name for binding in names], name_count) == (["what", "one"], 4)
    assert ([docstring.line for docstring in texts], text_count) == ([2], 1)


def main(folders: list[str]) -> None:
    """Print the offenders in `folders`, and their shares."""
    for folder in folders or list(CEILINGS):
        names, name_count = fillers(ROOT / folder)
        texts, text_count = wh_docstrings(ROOT / folder)
        for binding in names:
            print(f"{binding.path.relative_to(ROOT)}:{binding.line}: {binding.name}")
        for docstring in texts:
            print(f"{docstring.path.relative_to(ROOT)}:{docstring.line}: {docstring.text}")
        print(
            f"{folder}: {len(names)} of {name_count} names are fillers ({100 * len(names) / max(1, name_count):.1f} %)"
        )
        print(f"{folder}: {len(texts)} of {text_count} docstrings begin with a wh-word")


if __name__ == "__main__":
    main(sys.argv[1:])
