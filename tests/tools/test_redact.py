"""`redact` removes secrets from existing cassettes, and changes nothing else."""

from __future__ import annotations

import gzip
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vcr.serializers import yamlserializer

from openai_replay.cassette import reader
from openai_replay.config.lint_rule import Rule
from openai_replay.model import Headers, Interaction, Request
from openai_replay.redaction.redactor import Redactor, build_redactor
from openai_replay.tools import lint, redact
from tests.cassette.test_editor import one_list, texts, without_numbers
from tests.cassette.test_reader import CHAT, JSON, SSE, STREAMED, TAPE, interactions, item, plain, read, written
from tests.redaction.test_secret_scanner import dice
from tests.support.proxy import environment, invoke

KEY = f"sk-proj-{dice(64)}"
ASKED = Request("POST", CHAT, (("Authorization", f"Bearer {KEY}"), *JSON), json.dumps({"model": KEY}).encode())


def redacted(text: str, rules: Redactor | None = None) -> redact.RedactionResult:
    return redact.redact_cassette(text, TAPE, rules or Redactor())


def test_only_recordings_with_a_secret_change() -> None:
    secret = item(b'{"key": "%s"}' % KEY.encode(), 5, 20, request=ASKED)
    text = (
        written(item(b"one"), secret, item(b"three"))
        .replace("# 2  ", "# why\n# 2  ")
        .replace("    method", "    method", 1)
    )
    result = redacted(text)
    assert KEY not in result.text
    assert (result.changed, result.recordings) == (1, 3)
    assert result.locations == ["authorization", "request body", "response body"]
    assert [texts(result.text)[at] for at in (0, 2)] == [texts(text)[at] for at in (0, 2)]
    assert "# why\n# 2  " in result.text
    before, after = read(text)[1].response, read(result.text)[1].response
    assert [(frame.at_ms, len(frame.data)) for frame in after.frames] == [
        (frame.at_ms, len(frame.data)) for frame in before.frames
    ]
    assert (after.head_ms, after.end_ms, after.end, after.head) == (
        before.head_ms,
        before.end_ms,
        before.end,
        before.head,
    )
    assert redacted(result.text) == (result.text, 0, 3, [], [])
    assert [finding for finding in lint.find_problems(result.text, TAPE) if finding.rule is Rule.SECRET] == []


def test_a_key_split_over_events_keeps_its_frames() -> None:
    events = [
        b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n' % part
        for part in (b"sk-proj-", KEY[8:].encode())
    ]
    text = written(item(b"".join(events), len(events[0]), headers=SSE))
    result = redacted(text)
    assert KEY[8:] not in result.text
    [interaction] = read(result.text)
    assert [len(frame.data) for frame in interaction.response.frames] == [len(event) for event in events]


def test_rules_of_the_user_are_applied() -> None:
    text = written(item(b'{"name": "Erika Muster", "id": "e-42"}', headers=(*JSON, ("x-team", "blue"))))
    assert redacted(text).changed == 0
    result = redacted(text, build_redactor(["X-Team"], ["Erika \\w+"], ["/id"]))
    assert read(result.text)[0].response.body == b'{"name": "REDACTED****", "id": "****"}'
    assert result.locations == ["x-team", "response body"]


def vcrpys(headers: str = "{}", body: str = "{}") -> str:
    return one_list(plain() + plain(headers=headers, body=body) + plain(body="{string: three}"))


def test_a_vcrpy_cassette_stays_a_vcrpy_cassette() -> None:
    text = vcrpys("{set-cookie: [session=1], content-length: ['9']}", f"{{string: 'key {KEY}'}}")
    result = redacted(text)
    assert (result.changed, result.locations) == (1, ["set-cookie", "response body"])
    assert [texts(result.text)[at] for at in (0, 2)] == [texts(text)[at] for at in (0, 2)]
    old, new = read(text)[1], read(result.text)[1]
    assert (new.request, new.response.head.status) == (old.request, old.response.head.status)
    stock = yamlserializer.deserialize(result.text)["interactions"]
    assert stock[1]["response"]["body"]["string"] == f"key REDACTED{'*' * (len(KEY) - 8)}"
    assert stock[2]["response"]["body"]["string"] == "three"


GZIP: Headers = (*JSON, ("content-encoding", "gzip"))


def test_compressed_bodies_are_redacted_only_if_they_have_a_secret() -> None:
    harmless = item(gzip.compress(b"{}"), headers=GZIP, request=Request("POST", CHAT, GZIP, gzip.compress(b"{}")))
    text = written(harmless, item(gzip.compress(b'{"a":"%s"}' % KEY.encode()), headers=GZIP))
    result = redacted(text)
    assert (result.changed, result.unsearchable) == (1, [])
    assert texts(result.text)[0] == texts(text)[0]
    assert read(result.text)[1].response.body == b'{"a":"REDACTED%s"}' % (b"*" * (len(KEY) - 8))


