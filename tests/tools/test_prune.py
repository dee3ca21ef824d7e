"""The journal file, and `prune`, which deletes unplayed recordings and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openai_replay.cassette import reader
from openai_replay.config.rules import Rules
from openai_replay.errors import IncompleteJournalError, UsageError
from openai_replay.model import Mode
from openai_replay.server.serve import ServerConfig, serving
from openai_replay.tools import prune
from tests.cassette.test_editor import texts, without_numbers
from tests.support.proxy import CHAT, ask, cassette, invoke, item
from tests.support.pytest_project import RAW, Project
from tests.support.upstream import Upstream, running_upstream

pytest_plugins = ["pytester"]


async def played(
    journal: Path, cassette_paths: list[Path], *words: str, rules: Rules | None = None, upstream: str = ""
) -> list[int]:
    """Play `cassette_paths` to a client that sends `words`, or record them. Return the statuses of the responses."""
    config = ServerConfig(
        rules or Rules(),
        tuple(cassette_paths),
        upstream or None,
        port=0,
        on_exchange=lambda exchange: None,
        journal_path=journal,
    )
    async with serving(config) as (_, sessions):
        return [(await ask(sessions.origin, "POST", CHAT, word)).status for word in words]


def lines(journal: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal.read_text("utf-8").splitlines()]


def words_on(cassette_path: Path) -> list[str]:
    """Return the words on the cassette."""
    return [
        json.loads(interaction.request.body)
        for interaction in reader.load(cassette_path.read_text("utf-8"), cassette_path).interactions
    ]


def three(path: Path) -> Path:
    return cassette(path, *(item(f"of {word}", prompt=word) for word in ("one", "two", "three")))


# ------------------------------------------------------------------------------------------------ the file


async def test_the_journal_has_one_line_per_exchange(tmp_path: Path) -> None:
    cassette_path, journal = three(tmp_path / "tape.yaml"), tmp_path / "journal.jsonl"
    assert await played(journal, [cassette_path], "two", "none", "one") == [200, 424, 200]
    started, opened, two, missed, first, ended = lines(journal)
    assert (started["event"], ended["event"]) == ("started", "ended")
    assert (opened["cassette"], opened["size"], opened["items"]) == (
        str(cassette_path),
        cassette_path.stat().st_size,
        3,
    )
    assert [(line["outcome"], line.get("item"), line["status"]) for line in (two, missed, first)] == [
        ("played", 2, 200),
        ("missed", None, 424),
        ("played", 1, 200),
    ]
    assert {
        "method": "POST",
        "path": CHAT,
        "end": "complete",
        "cassette": str(cassette_path),
        "error": "",
    }.items() <= two.items()
    assert "No recording matches" in missed["error"]
    assert (missed["reason"], "reason" in two) == ("no_match", False)
    assert two["key"] != first["key"]
    assert len({line["run"] for line in lines(journal)}) == 1


async def test_runs_are_appended_and_number_recordings_per_file(tmp_path: Path) -> None:
    first, second = (
        three(tmp_path / "1.yaml"),
        cassette(tmp_path / "2.yaml", item("x", prompt="a"), item("y", prompt="b")),
    )
    journal = tmp_path / "journal.jsonl"
    for words in (["b"], ["three"]):
        await played(journal, [first, second], *words)
    items = [(Path(line["cassette"]).name, line["item"]) for line in lines(journal) if line["event"] == "exchange"]
    assert items == [("2.yaml", 2), ("1.yaml", 3)]


async def test_a_growing_cassette_does_not_renumber_another(tmp_path: Path) -> None:
    first, second = (cassette(tmp_path / f"{word}.yaml", *(item("", prompt=word + at) for at in "12")) for word in "ab")
    journal = tmp_path / "journal.jsonl"
    config = ServerConfig(Rules(), (first, second), port=0, on_exchange=lambda exchange: None, journal_path=journal)
    async with serving(config) as (_, sessions):
        cassette(first, *(item("", prompt=word) for word in ("a0", "a1", "a2")))
        assert [(await ask(sessions.origin, "POST", CHAT, word)).status for word in ("a0", "b1")] == [200, 200]
    played = [(Path(line["cassette"]).name, line["item"]) for line in lines(journal) if line["event"] == "exchange"]
    assert played == [("a.yaml", 1), ("b.yaml", 1)]
    result = invoke("prune", second, "--journal", journal)
    assert result.code == 1
    assert "changed while it was played" in result.stderr
    assert words_on(second) == ["b1", "b2"]


async def test_secrets_do_not_reach_the_journal(tmp_path: Path) -> None:
    cassette_path, journal = three(tmp_path / "tape.yaml"), tmp_path / "journal.jsonl"
    key = "sk-proj-" + "Ab3dEf6h" * 6
    config = ServerConfig(Rules(), (cassette_path,), port=0, on_exchange=lambda exchange: None, journal_path=journal)
    async with serving(config) as (_, sessions):
        for path in (CHAT, f"/v1/{key}", f"/@nobody/{key}"):
            assert (await ask(sessions.origin, "POST", path, key)).status == 424
    assert [line["outcome"] for line in lines(journal) if line["event"] == "exchange"] == ["missed"] * 3
    assert key not in journal.read_text("utf-8")


def test_a_journal_that_cannot_be_written_is_exit_3(tmp_path: Path) -> None:
    result = invoke("play", three(tmp_path / "tape.yaml"), "--journal", tmp_path / "no" / "j", "--", "true")
    assert result.code == 3
    assert "Give the journal another path." in result.stderr


# ------------------------------------------------------------------------------------------------ prune


async def test_prune_deletes_unplayed_recordings(tmp_path: Path) -> None:
    cassette_path, journal = three(tmp_path / "tape.yaml"), tmp_path / "journal.jsonl"
    cassette_path.write_text("# ours\n" + cassette_path.read_text().replace("- request", "# why\n- request"), "utf-8")
    before = texts(cassette_path.read_text())
    await played(journal, [cassette_path], "three", "one")
    check = invoke("prune", cassette_path, "--journal", journal, "--check")
    assert check == (1, f"{cassette_path}: would delete #2 POST {CHAT}\n{cassette_path}: 1 of 3 would be deleted\n", "")
    assert len(words_on(cassette_path)) == 3
    result = invoke("prune", cassette_path, "--journal", journal)
    assert result == (0, f"{cassette_path}: deletes #2 POST {CHAT}\n{cassette_path}: 1 of 3 deleted\n", "")
    assert words_on(cassette_path) == ["one", "three"]
    assert [*map(without_numbers, texts(cassette_path.read_text()))] == [before[0], before[2]]
    assert cassette_path.read_text().startswith("# ours\n")
    assert await played(tmp_path / "again", [cassette_path], "one", "three") == [200, 200]
    assert invoke("prune", cassette_path, "--journal", tmp_path / "again", "--check").code == 0


async def test_prune_keeps_what_any_run_played(tmp_path: Path) -> None:
    cassette_path, journal = three(tmp_path / "tape.yaml"), tmp_path / "journal.jsonl"
    for word in ("one", "three"):
        await played(journal, [cassette_path], word)
    assert invoke("prune", cassette_path, "--journal", journal).code == 0
    assert words_on(cassette_path) == ["one", "three"]


async def test_a_cassette_without_a_run_is_left_alone(tmp_path: Path) -> None:
    used, opened, unopened = (three(tmp_path / f"{name}.yaml") for name in ("a", "b", "c"))
    journal = tmp_path / "journal.jsonl"
    await played(journal, [used], "one", "two", "three")
    await played(journal, [opened])
    result = invoke("prune", tmp_path, "--journal", journal)
    assert result.code == 0
    assert f"{opened}: kept: no run played a recording of it\n" in result.stdout
    assert f"{unopened}: kept: no run opened it\n" in result.stdout
    assert all(len(words_on(cassette_path)) == 3 for cassette_path in (used, opened, unopened))
    assert invoke("prune", tmp_path, "--journal", journal, "--check").code == 0
    assert invoke("prune", tmp_path, "--journal", journal, "--unused-files", "--check").code == 1
    assert opened.exists()
    assert invoke("prune", tmp_path, "--journal", journal, "--unused-files").code == 0
    assert [path.exists() for path in (used, opened, unopened)] == [True, False, False]


async def test_a_cassette_that_changed_since_the_run_is_refused(tmp_path: Path) -> None:
    cassette_path, unchanged = three(tmp_path / "tape.yaml"), three(tmp_path / "other.yaml")
    journal = tmp_path / "journal.jsonl"
    await played(journal, [cassette_path, unchanged], "one")
    cassette_path.write_text(cassette_path.read_text().replace("of two", "of all"))
    before = cassette_path.read_text()
    result = invoke("prune", cassette_path, unchanged, "--journal", journal, "--force")
    assert result.code == 1
    assert f"{cassette_path}: The cassette has changed since the run. It was kept.\n" in result.stdout
    assert cassette_path.read_text() == before


async def test_recordings_made_in_the_run_stay(tmp_path: Path) -> None:
    cassette_path, journal = three(tmp_path / "tape.yaml"), tmp_path / "journal.jsonl"
    with running_upstream() as upstream:
        rules = Rules(mode=Mode.NEW_EPISODES)
        await played(journal, [cassette_path], "two", "new", rules=rules, upstream=upstream.url)
    assert words_on(cassette_path) == ["one", "two", "three", "new"]
    assert invoke("prune", cassette_path, "--journal", journal).code == 0
    assert words_on(cassette_path) == ["two", "new"]


async def test_a_recording_made_in_one_run_and_unplayed_in_the_next_stays(tmp_path: Path) -> None:
    cassette_path, journal = tmp_path / "tape.yaml", tmp_path / "journal.jsonl"
    with running_upstream() as upstream:
        for words in (["a", "b"], ["b"]):
            await played(journal, [cassette_path], *words, rules=Rules(mode=Mode.NEW_EPISODES), upstream=upstream.url)
    assert invoke("prune", cassette_path, "--journal", journal).code == 0
    assert words_on(cassette_path) == ["a", "b"]


async def test_a_run_with_a_miss_prunes_nothing(tmp_path: Path) -> None:
    cassette_path, journal = three(tmp_path / "tape.yaml"), tmp_path / "journal.jsonl"
    await played(journal, [cassette_path], "one", "none")
    result = invoke("prune", cassette_path, "--journal", journal)
    assert result.code == 1
    assert "a request that no recording matched: POST" in result.stderr
    assert len(words_on(cassette_path)) == 3
    assert invoke("prune", cassette_path, "--journal", journal, "--force").code == 0
    assert words_on(cassette_path) == ["one"]


def test_a_command_that_failed_prunes_nothing(tmp_path: Path) -> None:
    cassette_path, journal = three(tmp_path / "tape.yaml"), tmp_path / "journal.jsonl"
    assert invoke("play", cassette_path, "--journal", journal, "--quiet", "--", "sh", "-c", "exit 3").code == 3
    result = invoke("prune", cassette_path, "--journal", journal)
    assert result.code == 1
    assert "the command ended with 3: sh" in result.stderr


async def test_a_run_that_was_killed_prunes_nothing(tmp_path: Path) -> None:
    cassette_path, journal = three(tmp_path / "tape.yaml"), tmp_path / "journal.jsonl"
    await played(journal, [cassette_path], "one")
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:-1]))
    result = invoke("prune", cassette_path, "--journal", journal)
    assert result.code == 1
    assert "a run that did not end" in result.stderr


def test_a_missing_or_broken_journal_is_refused(tmp_path: Path) -> None:
    cassette_path, journal = three(tmp_path / "tape.yaml"), tmp_path / "journal.jsonl"
    assert invoke("prune", cassette_path, "--journal", journal).code == 3
    journal.write_text("")
    empty = invoke("prune", cassette_path, "--journal", journal)
    assert (empty.code, "  no run\n" in empty.stderr) == (1, True)
    journal.write_text('{"event": "started", "run": "1"}\n{"event": "opened"}\n')
    broken = invoke("prune", cassette_path, "--journal", journal)
    assert (broken.code, f"{journal}: Line 2 is not a journal entry." in broken.stderr) == (2, True)


@pytest.mark.parametrize("line", ["x", "[]", "{}", '{"event": "exchange"}', '{"event": "incomplete"}'])
def test_a_line_that_is_not_a_journal_entry_is_refused(line: str) -> None:
    with pytest.raises(UsageError, match="Line 1 is not a journal entry"):
        prune.read_journal([line])


def test_failures_beyond_ten_are_counted() -> None:
    entries = [json.dumps({"event": "incomplete", "run": "1", "reason": f"test {number}"}) for number in range(14)]
    with pytest.raises(IncompleteJournalError, match=r"(?s)test 9\n  and 5 more"):
        prune.require_complete(prune.read_journal([*entries, '{"event": "other", "run": "1"}']))


async def test_a_link_stays_a_link_and_a_torn_file_is_left_alone(tmp_path: Path) -> None:
    cassette_path, journal, link = three(tmp_path / "tape.yaml"), tmp_path / "journal.jsonl", tmp_path / "link.yaml"
    link.symlink_to("tape.yaml")
    await played(journal, [link], "one")
    intact = cassette_path.read_bytes()
    cassette_path.write_bytes(intact + b"\0" * 8192)
    torn = invoke("prune", link, "--journal", journal)
    assert (torn.code, "A killed recorder left the last recording incomplete." in torn.stdout) == (1, True)
    cassette_path.write_bytes(intact)
    assert invoke("prune", link, "--journal", journal).code == 0
    assert link.is_symlink()
    assert words_on(cassette_path) == ["one"]


# ------------------------------------------------------------------------------------------------ pytest


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as server:
        yield server


@pytest.fixture
def project(pytester: pytest.Pytester, upstream: Upstream) -> Project:
    project = Project(pytester, upstream)
    project.write("raw.py", RAW)
    project.write("test_two.py", TESTS)
    project.record_cassette("cassettes/test_two/test_a.yaml", "first", "second")
    project.record_cassette("cassettes/test_two/test_b.yaml", "third")
    return project


TESTS = """
import os, pytest
from raw import post

