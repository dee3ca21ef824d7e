"""`openai-replay import` turns files and folders into cassettes, one for one, and loses nothing on the way."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openai_replay.cassette import reader, writer
from openai_replay.model import Interaction, Request
from openai_replay.tools.formats import EXPORT_FORMATS, IMPORT_FORMATS
from openai_replay.tools.importers import FORMAT_NAMES
from openai_replay.tools.importers.run import ImportSettings, plan_jobs, run_job
from tests.support.proxy import Connection, Finished, invoke, playing
from tests.tools.importers.samples import (
    EVENTS,
    GO,
    HAR,
    NOCK,
    REQUEST_BODY,
    RUBY,
    STREAM,
    TRACE,
    URL,
    VCRPY,
    with_response,
)

FAKE_KEY = "sk-proj-" + "Fake0Key1" * 6


def imported(folder: Path, *arguments: str | Path) -> Finished:
    """`openai-replay import SOURCE -o OUT` and more, in `folder`."""
    return invoke("import", folder / "in", "-o", folder / "out", *arguments)


def sources(folder: Path, **files: str | bytes | Any) -> Path:
    """`folder`/in with these files; `__` in a name is a slash, `_` a dot."""
    for name, text in files.items():
        path = folder / "in" / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(text, (str, bytes)):
            text = json.dumps(text)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    return folder / "in"


def interactions(path: Path) -> list[Interaction]:
    return reader.load(path.read_text("utf-8"), path).interactions


def written(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder / "out")) for path in (folder / "out").rglob("*") if path.is_file())


async def test_a_folder_of_many_formats_keeps_its_layout_and_plays(tmp_path: Path) -> None:
    sources(tmp_path, a_yml=RUBY, sub__b_har=HAR, sub__c_json=NOCK, sub__deep__d_yaml_gz=GO, e_httprr=TRACE)
    result = imported(tmp_path)
    assert result.code == 0, result.stderr
    assert written(tmp_path) == ["a.yaml", "e.yaml", "sub/b.yaml", "sub/c.yaml", "sub/deep/d.yaml"]
    assert result.stderr == ""
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["ruby-vcr", "1", "1", "1", "0", "0"] in lines
    assert ["all", "5", "5", "5", "1", "0"] in lines
    for path in (tmp_path / "out").rglob("*.yaml"):
        async with playing(path) as player, Connection(player.origin) as client:
            played = await client.ask(
                "POST", "/v1/chat/completions", REQUEST_BODY, [("content-type", "application/json")]
            )
            assert (played.body, played.cuts) == (STREAM, EVENTS)


def test_one_file_goes_to_a_named_file_or_the_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = sources(tmp_path, chat_har=HAR, two_json=NOCK)
    assert invoke("import", folder / "chat.har", "-o", tmp_path / "x" / "mine.yaml").code == 0
    assert interactions(tmp_path / "x" / "mine.yaml")[0].response.body == STREAM
    monkeypatch.chdir(tmp_path)
    assert invoke("import", folder / "chat.har").code == 0
    assert (tmp_path / "cassettes" / "chat.yaml").is_file()
    result = invoke("import", folder, "-o", tmp_path / "both.yaml")
    assert (result.code, "is one file, and SRC has 2" in result.stderr) == (2, True)
    assert not (tmp_path / "both.yaml").exists()


def test_check_writes_nothing_and_prints_the_same(tmp_path: Path) -> None:
    sources(tmp_path, a_yaml=VCRPY)
    looked = imported(tmp_path, "--check")
    assert not (tmp_path / "out").exists()
    assert imported(tmp_path).stdout == looked.stdout


def test_existing_cassettes_stay_unless_forced(tmp_path: Path) -> None:
    sources(tmp_path, a_yaml=VCRPY, b_yaml=RUBY)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.yaml").write_text("mine")
    result = imported(tmp_path)
    assert result.code == 1
    assert f"{tmp_path}/in/a.yaml: {tmp_path}/out/a.yaml exists already. Use --force to replace it." in result.stderr
    assert (tmp_path / "out" / "a.yaml").read_text() == "mine"
    assert written(tmp_path) == ["a.yaml", "b.yaml"]
    assert imported(tmp_path, "--force").code == 0
    assert interactions(tmp_path / "out" / "a.yaml")[0].response.body == STREAM


def test_bad_files_get_one_line_each_and_the_others_are_imported(tmp_path: Path) -> None:
    folder = sources(
        tmp_path,
        cut_har=json.dumps(HAR)[:300],
        good_yaml=VCRPY,
        note_md="hello",
        empty_yaml="",
        none_yaml="interactions: []",
    )
    with (folder / "huge.json").open("wb") as file:
        file.truncate(10 * 10**9)
    os.mkfifo(folder / "pipe.yaml")
    result = imported(tmp_path)
    assert result.code == 1
    assert written(tmp_path) == ["good.yaml"]
    lines = result.stderr.splitlines()
    assert [line.partition(": ")[0].rpartition("/")[2] for line in lines] == [
        "cut.har",
        "empty.yaml",
        "huge.json",
        "none.yaml",
        "note.md",
        "pipe.yaml",
    ]
    assert "Line 1 is not JSON" in lines[0]
    assert lines[1].endswith("The file is empty.")
    assert lines[2].endswith("The file has 10000000000 bytes. At most 256 MiB are read.")
    assert lines[3].endswith("The file has no interactions.")
    assert lines[4].endswith("The format is unknown: plain text.")
    assert lines[5].endswith("This is not a regular file.")


def test_a_folder_that_cannot_be_read_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = sources(tmp_path, a_har=HAR, sub__b_har=HAR)
    scandir = os.scandir

    def refuse(path: Any) -> Any:  # root may read every folder
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    result = imported(tmp_path)
    assert (result.code, result.stderr) == (1, f"{folder}/sub: The folder cannot be read.\n")
    assert written(tmp_path) == ["a.yaml"]


def test_a_progress_bar_is_shown_only_on_a_terminal(tmp_path: Path) -> None:
    sources(tmp_path, a_har=HAR)
    arguments: list[str | Path] = [
        sys.executable,
        "-m",
        "openai_replay",
        "import",
        tmp_path / "in",
        "-o",
        tmp_path / "out",
        "--check",
    ]
    main, terminal = pty.openpty()
    try:
        ran = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=terminal, timeout=60)
        output = os.read(main, 10_000)
    finally:
        os.close(terminal)
        os.close(main)
    assert ran.returncode == 0
    assert b"import" in output
    assert b"100%" in output
    assert subprocess.run(arguments, capture_output=True, timeout=60).stderr == b""


def test_entries_without_an_exchange_are_reported_and_the_rest_is_imported(tmp_path: Path) -> None:
    entries = HAR["log"]["entries"]
    unanswered = {**entries[0], "response": {"status": 0}}
    folder = sources(
        tmp_path, a_har={"log": {"entries": [unanswered, *entries]}}, b_har={"log": {"entries": [unanswered]}}
    )
    result = imported(tmp_path)
    assert f"{folder}/a.har: left out: Entry 1 got no response." in result.stderr
    assert f"{folder}/b.har: The file has no interactions. Entry 1 got no response." in result.stderr
    assert written(tmp_path) == ["a.yaml"]


def test_colliding_names_and_links_are_refused(tmp_path: Path) -> None:
    folder = sources(tmp_path, a_har=HAR, a_json=NOCK, sub__b_yaml=VCRPY)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.yaml").write_text(VCRPY)
    (folder / "link.yaml").symlink_to(outside / "secret.yaml")
    (folder / "inner.yaml").symlink_to(folder / "sub" / "b.yaml")
    (folder / "folder").symlink_to(outside)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(outside)
    (tmp_path / "out" / "inner.yaml").symlink_to(outside / "secret.yaml")
    result = imported(tmp_path, "--force")
    assert result.code == 1
    messages = {
        line.partition(": ")[0].rpartition("/")[2]: line.partition(": ")[2] for line in result.stderr.splitlines()
    }
    assert set(messages) == {"a.json", "b.yaml", "link.yaml", "inner.yaml", "folder"}
    assert messages["a.json"] == f"It would be written to {tmp_path}/out/a.yaml, like {folder}/a.har."
    assert messages["b.yaml"].startswith(f"It would be written outside of {tmp_path}/out")
    assert messages["inner.yaml"].startswith(f"It would be written outside of {tmp_path}/out")
    assert messages["link.yaml"] == "It is a link that leads out of its folder."
    assert messages["folder"] == "It is a link to a folder. Links are not followed."
    assert os.listdir(outside) == ["secret.yaml"]
    assert (outside / "secret.yaml").read_text() == VCRPY


def test_cassettes_that_an_import_wrote_into_its_source_are_not_read_again(tmp_path: Path) -> None:
    folder = sources(tmp_path, a_har=HAR)
    for _ in range(2):
        assert invoke("import", folder, "-o", folder / "cassettes", "--force").code == 0
    assert [path.name for path in (folder / "cassettes").iterdir()] == ["a.yaml"]


def test_no_secret_reaches_the_disk_or_the_terminal(tmp_path: Path) -> None:
    text = VCRPY.replace("[application/json]", f"[application/json]\n      Authorization: [Bearer {FAKE_KEY}]")
    sources(
        tmp_path,
        a_yaml=text.replace('{\\"n\\":1}', f'{{\\"key\\":\\"{FAKE_KEY}\\"}}'),
        b_yaml=text.replace("POST", f"'x {FAKE_KEY}'"),
        c_json={FAKE_KEY: 1},
        d_yaml=VCRPY.replace("a=1", "house=blue"),
    )
    result = imported(tmp_path, "--redact-pattern", "blue")
    assert result.code == 1
    output = result.stdout + result.stderr + "".join(path.read_text() for path in (tmp_path / "out").iterdir())
    assert FAKE_KEY[:20] not in output
    assert "house=blue" not in output
    assert written(tmp_path) == ["a.yaml", "d.yaml"]


def test_noise_headers_are_dropped_unless_kept(tmp_path: Path) -> None:
    text = VCRPY.replace("[application/json]", "[application/json]\n      user-agent: [me]\n      host: [x]")
    sources(tmp_path, a_yaml=text)
    imported(tmp_path)
    assert "user-agent" not in (tmp_path / "out" / "a.yaml").read_text()
    imported(tmp_path, "--keep-headers", "all", "--force")
    text = (tmp_path / "out" / "a.yaml").read_text()
    assert "user-agent: [me]" in text
    assert "host:" not in text


def test_control_characters_in_names_do_not_reach_the_terminal(tmp_path: Path) -> None:
    folder = sources(tmp_path, a_yaml="hello")
    (folder / "a.yaml").rename(folder / "a\x1b[31m\nb.yaml")
    result = imported(tmp_path)
    assert "a\\x1b[31m\\nb.yaml: The format is unknown" in result.stderr


def test_a_raw_stream_is_imported_with_its_request(tmp_path: Path) -> None:
    folder = sources(tmp_path, a_sse=STREAM)
    (tmp_path / "request.json").write_bytes(REQUEST_BODY)
    options = ("--request", tmp_path / "request.json")
    assert "Give the request with --request FILE." in imported(tmp_path).stderr
    assert "Give it with --url URL." in imported(tmp_path, *options).stderr
    assert imported(tmp_path, *options, "--url", URL, "--method", "put").code == 0
    (interaction,) = interactions(tmp_path / "out" / "a.yaml")
    assert (interaction.request.method, interaction.request.uri, interaction.response.body) == ("PUT", URL, STREAM)
    assert json.loads(interaction.request.body) == json.loads(REQUEST_BODY)
    assert invoke("import", folder, "--format", "nock", "--check").stderr.endswith(
        "The file is not in the format nock.\n"
    )


def test_the_names_of_the_command_are_those_of_the_formats() -> None:
    assert ("auto", *FORMAT_NAMES) == IMPORT_FORMATS


def test_every_format_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "importing.md").read_text("utf-8")
    assert re.findall(r"(?m)^\| `([a-z-]+)` \|", page) == ["--format", *FORMAT_NAMES, "--to", *EXPORT_FORMATS]


def test_only_one_file_at_a_time_is_in_memory(tmp_path: Path) -> None:
    big = with_response(f"'{'x' * 300_000}'")
    folder = sources(tmp_path, **{f"f{number}_yaml": big for number in range(40)})
    tracemalloc.start()
    try:
        outcomes = [run_job(job, ImportSettings()) for job in plan_jobs([folder], tmp_path / "out")]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [outcome.error for outcome in outcomes] == [""] * 40
    assert peak < 20 * len(big)


# ------------------------------------------------------------------------------------------ made-up schedules


def test_an_assumed_schedule_stays_marked(tmp_path: Path) -> None:
    """Rule 12."""
    sources(tmp_path, a_yaml=VCRPY)
    assert imported(tmp_path, "--assume-pace", "ttft=300ms,50tps").code == 0
    path = tmp_path / "out" / "a.yaml"
    (interaction,) = interactions(path)
    assert [frame.at_ms for frame in interaction.response.frames] == [300, 320]
    assert interaction.response.assumed == "ttft=300ms,50tps"
    text = writer.HEADER + "".join(writer.write_interaction(interaction, 1))
    assert text == path.read_text()
    assert interactions(path) == reader.load(text, path).interactions
    response = replace(interaction.response, assumed="")
    assert "assumed" not in "".join(writer.write_interaction(Interaction(Request("GET", URL), response), 1))
    assert imported(tmp_path, "--assume-pace", "fast", "--force").code == 2
