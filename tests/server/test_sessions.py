"""Sessions: a base URL of its own for every test, in any language, over plain HTTP."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from openai import AsyncOpenAI

import openai_replay
from openai_replay.config.rules import Rules
from openai_replay.journal.exchanges import Outcome
from openai_replay.model import Mode
from openai_replay.server.serve import ServerConfig, serving
from tests.support.proxy import CHAT, Heard, ask, cassette, command, interactions, item
from tests.support.upstream import Upstream, running_upstream


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Cassettes with two answers to "hello" each, and in a folder of their own beside others that nobody may reach."""
    path = tmp_path / "cassettes"
    (path / "more").mkdir(parents=True)
    for name in ("chat", "tools", "more/deep"):
        cassette(path / f"{name}.yaml", item(f"{name} first"), item(f"{name} second"))
    cassette(tmp_path / "secret.yaml", item("secret"))
    return path


class Server:
    """A server, seen from a test suite in another language."""

    def __init__(self, origin: str) -> None:
        self.origin = origin

    async def ask(self, path: str, text: str = "hello") -> Heard:
        return await ask(self.origin, "POST", path, text)

    async def control(self, method: str, path: str, body: Any = b"", status: int = 200) -> Any:
        heard = await ask(self.origin, method, path, body)
        assert heard.status == status, heard.body
        return heard.json if status == 200 else heard.json["error"]["message"]

    async def open(self, **settings: Any) -> dict[str, str]:
        opened: dict[str, str] = await self.control("POST", "/@/sessions", settings)
        return opened


@asynccontextmanager
async def server(folder: Path, upstream: str | None = None, **rules: Any) -> AsyncIterator[Server]:
    """Serve `folder`, as `openai-replay play FOLDER` (with an upstream `record FOLDER`) does."""
    mode = Mode.NEW_EPISODES if upstream else Mode.NONE
    config = ServerConfig(
        Rules(mode=mode, **rules),
        () if upstream else (folder,),
        upstream,
        port=0,
        quiet=True,
        folder=folder,
        on_exchange=lambda exchange: None,
    )
    async with serving(config) as (_, sessions):
        yield Server(sessions.origin)


def path_of(base_url: str) -> str:
    return "/" + base_url.split("/", 3)[3] + "/chat/completions"


# ------------------------------------------------------------------------------------------------ /@NAME/v1


async def test_a_name_is_a_session_of_its_own(folder: Path) -> None:
    async with server(folder) as running:
        for name in ("chat", "tools", "chat.yaml", "more%2Fdeep"):
            expected = name.removesuffix(".yaml").replace("%2F", "/").encode()
            assert (await running.ask(f"/@{name}/v1/chat/completions")).body == expected + b" first"
        for name in ("tools", "chat"):
            assert (await running.ask(f"/@{name}/v1/chat/completions")).body == f"{name} second".encode()
        state = await running.control("GET", "/@/sessions/tools")
        assert (state["played"], state["missed"], state["unplayed"]) == (2, [], [])
        # The folder as one tape is another session still.
        assert (await running.ask(CHAT)).body == b"chat first"


async def test_a_session_keeps_its_place_until_it_is_ended(folder: Path) -> None:
    async with server(folder) as running:
        assert (await running.ask("/@chat/v1/chat/completions")).body == b"chat first"
        await running.control("DELETE", "/@/sessions/chat")
        assert (await running.ask("/@chat/v1/chat/completions")).body == b"chat first"


# ------------------------------------------------------------------------------------------------ /@/sessions


async def test_open_ask_and_end(folder: Path) -> None:
    async with server(folder) as running:
        opened = await running.open(cassette="chat", mode="none", pace="2x", on_exhausted="error", ignore=["/metadata"])
        assert opened.keys() == {"id", "base_url"}
        assert opened["base_url"] == f"{running.origin}/@{opened['id']}/v1"
        path = path_of(opened["base_url"])
        assert (await running.ask(path)).body == b"chat first"
        refused = await running.ask(path, "goodbye")
        assert (refused.status, refused.header("x-should-retry")) == (424, "false")

        state = await running.control("GET", f"/@/sessions/{opened['id']}")
        assert state == {
            "id": opened["id"],
            "cassette": str(folder / "chat.yaml"),
            "mode": "none",
            "played": 1,
            "recorded": 0,
            "forwarded": 0,
            "failed": 0,
            "lost": 0,
            "missed": [refused.json["error"]["message"]],
            "unplayed": ["POST /v1/chat/completions"],
        }
        assert "recorded 'hello'  now 'goodbye'" in state["missed"][0]
        assert await running.control("DELETE", f"/@/sessions/{opened['id']}") == state
        for method in ("GET", "DELETE"):
            assert "No session" in await running.control(method, f"/@/sessions/{opened['id']}", status=404)


