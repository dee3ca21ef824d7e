"""What more processes bring, and what limits them: `python benchmarks/workers.py [--rounds N] [--seconds S]`.

Two kinds of requests over 64 connections that are kept: an agent's turns of 25 kB, each another one, so that every one
is read and the client's share is small; and one of 200 bytes, remembered, so that what each answer needs besides weighs
most. The client has a core. One process has another one; two workers have that one together, and two cores: of two in
all, one of them shares with the client. Then what two workers would do with a core each and one for the client is on
paper: twice as much, but for what an answer costs them more. Where there is a redis-server, it runs beside the client.

Then how often a second processes can take a position from one table, and how evenly connections fall on workers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from explain_cost import turn
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

from openai_replay.model import Interaction
from openai_replay.server.cluster.shared_memory import PositionTable, SharedPositions

CONNECTIONS = 64
#: Turns, asked one after the other over all rounds: more than two workers remember, which is 32 MB each.
MESSAGES, TURNS = 60, 5_000
KEY = b"key"
PROCESSES, WORKERS, TRIALS = (1, 2), (4, 8, 16, 32), 1_000


class Rounds:
    """The rounds of one kind of request, by server."""

    def __init__(self, asked: Path, seconds: float, store: Server | None) -> None:
        self._asked, self._seconds, self._store = asked, seconds, store
        self._seen: dict[str, list[dict[str, float]]] = {}
        self._asked_so_far: Counter[str] = Counter()

    def rate(self, name: str, server: Server) -> float:
        """Answers a second of one round. Raises Refused."""
        before, stored = server.cpu_s(), self._store.cpu_s() if self._store else 0
        seen = load(server.port, "rate", CONNECTIONS, self._seconds, self._asked, self._asked_so_far[name])
        self._asked_so_far[name] += int(seen["answers"]) + CONNECTIONS
        seen["server_s"] = server.cpu_s() - before
        seen["store_s"] = self._store.cpu_s() - stored if self._store else 0
        seen["client_s"] = seen["busy"] * seen["seconds"]
        self._seen.setdefault(name, []).append(seen)
        return seen["rate"]

    def server_us(self, name: str) -> Figure:
        """Processor time an answer of the server, in µs."""
        return self._us(name, "server_s")

    def store_us(self, name: str) -> Figure:
        """Of the Redis."""
        return self._us(name, "store_s")

    def client_us(self, name: str) -> Figure:
        """Of the client."""
        return self._us(name, "client_s")

    def _us(self, name: str, what: str) -> Figure:
        # The first round is not counted.
        return Figure([seen[what] / seen["answers"] * 1e6 for seen in self._seen[name][1:]])


def player(stack: ExitStack, *more: str) -> Server:
    """`openai-replay play` of both kinds, whoever asks for them."""
    short, long = plain(1), plain(2)
    long = Interaction(long.request._replace(body=turn(1, MESSAGES).body), long.response)
    tape, port = write(CACHE / "workers.yaml", iter([short, long])), free_port()
    command = [COMMAND, "play", str(tape), "--port", str(port), "--quiet", "--ignore", "/user", *more]
    return stack.enter_context(serving(command, port))


def store(stack: ExitStack) -> Server | None:
    """A Redis of our own that keeps nothing, where there is one."""
    program = shutil.which("redis-server")
    if not program:
        return None
    port, folder = free_port(), stack.enter_context(tempfile.TemporaryDirectory())
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
    return stack.enter_context(serving(command, port))


@contextmanager
def on(*cores: int) -> Iterator[None]:
    """What is started meanwhile runs on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def compare(report: Report, kind: str, path: Path, options: argparse.Namespace) -> None:
    """All kinds of players, with the requests of one kind. Raises Refused."""
    mine, first, *more = sorted(os.sched_getaffinity(0))
    second, free = (more[0], True) if more else (mine, False)
    two = "two workers, a core each" if free else "two workers, one beside the client"
    with ExitStack() as stack:
        with on(mine):
            redis = store(stack)
        with on(first):
            servers = {"one process": player(stack), "two workers, one core": player(stack, "--workers", "2")}
            if redis:
                servers["Redis"] = player(stack, "--state", f"redis://127.0.0.1:{redis.port}/0")
        with on(first, second):
            servers[two] = player(stack, "--workers", "2")
        rounds = Rounds(path, options.seconds, redis)
        with on(mine):
            measures = {name: partial(rounds.rate, name, one) for name, one in servers.items()}
            rates = alternating(measures, options.rounds)
    alone = rounds.server_us("one process")
    for name, rate in rates.items():
        spent = rounds.server_us(name)
        report.add(f"{kind}: {name}", rate, "answers/s")
        report.add(f"{kind}: {name}, processor time", spent, "µs an answer")
        if name != "one process":
            bar = ">= 1.7" if name == two and free else ""
            report.add(f"{kind}: {name} over one process", ratio(rate, rates["one process"]), "x", bar)
            report.add(f"{kind}: {name} over one process, processor time", ratio(spent, alone), "x")
    if redis:
        report.add(f"{kind}: the redis-server, processor time", rounds.store_us("Redis"), "µs an answer")
    client = rounds.client_us(two)
    report.add(f"{kind}: the client, processor time", client, "µs an answer")
    report.add(f"{kind}: the client over one process, processor time", ratio(client, alone), "x")
    if not free:
        together, beside = rounds.server_us("two workers, one core"), rounds.server_us(two)
        at_most = [2 * one / (each + asking) for one, each, asking in zip(alone[0], beside[0], client[0], strict=True)]
        report.add(
            f"{kind}: two workers, one beside the client, over one process, at most, on paper", Figure(at_most), "x"
        )
        paper = Figure([2 * one for one in ratio(alone, together).rounds])
        report.add(f"{kind}: two workers, a core each, over one process, on paper", paper, "x", ">= 1.7")


