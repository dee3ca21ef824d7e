"""What a test of the pytest plugin is to be like: its options, its marker, its fixtures, and its cassette's name."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from openai_replay.matching.suggestions import Advice

NAME = "openai_replay"  # of the fixture, the marker and the ini key of the mode
MODES = ("none", "once", "new_episodes", "all", "rewrite", "off")
#: Settings that add up: what a package leaves out of matching, its tests leave out, too.
_LISTS = ("ignore", "match_header", "normalize", "redact_header", "redact_pattern", "redact_pointer")
#: What the marker and the fixture `openai_replay_config` may say.
SETTINGS = ("mode", "pace", "on_exhausted", "fallback", "retry_after", "upstream", "match_on", *_LISTS)
EXAMPLE = (
    '@pytest.mark.openai_replay("name", mode="once", pace="original", ignore=["/metadata"], on_exhausted="repeat")'
)
#: Bytes of a test's name that its cassette is called by: a digest and a suffix have to go into a file name's 255, too.
_NAME_BYTES = 120


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--openai-replay...`, and an ini key for each."""
    group = parser.getgroup("openai-replay", "record and replay of OpenAI traffic")
    group.addoption(
        "--openai-replay",
        dest="openai_replay_mode",
        metavar="MODE",
        choices=MODES,
        help=f"{', '.join(MODES)}; default none (or that of --record-mode)",
    )
    group.addoption(
        "--openai-replay-upstream", metavar="URL", help="the API to record from; default https://api.openai.com/v1"
    )
    group.addoption(
        "--openai-replay-pace", metavar="PACE", help="instant (default), original, 2x, original,max-gap=200ms"
    )
    group.addoption(
        "--openai-replay-strict", action="store_true", help="a recording that was not played fails its test"
    )
    group.addoption("--openai-replay-orphans", action="store_true", help="list cassettes that no test of this run used")
    group.addoption(
        "--openai-replay-journal", metavar="FILE", help="add a line of JSON to this file for every request that is over"
    )
    parser.addini("openai_replay", "record mode", default="")
    parser.addini("openai_replay_upstream", "the API to record from", default="")
    parser.addini("openai_replay_pace", "pace of replay", default="")
    parser.addini("openai_replay_journal", "file that gets a line of JSON for every request", default="")
    parser.addini("openai_replay_strict", "a recording that was not played fails its test", type="bool", default=False)
    parser.addini("openai_replay_orphans", "list cassettes that no test of this run used", type="bool", default=False)


def refuse(why: str) -> NoReturn:
    """End the set-up of a test with a text that says what to write instead."""
    raise pytest.fail.Exception(why, pytrace=False) from None


def typed(config: pytest.Config, name: str) -> Any:
    """What the command line says of `--openai-replay-NAME`, or nothing."""
    value = config.getoption(f"openai_replay_{name}")
    return value or (config.getoption("--record-mode", None) if name == "mode" else None)


def option(config: pytest.Config, name: str) -> Any:
    """What the command line says, or else the ini key."""
    return typed(config, name) or config.getini(NAME if name == "mode" else f"openai_replay_{name}")


def settings(item: pytest.Item, given: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Command line > marker > `openai_replay_config` (which is `given`) > environment > ini > openai-replay.toml (of
    the cassettes' `folder` or above) > pyproject.toml.
    """
    config = item.config
    layers: list[tuple[str, Mapping[str, Any]]] = [
        ("openai_replay", _everywhere(config, folder)),
        ("fixture openai_replay_config", given),
        # The farthest first: what a module says holds for its tests where they do not say otherwise.
        *(("marker openai_replay", one.kwargs) for one in reversed(list(item.iter_markers(NAME)))),
        ("", {name: said for name in ("mode", "pace", "upstream") if (said := typed(config, name))}),
    ]
    merged: dict[str, Any] = {}
    for source, said in layers:
        _check(source, said)
        for name, value in said.items():
            merged[name] = [*merged.get(name, ()), *value] if name in _LISTS else value
    return merged


def _everywhere(config: pytest.Config, folder: Path) -> dict[str, Any]:
    """What holds for tests that say nothing else."""
    upstream, shared = _files(config.rootpath, folder)
    said = {
        "mode": option(config, "mode") or "none",
        "pace": option(config, "pace"),
        "upstream": os.environ.get("OPENAI_REPLAY_UPSTREAM") or option(config, "upstream") or upstream,
        # What matches and what is secret is so here as it is on the command line.
        **shared,
    }
    return {name: value for name, value in said.items() if value}


@cache
def _files(root: Path, folder: Path) -> tuple[str | None, dict[str, Any]]:
    """The upstream, and what matches and is secret, of the settings files for cassettes in `folder`."""
    from openai_replay.config import files
    from openai_replay.errors import ReplayError

    try:
        found = {**files.from_pyproject(root), **files.from_folder(folder)}
    except ReplayError as error:
        refuse(f"openai_replay: {error.text}")
    options = {name: one.value for name, one in found.items()}
    return options.get("upstream"), files.shared(options)


def _check(source: str, said: Mapping[str, Any]) -> None:
    if not isinstance(said, Mapping):
        refuse(f'{source} gives {said!r}, and should give settings such as {{"ignore": ["/metadata"]}}.')
    for name, value in said.items():
        if name not in SETTINGS:
            import difflib

            near = difflib.get_close_matches(name, SETTINGS, 1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(SETTINGS)}."
            refuse(f"{source}: there is no {name!r}. {hint} For example {EXAMPLE}")
        if name == "mode" and value not in MODES:
            refuse(f"{source}: there is no mode {value!r}. There are {', '.join(MODES)}.")
        if name in _LISTS and (not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value)):
            refuse(f'{source}: {name}={value!r} is no list of texts. Write for example {name}=["..."]')


def advice(item: pytest.Item) -> Advice:
    """What the explanation of a miss says to do in a test."""
    from openai_replay.matching.suggestions import Advice

    return Advice(
        f"pytest --openai-replay=new_episodes {shlex.quote(item.nodeid)}",
        lambda settings: f"@pytest.mark.openai_replay({', '.join(_set(*one) for one in settings.items())})",
        '@pytest.mark.openai_replay(on_exhausted="repeat") (the last one) or "cycle" (from the first)',
    )


def _set(name: str, values: str | Sequence[str]) -> str:
    return f"{name}={json.dumps(values, ensure_ascii=False)}"


def file_name(item: pytest.Item) -> str:
    """The name in the closest marker that has one, else `Class.test[param]` as every file system takes it: what cannot
    stand in a file's name is told apart by a digest.
    """
    for marker in item.iter_markers(NAME):
        if len(marker.args) > 1 or not all(isinstance(one, (str, Path)) and str(one) for one in marker.args):
            refuse(f"marker openai_replay takes one name, and got {marker.args!r}. For example {EXAMPLE}")
        if marker.args:
            name = str(marker.args[0])
            return name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"
    name = ".".join([*(node.name for node in item.listchain() if isinstance(node, pytest.Class)), item.name])
    safe = re.sub(r"[^\w\-.\[\]=,+]+", "-", name).encode()[:_NAME_BYTES].decode(errors="ignore")
    if safe != name:
        import hashlib

        safe += f"-{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:8]}"
    return f"{safe}.yaml"
