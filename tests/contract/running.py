"""One client through all ways: the same everywhere, or what differs."""

from __future__ import annotations

import difflib
import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.contract import ways
from tests.contract.clients import Client
from tests.contract.environments import Broken, Environment, Unavailable, prepare
from tests.contract.ways import Program
from tests.support.proxy import HOP_BY_HOP
from tests.support.upstream import Received

#: What is compared with the run against the simulated upstream itself, in the order of the table.
WAYS = ("record", "play", "original", "command")
#: What a proxy writes itself; recording asks for `accept-encoding: identity` (docs/cassette-format.md), and a client
#: that expects `100 Continue` has it from the proxy.
_MADE_ANEW = HOP_BY_HOP | {"host", "accept-encoding", "expect"}
#: As httpx (32 hex digits), curl and undici write it.
_BOUNDARY = re.compile(r"\b[0-9a-f]{32}\b|-{20,}[\w-]+|----formdata-undici-\w+")
#: Lines shown of a difference or of a failure.
_SHOWN = 40


@dataclass(slots=True)
class Result:
    """The result of a client.

    `found`: for each way that was gone, nothing (it was the same) or what went wrong. `skipped`: why it was not run.
    `reached`: whom else it tried to reach when nothing silenced it.
    """

    client: Client
    skipped: str = ""
    differences: dict[str, str] = field(default_factory=dict)
    scenarios: int = 0
    request: str = ""
    reached: list[str] = field(default_factory=list)
    versions: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def fine(self) -> bool:
        """Nothing went wrong, and nothing was left out."""
        return not self.skipped and not any(self.differences.values())


async def through_all_ways(client: Client) -> Result:
    """Prepare the environment of `client`, run its program all ways, compare."""
    result = Result(client)
    started = time.monotonic()
    try:
        environment = prepare(client)
    except Unavailable as error:
        result.skipped = str(error)
    except Broken as error:
        result.differences["install"] = str(error)
    else:
        result.versions = environment.versions
        with tempfile.TemporaryDirectory(prefix="openai-replay-contract-") as folder:
            await _compare(result, environment, Path(folder))
    result.seconds = time.monotonic() - started
    return result


async def _compare(result: Result, environment: Environment, folder: Path) -> None:
    client, tape, went_out = result.client, folder / "tape.yaml", folder / "went-out"
    (folder / "home").mkdir()
    # A user folder of its own: nothing that lies about in ours has a say, and nothing is left there.
    bare = {**environment.variables, "CONTRACT_WENT_OUT": str(went_out), "HOME": str(folder / "home")}
    program = Program(environment.command, {**bare, **client.silent})
    try:
        direct, requests = await ways.see_direct(program)
    except (AssertionError, TimeoutError) as failed:
        result.differences["direct"] = _shortened(str(failed) or "it did not end")
        return
    result.scenarios, result.request = _scenarios(direct), _asked(requests)
    result.differences["direct"] = "" if result.scenarios else f"it tells of no scenario: {_shortened(direct)}"
    for mode in WAYS:
        try:
            match mode:
                case "record":
                    output, forwarded = await ways.see_recorded(program, tape)
                    result.differences["forwarded"] = _difference(_written(requests), _written(forwarded))
                case "play":
                    output = await ways.see_played(program, tape, "instant", host="localhost")
                case "original":
                    output = await ways.see_played(program, tape, "original", host=ways.ipv6())
                case _:
                    result.differences["reached"] = _silent(went_out, client)
                    went_out.unlink(missing_ok=True)
                    output, hosts = await ways.see_wrapped(Program(environment.command, bare), tape)
                    result.reached = _hosts([*_lines(went_out), *hosts])
                    if result.reached and not client.silent:
                        result.differences["reached"] = f"it reaches for {result.reached}, and nothing silences it"
        except (AssertionError, TimeoutError) as failed:
            result.differences[mode] = _shortened(str(failed) or "it did not end")
        else:
            result.differences[mode] = _difference(direct, output)


def _written(requests: Sequence[Received]) -> str:
    """Requests as text, but for what a proxy makes anew, the order of different headers, and random boundaries."""
    lines = []
    for request in requests:
        headers = sorted((name.lower(), value) for name, value in request.headers)
        lines += [f"{request.method} {request.target}"]
        lines += [f"{name}: {value}" for name, value in headers if name not in _MADE_ANEW]
        lines += [request.body.decode("utf-8", "backslashreplace"), ""]
    return _BOUNDARY.sub("boundary", "\n".join(lines))


def _silent(went_out: Path, client: Client) -> str:
    reached = _hosts(_lines(went_out))
    return f"it reaches for {reached} in spite of {dict(client.silent)}" if reached else ""


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines() if path.exists() else []


def _hosts(names: Sequence[str]) -> list[str]:
    return sorted({name.removesuffix(":443").removesuffix(":80") for name in names})


def _difference(direct: str, output: str) -> str:
    lines = difflib.unified_diff(direct.splitlines(), output.splitlines(), "direct", "seen", n=3, lineterm="")
    return _shortened("\n".join(lines))


def _shortened(text: str) -> str:
    lines = text.splitlines()
    return "\n".join([*lines[:_SHOWN], *([f"... and {len(lines) - _SHOWN} lines more"] if len(lines) > _SHOWN else [])])


def _scenarios(printed: str) -> int:
    """Return how many scenarios a program has reported: keys of its JSON, or lines that begin with `==`."""
    if printed.startswith("{"):
        return len(json.loads(printed))
    return sum(line.startswith("== ") for line in printed.splitlines())


def _asked(requests: Sequence[Received]) -> str:
    """`/chat/completions 12 (7 streamed), /responses 3`: the endpoints, the most used first."""
    paths = Counter(_endpoint(request) for request in requests)
    streams = Counter(_endpoint(request) for request in requests if _streams(request))
    return ", ".join(
        f"{path} {count}" + (f" ({streams[path]} streamed)" if streams[path] else "")
        for path, count in paths.most_common()
    )


def _endpoint(request: Received) -> str:
    """Without what is a name of its own: `/files/file-1` is `/files`, but `/chat/completions` stays."""
    return "/" + re.sub(
        r"/(?!completions|speech|transcriptions|generations|runs)[^/]+", "", request.path[len("/v1/") :]
    )


def _streams(request: Received) -> bool:
    parameters = request.json() if request.body.startswith(b"{") else {}
    return bool(parameters.get("stream"))
