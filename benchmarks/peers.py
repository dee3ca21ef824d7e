"""Other recorders and mocks beside ours: `python benchmarks/replay.py --peers`.

Each is installed from PyPI or npm into an environment of its own, `.cache/peers/NAME`, in a fixed version. It records
one answer from our player, or gets it in its own format, and plays it over 32 connections that are kept; rounds
alternate with ours. Logs and journals are off where it has a switch for them. What of the answer it changes is said
with the figures; one that says something else, or cannot be installed, is left out with the reason.
"""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from measuring import CACHE, Figure, Refused, Report, Server, alternating, free_port, load, ratio, requests, serving
from replay import ours
from tapes import plain, streamed, write

from openai_replay.model import Headers, Interaction

HOMES = CACHE.parent / "peers"
TARGET = "/v1/chat/completions"
CONNECTIONS = 32
#: How long a recorder may take to write what it passed on, in seconds; some do it only when they end.
_WRITTEN_S = 2.0
#: Characters a piece, so that aimock cuts the stream as it was: it does not keep the cuts.
_PIECE = 220


class Place(NamedTuple):
    """Where a peer is installed, where its recording lies, where it listens, and what it records from, an origin."""

    home: Path
    tape: Path
    port: int
    upstream: str

    def python(self, program: str) -> str:
        """A program from PyPI."""
        return str(self.home / "bin" / program)

    def node(self, path: str) -> str:
        """A file from npm."""
        return str(self.home / "node_modules" / path)


class Answer(NamedTuple):
    """What a client gets."""

    status: int
    headers: Headers
    body: bytes


def from_pypi(home: Path, requirements: Sequence[str]) -> list[Sequence[str]]:
    """The commands that install them with the Python that runs this."""
    python = str(home / "bin" / "python")
    return [
        [sys.executable, "-m", "venv", str(home)],
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements],
    ]


