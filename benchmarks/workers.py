"""What more processes bring, and what shared positions cost: `python benchmarks/workers.py [--rounds N] [--seconds S]`.

JSON answers over 64 connections that are kept. One process alone, one and two workers that share positions, and, where
there is a redis-server, one process whose positions are in it. The load client needs a core as well: with two of them,
two workers cannot be twice as fast, and the report says how much of the machine was anybody's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
from contextlib import ExitStack

from measuring import (
    CACHE,
    COMMAND,
    Figure,
    Refused,
    Report,
    Server,
    alternating,
    free_port,
    load,
    ratio,
    requests,
    serving,
)
from tapes import asked, plain, write


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    report = Report("workers")
    one = requests(CACHE / "one.requests", [asked(1)])
    tape = write(CACHE / "workers.yaml", iter([plain(1)]))
    report.say(f"cores: {len(os.sched_getaffinity(0))}; load when it began: {os.getloadavg()[0]:.1f}\n")
    report.say("| played | median (from to) | unit | bar |\n| --- | --- | --- | --- |")
    with ExitStack() as stack:

        def player(*more: str) -> Server:
            port = free_port()
            return stack.enter_context(serving([COMMAND, "play", str(tape), "--port", str(port), "-q", *more], port))

        servers = {"one process": player(), "two workers": player("--workers", "2")}
        if program := shutil.which("redis-server"):
            port, folder = free_port(), stack.enter_context(tempfile.TemporaryDirectory())
            command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
            redis = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            stack.callback(redis.wait)
            stack.callback(redis.kill)
            servers["one process, Redis"] = player("--state", f"redis://127.0.0.1:{port}/0")

        spent: dict[str, list[float]] = {name: [] for name in servers}

        def rate(name: str, server: Server) -> float:
            before = server.cpu_s()
            seen = load(server.port, "rate", 64, options.seconds, one)
            spent[name].append((server.cpu_s() - before) / seen["answers"] * 1e6)
            return seen["rate"]

        try:
            seen = alternating(
                {name: lambda name=name, one=one: rate(name, one) for name, one in servers.items()}, options.rounds
            )
        except Refused as why:
            report.skip("workers", str(why))
        else:
            alone, alone_spent = seen["one process"], Figure(spent["one process"])
            for name, figure in seen.items():
                report.add(name, figure, "answers/s")
                report.add(f"{name}, processor time", Figure(spent[name]), "µs an answer")
                if name != "one process":
                    bar = ">= 1.7" if name == "two workers" else ""
                    report.add(f"{name} over one process", ratio(figure, alone), "x", bar)
                    report.add(f"{name} over one process, processor time", ratio(Figure(spent[name]), alone_spent), "x")
    report.write()


if __name__ == "__main__":
    main()
