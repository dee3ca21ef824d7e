"""The house: every module on a floor, imports strictly downward, each library behind its own door."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import openai_replay

#: From the ground up: what each floor is for, and its modules. Those of one floor do not import each other. A folder's
#: name stands for what its `__init__` says.
FLOORS = {
    "values": "errors model positions",
    "texts": "texts.aligning texts.jsontext texts.multipart texts.patterns texts.printable texts.sse texts.yamlbounds "
    "texts.yamlplaces",
    "texts, by those": "texts.worddiff texts.yamltext",
    "values as short texts": "texts.quoting",
    "HTTP": "headers hosts limits logs",
    "what has to wait, what is refused": "arrivals eager refusals sockets threads turns",
    "the API's words": "api.answers api.defaults api.ids api.usage",
    "its questions, its streams": "api.questions api.streams",
    "its answers, read": "api.transcript",
    "what secrets look like": "secrets.keyshapes secrets.leaks",
    "texts said in pieces": "secrets.lanes",
    "secrets masked": "secrets.masking",
    "secrets taken out": "secrets.redaction",
    "what is no difference, and when a frame is due": "normalizing pacing",
    "a request becomes a key": "matching",
    "where two requests differ": "misses.differing misses.requestfile",
    "how they would be the same": "misses.advising",
    "how requests are treated": "rules",
    "why nothing matched": "misses.explaining",
    "an item of a cassette, and files": "schema storage",
    "a cassette read and written": "format layout",
    "some items changed": "editing",
    "a tape looked at": "looking.counting looking.timeline",
    "recordings in words": "looking.comparing looking.showing",
    "what changed since, what a rule finds": "keeping.shapes keeping.lintrules keeping.pruning",
    "cassettes kept in order": "keeping.drifting keeping.linting keeping.redacting",
    "items by their place in a file": "rerecording scanning",
    "places remembered": "index",
    "a cassette's recordings": "recordings",
    "recordings of other tools": "importers.assumed importers.source",
    "interactions made of parts": "importers.parts",
    "a foreign format each": "importers.aimock importers.azure importers.datadog importers.govcr importers.har "
    "importers.httprr importers.mitmproxy importers.nock importers.raw importers.rubyvcr importers.vcrpy",
    "whose format a file is": "importers",
    "other tools' files made cassettes": "importers.importing",
    "what an exporter hands back": "exporters.written",
    "a format for other tools each": "exporters.curl exporters.har exporters.raw exporters.vcrpy",
    "cassettes made other tools' files": "exporters exporters.exporting",
    "an answer on its way": "arriving",
    "its body read": "receiving",
    "two sources": "cassette upstream",
    "which recordings, asked again, used": "keeping.refreshing looking.selecting journal",
    "the journal's file, positions that are shared": "journalfile fleet.shared fleet.store fleet.remote",
    "what one exchange needs": "asked clock misses.fallback",
    "a miss": "misses.missing exchanges",
    "two halves of an exchange": "playing recorder",
    "one exchange": "engine",
    "settings": "building settingsfile",
    "where settings come from": "settings sessions",
    "what a browser asks": "cors",
    "who may ask, and how bytes leave": "access verbatim",
    "how requests come": "incoming",
    "on what they come": "connections",
    "the control API, the terminal": "control report announcing",
    "the HTTP side": "app",
    "the process": "server fleet.supervising",
    "a tape in this process, or in several": "tape fleet.workers",
    "the pytest plugin": "pytest_plugin.options pytest_plugin.turns",
    "its journal": "pytest_plugin.journal",
    "what commands share": "commands.options commands.terminal commands.guarding",
    "commands": "commands.explain commands.keep commands.look commands.move commands.refresh commands.serve",
    "the options of others": "commands.config",
    "doors": "cli pytest_plugin",
    "faces": "__init__ __main__",
}
#: Who may import what is not ours: modules, or all of a folder.
DOORS = {
    "yaml": "format texts.yamltext",
    "vcr": "format",
    "orjson": "texts.jsontext",
    "pydantic": "settings settingsfile control",  # where text enters that a player does not always need
    "aiohttp": "upstream receiving",  # its client
    "aiohttp.http": "verbatim incoming connections refusals",  # its parser of requests
    "click": "cli commands",
    "redis": "fleet.store",
    "fsspec": "fleet.remote",
    "pytest": "pytest_plugin",
}
#: Modules over 300 lines, and why.
LONG: dict[str, str] = {}

ROOT = Path(openai_replay.__file__).parent
PAGE = ROOT.parent / "docs" / "architecture.md"


def _name(path: Path) -> str:
    """`commands/serve.py` is `commands.serve`, `commands/__init__.py` is `commands`."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def _is_room(path: Path) -> bool:
    """Whether there is more in it than what a folder says of itself."""
    return path.name != "__init__.py" or len(ast.parse(path.read_text("utf-8")).body) > 1


FILES = {_name(path): path for path in ROOT.rglob("*.py") if _is_room(path)}
FLOOR = {module: number for number, floor in enumerate(FLOORS.values()) for module in floor.split()}


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
    named = [module for floor in FLOORS.values() for module in floor.split()]
    assert sorted(named) == sorted(FILES)


@pytest.mark.parametrize("module", FLOOR)
def test_imports_go_strictly_downward(module: str) -> None:
    assert [name for name in ours(module) if FLOOR[name] >= FLOOR[module]] == []


@pytest.mark.parametrize("module", FLOOR)
def test_each_library_has_its_door(module: str) -> None:
    for name in imports(module):
        library = (
            "aiohttp.http"
            if name.startswith(("aiohttp.http", "aiohttp.base_protocol")) or name == "aiohttp.StreamReader"
            else name.partition(".")[0]
        )
        doors = DOORS.get(library, module).split()
        assert module in doors or module.partition(".")[0] in doors, name


def test_a_long_module_has_a_reason() -> None:
    lines = {module: len(path.read_text("utf-8").splitlines()) for module, path in FILES.items()}
    assert {module for module, count in lines.items() if count > 300} == set(LONG)


def test_the_page_names_every_module_and_no_other() -> None:
    """In a row of its table: of a folder (`texts/`) its modules, else those of no folder."""
    rows = re.findall(r"(?m)^\| (.+?) \| (.+) \|$", PAGE.read_text("utf-8").partition("## The rooms")[2])
    named = []
    for room, text in rows[2:]:
        folder = room.strip("`/") + "." if room.endswith("/`") else ""
        named += [folder + name for name in re.findall(r"`(\w+)`", text)]
        named += [folder[:-1]] if folder[:-1] in FILES else []
    assert sorted(named) == sorted(FILES)


def test_what_else_the_page_names_is_there() -> None:
    """`cassette`, `misses.missing`, `importers/`."""
    for name in re.findall(r"`(\w+(?:\.\w+)*/?)`", PAGE.read_text("utf-8").partition("## The rooms")[0]):
        assert name in FILES, name
