"""The architecture: packages on top of each other, imports strictly downward, each library behind its own door."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import openai_replay

#: The law: a package may import those before a `<` on its left, never those on its right or beside it.
LAW = (
    "errors < model < text < openai_api, redaction < matching < playback < cassette, config < journal < proxy < tools "
    "< server < cli, pytest_plugin"
)
#: Modules that may import a library; a package stands for all of its modules.
DOORS = {
    "yaml": "cassette.reader text.yaml_loader",
    "vcr": "cassette.reader",
    "orjson": "text.json_codec",
    "pydantic": "server.control_api",
    "aiohttp": "proxy.upstream proxy.upstream_body",  # its client
    "aiohttp.http": "server.http.protocol",  # its parser of requests
    "click": "cli",
    "redis": "server.cluster.redis",
    "fsspec": "cassette.remote",
    "pytest": "pytest_plugin",
}
MAX_LINES = 300

ROOT = Path(openai_replay.__file__).parent
PAGE = ROOT.parent / "docs" / "architecture.md"
LEVELS = [level.split(", ") for level in LAW.split(" < ")]
LEVEL_OF = {package: number for number, level in enumerate(LEVELS) for package in level}


def _module_name(path: Path) -> str:
    """Return the dotted name below `openai_replay`: `cli/serve.py` is `cli.serve`, `cli/__init__.py` is `cli`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {_module_name(path): path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__main__.py"}
MODULES["openai_replay"] = MODULES.pop("__init__")


def imported_names(module: str) -> set[str]:
    """Return all that `module` imports, anywhere in it: `from a import b` as `a.b`."""
    names = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_modules(module: str) -> set[str]:
    """Return the modules of ours that `module` imports: of `cassette.reader.load` that is `cassette.reader`."""
    dotted = [
        name.removeprefix("openai_replay.") for name in imported_names(module) if name.startswith("openai_replay.")
    ]
    return {name if name in MODULES else name.rpartition(".")[0] for name in dotted} - {""}


IMPORTS = {module: imported_modules(module) for module in MODULES}


def package_of(module: str) -> str:
    """Return the top-level package or module that `module` belongs to."""
    return module.partition(".")[0]


def test_every_package_has_its_place_in_the_law() -> None:
    packages = {package_of(module) for module in MODULES} - {"openai_replay"}
    assert packages == set(LEVEL_OF), "a new package needs its place in LAW, here and in docs/architecture.md"


@pytest.mark.parametrize("module", [module for module in MODULES if module != "openai_replay"])
def test_imports_go_strictly_downward(module: str) -> None:
    package = package_of(module)
    upward = sorted(
        name
        for name in IMPORTS[module]
        if package_of(name) != package and LEVEL_OF[package_of(name)] >= LEVEL_OF[package]
    )
    assert not upward, (
        f"openai_replay.{module} imports {', '.join(upward)}, which is not below {package} in the law ({LAW}). "
        f"Move what it needs down, pass it in as an argument, or move {module} up."
    )


@pytest.mark.parametrize("package", LEVEL_OF)
def test_no_cycle_inside_a_package(package: str) -> None:
    members = {module for module in MODULES if package_of(module) == package}
    waiting = {module: {name for name in IMPORTS[module] & members if name != module} for module in members}
    while free := {module for module, needs in waiting.items() if not needs & set(waiting)}:
        for module in free:
            del waiting[module]
    assert not waiting, (
        f"these modules of {package} import each other in a circle: {', '.join(sorted(waiting))}. "
        "Move what two of them share into a third one below both."
    )


@pytest.mark.parametrize("module", MODULES)
def test_each_library_has_its_door(module: str) -> None:
    for name in imported_names(module):
        is_parser = name.startswith(("aiohttp.http", "aiohttp.base_protocol")) or name == "aiohttp.StreamReader"
        library = "aiohttp.http" if is_parser else name.partition(".")[0]
        doors = DOORS.get(library, module).split()
        assert any(module == door or module.startswith(f"{door}.") for door in doors), (
            f"openai_replay.{module} imports {library}, which only {', '.join(doors)} may do. "
            "Use what that module offers, or name another door here and say why."
        )


@pytest.mark.parametrize("module", MODULES)
def test_modules_stay_short(module: str) -> None:
    lines = len(MODULES[module].read_text("utf-8").splitlines())
    assert lines <= MAX_LINES, (
        f"openai_replay.{module} has {lines} lines: it is probably two modules. Split it by topic."
    )


def test_the_page_names_the_law_and_every_package() -> None:
    text = PAGE.read_text("utf-8")
    assert LAW in re.sub(r"\s+", " ", text), "docs/architecture.md states another law"
    described = set(re.findall(r"(?m)^\*\*`([\w/]+?)(?:\.py|/)?`\*\*", text))
    packages = {module.replace(".", "/") for module in MODULES if MODULES[module].name == "__init__.py"}
    assert described >= {*packages, "errors", "model"} - {"openai_replay"}, "each package has a paragraph of its own"