async def test_the_settings_of_a_session(folder: Path) -> None:
    async with server(folder) as running:
        repeating = path_of((await running.open(cassette="chat"))["base_url"])
        strict = path_of((await running.open(cassette="chat", on_exhausted="error"))["base_url"])
        assert [(await running.ask(repeating)).status for _ in range(3)] == [200, 200, 200]
        assert [(await running.ask(strict)).status for _ in range(3)] == [200, 200, 424]


async def test_parallel_sessions_of_one_cassette_do_not_disturb_each_other(folder: Path) -> None:
    async def test(first: Server) -> list[bytes]:
        opened = await first.open(cassette="chat", on_exhausted="error")
        answers = [(await first.ask(path_of(opened["base_url"]))).body for _ in range(2)]
        ended = await first.control("DELETE", f"/@/sessions/{opened['id']}")
        assert (ended["played"], ended["missed"], ended["unplayed"]) == (2, [], [])
        return answers

    async with server(folder) as running:
        answers = await asyncio.gather(*(test(running) for _ in range(25)))
        assert answers == [[b"chat first", b"chat second"]] * 25
        assert (await running.control("GET", "/@/health"))["sessions"] == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Invalid session: The body is not JSON."),
        (b"[]", "Invalid session: The body is not a JSON object."),
        (b'{"cassette": "chat", "ignore": ["\\ud800"]}', "Invalid session: The body is not JSON."),
        (b"[" * 2000, "Invalid session: The body is not JSON."),
        ({}, "Invalid session: The body has no `cassette`, or its value is not a string."),
        ({"cassette": 3}, "Invalid session: The body has no `cassette`, or its value is not a string."),
        ({"cassette": "chat", "pase": "2x"}, "Invalid session: pase: unknown setting.\nDid you mean 'pace'?"),
        ({"cassette": "chat", "mode": "replay"}, "Invalid session: mode: 'replay' is not a choice.\nThe choices are"),
        ({"cassette": "chat", "pace": "fast"}, "'fast' is not a pace"),
        ({"cassette": "chat", "ignore": ["metadata"]}, "'metadata' is not a JSON pointer"),
        ({"cassette": "chat", "mode": "all"}, "Mode all needs an upstream, and this server only plays"),
    ],
)
async def test_an_invalid_session_is_refused(folder: Path, body: Any, message: str) -> None:
    async with server(folder) as running:
        assert message in await running.control("POST", "/@/sessions", body, status=400)


async def test_what_the_control_api_has_not(folder: Path) -> None:
    async with server(folder) as running:
        assert "Use one of /@/health, /@/journal" in await running.control("GET", "/@/nothing", status=404)
        assert "Use GET or DELETE." in await running.control("PUT", "/@/sessions/chat", status=405)
        assert "Use POST." in await running.control("GET", "/@/sessions", status=405)


async def test_a_page_of_another_origin_has_no_control(folder: Path) -> None:
    """A page may send a simple POST to any address without asking first."""
    async with server(folder) as running:
        for origin in ("https://example.org", "null", "http://localhost:3000"):
            heard = await ask(running.origin, "POST", "/@/rewind", b"", [("Origin", origin)])
            assert heard.status == 403


# ------------------------------------------------------------------------------------------------ out of the folder


OUTSIDE = ["..", "../secret", "../secret.yaml", "more/../../secret", "/etc/passwd", "link", "links/secret", "a\0b"]
NOWHERE = [".", "...", "more", "more/", "", "nothing", "x" * 300, "chat.yaml/x", "chät", "~", "C:\\chat", "\n"]


@pytest.fixture
def with_links(folder: Path) -> Path:
    (folder / "link.yaml").symlink_to(folder.parent / "secret.yaml")
    (folder / "links").symlink_to(folder.parent)
    return folder


@pytest.mark.parametrize("name", [*OUTSIDE, *NOWHERE], ids=lambda name: repr(name)[:20])
async def test_names_that_leave_the_folder_are_refused(with_links: Path, name: str) -> None:
    async with server(with_links) as running:
        opened = await ask(running.origin, "POST", "/@/sessions", {"cassette": name})
        assert opened.status in ((403,) if name in OUTSIDE and name != ".." else (403, 404)), opened.body
        answers = [opened]
        if name:  # /@/v1 is the control API's
            astray = await running.ask(f"/@{quote(name, safe='')}/v1/chat/completions")
            assert astray.status == 424, "as loud as any miss"
            assert astray.json["error"]["reason"] == "no_session"
            answers.append(astray)
        for heard in answers:
            assert heard.json["error"]["type"] == "openai_replay"
            assert b"first" not in heard.body
        assert (await running.control("GET", "/@/health"))["sessions"] == 1


async def test_a_name_has_one_spelling(folder: Path) -> None:
    """There is no end to the others, and each would be a session that lasts."""
    async with server(folder) as running:
        sessions = (await running.control("GET", "/@/health"))["sessions"]
        for name in ("./chat", "././chat", "more/../chat", "more//../chat"):
            heard = await running.ask(f"/@{quote(name, safe='')}/v1/chat/completions")
            assert (heard.status, "Write 'chat'." in heard.json["error"]["message"]) == (424, True), heard.body
        assert (await running.control("GET", "/@/health"))["sessions"] == sessions