def take(table: PositionTable, until: float) -> None:
    """Take positions of one key until then."""

    async def taking() -> None:
        positions = SharedPositions(table, "tape")
        while time.monotonic() < until:
            for _ in range(100):
                await positions.claim(KEY, None)

    asyncio.run(taking())


def taken(processes: int, seconds: float) -> float:
    """Positions a second that so many processes take together."""
    table, until = PositionTable(1), time.monotonic() + seconds
    context = multiprocessing.get_context("fork")
    running = [context.Process(target=take, args=(table, until)) for _ in range(processes)]
    for one in running:
        one.start()
    for one in running:
        one.join()
    total = asyncio.run(SharedPositions(table, "tape").claim(KEY, None))
    assert total is not None
    return total / seconds


def evenness(connections: int, workers: int) -> Figure:
    """What the fleet does of what it would do with connections spread evenly, when its busiest worker is full and each
    connection asks as often as the others. The system spreads them by a hash: by chance.
    """
    chance = random.Random(connections * workers)
    busiest = (max(Counter(chance.choices(range(workers), k=connections)).values()) for _ in range(TRIALS))
    return Figure([connections / workers / one for one in busiest])


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    report = Report("workers")
    report.say(f"cores: {len(os.sched_getaffinity(0))}; load when it began: {os.getloadavg()[0]:.1f}\n")
    report.say("| played | median (from to) | unit | bar |\n| --- | --- | --- | --- |")
    base = json.loads(turn(1, MESSAGES).body)
    turns = [json.dumps({**base, "user": f"user-{number}"}).encode() for number in range(TURNS)]
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("this takes two cores")
    for kind, bodies in (("25 kB, each another", turns), ("200 bytes, remembered", [asked(1)])):
        try:
            compare(report, kind, requests(CACHE / "workers.requests", bodies), options)
        except Refused as why:
            report.skip(kind, str(why))
    for processes in PROCESSES:
        rounds = Figure([taken(processes, options.seconds) for _ in range(options.rounds)])
        report.add(f"positions in memory, taken by {processes} at once", rounds, "positions/s")
    for workers in WORKERS:
        for connections in (64, 256, 1_024):
            report.add(
                f"evenness of {connections:,} connections on {workers} workers", evenness(connections, workers), "x"
            )
    report.write()


if __name__ == "__main__":
    main()
