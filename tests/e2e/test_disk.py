"""The disk fails in the middle: the client gets its answer, everybody hears of it, and the cassette is what it was."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from openai_replay.cassette.cassette import Cassette
from openai_replay.config.rules import Rules
from openai_replay.errors import CassetteWriteError
from openai_replay.model import Frame, Head, Interaction, Request, Response
from tests.support.proxy import CHAT, Ended, Process, cassette, command, interactions, item, run
from tests.support.upstream import Upstream, plain

TEXT = [("content-type", "text/plain")]
LARGE = b"0123456789abcde\n" * 120_000
SMALL = b'{"said": "small"}'


@pytest.fixture
def disk() -> Iterator[Path]:
    """A disk of its own with a megabyte on it."""
    folder = Path(tempfile.mkdtemp(prefix="openai-replay-disk-"))
    mount = shutil.which("mount")
    mounted = (
        mount
        and not subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
        ).returncode
    )
    try:
        if not mounted:
            pytest.skip("only root may mount a small disk; what fails without one is tested below all the same")
        yield folder
    finally:
        if mounted:
            subprocess.run(["umount", "-l", folder], check=True)
        folder.rmdir()


def fill(folder: Path, leave: int = 0) -> Path:
    """Take all the disk has left but `leave` bytes."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    os.truncate(filler, max(0, filler.stat().st_size - leave))
    return filler


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


async def is_lost(process: Process, reason: str, target: str = "/v1/large", body: bytes = LARGE) -> None:
    """Ask for what cannot be kept: it comes whole, and is said to be lost."""
    heard = await process.ask("POST", target, {})
    assert (heard.body == body, heard.ended) == (True, Ended.COMPLETE), "the client gets its answer all the same"
    assert "LOST" in process.stderr
    assert f"could not add a recording: {reason}" in process.stderr


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as up:
        up.script("POST", "/v1/large", plain(LARGE, headers=TEXT))
        up.script("POST", "/v1/small", plain(SMALL))
        yield up


# ------------------------------------------------------------------------------------------------ a full disk


@pytest.mark.parametrize("before", ["nothing", "a cassette", "one of vcrpy"])
@pytest.mark.parametrize("session", [False, True], ids=["a cassette", "a folder"])
async def test_a_full_disk(disk: Path, upstream: Upstream, before: str, session: bool) -> None:
    tape = disk / "a.yaml"
    if before != "nothing":
        cassette(tape, item('{"said": 1}'))
    if before == "one of vcrpy":
        tape.write_text(tape.read_text().removeprefix("version: 1\n") + "version: 1\n")
    name = "/@a" if session else ""
    async with command("record", f"{disk}/" if session else tape, "--upstream", upstream.url, "-q") as process:
        if before != "nothing":  # `version` is moved before the list as the tape is opened
            assert (await process.ask("POST", name + CHAT, "hello")).json == {"said": 1}
        recorded = contents(disk)
        await is_lost(process, "No space left on device", f"{name}/v1/large")
        assert contents(disk) == recorded
        assert (await process.ask("POST", f"{name}/v1/small", {})).body == SMALL, "what fits is kept"
        assert await process.stop() == 1
        assert "1 lost" in process.stderr
    assert [interaction.request.path for interaction in interactions(tape)] == [
        *([CHAT] if before != "nothing" else []),
        "/v1/small",
    ]


def test_wherever_the_disk_gets_full_the_file_is_as_before(disk: Path) -> None:
    """Behind the gap, in the gap, or not at all: the two writes of an item may each find no space."""
    tape = disk / "a.yaml"
    body = b"line of text\n" * 2500
    request = Request("POST", f"https://h{CHAT}", (), b"")
    large = Interaction(request, Response(Head(200, "OK", (("content-type", "text/plain"),)), 1, (Frame(2, body),), 3))
    cassette(tape, item('{"said": 1}'))
    before = tape.read_bytes()
    outcomes = []
    for pages in range(20):
        filler = fill(disk, leave=pages * 4096)
        writer = Cassette.for_record(tape, Rules().key)
        try:
            writer.append(large)
        except CassetteWriteError:
            outcomes.append("as before")
            assert tape.read_bytes() == before
        else:
            outcomes.append("whole")
            assert [interaction.response.body for interaction in interactions(tape)][1] == body
            tape.write_bytes(before)
        filler.unlink()
    assert outcomes[0] == "as before"
    assert outcomes[-1] == "whole"
    assert outcomes == sorted(outcomes)


