"""Several processes on one port: what one would play, all of them together play."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from openai_replay.journal.exchanges import Outcome
from openai_replay.server.cluster.shared_memory import Counts, PositionTable, SharedPositions
from tests.cassette.test_positions import A, holds_the_rules
from tests.support.proxy import CHAT, PATIENCE_S, Heard, Over, Process, cassette, command, invoke, item, run

pytestmark = pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="this system has no SO_REUSEPORT")

EACH = 60  # recordings of one request


def numbered(path: Path, count: int = EACH, prompt: str = "hello") -> Path:
    return cassette(path, *(item(f'{{"said": {number}}}', prompt=prompt) for number in range(count)))


def children(process: Process) -> list[int]:
    """The workers, by process."""
    pids = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in pids]


def is_there(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def gone(pids: Iterable[int]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while any(map(is_there, pids)):
            await asyncio.sleep(0.01)


async def many(process: Process, count: int, prompt: str = "hello") -> list[Heard | BaseException]:
    """Ask so often at once, over a connection each."""
    return await asyncio.gather(
        *(process.ask("POST", CHAT, prompt) for _ in range(count)),
        return_exceptions=True,
    )


def said(heard: Iterable[Heard | BaseException]) -> list[int]:
    return sorted(response.json["said"] for response in heard if isinstance(response, Heard) and response.status == 200)


async def test_shared_positions_hold_the_rules() -> None:
    await holds_the_rules(SharedPositions(PositionTable(10), "tape"))


async def test_what_one_takes_the_other_sees_and_tapes_are_apart() -> None:
    table = PositionTable(10)
    first, second, unrelated = SharedPositions(table, "t"), SharedPositions(table, "t"), SharedPositions(table, "u")
    assert [await first.claim(A, None), await second.claim(A, None), await unrelated.claim(A, None)] == [0, 1, 0]
    assert first.is_played(A, 1)
    await second.rewind()
    assert not first.is_played(A, 0)
    assert [await first.claim(A, None), await unrelated.claim(A, None)] == [0, 1]


async def test_a_table_has_room_for_what_it_was_made_for() -> None:
    positions = SharedPositions(PositionTable(0), "tape")
    for number in range(20_000):
        assert await positions.claim(number.to_bytes(16, "big"), 1) == 0
    assert all(positions.is_played(number.to_bytes(16, "big"), 0) for number in range(0, 20_000, 97))


#: Takes of several processes at once, and of processes that are killed while they take.
HAMMER = """
import asyncio, os, signal, time
from openai_replay.server.cluster.shared_memory import PositionTable, SharedPositions

KEY, EACH, PROCESSES = b"k" * 16, 30_000, 3
table = PositionTable(10)
positions = SharedPositions(table, "tape")

async def take(count):
    return [await positions.claim(KEY, None) for _ in range(count)]

def forked(work):
    pid = os.fork()
    if not pid:
        work()
        os._exit(0)
    return pid

for pid in [forked(lambda: asyncio.run(take(EACH))) for _ in range(PROCESSES)]:
    assert os.waitpid(pid, 0)[1] == 0
[turn] = asyncio.run(take(1))
assert turn == EACH * PROCESSES, turn
for number in range(20):
    pid = forked(lambda: asyncio.run(take(10**9)))
    before = turn
    while asyncio.run(take(1))[0] < before + 2:
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    one, turn = asyncio.run(take(2))
    assert turn == one + 1
