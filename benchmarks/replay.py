"""How many answers a second are played: `python benchmarks/replay.py [--rounds N] [--seconds S] [--peers]`.

JSON answers of 889 bytes and streams of 100 frames, at once, over 32 connections that are kept, the key made from the
body. Compared in alternating rounds with aiohttp's own servers that answer a constant, on asyncio's loop and uvloop's,
and, with `--peers`, with other recorders.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

from measuring import CACHE, COMMAND, Refused, Report, Server, alternating, free_port, load, ratio, requests, serving
from tapes import asked, plain, streamed, write

HERE = Path(__file__).parent
#: Ours without uvloop, where it is installed.
WITHOUT = "import sys; sys.modules['uvloop'] = None; from openai_replay.cli.root import main; main()"
SIZES = (10, 1_000, 100_000)
#: Seconds in which a tape of 100,000 streams, 3 GB, is read for the first time on a machine that has others to serve.
_PATIENCE_S = 900.0


def ours(stack: ExitStack, tape: Path, *, uvloop: bool = True) -> Server:
    """`openai-replay play`."""
    port = free_port()
    command = [COMMAND] if uvloop else [sys.executable, "-c", WITHOUT]
    command += ["play", str(tape), "--port", str(port), "--quiet"]
    return stack.enter_context(serving(command, port, _PATIENCE_S, {"XDG_CACHE_HOME": str(CACHE / "index")}))


def reference(stack: ExitStack, name: str, *, uvloop: bool = True) -> Server:
    """One of references.py."""
    port = free_port()
    command = [sys.executable, str(HERE / "references.py"), name, str(port), *(["uvloop"] if uvloop else [])]
    return stack.enter_context(serving(command, port))


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--peers", action="store_true", help="measure other recorders, too")
    options = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    report = Report("replay")
    one = requests(CACHE / "one.requests", [asked(1)])

    def rate(server: Server) -> float:
        return load(server.port, "rate", 32, options.seconds, one)["rate"]

    report.say("| played | median (from to) | unit | bar |\n| --- | --- | --- | --- |")
    for kind, make, bare, bar in (("JSON", plain, "handler", 1.2), ("stream", streamed, "stream", 0.9)):
        with ExitStack() as stack:
            tape = write(CACHE / f"{kind}.yaml", iter([make(1)]))
            servers = {"ceiling of the client": reference(stack, "raw")}
            for loop in (False, True):
                name = "uvloop" if loop else "asyncio"
                servers[f"{bare}, {name}"] = reference(stack, bare, uvloop=loop)
                servers[f"ours, {name}"] = ours(stack, tape, uvloop=loop)
            try:
                seen = alternating({name: lambda one=one: rate(one) for name, one in servers.items()}, options.rounds)
            except Refused as why:
                report.skip(kind, str(why))
                continue
            for name, figure in seen.items():
                report.add(f"{kind}: {name}", figure, "answers/s")
            for name in ("asyncio", "uvloop"):
                times = ratio(seen[f"ours, {name}"], seen[f"{bare}, {name}"])
                report.add(f"{kind}: ours over {bare}, {name}", times, "x", f">= {bar}")
        with ExitStack() as stack:
            servers = {}
            try:
                for size in SIZES:
                    # The one that is asked for is in the middle.
                    numbers = list(range(2, size + 1))
                    numbers.insert(size // 2, 1)
                    path = CACHE / f"{kind}-{size}.yaml"
                    stack.callback(path.unlink, missing_ok=True)
                    tape = write(path, (make(number) for number in numbers))
                    servers[f"{size:,} recordings"] = ours(stack, tape)
                seen = alternating({name: lambda one=one: rate(one) for name, one in servers.items()}, options.rounds)
            except Refused as why:
                report.skip(f"{kind}: many recordings", str(why))
                continue
            first = seen[f"{SIZES[0]:,} recordings"]
            for name, figure in seen.items():
                report.add(f"{kind}: {name}", figure, "answers/s")
                report.add(f"{kind}: {name} over {SIZES[0]}", ratio(figure, first), "x", ">= 0.9")
    if options.peers:
        import peers

        peers.measure(report, options.rounds, options.seconds)
    report.write()


if __name__ == "__main__":
    main()
