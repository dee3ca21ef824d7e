"""Big libraries, and starting: `python benchmarks/library.py [--recordings N]`.

A library of 100,000 recordings, about 1 GB, in a thousand files: from the start of the process to its first answer,
the first time ever and afterwards; memory; the first match of a recording that nobody asked for yet. Beside the time
stands that of the processors, of all processes together, which says the same on a machine that others keep busy. And
the start of a small one, compared with an aiohttp hello world, and `--help`.
"""

from __future__ import annotations

import argparse
import http.client
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from measuring import CACHE, COMMAND, Figure, Report, Server, alternating, free_port, ratio, serving
from tapes import asked, library, plain, write

HERE = Path(__file__).parent
EACH = 100
UNSEEN = 200


def ask(port: int, body: bytes) -> float:
    """Milliseconds to a whole answer, on a connection of its own."""
    start = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"the answer was {answer.status}")
    return (time.perf_counter() - start) * 1e3


def start(stack: ExitStack, command: list[str], port: int, body: bytes, cache: Path) -> tuple[float, Server]:
    """Seconds from the start of the process to its first answer, and the server."""
    began = time.perf_counter()
    server = stack.enter_context(serving(command, port, 600, {"XDG_CACHE_HOME": str(cache)}))
    ask(port, body)
    return time.perf_counter() - began, server


def spent(server: Server) -> float:
    """Seconds of processor time so far, that of the processes it has started and seen end included."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def small(command: list[str], body: bytes, rounds: list[int]) -> float:
    """One start of a small server, in ms."""
    port = free_port()
    with ExitStack() as stack:
        seconds, _ = start(stack, [*command, str(port)], port, body, CACHE / "small")
    return seconds * 1e3


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recordings", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    report = Report("library")
    report.say("| start | median (from to) | unit | bar |\n| --- | --- | --- | --- |")

    tape = write(CACHE / "JSON.yaml", iter([plain(1)]))
    ours = [COMMAND, "play", str(tape), "--quiet", "--port"]
    hello = [sys.executable, str(HERE / "references.py"), "hello"]
    seen = alternating(
        {"ours": lambda: small(ours, asked(1), []), "hello world": lambda: small(hello, asked(1), [])}, options.rounds
    )
    report.add("small: to the first answer", seen["ours"], "ms")
    report.add("aiohttp hello world", seen["hello world"], "ms")
    report.add("small: ours over hello world", ratio(seen["ours"], seen["hello world"]), "x", "<= 1.5")
    helped: list[float] = []
    for _ in range(options.rounds):
        began = time.perf_counter()
        subprocess.run([COMMAND, "--help"], check=True, capture_output=True)
        helped.append((time.perf_counter() - began) * 1e3)
    report.add("--help", Figure(helped), "ms", "<= 150")

    folder, cache = CACHE / f"library-{options.recordings}", CACHE / "index"
    if not folder.exists():
        library(folder, options.recordings // EACH, EACH)
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    report.say(f"| the library: {options.recordings:,} recordings | {size:,.0f} | MB | |")
    shutil.rmtree(cache, ignore_errors=True)
    last = options.recordings - 1
    for name, bar, rounds in (("cold", "<= 60", 1), ("warm", "<= 2", options.rounds)):
        starts, processors, memory, unseen, unseen_processors = [], [], [], [], []
        for _ in range(rounds):
            with ExitStack() as stack:
                port = free_port()
                command = [COMMAND, "play", str(folder), "--quiet", "--port", str(port)]
                seconds, server = start(stack, command, port, asked(last, 250), cache)
                starts.append(seconds)
                processors.append(spent(server))
                numbers = range(1, options.recordings - 1, max(1, options.recordings // UNSEEN))
                unseen += [ask(port, asked(number, 250)) for number in numbers]
                unseen_processors.append((spent(server) - processors[-1]) * 1e3 / len(numbers))
                memory.append(server.rss_mb())
        report.add(f"{name}: to the first answer", Figure(starts), "s", bar)
        report.add(f"{name}: processors until then", Figure(processors), "s")
        report.add(f"{name}: memory", Figure(memory), "MB", "<= 300")
        report.add(f"{name}: a recording nobody asked for yet", Figure(unseen), "ms", "<= 5")
        report.add(f"{name}: processors for it", Figure(unseen_processors), "ms")
    report.write()
    if "KEEP" not in os.environ:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
