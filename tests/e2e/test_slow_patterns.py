"""Users' regular expressions that take too long: they are stopped and named, and they hold up nobody else."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from openai_replay.config.build import build_rules
from tests.support.proxy import Connection, interactions, playing, recording
from tests.support.upstream import Upstream, plain

CHAT = "/v1/chat/completions"
SLOW = "(a{1,15}){1,15}b"
LETTERS = "a" * 60


async def test_a_slow_normalizer_fails_its_request_and_no_other(tmp_path: Path) -> None:
    cassette_path = tmp_path / "chat.yaml"
    async with Upstream() as up, recording(up.url, cassette_path) as proxy:
        up.script("POST", CHAT, plain(b"{}"))
        assert (await proxy.ask("POST", CHAT, {"user": "short"})).status == 200
    matcher = build_rules({"normalize": [f"letters={SLOW}"]}).matcher
    async with playing(cassette_path, matcher=matcher) as proxy:
        slow = asyncio.create_task(proxy.ask("POST", CHAT, {"user": LETTERS}))
        await asyncio.sleep(0.1)
        start = time.monotonic()
        async with Connection(proxy.origin) as client:
            assert (await client.ask("GET", "/@/health")).status == 200
        assert time.monotonic() - start < 0.5, "it was held up by the expression"
        assert not slow.done()
        response = await slow
        error = response.json["error"]
        assert (response.status, error["code"]) == (500, "pattern_timeout")
        assert f"The pattern {SLOW!r} took longer than 1 s on a text of 60 characters." in error["message"]
        assert proxy.outcomes == ["failed"]


async def test_a_response_that_cannot_be_searched_for_secrets_is_not_recorded(tmp_path: Path) -> None:
    cassette_path = tmp_path / "chat.yaml"
    redactor = build_rules({"redact_pattern": [SLOW]}).redactor
    async with Upstream() as up, recording(up.url, cassette_path, redactor=redactor) as proxy:
        up.script("POST", CHAT, plain(b'{"text": "%s"}' % LETTERS.encode()))
        up.script("POST", CHAT, plain(b'{"text": "aab"}'))
        assert (await proxy.ask("POST", CHAT, {})).json == {"text": LETTERS}, "the client gets it"
        assert proxy.outcomes == ["lost"]
        assert "NOT RECORDED: The pattern" in proxy.journal[0].error
        assert (await proxy.ask("POST", CHAT, {})).json == {"text": "aab"}
    [recorded] = interactions(cassette_path)
    assert b"aab" not in recorded.response.body
