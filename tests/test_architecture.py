"""The house: every module on a floor, imports strictly downward, each library behind its own door."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import openai_replay

#: A foreign format each.
IMPORTERS = (
    "aimock",
    "azure",
    "datadog",
    "govcr",
    "har",
    "httprr",
    "mitmproxy",
    "nock",
    "raw",
    "rubyvcr",
    "vcrpy",
)
#: From the ground up. Files on one floor do not import each other; a folder's name stands for what it says itself.
FLOORS = [
    ("errors", "model"),  # values
    (
        "sse",
        "jsontext",
        "multipart",
        "headers",
        "keyshapes",
        "ids",
        "patterns",
        "defaults",
        "aligning",
        "printable",
        "leaks",
        "places",
    ),  # pure functions on texts
    ("hosts", "limits", "logs", "arriving", "positions"),
    ("assembling", "saying", "usage", "shapes", "requestfile"),  # what JSON answers say
    ("normalizing", "worddiff"),
    ("matching", "masking", "pacing", "transcript", "schema", "aliases", "asking", "timeline"),
    ("differing", "quoting", "pruning", "redaction", "format", "layout", "storage", "journal"),
    ("yamltext",),
    ("showing", "counting", "drifting", "comparing"),
    ("advising", "editing", "inspecting"),
    ("explaining", "linting", "rerecording", "scanning", "redacting"),
    ("index",),
    ("recordings",),
    ("assumed", "importers.source"),
    ("importers.parts",),
    tuple(f"importers.{one}" for one in IMPORTERS),
    ("importers",),
    ("cassette", "upstream", "rules"),  # two sources, and how they are used
    ("selecting", "refreshing", "journaling"),
    ("asked", "clock", "fallback"),
    ("missing", "exchanges"),
    ("playing", "recorder"),
    ("engine", "building"),  # one exchange, and the rules of it
    ("sessions", "settings"),
    ("importing",),
    ("exporters.written",),
    ("exporters.curl", "exporters.har", "exporters.raw", "exporters.vcrpy"),
    ("exporters", "exporting"),
    ("cors",),
    ("access", "verbatim", "connections"),  # surfaces
    ("control", "report", "turns"),  # surfaces
    ("app",),
    ("server",),  # the process
    ("tape", "pytest_settings"),
    ("pytest_journal",),
    ("commands.options", "commands.terminal"),  # doors
    ("commands.serve", "commands.keep", "commands.look", "commands.explain"),
    ("commands.config",),
    ("commands.refresh",),
    ("commands.move",),
    ("cli", "commands", "pytest_plugin"),
    ("__init__", "__main__"),
]
#: Who may import what is not ours.
DOORS = {
    "yaml": {"format", "yamltext"},
    "vcr": {"format"},
    "orjson": {"jsontext"},
    "pydantic": {"schema", "format", "settings", "control", "importers.vcrpy"},  # where text enters
    "aiohttp": {"upstream"},  # its client
    "aiohttp.web": {"app", "server", "verbatim", "connections"},
    "click": {
        "cli",
        "commands.options",
        "commands.config",
        "commands.explain",
        "commands.serve",
        "commands.keep",
        "commands.look",
        "commands.refresh",
        "commands.move",
    },
    "pytest": {"pytest_plugin", "pytest_settings", "pytest_journal"},
}
#: Modules over 300 lines, and why.
LONG: dict[str, str] = {}

ROOT = Path(openai_replay.__file__).parent


def _name(path: Path) -> str:
    """`commands/serve.py` is `commands.serve`, `commands/__init__.py` is `commands`."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


FILES = {_name(path): path for path in ROOT.rglob("*.py")}
FLOOR = {module: number for number, floor in enumerate(FLOORS) for module in floor}


def imports(module: str) -> set[str]:
    """All that `module` imports anywhere in it, `from a import b` as `a.b`."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def ours(module: str) -> set[str]:
    """Which of our modules `module` imports."""
    dotted = {name.removeprefix("openai_replay.") for name in imports(module) if name.startswith("openai_replay.")}
    # The longest that is a module: `commands.options.option` is of `commands.options`.
    found = {next((one for one in (name, name.rpartition(".")[0]) if one in FLOOR), "") for name in dotted}
    return found - {""}


def test_every_module_is_on_a_floor() -> None:
    assert set(FLOOR) == set(FILES)


@pytest.mark.parametrize("module", FLOOR)
def test_imports_go_strictly_downward(module: str) -> None:
    assert [name for name in ours(module) if FLOOR[name] >= FLOOR[module]] == []


@pytest.mark.parametrize("module", FLOOR)
def test_each_library_has_its_door(module: str) -> None:
    for name in imports(module):
        library = (
            "aiohttp.web"
            if name in ("aiohttp.web", "aiohttp.HttpVersion11", "aiohttp.http_exceptions")
            else name.partition(".")[0]
        )
        assert module in DOORS.get(library, {module}), name


def test_a_long_module_has_a_reason() -> None:
    lines = {module: len(path.read_text("utf-8").splitlines()) for module, path in FILES.items()}
    assert {module for module, count in lines.items() if count > 300} == set(LONG)
