"""Secrets do not reach the cassette, the terminal or the journal."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.samples import JSON
from tests.support.proxy import (
    CHAT,
    command,
    playing,
    recording,
)
from tests.support.upstream import Step, Upstream, plain, sse

SMILE = "🙂".encode()
EVERY_BYTE = bytes(range(256)) * 3


SECRET = "sk-proj-" + "Ab0_" * 12
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="key"\r\n\r\n' + SECRET.encode() + b"\r\n"
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n\xff\xfe '
    + SECRET.encode()
    + b"\r\n--b--\r\n"
)
SPLIT = [
    b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % SECRET[at : at + 7].encode()
    for at in range(0, len(SECRET), 7)
]


@pytest.mark.parametrize(
    ("target", "body", "headers", "steps"),
    [
        (CHAT, {}, [("Authorization", f"Bearer {SECRET}")], plain(b"{}")),
        (CHAT, {}, [("api-key", SECRET), ("x-api-key", SECRET), ("Cookie", SECRET)], plain(b"{}")),
        (CHAT, {}, [("X-Forwarded-Key", f"Bearer {SECRET}")], plain(b"{}")),
        (f"{CHAT}?api-key={SECRET}&api_key={SECRET}&x=1", {}, [], plain(b"{}")),
        (f"/v1/keys/{SECRET}", {}, [], plain(b"{}")),
        (CHAT, {"user": SECRET, SECRET: 1}, [], plain(b"{}")),
        (CHAT, SECRET.encode(), [("Content-Type", "text/plain")], plain(b"{}")),
        (CHAT, b"key=" + SECRET.encode(), [("Content-Type", "application/x-www-form-urlencoded")], plain(b"{}")),
        ("/v1/files", FORM, [("Content-Type", "multipart/form-data; boundary=b")], plain(b"{}")),
        (CHAT, gzip.compress(SECRET.encode()), [("Content-Encoding", "gzip")], plain(b"{}")),
        (CHAT, {}, [], plain(b"{}", headers=[("set-cookie", SECRET), ("x-echo", SECRET), ("openai-project", SECRET)])),
        (CHAT, {}, [], plain(json.dumps({"value": SECRET}).encode())),
        (CHAT, {}, [], plain(b"\xff\xfe " + SECRET.encode(), headers=[("content-type", "audio/mpeg")])),
        (CHAT, {}, [], plain(gzip.compress(SECRET.encode()), headers=[JSON, ("content-encoding", "gzip")])),
        (CHAT, {}, [], sse(b"data: " + SECRET[:9].encode(), SECRET[9:].encode() + b"\n\n")),
        (CHAT, {}, [], sse(*SPLIT, b"data: [DONE]\n\n")),
    ],
    ids=[
        "authorization", "key headers", "any header", "query", "path", "json", "text", "form", "multipart",
        "gzip request", "answer header", "answer json", "answer binary", "answer gzip", "cut inside", "token by token",
    ],
)  # fmt: skip
async def test_no_secret_reaches_the_disk(
    tmp_path: Path, target: str, body: Any, headers: list[tuple[str, str]], steps: list[Step]
) -> None:
    tape = tmp_path / "tape.yaml"
    async with Upstream() as up:
        up.script("POST", target.partition("?")[0], steps)
        async with recording(up.url, tape) as proxy:
            live = await proxy.ask("POST", target, body, headers)
            assert live.status == 200
            on_disk = tape.read_bytes()
    assert SECRET.encode() not in on_disk
    assert SECRET[8:].encode() not in on_disk
    assert not any(SECRET.encode() in frame for frame in (b"".join(re.findall(rb'content":"([^"]*)', on_disk)),))
    async with playing(tape) as player:
        played = await player.ask("POST", target, body, headers)
        assert player.outcomes == ["played"], "the same request, redacted, still matches"
    if live.header("content-encoding") is None:
        assert [len(cut) for cut in played.cuts] == [len(cut) for cut in live.cuts]


async def test_ones_own_secrets(tmp_path: Path) -> None:
    tape = tmp_path / "tape.yaml"
    rules = ["--redact-header", "X-Tenant", "--redact-pattern", r"acct-\d+", "--redact-pointer", "/user"]
    async with Upstream() as up:
        up.script("POST", CHAT, plain(b'{"account": "acct-4711", "user": "ada"}'))
        async with command("record", tape, "--upstream", up.url, *rules) as process:
            requests = {"user": "ada", "prompt": "look at acct-4711"}
            live = await process.ask("POST", CHAT, requests, [("X-Tenant", "secret-tenant")])
            assert live.body == b'{"account": "acct-4711", "user": "ada"}'
            assert await process.stop() == 0
    text = tape.read_text("utf-8")
    assert not re.search("secret-tenant|acct-4711|ada", text)
    async with command("play", tape, *rules) as process:
        played = await process.ask("POST", CHAT, requests, [("X-Tenant", "another")])
        assert played.json == {"account": "REDACTED*", "user": "***"}, "of the same length"
