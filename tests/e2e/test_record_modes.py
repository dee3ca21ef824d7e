"""Record modes, and recordings that are added to existing cassettes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from openai_replay.model import Mode
from tests.e2e.samples import NEW, OLD
from tests.support.proxy import (
    CHAT,
    cassette,
    interactions,
    item,
    playing,
    recording,
    run,
)
from tests.support.upstream import Upstream, plain

SMILE = "🙂".encode()
EVERY_BYTE = bytes(range(256)) * 3


# ------------------------------------------------------------------------------------------------ modes


@pytest.mark.parametrize(
    ("mode", "existing", "requests", "status", "heard", "on_tape"),
    [
        # mode, the cassette was there, what is asked: what comes, and what is said on the tape afterwards
        (Mode.NEW_EPISODES, False, "hello", 200, "new", ["new"]),
        (Mode.NEW_EPISODES, True, "hello", 200, "old", ["old"]),
        (Mode.NEW_EPISODES, True, "other", 200, "new", ["old", "new"]),
        (Mode.ONCE, False, "hello", 200, "new", ["new"]),
        (Mode.ONCE, True, "hello", 200, "old", ["old"]),
        (Mode.ONCE, True, "other", 424, None, ["old"]),
        (Mode.ALL, False, "hello", 200, "new", ["new"]),
        (Mode.ALL, True, "hello", 200, "new", ["new"]),
        (Mode.OFF, False, "hello", 200, "new", []),
        (Mode.OFF, True, "hello", 200, "new", ["old"]),
    ],
)
async def test_modes(
    tmp_path: Path, mode: Mode, existing: bool, requests: str, status: int, heard: str | None, on_tape: list[str]
) -> None:
    tape = tmp_path / "tape.yaml"
    if existing:
        cassette(tape, item(OLD))
    async with Upstream() as up:
        up.script("POST", CHAT, plain(NEW))
        async with recording(up.url, tape, mode) as proxy:
            answer = await proxy.ask("POST", CHAT, requests)
        assert len(up.requests) == (heard == "new")
    assert answer.status == status
    assert answer.json.get("said") == heard
    text = (
        [json.loads(interaction.response.body)["said"] for interaction in interactions(tape)] if tape.exists() else []
    )
    assert text == on_tape


@pytest.mark.parametrize("mode", [Mode.NEW_EPISODES, Mode.ONCE])
async def test_what_was_recorded_a_second_ago_is_not_played_before_rewind(tmp_path: Path, mode: Mode) -> None:
    """Law 10: or retries and n-sampling would collapse into one answer."""
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml", mode) as proxy:
        for number in range(3):
            up.script("POST", CHAT, plain(b'{"n": %d}' % number))
        first = [(await proxy.ask("POST", CHAT, {})).json["n"] for _ in range(3)]
        assert proxy.outcomes == ["recorded"] * 3
        assert (await proxy.ask("POST", "/@/rewind")).status == 200
        second_run = [(await proxy.ask("POST", CHAT, {})).json["n"] for _ in range(3)]
        assert proxy.outcomes[3:] == ["played"] * 3
        assert len(up.requests) == 3
    assert first == second_run == [0, 1, 2]


async def test_a_used_up_recording_is_a_new_episode(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", item(OLD))
    async with Upstream() as up, recording(up.url, tape) as proxy:
        up.script("POST", CHAT, plain(NEW))
        text = [(await proxy.ask("POST", CHAT, "hello")).json["said"] for _ in range(2)]
    assert text == ["old", "new"]


# ------------------------------------------------------------------------------------------------ adding to cassettes

VCRPY_STYLE = """interactions:
- request:
    body: '"hello"'
    headers:
      Content-Type:
      - application/json
    method: POST
    uri: https://api.openai.com/v1/chat/completions
  response:
    body:
      string: '{"said": "old"}'
    headers:
      Content-Type:
      - application/json
    status:
      code: 200
      message: OK