async def test_what_was_recorded_anew_does_not_fit_in_its_place(disk: Path, upstream: Upstream) -> None:
    """Mode `all` puts it there at the end, in a new file. Without space for that, it stays at the end of the old."""
    tape = disk / "a.yaml"
    cassette(tape, item('{"said": 1}', prompt="other"))
    upstream.script("POST", "/v1/half", plain(b"0123456789abcde\n" * 35_000, headers=TEXT))
    async with command("record", tape, "--mode", "all", "--upstream", upstream.url) as process:
        assert (await process.ask("POST", "/v1/half", {})).status == 200
        assert await process.stop() == 1
        assert f"Error: {tape}: could not write it: No space left on device" in process.stderr
        assert "1 recorded" in process.stderr
    assert list(contents(disk)) == ["a.yaml"]
    assert [interaction.request.path for interaction in interactions(tape)] == [CHAT, "/v1/half"]


EDITED = """\
- request: {method: GET, uri: /}
  response:
    status: {code: 200, message: OK}
    body: {string: hello}
    wire: {head: 1, frames: 2+3, end: 3 complete}
"""


async def test_lint_cannot_mend_on_a_full_disk(disk: Path) -> None:
    tape = cassette(disk / "a.yaml", EDITED)
    fill(disk)
    before = contents(disk)
    result = await run("lint", "--fix", tape)
    assert result.code == 1
    assert f"Error: {tape}: could not write it: No space left on device" in result.stderr
    assert contents(disk) == before


async def test_a_disk_that_becomes_read_only(disk: Path, upstream: Upstream) -> None:
    tape = disk / "a.yaml"
    async with command("record", tape, "--upstream", upstream.url) as process:
        assert (await process.ask("POST", "/v1/small", {})).body == SMALL
        before = contents(disk)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)  # noqa: ASYNC221 - over at once
        await is_lost(process, "Read-only file system")
        assert contents(disk) == before
        assert await process.stop() == 1
        assert "1 recorded, 0 played, 1 lost" in process.stderr


# ------------------------------------------------------------------------------------------------ without such a disk


@pytest.mark.parametrize("options", ["its place is taken", "its folder is gone for a file", "it may not be written"])
async def test_the_place_of_the_cassette_is_lost(tmp_path: Path, upstream: Upstream, options: str) -> None:
    if options == "it may not be written" and os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tape = tmp_path / "folder" / "a.yaml"
    async with command("record", tape, "--upstream", upstream.url) as process:
        assert (await process.ask("POST", "/v1/small", {})).body == SMALL
        before = tape.read_bytes()
        aside = tmp_path / "aside"
        match options:
            case "its place is taken":
                tape.rename(aside)
                tape.mkdir()
                reason = "Is a directory"
            case "its folder is gone for a file":
                tape.rename(aside)
                tape.parent.rmdir()
                tape.parent.write_text("")
                reason = "File exists"
            case _:
                tape.chmod(0o400)
                aside, reason = tape, "Permission denied"
        await is_lost(process, reason)
        assert aside.read_bytes() == before
        assert await process.stop() == 1
        assert re.search(r"1 recorded, 0 played, [12] lost", process.stderr)  # 2: it was taken before its fsync


#: The real command on a disk that takes writes, and fails to bring them home (EIO).
BAD_DISK = (
    sys.executable,
    "-c",
    "import os\ndef fsync(fd): raise OSError(5, os.strerror(5))\nos.fsync = fsync\n"
    "from openai_replay.cli.root import main; main()",
)


@pytest.mark.parametrize("mode", ["new_episodes", "all"])
async def test_a_disk_that_cannot_keep_what_it_took(tmp_path: Path, upstream: Upstream, mode: str) -> None:
    tape = cassette(tmp_path / "a.yaml", item('{"said": 1}', prompt="other"))
    before = tape.read_bytes()
    async with command("record", tape, "--mode", mode, "--upstream", upstream.url, program=BAD_DISK) as process:
        assert (await process.ask("POST", "/v1/small", {})).body == SMALL
        await process.says("NOT RECORDED: the disk did not accept it: [Errno 5] Input/output error")
        assert await process.stop() == 1
        assert ("could not write it: Input/output error" in process.stderr) is (mode == "all")
    assert tape.read_bytes().startswith(before)
    assert [interaction.request.path for interaction in interactions(tape)] == [CHAT, "/v1/small"]
    assert os.listdir(tmp_path) == ["a.yaml"]


async def test_lint_cannot_mend_on_a_bad_disk(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "a.yaml", EDITED)
    before = contents(tmp_path)
    result = await run("lint", "--fix", tape, program=BAD_DISK)
    assert result.code == 1
    assert f"Error: {tape}: could not write it: Input/output error" in result.stderr
    assert contents(tmp_path) == before