def from_npm(home: Path, requirements: Sequence[str]) -> list[Sequence[str]]:
    """The same with npm, which looks for a package.json further up where there is none."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "package.json").write_text("{}")
    return [["npm", "install", "--prefix", str(home), "--no-audit", "--no-fund", "--loglevel=error", *requirements]]


def reel(place: Place, playing: bool) -> list[str]:
    """It prints a line an answer; there is no switch."""
    how = ["replay", "--timing", "fast"] if playing else ["record"]
    tape = str(place.tape / "tape.jsonl")
    return [place.python("reel"), *how, "-c", tape, "-p", str(place.port), "--upstream", place.upstream]


def datadog(place: Place, playing: bool) -> list[str]:
    """Its other ports are not used."""
    ports = ["-p", str(place.port), "--otlp-http-port", str(free_port()), "--otlp-grpc-port", str(free_port())]
    quiet = ["--log-level", "ERROR", "--disable-llmobs-data-forwarding"]
    tapes = ["--vcr-cassettes-directory", str(place.tape), "--vcr-provider-map", f"openai={place.upstream}/v1"]
    only = ["--vcr-ci-mode", "true"] if playing else []
    return [place.python("ddapm-test-agent"), "--host", "127.0.0.1", *ports, *quiet, *tapes, *only]


def mitmproxy(place: Place, playing: bool) -> list[str]:
    """A reverse proxy; when it plays, one that never connects."""
    tape = str(place.tape / "flows")
    sets = [f"confdir={place.home / 'conf'}"]
    if playing:
        sets += ["server_replay_reuse=true", "server_replay_extra=kill", "connection_strategy=lazy"]
    listening = ["--mode", f"reverse:{place.upstream}", "--listen-host", "127.0.0.1", "-p", str(place.port)]
    tapes = ["--server-replay" if playing else "-w", tape]
    return [place.python("mitmdump"), "-q", *listening, *tapes, *(word for one in sets for word in ("--set", one))]


def aimock(place: Place, playing: bool) -> list[str]:
    """The older of its two commands, which records."""
    program = place.node("@copilotkit/aimock/dist/cli.js")
    how = ["--strict", "--chunk-size", str(_PIECE)] if playing else ["--record", "--provider-openai", place.upstream]
    return ["node", program, "-p", str(place.port), "-f", str(place.tape), "--log-level", "silent", *how]


def talkback(place: Place, playing: bool) -> list[str]:
    """A library: this is the program."""
    options = {
        "host": place.upstream,
        "port": place.port,
        "path": str(place.tape),
        "record": "DISABLED" if playing else "NEW",
        "silent": True,
        "summary": False,
    }
    program = "require(process.argv[1])(JSON.parse(process.argv[2])).start()"
    return ["node", "-e", program, place.node("talkback"), json.dumps(options)]


def wiremock(place: Place, playing: bool) -> list[str]:
    """The jar, as its npm package has it, with what its documentation advises for load tests."""
    (jar,) = Path(place.node("wiremock/build")).glob("*.jar")
    fast = ["--no-request-journal", "--disable-request-logging", "--disable-gzip", "--disable-response-templating"]
    where = ["--root-dir", str(place.tape), "--bind-address", "127.0.0.1", "--port", str(place.port)]
    return ["java", "-jar", str(jar), "--disable-banner", *fast, *where]


def recorded(peer: Peer, place: Place, one: Interaction, request: Path) -> None:
    """Let it record the answer to `request`."""
    with serving(peer.command(place, False), place.port):
        ask(place.port, request)
        until = time.monotonic() + _WRITTEN_S
        while not written(place.tape) and time.monotonic() < until:
            time.sleep(0.05)
    if not written(place.tape):
        raise Refused("it has recorded nothing")


def written(folder: Path) -> bool:
    """Whether there is a file in it with something in it."""
    return any(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def stubbed(peer: Peer, place: Place, one: Interaction, request: Path) -> None:
    """A stub of WireMock that has the body in it: what its recorder writes lies in a file that is read every time."""
    asked = {"method": "POST", "url": TARGET, "bodyPatterns": [{"equalToJson": one.request.body.decode()}]}
    head = one.response.head
    answer = {"status": head.status, "headers": dict(head.headers), "body": one.response.body.decode()}
    (place.tape / "mappings").mkdir()
    (place.tape / "mappings" / "one.json").write_text(json.dumps({"request": asked, "response": answer}))


class Peer(NamedTuple):
    """One of the others: `bar` is what ours should be over it, `warm_s` seconds of load before it is measured."""

    name: str
    bar: str
    install: Callable[[Path, Sequence[str]], list[Sequence[str]]]
    requirements: tuple[str, ...]
    command: Callable[[Place, bool], list[str]]
    tape: Callable[[Peer, Place, Interaction, Path], None] = recorded
    needs: tuple[str, ...] = ()
    target: str = TARGET
    warm_s: float = 0.0


_WIREMOCK = Peer("WireMock", ">= 4", from_npm, ("wiremock@3.13.2",), wiremock, stubbed, ("npm", "java"))
#: V8 and Java compile what runs often: Java is another server after a minute than in the seconds that tests take.
PEERS = (
    Peer("reel-vcr", ">= 4", from_pypi, ("reel-vcr==0.1.0",), reel),
    Peer(
        "ddapm-test-agent",
        ">= 4",
        from_pypi,
        ("ddapm-test-agent==1.69.1",),
        datadog,
        target="/vcr/openai/chat/completions",
    ),
    Peer(
        "mitmproxy",
        ">= 4",
        from_pypi,
        ("mitmproxy==11.0.2; python_version<'3.12'", "mitmproxy==12.2.3; python_version>='3.12'"),
        mitmproxy,
    ),
    Peer("aimock", ">= 4", from_npm, ("@copilotkit/aimock@1.43.0",), aimock, needs=("npm", "node"), warm_s=5.0),
    _WIREMOCK,
    _WIREMOCK._replace(name="WireMock after a minute of load", warm_s=60.0),
    Peer("talkback", "> 1", from_npm, ("talkback@4.2.0",), talkback, needs=("npm", "node"), warm_s=5.0),
)


def measure(report: Report, rounds: int, seconds: float) -> None:
    """Add the figures of all of them to `report`."""
    stream = streamed(1)
    # Some decide by the request whether it is a stream.
    body = json.dumps({**json.loads(stream.request.body), "stream": True}).encode()
    stream = Interaction(stream.request._replace(body=body), stream.response)
    for kind, one in (("JSON", plain(1)), ("stream", stream)):
        with ExitStack() as stack:
            our = ours(stack, write(CACHE / f"peers-{kind}.yaml", iter([one])))
            for peer in PEERS:
                try:
                    compare(report, f"{kind}: ", peer, our, one, rounds, seconds)
                except Refused as why:
                    report.skip(f"{kind}: {peer.name}", str(why))


def compare(report: Report, kind: str, peer: Peer, our: Server, one: Interaction, rounds: int, seconds: float) -> None:
    """One of them and `our` server, in turn. Raises Refused."""
    home = installed(peer)
    ours_asked = requests(CACHE / "ours.requests", [one.request.body], TARGET)
    asked = requests(CACHE / "peer.requests", [one.request.body], peer.target)
    tape = CACHE / "peer"
    shutil.rmtree(tape, ignore_errors=True)
    tape.mkdir(parents=True)
    place = Place(home, tape, free_port(), f"http://127.0.0.1:{our.port}")
    peer.tape(peer, place, one, asked)
    with serving(peer.command(place, True), place.port) as server:
        answer = ask(server.port, asked)
        if answer.status != 200 or said(answer.body) != said(one.response.body):
            raise Refused(f"it answers {answer.status} {answer.body[:200]!r}")
        loads: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}

        def rate(name: str, server: Server, path: Path) -> float:
            before = server.cpu_s()
            loads[name].append(load(server.port, "rate", CONNECTIONS, seconds, path))
            loads[name][-1]["cpu_s"] = server.cpu_s() - before
            return loads[name][-1]["rate"]

        if peer.warm_s:
            load(server.port, "rate", CONNECTIONS, peer.warm_s, asked)
        both = {"ours": partial(rate, "ours", our, ours_asked), "theirs": partial(rate, "theirs", server, asked)}
        seen = alternating(both, rounds)
    # The first round is not counted.
    costs = {name: Figure([one["cpu_s"] / one["answers"] for one in each[1:]]) for name, each in loads.items()}
    chunks = round(loads["theirs"][-1]["frames"] / loads["theirs"][-1]["answers"])
    report.add(f"{kind}{peer.name}", seen["theirs"], "answers/s")
    report.add(f"{kind}ours over {peer.name}", ratio(seen["ours"], seen["theirs"]), "x", peer.bar)
    report.add(f"{kind}{peer.name} over ours, processor time an answer", ratio(costs["theirs"], costs["ours"]), "x")
    if changes := changed(answer, one, chunks):
        report.figures[f"{kind}{peer.name}"]["changes"] = changes
        report.say(f"| {kind}{peer.name} changes the answer | {'; '.join(changes)} | | |")


def installed(peer: Peer) -> Path:
    """Where it is installed, now at the latest. Raises Refused."""
    for program in peer.needs:
        if not shutil.which(program):
            raise Refused(f"there is no {program} here")
    home = HOMES / peer.command.__name__
    marker, versions = home / ".installed", "\n".join(peer.requirements)
    if marker.exists() and marker.read_text() == versions:
        return home
    shutil.rmtree(home, ignore_errors=True)
    for command in peer.install(home, peer.requirements):
        ran = subprocess.run(command, capture_output=True, text=True)
        if ran.returncode:
            errors = [line for line in ran.stderr.splitlines() if "error" in line.lower()]
            raise Refused(f"it could not be installed: {errors[0] if errors else ran.returncode}")
    marker.write_text(versions)
    return home


def ask(port: int, request: Path) -> Answer:
    """Send what the load client will send, and read the answer. Raises Refused."""
    try:
        with socket.create_connection(("127.0.0.1", port), 30) as one:
            one.sendall(request.read_bytes()[4:])
            answer = http.client.HTTPResponse(one, method="POST")
            answer.begin()
            return Answer(answer.status, tuple(answer.getheaders()), answer.read())
    except (OSError, http.client.HTTPException) as why:
        raise Refused(f"it does not answer: {why!r}") from why


def said(body: bytes) -> str:
    """The text of an answer, however it is spelled; "" where there is none."""
    try:
        if not body.startswith(b"data:"):
            return str(json.loads(body)["choices"][0]["message"]["content"])
        events = [json.loads(line[5:]) for line in body.splitlines() if line.startswith(b"data: {")]
        return "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    except (ValueError, LookupError, TypeError):
        return ""


def changed(answer: Answer, one: Interaction, chunks: int) -> list[str]:
    """In which ways `answer`, in about so many chunks, is not what was recorded."""
    response, changes = one.response, []
    if answer.body != response.body:
        changes.append(f"a body of {len(answer.body):,} bytes for {len(response.body):,}")
    if len(response.frames) > 1 and chunks <= 1:
        changes.append("the stream in one piece")
    now = {(name.lower(), value) for name, value in answer.headers}
    if lost := [name for name, value in response.head.headers if (name.lower(), value) not in now]:
        changes.append(f"other or no {', '.join(lost)}" if len(lost) < 3 else f"{len(lost)} headers other or none")
    return changes