"""


def test_no_turn_is_taken_twice_and_nobody_waits_for_the_dead() -> None:
    subprocess.run([sys.executable, "-c", HAMMER], check=True, timeout=3 * PATIENCE_S)


def test_counts_of_all_workers() -> None:
    counts = Counts(3)
    for worker, outcome in ((0, Outcome.PLAYED), (2, Outcome.PLAYED), (1, Outcome.MISSED)):
        counts.add(worker, outcome)
    assert {outcome: count for outcome, count in counts.total().items() if count} == {
        Outcome.PLAYED: 2,
        Outcome.MISSED: 1,
    }


async def test_every_recording_is_played_once_and_the_verdict_is_that_of_all(tmp_path: Path) -> None:
    tape = numbered(tmp_path / "tape.yaml")
    journal = tmp_path / "journal.jsonl"
    options = ("--workers", "3", "--on-exhausted", "error", "--strict", "--journal", journal)
    async with command("play", tape, *options) as process:
        assert process.stdout == process.base_url + "\n"
        ready = process.ready_file
        assert ready.exists()
        workers = children(process)
        assert len(workers) == 3
        heard = await many(process, EACH)
        assert said(heard) == list(range(EACH))
        assert (await process.ask("POST", CHAT, "hello")).status == 424
        assert await process.stop() == 1
        assert f"openai-replay: 0 recorded, {EACH} played, 1 missed - {tape}" in process.stderr
        assert "not played" not in process.stderr
        await gone(workers)
        assert journal.read_text().count('"outcome": "played"') == EACH
        assert not ready.exists()


async def test_what_no_worker_played_is_said_once(tmp_path: Path) -> None:
    tape = numbered(tmp_path / "tape.yaml", 4)
    async with command("play", tape, "--workers", "2", "--strict") as process:
        assert said(await many(process, 2)) == [0, 1]
        assert await process.stop() == 1
        assert "2 not played:" in process.stderr
        assert process.stderr.count(f"{tape}\n") == 3, "two recordings, and the last line"


async def test_a_rewind_at_one_worker_rewinds_all(tmp_path: Path) -> None:
    tape = numbered(tmp_path / "tape.yaml", 8)
    async with command("play", tape, "--workers", "4", "--on-exhausted", "error", "--strict") as process:
        for _ in range(3):
            assert said(await many(process, 8)) == list(range(8))
            assert (await process.ask("POST", "/@/rewind")).json == {"status": "ok"}
        assert said(await many(process, 8)) == list(range(8))
        assert await process.stop() == 0, process.stderr[-1000:]


async def test_names_of_a_folder_are_one_session_in_all_workers(tmp_path: Path) -> None:
    folder = tmp_path / "tapes"
    folder.mkdir()
    numbered(folder / "one.yaml", 12)
    numbered(folder / "other.yaml", 12)
    async with command("play", folder, "--workers", "2", "--on-exhausted", "error", "--strict") as process:
        for name in ("one", "other"):
            heard = await asyncio.gather(*(process.ask("POST", f"/@{name}{CHAT}", "hello") for _ in range(12)))
            assert said(heard) == list(range(12))
        assert await process.stop() == 0, process.stderr[-1000:]


async def test_what_one_worker_does_not_know_is_refused(tmp_path: Path) -> None:
    async with command("play", numbered(tmp_path / "tape.yaml", 1), "--workers", "2") as process:
        for method, path in (("GET", "/@/journal"), ("POST", "/@/sessions"), ("DELETE", "/@/sessions/a")):
            refused = await process.ask(method, path)
            assert (refused.status, refused.json["error"]["code"]) == (409, "one_process")
        assert "--journal FILE" in (await process.ask("GET", "/@/journal")).json["error"]["message"]
        assert "sessions" not in (await process.ask("GET", "/@/health")).json
        assert await process.stop() == 0
    async with command("play", tmp_path / "tape.yaml", "--workers", "1") as process:
        assert children(process) == [], "one worker is none"
        assert (await process.ask("GET", "/@/journal")).status == 200


async def test_kill_9_of_a_worker_loses_at_most_what_it_was_answering(tmp_path: Path) -> None:
    tape = numbered(tmp_path / "tape.yaml", 3 * EACH)
    async with command("play", tape, "--workers", "2", "--on-exhausted", "error") as process:
        victim = children(process)[0]
        load = [asyncio.create_task(many(process, EACH)) for _ in range(3)]
        await process.says("play    POST")
        os.kill(victim, signal.SIGKILL)
        heard = [response for group in await asyncio.gather(*load) for response in group]
        await process.says(f"Worker 1 (pid {victim}) was killed by SIGKILL. Restarting it.")
        lost = [response for response in heard if not isinstance(response, Heard)]
        assert all(isinstance(response, (Over, ConnectionError)) for response in lost), lost
        played = said(heard)
        assert len(set(played)) == len(played) == 3 * EACH - len(lost), "none was played twice"
        async with asyncio.timeout(PATIENCE_S):
            while len(children(process)) < 2:
                await asyncio.sleep(0.01)
        workers = children(process)
        assert victim not in workers
        assert (await process.ask("GET", "/@/health")).status == 200
        assert await process.stop() == 0, process.stderr[-1000:]
        await gone([victim, *workers])


async def test_a_worker_that_dies_at_once_again_and_again_ends_it_all(tmp_path: Path) -> None:
    folder = tmp_path / "journals"
    folder.mkdir()
    tape = numbered(tmp_path / "tape.yaml", 1)
    async with command("play", tape, "--workers", "2", "--journal", folder / "journal") as process:
        workers = children(process)
        (folder / "journal").unlink()
        folder.rmdir()
        os.kill(workers[1], signal.SIGKILL)
        assert await process.ended() == 1
        assert "exited with code 3 right after starting, 5 times in a row." in process.stderr
        await gone(workers)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_no_worker_outlives_its_supervisor(tmp_path: Path, number: signal.Signals) -> None:
    async with command("play", numbered(tmp_path / "tape.yaml", 1), "--workers", "2") as process:
        workers = children(process)
        assert await process.stop(number) == (-number if number is signal.SIGKILL else 0), process.stderr
        await gone(workers)


async def test_with_a_command(tmp_path: Path) -> None:
    tape = numbered(tmp_path / "tape.yaml", 1)
    ask = (
        "import json, os, sys, urllib.request as u; r = u.Request(os.environ['OPENAI_BASE_URL'] + '/chat/completions',"
        "data=b'\"hello\"', headers={'Content-Type': 'application/json'}); print(u.urlopen(r).read().decode());"
        "sys.exit(7)"
    )
    result = await run("play", tape, "--workers", "2", "--", "python3", "-c", ask)
    assert (result.code, result.stdout) == (7, '{"said": 0}\n')
    assert "0 recorded, 1 played" in result.stderr
    result = await run("play", tape, "--workers", "2", "--", "no-such-program")
    assert result.code == 3
    assert "Could not run 'no-such-program'" in result.stderr


async def test_what_cannot_start_is_said_once(tmp_path: Path) -> None:
    tape = numbered(tmp_path / "tape.yaml", 1)
    result = await run("play", tmp_path / "none.yaml", "--workers", "2")
    assert result.code == 3
    assert result.stderr.count("Error: ") == 1
    result = await run("play", tape, "--workers", "2", "--port", "0", "--journal", tmp_path / "no" / "journal")
    assert (result.code, result.stderr.count("Error: ")) == (3, 1)
    async with command("play", tape, "--workers", "2") as process:
        port = process.origin.rpartition(":")[2]
        result = await run("play", tape, "--workers", "2", "--port", port)
        assert result.code == 3
        assert f"Could not listen on 127.0.0.1:{port}: Address already in use" in result.stderr


@pytest.mark.parametrize("number", ["0", "-1", "1000", "two"])
def test_numbers_that_make_no_sense(tmp_path: Path, number: str) -> None:
    result = invoke("play", tmp_path, f"--workers={number}")
    assert result.code == 2
    assert "--workers" in result.stderr


def test_record_has_no_workers(tmp_path: Path) -> None:
    result = invoke("record", tmp_path / "tape.yaml", "--workers", "2")
    assert result.code == 2
    assert "--workers is only for `play`" in result.stderr
    assert not (tmp_path / "tape.yaml").exists()