@pytest.mark.parametrize("encoding", ["br", "zstd"])
def test_bodies_that_cannot_be_decoded_are_reported(encoding: str) -> None:
    body = b"\x28\xb5\x2f\xfd\xff\x00\x01" * 9
    headers: Headers = (*JSON, ("content-encoding", encoding))
    text = written(item(b"one"), item(body, headers=headers, request=Request("POST", CHAT, headers, body)))
    line = text.count("\n", 0, text.rindex("- request:")) + 1
    reasons = [
        f"The {side} body of recording 2 is compressed ({encoding}) and cannot be searched."
        for side in ("request", "response")
    ]
    assert redacted(text).unsearchable == [(line, reason) for reason in reasons]
    assert redacted(text).text == text


@given(st.lists(interactions(), max_size=3), st.integers(0, 3))
def test_redacting_twice_changes_nothing_more(recorded: list[Interaction], at: int) -> None:
    items = [*recorded[:at], item(b'{"a": "%s"}' % KEY.encode(), request=ASKED), *recorded[at:]]
    text = written(*items)
    result = redacted(text)
    assert KEY not in result.text
    repeated = redacted(result.text)
    assert (repeated.changed, repeated.text) == (0, result.text)
    assert len(yamlserializer.deserialize(result.text)["interactions"]) == len(items)
    for old, new, old_text, new_text in zip(
        read(text), read(result.text), texts(text), texts(result.text), strict=True
    ):
        assert [len(frame.data) for frame in new.response.frames] == [len(frame.data) for frame in old.response.frames]
        assert old != new or without_numbers(old_text) == without_numbers(new_text)


def test_an_empty_file_has_nothing_to_redact() -> None:
    assert redacted("") == ("", 0, 0, [], [])


# ------------------------------------------------------------------------------------------------ the command


def write_cassette(path: Path, *items: Interaction) -> Path:
    path.write_text(written(*items), "utf-8")
    return path


def test_the_command(tmp_path: Path) -> None:
    bad, good = (
        write_cassette(tmp_path / "bad.yaml", item(b"a"), item(b"b", request=ASKED)),
        write_cassette(tmp_path / "good.yaml", STREAMED),
    )
    before = bad.read_bytes(), good.stat().st_ino
    would = invoke("redact", "--check", tmp_path)
    assert (
        would.stdout
        == f"{bad}: 1 of 2 would be redacted (authorization, request body)\n{good}: 0 of 1 would be redacted\n"
    )
    assert (would.code, bad.read_bytes()) == (1, before[0])
    result = invoke("redact", tmp_path)
    assert result == (0, would.stdout.replace("would be redacted", "redacted"), "")
    assert KEY.encode() not in bad.read_bytes()
    assert good.stat().st_ino == before[1]  # not even written
    assert invoke("redact", "--check", tmp_path).code == 0
    assert invoke("redact", "--redact-pattern", "(", tmp_path).code == 2
    missing = invoke("redact", tmp_path / "none.yaml")
    assert missing.code == 3
    assert "does not exist" in missing.stderr


def test_the_command_applies_the_rules_of_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_cassette(tmp_path / "a.yaml", item(b"Erika Muster"))
    (tmp_path / "pyproject.toml").write_text('[tool.openai-replay]\nredact-pattern = ["Erika"]\n')
    monkeypatch.chdir(tmp_path)
    assert invoke("redact", path).stdout == f"{path}: 1 of 1 redacted (response body)\n"
    assert b"Erika" not in path.read_bytes()


def test_a_body_that_cannot_be_decoded_is_exit_1(tmp_path: Path) -> None:
    path = write_cassette(tmp_path / "a.yaml", item(b"\xff\x00", headers=(*JSON, ("content-encoding", "br"))))
    result = invoke("redact", path)
    assert result.code == 1
    assert f"{path}:4: unreadable: The response body of recording 1 is compressed (br)" in result.stdout


def test_permissions_and_links_stay(tmp_path: Path) -> None:
    path = write_cassette(tmp_path / "a.yaml", item(b"b", request=ASKED))
    path.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to("a.yaml")
    assert invoke("redact", link).code == 0
    assert link.is_symlink()
    assert KEY.encode() not in path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.yaml", "link.yaml"]


def test_a_torn_recording_is_dropped(tmp_path: Path) -> None:
    path = write_cassette(tmp_path / "a.yaml", item(b"b", request=ASKED))
    path.write_bytes(path.read_bytes() + b"\0" * 8192 + b"rest of an item\n")
    assert invoke("redact", path).code == 0
    assert len(reader.load(path.read_text("utf-8"), path).interactions) == 1


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.1, 0.3])
def test_a_kill_leaves_the_old_file_or_the_new_one(tmp_path: Path, after_s: float) -> None:
    path = write_cassette(tmp_path / "a.yaml", *[item(b"x" * 1000, request=ASKED)] * 200)
    old = path.read_bytes()
    new = redacted(old.decode()).text.encode()
    running = subprocess.Popen(
        [sys.executable, "-m", "openai_replay", "redact", str(path)], env=environment(), stdout=subprocess.DEVNULL
    )
    # It is killed at any moment, also while it writes: from when its temporary file is there.
    until = time.monotonic() + 20
    while running.poll() is None and time.monotonic() < until and not list(tmp_path.glob(".a.yaml.*")):
        time.sleep(0.001)
    time.sleep(after_s / 10)
    if running.poll() is None:
        os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert path.read_bytes() in (old, new)
