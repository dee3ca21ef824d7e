"""An environment of its own for every client, made once: a virtual environment, or a folder with node_modules."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.contract.clients import ROOT, Client, Registry

CACHE = ROOT / ".cache" / "contract"
GUARD = Path(__file__).parent / "guard"
#: Seconds for one call of pip or npm.
LIMIT_S = 900
#: What a client speaks through: libraries whose version is told with its own.
UNDERNEATH = ("openai", "httpx", "httpx2", "aiohttp")


class Unavailable(Exception):
    """A client that cannot be had here, for a reason that is not its own: no registry, no Node.js."""


class Broken(Exception):
    """A client that cannot be installed although its registry answers."""


class Environment(NamedTuple):
    """A way to run a client's program: the command, its variables, and its versions by name."""

    command: Sequence[str | Path]
    variables: Mapping[str, str]
    versions: Mapping[str, str]


def prepare(client: Client) -> Environment:
    """Make the environment of `client`, or take the one from last time. Raises Unavailable or Broken."""
    match client.registry:
        case Registry.PYPI:
            return _python(client)
        case Registry.NPM:
            return _node(client)
        case Registry.MACHINE:
            return _shell(client)


def _python(client: Client) -> Environment:
    folder = CACHE / client.folder
    python = folder / "bin" / "python"
    stamp = f"{sys.version}\n" + "\n".join(client.pinned)
    if _stamp(folder) != stamp:
        shutil.rmtree(folder, ignore_errors=True)
        _call(sys.executable, "-m", "venv", folder)
        pip = (python, "-m", "pip", "--disable-pip-version-check", "--no-input")
        install((*pip, "install", "--quiet", *client.pinned), (*pip, "download", "--quiet", "--no-deps", "pip"), folder)
        (folder / ".stamp").write_text(stamp, "utf-8")
    ask = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    versions = json.loads(_call(python, "-c", ask).stdout)
    path = os.pathsep.join(map(str, (ROOT, GUARD)))
    return Environment((python, client.program, *client.arguments), {"PYTHONPATH": path}, versions)


def _node(client: Client) -> Environment:
    for name in ("node", "npm"):
        if shutil.which(name) is None:
            raise Unavailable(f"there is no {name} on this machine")
    folder = CACHE / client.folder
    source = client.program.parent
    lock = (source / "package-lock.json").read_text("utf-8")
    if _stamp(folder) != lock:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(source / name, folder)
        ci = ("npm", "ci", "--prefix", folder, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        install(ci, ("npm", "view", "npm", "version", "--loglevel=error"), folder)
        (folder / ".stamp").write_text(lock, "utf-8")
    shutil.copy(client.program, folder)  # it finds its packages beside itself
    packages = json.loads(lock)["packages"]
    versions = {name.removeprefix("node_modules/"): package["version"] for name, package in packages.items() if name}
    versions["node"] = _call("node", "--version").stdout.strip().removeprefix("v")
    guarded = {"NODE_OPTIONS": f"--import={(GUARD / 'guard.mjs').as_uri()}"}
    return Environment(("node", folder / client.program.name, *client.arguments), guarded, versions)


def _shell(client: Client) -> Environment:
    for name in ("bash", "curl", "openssl", "awk"):
        if shutil.which(name) is None:
            raise Unavailable(f"there is no {name} on this machine")
    return Environment((client.program,), {}, {"curl": _call("curl", "--version").stdout.split()[1]})


def _stamp(folder: Path) -> str:
    """Return the requirements of the environment in `folder`; empty if it is missing or incomplete."""
    stamp = folder / ".stamp"
    return stamp.read_text("utf-8") if stamp.is_file() else ""


def install(command: Sequence[str | Path], probe: Sequence[str | Path], folder: Path) -> None:
    """Run `command`. If it fails, `probe` tells whether the registry can be reached: only then is it the client's."""
    result = _call(*command, check=False)
    if result.returncode == 0:
        return
    shutil.rmtree(folder / "probe", ignore_errors=True)
    (folder / "probe").mkdir(parents=True)
    probed = _call(*probe, check=False, cwd=folder / "probe")
    if probed.returncode == 0:
        raise Broken("\n".join(result.stderr.splitlines()[-12:]))
    raise Unavailable(f"its registry cannot be reached: {(probed.stderr.splitlines() or ['it says nothing'])[0]}")


def _call(*command: str | Path, check: bool = True, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, cwd=cwd, check=False)
    except subprocess.TimeoutExpired:
        result = subprocess.CompletedProcess(command, -1, "", f"{command[0]}: nothing for {LIMIT_S} s")
    if check and result.returncode:
        raise Broken(f"{' '.join(map(str, command))}\n{result.stderr}")
    return result
