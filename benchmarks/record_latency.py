"""What recording adds to the first frame and to every frame: `python benchmarks/record_latency.py [--rounds N]`.

A paced server in C is the API: 100 frames, 10 ms apart, the first with the head after 50 ms. In alternating rounds a
client in C asks it directly, through a relay of aiohttp's server and client that does nothing else, and through
`openai-replay record`, which is started anew with a cassette of its own in every round. Every request is another one.

What is added is how late frames are beyond those of the direct way, as p50 and p99 of all frames of a round; ratios
are ours over the relay on the same event loop. Processor time counts all that is done for a stream, its end on the
tape included, and says the same on a busy machine.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from measuring import CACHE, COMMAND, Figure, Refused, Report, Server, free_port, load, ratio, requests, serving
from replay import WITHOUT
from tapes import asked

HERE = Path(__file__).parent
FRAMES, EVERY_MS, FIRST_MS = 100, 10, 50
#: Streams of one round, and the ms over which they begin.
CASES = {"1 stream": (1, 0), "50 streams, spread": (50, 1_000), "50 streams at once": (50, 0)}
#: What the load client says of a round, and what it is called here.
TIMES = {
    "first frame, p50": "first_p50_ms",
    "first frame, p99": "first_p99_ms",
    "every frame, p50": "p50_ms",
    "every frame, p99": "p99_ms",
}
PROCESSOR = "processor time a stream"
LOOPS = ("asyncio", "uvloop")
BAR = "<= 1.3"
_numbers = count()


def paced(stack: ExitStack) -> Server:
    """pace.c, as the API."""
    program, source = CACHE / "pace", HERE / "pace.c"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["cc", "-O2", "-o", str(program), str(source)], check=True)
    port = free_port()
    return stack.enter_context(serving([str(program), str(port), str(EVERY_MS), str(FIRST_MS)], port))


def relay(stack: ExitStack, upstream: str, loop: str) -> Server:
    """The bare relay."""
    port = free_port()
    command = [
        sys.executable,
        str(HERE / "references.py"),
        "relay",
        str(port),
        *(["uvloop"] if loop == "uvloop" else []),
    ]
    return stack.enter_context(serving([*command, upstream], port))


def recorder(stack: ExitStack, upstream: str, loop: str) -> Server:
    """`openai-replay record`, to a new cassette."""
    port = free_port()
    tape = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=CACHE)), "tape.yaml")
    command = [COMMAND] if loop == "uvloop" else [sys.executable, "-c", WITHOUT]
    return stack.enter_context(
        serving([*command, "record", str(tape), "--upstream", upstream, "--port", str(port), "--quiet"], port)
    )


def measured(server: Server, streams: int, spread_ms: int) -> dict[str, float]:
    """One round: `TIMES` in ms, and the processor time in ms a stream. Raises Refused."""
    path = requests(CACHE / "relayed.requests", [asked(next(_numbers)) for _ in range(streams)])
    before = server.cpu_s()
    seen = load(server.port, "streams", streams, spread_ms, path, FIRST_MS, EVERY_MS, FRAMES)
    times = {name: seen[said] for name, said in TIMES.items()}
    return {**times, PROCESSOR: (server.cpu_s() - before) / streams * 1000}


def a_round(
    upstream: Server, relays: dict[str, Server], loops: tuple[str, ...]
) -> dict[str, dict[str, dict[str, float]]]:
    """All cases, each by every way in turn. Raises Refused."""
    url = f"http://127.0.0.1:{upstream.port}"
    with ExitStack() as stack:
        ways = {"direct": upstream}
        for loop in loops:
            ways[f"relay, {loop}"] = relays[loop]
            ways[f"ours, {loop}"] = recorder(stack, url, loop)
        for server in ways.values():  # connections are made, and code is compiled
            measured(server, 50, 0)
        return {
            case: {way: measured(server, streams, spread) for way, server in ways.items()}
            for case, (streams, spread) in CASES.items()
        }


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loop", choices=LOOPS, action="append", help="on these event loops only")
    options = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    report = Report("record_latency")
    loops = tuple(options.loop or LOOPS)
    rounds: list[dict[str, dict[str, dict[str, float]]]] = []
    with ExitStack() as stack:
        upstream = paced(stack)
        relays = {loop: relay(stack, f"http://127.0.0.1:{upstream.port}", loop) for loop in loops}
        for number in range(1, options.rounds + 1):
            try:
                rounds.append(a_round(upstream, relays, loops))
            except Refused as why:
                report.skip(f"round {number}", str(why))
    report.say("| added | median (from to) | unit | bar |\n| --- | --- | --- | --- |")
    for case, (streams, _) in CASES.items() if rounds else ():
        for name in TIMES:
            direct = Figure([one[case]["direct"][name] for one in rounds])
            report.add(f"{case}, {name}: the client's own, direct", direct, "ms")
            for loop in loops:
                added = {
                    who: Figure([one[case][f"{who}, {loop}"][name] - one[case]["direct"][name] for one in rounds])
                    for who in ("relay", "ours")
                }
                for who, figure in added.items():
                    report.add(f"{case}, {name}: {who}, {loop}", figure, "ms")
                over = f"{case}, {name}: ours over relay, {loop}"
                if min(added["relay"].rounds) > 0:
                    report.add(over, ratio(added["ours"], added["relay"]), "x", BAR)
                else:
                    report.skip(over, "the machine was busy: the relay was faster than no relay")
        if streams > 1:  # the system counts in hundredths of a second
            for loop in loops:
                spent = {
                    who: Figure([one[case][f"{who}, {loop}"][PROCESSOR] for one in rounds]) for who in ("relay", "ours")
                }
                for who, figure in spent.items():
                    report.add(f"{case}, {PROCESSOR}: {who}, {loop}", figure, "ms")
                report.add(f"{case}, {PROCESSOR}: ours over relay, {loop}", ratio(spent["ours"], spent["relay"]), "x")
    report.write()


if __name__ == "__main__":
    main()