"""
INDENTED = "version: 1\ninteractions:\n" + "".join(f"    {line}\n" for line in item(OLD).splitlines())

BEFORE = {
    "ours with comments": "version: 1\n# why we have this\ninteractions:\n# looked at by Ada\n"
    + item(OLD)
    + "# more below\n",
    "vcrpy": VCRPY_STYLE + "version: 1\n",
    "vcrpy without version": VCRPY_STYLE,
    "indented list": INDENTED,
    "no line feed at the end": ("version: 1\ninteractions:\n" + item(OLD)).rstrip("\n"),
    "CRLF": ("version: 1\ninteractions:\n" + item(OLD)).replace("\n", "\r\n"),
    "document marks": "---\nversion: 1\ninteractions:\n" + item(OLD),
    "document end": "version: 1\ninteractions:\n" + item(OLD) + "...\n",
    "byte order mark": "\ufeffversion: 1\ninteractions:\n" + item(OLD),
    "no items": "version: 1\ninteractions: []\n",
    "no items, vcrpy's order": "interactions: []\nversion: 1\n",
    "nothing behind interactions": "version: 1\ninteractions:\n",
    "an empty file": "",
}


@pytest.mark.parametrize("mode", [Mode.NEW_EPISODES, Mode.ALL])
@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE.keys())
async def test_old_text_stays_as_it_is(tmp_path: Path, before: str, mode: Mode) -> None:
    tape = tmp_path / "tape.yaml"
    tape.write_bytes(before.encode())
    async with Upstream() as up, recording(up.url, tape, mode) as proxy:
        up.script("POST", CHAT, plain(NEW))
        for requests in ("first", "second"):
            assert (await proxy.ask("POST", CHAT, requests)).body == NEW
    after = tape.read_bytes().decode()
    old = re.search(r"(?s) *- request:.*?(?=\n?(?:version: 1\n|\.\.\.\n)?\Z)", before)
    if old:
        assert old[0] in after
        assert after.count(old[0]) == 1
    for comment in re.findall("(?m)^#.*", before):
        assert comment in after
    loaded = interactions(tape)
    asked_for = [json.loads(entry.request.body) for entry in loaded]
    assert asked_for == [*(["hello"] if old else []), "first", "second"]
    async with playing(tape) as player:
        for requests in asked_for:
            assert (await player.ask("POST", CHAT, requests)).status == 200


async def test_mode_all_puts_the_new_in_the_place_of_the_old(tmp_path: Path) -> None:
    """A small diff: what was not asked for stays where and as it is, comments and all."""
    tape = tmp_path / "tape.yaml"
    unchanged = [f"# about {word}\n{item(OLD, prompt=word)}" for word in ("first", "last")]
    tape.write_text(
        "version: 1\ninteractions:\n" + unchanged[0] + item(OLD) + item(OLD, prompt="third") + item(OLD) + unchanged[1]
    )
    async with Upstream() as up, recording(up.url, tape, Mode.ALL) as proxy:
        for number in range(3):
            up.script("POST", CHAT, plain(b'{"said": %d}' % number))
        for requests in ("hello", "brand new", "third"):
            await proxy.ask("POST", CHAT, requests)
        assert len(interactions(tape)) == 8, "until it is over, what is new stands at the end: nothing can be lost"
    reported = [
        (json.loads(interaction.request.body), json.loads(interaction.response.body)["said"])
        for interaction in interactions(tape)
    ]
    assert reported == [("first", "old"), ("hello", 0), ("third", 2), ("last", "old"), ("brand new", 1)]
    text = tape.read_text()
    assert all(interaction in text for interaction in unchanged)


async def test_a_flow_style_list_is_refused(tmp_path: Path) -> None:
    tape = tmp_path / "tape.yaml"
    tape.write_text(
        '{"version": 1, "interactions": [{"request": {"method": "GET", "uri": "http://x/"}, '
        '"response": {"status": {"code": 200}}}]}'
    )
    before = tape.read_bytes()
    result = await run("record", tape, "--port", "0")
    assert result.code == 3
    assert f"Error: {tape}: no recording can be added" in result.stderr
    assert tape.read_bytes() == before
    async with playing(tape) as player:
        assert (await player.ask("GET", "/")).status == 200


async def test_a_new_folder_is_made(tmp_path: Path) -> None:
    tape = tmp_path / "a" / "b" / "tape.yaml"
    async with Upstream() as up, recording(up.url, tape) as proxy:
        up.script("POST", CHAT, plain(NEW))
        assert not tape.exists(), "nothing is left behind by one who records nothing"
        await proxy.ask("POST", CHAT, {})
    assert len(interactions(tape)) == 1
