"""Fallbacks play a recording for a request that none matches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from openai_replay.cassette.cassette import Cassette
from openai_replay.config.build import build_rules
from openai_replay.config.rules import Rules
from openai_replay.model import Frame, Head, Interaction, Request, Response
from openai_replay.proxy.fallback import choose
from tests.support.proxy import ask, command, playing

CHAT = "/v1/chat/completions"


def request(body: Any, path: str = CHAT) -> Request:
    headers = (("content-type", "application/json"),)
    return Request("POST", f"https://api.openai.com{path}", headers, json.dumps(body).encode())


def chat(text: Any, **options: Any) -> dict[str, Any]:
    return {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": text}], **options}


def tape(path: Path, *requests: Request) -> Path:
    """A cassette whose answers are the numbers of its recordings."""
    writer = Cassette.for_record(path, Rules().key)
    for number, entry in enumerate(requests, 1):
        frame = Frame(1, str(number).encode())
        writer.append(Interaction(entry, Response(Head(200, "OK"), 1, (frame,), 2)))
    return path


def rules(fallback: str, **options: Any) -> Rules:
    return build_rules({"fallback": fallback, "on_exhausted": "error", **options})


def found(path: Path, current: Request, **settings: Any) -> tuple[int | None, str]:
    result = rules("last-user-message", **settings)
    recording, note = choose(current, Cassette.for_play([path], result.key), result)
    return recording.number if recording else None, note


@pytest.mark.parametrize(
    ("recorded", "current", "path"),
    [
        (chat("hi"), chat("hi", n=2), CHAT),
        (chat([{"type": "text", "text": "hi"}]), chat("hi"), CHAT),
        (
            {"input": "hi"},
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]},
            "/responses",
        ),
        ({"prompt": "hi", "n": 1}, {"prompt": "hi"}, "/v1/completions"),
        ({"prompt": ["a", "b"], "n": 1}, {"prompt": ["a", "b"]}, "/v1/completions"),
        ({"thread": chat("hi")}, {"thread": chat("hi"), "model": "x"}, "/v1/threads/runs"),
        (
            {"additional_messages": chat("hi")["messages"]},
            {"additional_messages": chat("hi")["messages"], "a": 1},
            "/r",
        ),
        (
            {"role": "user", "content": "hi"},
            {"role": "user", "content": "hi", "metadata": {}},
            "/v1/threads/t/messages",
        ),
    ],
)
def test_the_last_user_message(tmp_path: Path, recorded: Any, current: Any, path: str) -> None:
    second = json.loads(json.dumps(recorded).replace("hi", "ho").replace('"a"', '"c"'))
    file = tape(tmp_path / "tape.yaml", request(second, path), request(recorded, path))
    number, note = found(file, request(current, path))
    assert number == 2
    assert note.startswith("fallback last-user-message: #2 is played. It differs in:\n  ")


@pytest.mark.parametrize(
    "current",
    [
        request({"messages": "none"}),
        request({"messages": [{"role": "assistant", "content": "hi"}]}),
        request({"input": [1, "hi"]}),
        request({"input": 5, "thread": 5}),
        request({"role": "user", "content": 5}),
        request([1]),
        request(chat("")),
        request(chat("ho")),
        request(chat("hi"), CHAT + "/x"),
    ],
)
def test_what_has_no_message_or_another_is_missed(tmp_path: Path, current: Request) -> None:
    number, note = found(tape(tmp_path / "tape.yaml", request(chat("hi"))), current)
    assert number is None
    assert note.startswith(f"fallback last-user-message found no recording of POST {current.path}")


def test_a_message_is_compared_as_the_key_is(tmp_path: Path) -> None:
    file = tape(tmp_path / "tape.yaml", request(chat("It is 2026-11-21.")))
    assert found(file, request(chat("It is 2027-01-03.", n=2)))[0] is None
    assert found(file, request(chat("It is 2027-01-03.", n=2)), normalize=["date"])[0] == 1


async def test_the_nearest_unplayed_first_and_it_is_said(tmp_path: Path) -> None:
    path = tape(tmp_path / "t.yaml", *(request(chat("hi", n=n, seed=s)) for n, s in ((1, 1), (2, 1), (2, 2))))
    result = rules("last-user-message")
    async with playing(path, fallback=result.fallback, on_exhausted=result.on_exhausted) as proxy:
        answers = [(await proxy.ask("POST", CHAT, chat("hi", n=2, seed=3))).body for _ in range(2)]
        assert answers == [b"2", b"3"]
        assert [recording.number for recording in proxy.engine.cassette.unplayed()] == [1]
        assert (await proxy.ask("POST", CHAT, chat("hi", n=1, seed=1))).body == b"1"  # its own
        assert proxy.engine.cassette.unplayed() == []
        heard = await proxy.ask("POST", CHAT, chat("hi", n=2, seed=3))
        assert heard.status == 424
        assert (
            "Note:  fallback last-user-message found no recording of POST /v1/chat/completions with the last user "
            "message 'hi'; all 3 of these have been played"
        ) in heard.json["error"]["message"]
        assert [bool(recording.fallback_note) for recording in proxy.journal] == [True, True, False, False]
        assert proxy.journal[0].fallback_note == (
            "fallback last-user-message: #2 is played. It differs in:\n  seed: recorded 1  now 3"
        )
        assert proxy.outcomes == ["played", "played", "played", "missed"]


async def test_played_ones_again_only_where_that_is_wanted(tmp_path: Path) -> None:
    path = tape(tmp_path / "t.yaml", request(chat("hi")))
    result = rules("last-user-message", on_exhausted="repeat")
    async with playing(path, fallback=result.fallback) as proxy:
        assert [(await proxy.ask("POST", CHAT, chat("hi", n=2))).body for _ in range(2)] == [b"1", b"1"]


async def test_the_sequence(tmp_path: Path) -> None:
    path = tape(tmp_path / "t.yaml", request("a", "/v1/other"), request("b"), request("b"), request("c"))
    async with playing(path, fallback=rules("sequence").fallback, on_exhausted=rules("sequence").on_exhausted) as proxy:
        answers = [(await proxy.ask("POST", CHAT, text)).body for text in ("x", "b", "y")]
        assert answers == [b"2", b"3", b"4"]
        assert [recording.number for recording in proxy.engine.cassette.unplayed()] == [1]
        heard = await proxy.ask("POST", CHAT, "z")
        assert heard.status == 424
        assert (
            "fallback sequence found no recording of POST /v1/chat/completions; all 3" in heard.json["error"]["message"]
        )
        await proxy.engine.cassette.rewind()
        assert (await proxy.ask("POST", CHAT, "b")).body == b"2"


async def test_it_is_never_a_default(tmp_path: Path) -> None:
    async with playing(tape(tmp_path / "t.yaml", request(chat("hi")))) as proxy:
        assert (await proxy.ask("POST", CHAT, chat("hi", n=2))).status == 424


async def test_the_terminal_and_the_journal_say_it(tmp_path: Path) -> None:
    path = tape(tmp_path / "t.yaml", request(chat("hi")))
    async with command("play", path, "--fallback", "last-user-message", "--quiet", "--strict") as process:
        assert (await ask(process.origin, "POST", CHAT, chat("hi", n=2))).body == b"1"
        await process.says("fallback last-user-message: #1 is played. It differs in:\n    n: recorded absent  now 2")
        journal = (await ask(process.origin, "GET", "/@/journal")).json
        assert journal["unplayed"] == 0
        assert journal["exchanges"][0]["fallback_note"].startswith("fallback last-user-message: #1")
        assert await process.stop() == 0