def test_a(openai_replay):
    post("first")
    post("second") if "LESS" not in os.environ else None

@pytest.mark.openai_replay
def test_b():
    post("third")
    assert "FAIL" not in os.environ

def test_without():
    pass
"""


def test_a_pytest_run_tells_what_was_played(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = (project.path / "cassettes" / "test_two" / f"test_{name}.yaml" for name in "ab")
    monkeypatch.setenv("LESS", "1")
    for number, arguments in enumerate([[], ["-n", "2"]]):
        journal = project.path / f"{number}.jsonl"
        ran = project.run("--openai-replay-journal", journal.name, *arguments)
        assert ran.code == 0, ran.out
        played = [(Path(line["cassette"]), line["item"]) for line in lines(journal) if line["event"] == "exchange"]
        assert sorted(played) == [(a, 1), (b, 1)]
        result = invoke("prune", project.path / "cassettes", "--journal", journal, "--check")
        assert result.stdout == (
            f"{a}: would delete #2 POST {CHAT}\n{a}: 1 of 2 would be deleted\n{b}: 0 of 1 would be deleted\n"
        )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-k", "test_a"], "1 test with a session was deselected"),
        (["test_two.py::test_a"], "pytest ran only a part of the tests: test_two.py::test_a"),
        (["--lf"], "pytest ran only a part of the tests: --last-failed"),
    ],
)
def test_a_partial_pytest_run_prunes_nothing(project: Project, arguments: list[str], says: str) -> None:
    ran = project.run("--openai-replay-journal", "j.jsonl", *arguments)
    assert ran.code == 0, ran.out
    result = invoke("prune", project.path / "cassettes", "--journal", project.path / "j.jsonl")
    assert result.code == 1
    assert says in result.stderr


def test_a_test_that_fails_prunes_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIL", "1")
    assert project.run("--openai-replay-journal", "j.jsonl").code == 1
    result = invoke("prune", project.path / "cassettes", "--journal", project.path / "j.jsonl")
    assert result.code == 1
    assert "test_two.py::test_b failed" in result.stderr


def test_a_journal_of_pytest_that_cannot_be_written(project: Project) -> None:
    ran = project.run("--openai-replay-journal", "no/j.jsonl")
    assert ran.code == 4
    assert "Give the journal another path." in ran.err
