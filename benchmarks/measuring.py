"""What the benchmarks share: servers as processes of their own, the load client, rounds that alternate, honest figures.

Every figure is the minimum, median and maximum of its rounds, and every claim a ratio between two that were measured
in turn, in one run, on one machine. A round is refused where the load client was the bottleneck, or where the host
took the processors away.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
CACHE = HERE.parent / ".cache" / "bench"
COMMAND = str(Path(sys.executable).with_name("openai-replay"))
#: Shares of the wall time from which a round says more of the client, or of the host, than of the server.
_BUSY, _STOLEN = 0.9, 0.03
#: Rounds that may be refused before a figure is.
_TRIES = 3


class Refused(Exception):
    """A figure that would not be one of the server."""


class Figure(NamedTuple):
    """The rounds of one thing, in one unit."""

    rounds: list[float]

    @property
    def median(self) -> float:
        """The one to quote."""
        return statistics.median(self.rounds)

    def __str__(self) -> str:
        return f"{shown(self.median)} ({shown(min(self.rounds))} to {shown(max(self.rounds))})"


def shown(number: float) -> str:
    """Three digits that count."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def load_client() -> str:
    """The load client, compiled when its source is newer."""
    program, source = CACHE / "load", HERE / "load.c"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cc", "-O2", "-o", str(program), str(source)], check=True)
    return str(program)


def requests(path: Path, bodies: Sequence[bytes], target: str = "/v1/chat/completions") -> Path:
    """A file of requests for the load client."""
    with path.open("wb") as file:
        for body in bodies:
            head = (
                f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer sk-test\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            file.write(struct.pack("<I", len(head) + len(body)) + head.encode() + body)
    return path


def load(port: int, *arguments: object) -> dict[str, float]:
    """One round of the load client. Raises Refused."""
    for _ in range(_TRIES):
        ran = subprocess.run([load_client(), str(port), *map(str, arguments)], capture_output=True, text=True)
        if ran.returncode:
            raise Refused(ran.stderr.strip())
        seen: dict[str, float] = json.loads(ran.stdout)
        if seen["busy"] < _BUSY and seen["stolen"] < _STOLEN:
            return seen
    raise Refused(
        f"the load client was busy for {seen['busy']:.0%} of the time, the host took away {seen['stolen']:.0%}"
    )


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class Server(NamedTuple):
    """A server that answers on `port`."""

    port: int
    process: subprocess.Popen[bytes]

    def rss_mb(self) -> float:
        """Memory of the process and its children now, in MB."""
        mine = [self.process.pid, *children(self.process.pid)]
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in mine)
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def cpu_s(self) -> float:
        """Seconds of processor time so far, of the process and its children now."""
        mine = [self.process.pid, *children(self.process.pid)]
        fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in mine]
        return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """The processes that `pid` has started."""
    found = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(one) for one in found.read_text().split()] if found.exists() else []


@contextmanager
def serving(
    command: Sequence[str], port: int, patience_s: float = 120.0, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run `command` until something answers on `port`, and for the length of the block."""
    # Compiled modules are kept, as they are on the machines of users.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with (CACHE / "server.log").open("ab") as log:
        process = subprocess.Popen(
            list(command), stdout=log, stderr=log, env={**inherited, **(environment or {})}, start_new_session=True
        )
    try:
        wait_until_open(port, process, patience_s)
        yield Server(port, process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_open(port: int, process: subprocess.Popen[bytes], patience_s: float) -> None:
    """Return once `port` takes connections."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        if process.poll() is not None:
            raise Refused(f"{process.args!r} ended with {process.returncode}; see {CACHE / 'server.log'}")
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.005)
    raise Refused(f"{process.args!r} did not listen within {patience_s:g} s")


def alternating(things: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Figure]:
    """Measure all `things` in turn, `rounds` times, after one round that is not counted."""
    seen: dict[str, list[float]] = {name: [] for name in things}
    for number in range(rounds + 1):
        for name, measure in things.items():
            value = measure()
            if number:
                seen[name].append(value)
    return {name: Figure(values) for name, values in seen.items()}


def ratio(one: Figure, other: Figure) -> Figure:
    """`one` over `other`, round by round."""
    return Figure([a / b for a, b in zip(one.rounds, other.rounds, strict=True)])


class Report:
    """Lines for people, and the same as JSON."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.figures: dict[str, Any] = {}
        self.lines: list[str] = []

    def add(self, name: str, figure: Figure, unit: str, bar: str = "") -> None:
        """A figure, and what it should be."""
        self.figures[name] = {
            "unit": unit,
            "min": min(figure.rounds),
            "median": figure.median,
            "max": max(figure.rounds),
            "bar": bar,
        }
        self.say(f"| {name} | {figure} | {unit} | {bar} |")

    def skip(self, name: str, why: str) -> None:
        """A figure that there is not, and why."""
        self.figures[name] = {"skipped": why}
        self.say(f"| {name} | skipped: {why} | | |")

    def say(self, line: str) -> None:
        """A line for people."""
        self.lines.append(line)
        print(line, flush=True)

    def write(self) -> None:
        """Keep what was measured beside the others'."""
        CACHE.mkdir(parents=True, exist_ok=True)
        (CACHE / f"{self.name}.json").write_text(json.dumps(self.figures, indent=2) + "\n", "utf-8")
