"""How late paced frames are: `python benchmarks/pacing.py [--rounds N]`.

Streams of 100 frames, 20 ms apart, started all at once and spread over two seconds; the error of every frame's arrival
against its instant, counted from when its request was sent. Compared in the same run with the barest loops there are:
a C program on epoll, one timerfd under uvloop with callbacks, and a timer a stream under asyncio and uvloop.
"""

from __future__ import annotations

import argparse
import subprocess
from contextlib import ExitStack
from pathlib import Path

from measuring import CACHE, COMMAND, Figure, Refused, Report, Server, free_port, load, requests, serving
from replay import reference
from tapes import asked, streamed, write

STREAMS = (1, 50, 500, 1_000, 2_000)
SPREAD_MS = {"at once": 0, "spread": 2_000}
HERE = Path(__file__).parent


def in_c(stack: ExitStack) -> Server:
    """pace.c: one epoll loop, one heap."""
    program, source = CACHE / "pace", HERE / "pace.c"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["cc", "-O2", "-o", str(program), str(source)], check=True)
    port = free_port()
    return stack.enter_context(serving([str(program), str(port)], port))


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    report = Report("pacing")
    one = requests(CACHE / "one.requests", [asked(1)])
    tape = write(CACHE / "stream.yaml", iter([streamed(1)]))
    report.say("| lateness, ms | median (from to) | unit | bar |\n| --- | --- | --- | --- |")
    with ExitStack() as stack:
        port = free_port()
        command = [COMMAND, "play", str(tape), "--pace", "original", "--port", str(port), "--quiet"]
        servers = {
            "C": in_c(stack),
            "timerfd, uvloop": reference(stack, "timerfd"),
            "a timer a stream, asyncio": reference(stack, "sleep", uvloop=False),
            "a timer a stream, uvloop": reference(stack, "sleep"),
            "ours": stack.enter_context(serving(command, port)),
        }
        for how, spread in SPREAD_MS.items():
            for streams in STREAMS:
                late: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in servers}
                for _ in range(options.rounds):
                    for name, server in servers.items():
                        try:
                            seen = load(server.port, "streams", streams, spread, one, 0, 20, 100)
                        except Refused as why:
                            report.skip(f"{streams} {how}: {name}", str(why))
                            continue
                        late[name][0].append(seen["p50_ms"])
                        late[name][1].append(seen["p99_ms"])
                for at, quantile in enumerate(("p50", "p99")):
                    figures = {name: Figure(rounds[at]) for name, rounds in late.items() if rounds[at]}
                    best = min((one.median for name, one in figures.items() if name != "ours"), default=0.0)
                    for name, figure in figures.items():
                        bar = f"<= {1.5 * best:.2f}" if name == "ours" else ""
                        report.add(f"{streams} {how}, {quantile}: {name}", figure, "ms", bar)
    report.write()


if __name__ == "__main__":
    main()