def files(folder: Path) -> dict[Path, int]:
    """Every file below `folder`, and when it was changed."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", [*OUTSIDE, "x" * 300], ids=lambda name: repr(name)[:20])
async def test_nothing_is_recorded_outside_the_folder(with_links: Path, upstream: Upstream, name: str) -> None:
    before = files(with_links.parent)
    async with server(with_links, upstream.url) as running:
        heard = await running.ask(f"/@{quote(name, safe='')}/v1/chat/completions")
    written = files(with_links.parent).items() - before.items()
    assert all(path.resolve().is_relative_to(with_links) for path, _ in written)
    assert written or heard.json["error"]["type"] == "openai_replay"


async def test_dots_that_stay_inside_are_fine(folder: Path) -> None:
    async with server(folder) as running:
        opened = await running.open(cassette="more/../chat")
        assert (await running.ask(path_of(opened["base_url"]))).body == b"chat first"


async def test_a_server_of_one_file_has_no_other_names(folder: Path) -> None:
    async with serving(ServerConfig(Rules(), (folder / "chat.yaml",), port=0, quiet=True)) as (_, sessions):
        running = Server(sessions.origin)
        assert (await running.ask("/@tools/v1/chat/completions")).status == 424
        assert sessions.counts()[Outcome.MISSED] == 1
        assert "does not serve a folder" in await running.control(
            "POST", "/@/sessions", {"cassette": "tools"}, status=404
        )


# ------------------------------------------------------------------------------------------------ recording


async def say(base_url: str, text: str) -> str:
    async with AsyncOpenAI(base_url=base_url, api_key="sk-test") as client:
        messages: Any = [{"role": "user", "content": text}]
        answer = await client.chat.completions.create(model="gpt-4o-mini", messages=messages)
        return answer.choices[0].message.content or ""


async def test_record_a_folder_then_play_it(tmp_path: Path, upstream: Upstream) -> None:
    folder = tmp_path / "cassettes"
    folder.mkdir()
    async with command("record", folder, "--upstream", upstream.url) as process:
        names = ("one", "two", "deep/three")
        urls = [f"{process.origin}/@{quote(name, safe='')}/v1" for name in names]
        live = await asyncio.gather(*(say(url, name) for url, name in zip(urls, names, strict=True)))
        opened = await Server(process.origin).open(cassette="four")
        live.append(await say(opened["base_url"], "four"))
        ended = await Server(process.origin).control("DELETE", f"/@/sessions/{opened['id']}")
        assert (ended["recorded"], ended["mode"]) == (1, "new_episodes")
        assert await process.stop() == 0
        assert "openai-replay: 4 recorded, 0 played" in process.stderr
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.yaml")} == {
        "one.yaml",
        "two.yaml",
        "deep/three.yaml",
        "four.yaml",
    }
    async with command("play", folder) as process:
        for name, expected in zip([*names, "four"], live, strict=True):
            assert await say(f"{process.origin}/@{quote(name, safe='')}/v1", name) == expected
        assert (await Server(process.origin).ask("/@one/v1/chat/completions")).status == 424
        assert await process.stop() == 1


async def test_a_recording_server_has_no_session_of_its_own(tmp_path: Path, upstream: Upstream) -> None:
    async with server(tmp_path, upstream.url) as running:
        heard = await running.ask(CHAT)
        assert heard.status == 424
        assert "Set the base URL to http://HOST:PORT/@NAME/v1" in heard.json["error"]["message"]


async def test_two_sessions_that_record_to_one_cassette(tmp_path: Path, upstream: Upstream) -> None:
    async with server(tmp_path, upstream.url) as running:
        urls = [(await running.open(cassette="both"))["base_url"] for _ in range(2)]
        await asyncio.gather(*(say(url, f"{at} {number}") for number in range(10) for at, url in enumerate(urls)))
    bodies = [json.loads(interaction.request.body) for interaction in interactions(tmp_path / "both.yaml")]
    prompts = {body["messages"][0]["content"] for body in bodies}
    assert prompts == {f"{at} {number}" for at in (0, 1) for number in range(10)}
    assert len(bodies) == 20


async def test_two_processes_that_record_to_one_cassette(tmp_path: Path, upstream: Upstream) -> None:
    path = tmp_path / "both.yaml"
    async with (
        command("record", path, "--upstream", upstream.url) as first,
        command("record", path, "--upstream", upstream.url) as second,
    ):
        texts = [f"text {number}" for number in range(20)]
        urls = [first.base_url, second.base_url] * 10
        live = await asyncio.gather(*(say(url, text) for url, text in zip(urls, texts, strict=True)))
        assert (await first.stop(), await second.stop()) == (0, 0)
    assert len(interactions(path)) == 20
    async with openai_replay.play(path) as tape:
        assert [await say(tape.base_url, text) for text in texts] == live
        assert tape.unplayed == []
    assert os.listdir(tmp_path) == ["both.yaml"]
