"""Broken cassettes, and input that is not a request for a recording."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from tests.e2e.samples import FRAMES, SAME, said, stream
from tests.support.proxy import (
    CHAT,
    Connection,
    Ended,
    cassette,
    command,
    invoke,
    playing,
)

# ------------------------------------------------------------------------------------------------ broken cassettes

GOOD = "version: 1\ninteractions:\n" + SAME[0]


def wire(frames: str, end: str) -> bytes:
    return f"    wire: {{head: 0, frames: {frames}, end: {end}}}\n".encode()


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        (None, None, "does not exist"),
        (b"", None, "is empty"),
        (b"\n  \n", None, "is empty"),
        (b"just words\n", 1, "is not a cassette: it has no `interactions`"),
        (b"# nothing\nversion: 1\n", 2, "is not a cassette: it has no `interactions`"),
        (b"version: 1\ninteractions: 7\n", 2, "`interactions` is not a list"),
        (GOOD.replace("version: 1", "version: 2").encode(), 1, "has version 2, and this program reads version 1"),
        (GOOD.replace("    body: {string:", "   - body: {string:").encode(), 13, "is not YAML: "),
        (GOOD.encode() + b"<<<<<<< HEAD\n", 14, "is not YAML: "),
        (GOOD.replace("said", "s\x01d").encode(), 13, "is not YAML: "),
        (GOOD.replace("said", "s\udce9d").encode("utf-8", "surrogateescape"), 13, "is not UTF-8 text"),
        (GOOD.replace("200", "!!python/object:os.system 200").encode(), 10, "has a tag that cassettes must not have"),
        (GOOD.replace("200", "!mine 200").encode(), 10, "has a tag that cassettes must not have"),
        (GOOD.replace("{code: 200", "{code: fine").encode(), 10, "interaction 1: response.status.code: "),
        (GOOD.replace("    method: POST\n", "").encode(), 4, "interaction 1: request.method: "),
        (GOOD.encode() + wire("1-2", "1 complete"), 14, "interaction 1: response.wire.frames: "),
        (GOOD.encode() + wire("0+11", "1 exploded"), 14, "interaction 1: response.wire.end: "),
        (b"- request: {}\n  response: {}\n", 1, "is from vcrpy before 1.0"),
        (GOOD.replace("- req", "# 1  POST /v1/x  200  5 ms\n- req").encode(), 4, "interaction 1 is torn: it has no"),
        (GOOD[:-20].encode(), 14, "is not YAML: "),
    ],
    ids=[
        "missing", "empty", "blank", "words", "no interactions", "no list", "version 2", "not YAML", "merge conflict",
        "control character", "not UTF-8", "python tag", "unknown tag", "no number", "no method", "frames", "end",
        "vcrpy 0", "torn", "cut off",
    ],
)  # fmt: skip
def test_a_cassette_that_does_not_load(tmp_path: Path, text: bytes | None, line: int | None, expected: str) -> None:
    tape = tmp_path / "tape.yaml"
    if text is not None:
        tape.write_bytes(text)
    result = invoke("play", tape, "--port", "0")
    location = f"{tape}:{line}" if line else f"{tape}"
    assert result.stderr.startswith(f"Error: {location}: {expected}")
    assert len(result.stderr.splitlines()) <= 2
    assert (result.code, result.stdout) == (3, "")
    assert (tape.read_bytes() if tape.exists() else None) == text
    if text is not None and text.strip():  # to record into it is no better
        second_run = invoke("record", tape, "--port", "0")
        assert (second_run.code, second_run.stderr) == (3, result.stderr)
        assert tape.read_bytes() == text


@pytest.mark.parametrize("text", [None, b"", b"version: 1\n"], ids=["missing", "empty", "not a cassette"])
def test_what_is_wrong_comes_with_a_hint(tmp_path: Path, text: bytes | None) -> None:
    tape = tmp_path / "tape.yaml"
    if text is not None:
        tape.write_bytes(text)
    result = invoke("play", tape, "--port", "0")
    assert re.search(r"\n\S.+", result.stderr)


def test_a_folder_without_cassettes(tmp_path: Path) -> None:
    result = invoke("play", tmp_path, "--port", "0")
    assert result.code == 3
    assert result.stderr.startswith(f"Error: {tmp_path}: has no cassettes.\n")


async def test_an_edited_body_is_cut_anew_with_a_warning(tmp_path: Path) -> None:
    tape = stream(tmp_path / "tape.yaml", 0, FRAMES, 700)
    text = tape.read_text().replace("data: 1", "data: longer than before")
    tape.write_text(text)
    async with command("play", tape) as process:
        assert re.search(
            rf"Warning: {tape}:\d+: interaction 1: the frames sum up to 45 bytes, the body has 62", process.stderr
        )
        heard = await process.ask("POST", CHAT, "hello")
    assert heard.cuts == [
        b"data: 0\n\n",
        b"data: longer than before\n\n",
        b"data: 2\n\n",
        b"data: 3\n\n",
        b"data: 4\n\n",
    ]
    assert tape.read_text() == text


# ------------------------------------------------------------------------------------------------ no requests

GET = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        GET + b"User-Agent: a\r\nUser-Agent: b\r\n\r\n",
        GET + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        GET + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        GET + b"Content-Length: -3\r\n\r\nabc",
        GET + b"no colon\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET http://127.0.0.1/v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        b"POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    ],
    ids=[
        "two User-Agents", "two Content-Lengths", "two framings", "a negative length", "no colon", "TLS", "nonsense",
        "a proxy request", "an asterisk", "no chunk size", "a wrong chunk size",
    ],
)  # fmt: skip
async def test_a_request_that_is_none(tmp_path: Path, sent: bytes) -> None:
    async with playing(cassette(tmp_path / "tape.yaml", *SAME)) as player:
        async with Connection(player.origin) as client:
            client.write(sent)
            heard = await client.rest()
            assert heard.status == 400
            assert heard.header("content-type") == "application/json"
            assert heard.ended == Ended.COMPLETE
            error = heard.json["error"]
            assert (error["type"], error["code"], error["param"]) == ("openai_replay", "bad_request", None)
            assert error["message"]
            assert "Traceback" not in error["message"]
            assert "<" not in error["message"]
        assert said(await player.ask("POST", CHAT, "hello")) == 0, "the server goes on"


async def test_a_request_that_breaks_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with playing(cassette(tmp_path / "tape.yaml", *SAME)) as player:
        for sent in (
            b"POST /v1/chat",
            GET + b"Content-Length: 10\r\n\r\n123",
            GET + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        ):
            async with Connection(player.origin) as client:
                client.write(sent)
                await asyncio.sleep(0.02)
        assert said(await player.ask("POST", CHAT, "hello")) == 0
        assert player.outcomes == ["played"], "what was not asked to the end is not missed"
    assert "Traceback" not in capsys.readouterr().err
