"""Recordings of nock, and HTTP archives."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openai_replay.model import End, Frame, header
from openai_replay.tools.importers.builder import ImportResult
from tests.tools.importers.samples import (
    URL,
    ZIPPED,
    b64,
    read,
)


def nocked(**fields: Any) -> ImportResult:
    return read([{"scope": "http://localhost:80", "method": "GET", "path": "/x?a=b", "status": 200, **fields}])[1]


@pytest.mark.parametrize(
    ("fields", "pieces"),
    [
        ({"response": {"a": 1}}, [b'{"a":1}']),
        ({"response": [1, 2]}, [b"[1,2]"]),
        ({"response": ""}, []),
        ({}, []),
        ({"response": "00ff", "responseIsBinary": True}, [b"\x00\xff"]),
        ({"response": "00ff", "headers": {"content-type": "audio/mpeg"}}, [b"\x00\xff"]),
        ({"response": "00ff", "headers": {"content-type": "text/plain"}}, [b"00ff"]),
        ({"response": "00ff"}, [b"00ff"]),
        (
            {"response": [ZIPPED[:9].hex(), ZIPPED[9:].hex()], "rawHeaders": {"content-encoding": "gzip"}},
            [ZIPPED[:9], ZIPPED[9:]],
        ),
    ],
)
def test_nock_responses_become_frames(fields: dict[str, Any], pieces: list[bytes]) -> None:
    (interaction,) = nocked(**fields).interactions
    assert [frame.data for frame in interaction.response.frames] == pieces
    assert interaction.request.uri == "http://localhost/x?a=b"


def test_header_values_cannot_split_a_response() -> None:
    (interaction,) = nocked(rawHeaders={"a": "b\r\nc: d", "bad name": "x", "e": "é🌍", "f": None}).interactions
    assert interaction.response.head.headers == (
        ("a", "b"),
        ("a", "c: d"),
        ("e", "é🌍".encode().decode("latin-1")),
        ("f", ""),
    )
    assert header((("a", "é"),), "a") == "é"


def entry(request: dict[str, Any] | None = None, **response: Any) -> dict[str, Any]:
    return {
        "request": {"method": "GET", "url": URL, **(request or {})},
        "response": {"status": 200, **response},
    }


def archive(*entries: dict[str, Any]) -> ImportResult:
    return read({"log": {"entries": list(entries)}})[1]


def test_archive_entries_without_an_exchange_are_skipped() -> None:
    result = archive(
        {**entry(), "_resourceType": "websocket"},
        {**entry(), "_webSocketMessages": []},
        entry(status=101),
        entry(status=0),
        entry(content={"size": 7}),
        entry({"postData": {"mimeType": "multipart/form-data", "params": [{"name": "a"}]}}),
        entry(content={"size": 0}),
    )
    assert result.skipped == [
        "Entry 1 is a WebSocket.",
        "Entry 2 is a WebSocket.",
        "Entry 3 is a WebSocket.",
        "Entry 4 got no response.",
        "Entry 5 has a response of 7 bytes that the archive does not contain.",
        "Entry 6 has an upload that the archive does not contain.",
    ]
    assert [interaction.response.body for interaction in result.interactions] == [b""]


@pytest.mark.parametrize(
    ("content", "pieces"),
    [
        ({"text": b64(b"\x00\xff"), "encoding": "base64"}, [b"\x00\xff"]),
        ({"text": "00ff", "_isBinary": True}, [b"\x00\xff"]),
        (
            {"text": json.dumps([b64(ZIPPED[:5]), b64(ZIPPED[5:])]), "encoding": "base64", "_isBinary": True},
            [ZIPPED[:5], ZIPPED[5:]],
        ),
        ({"text": json.dumps([ZIPPED.hex()]), "_isBinary": True}, [ZIPPED]),
        ({"text": b64(b"\x0b\x80"), "encoding": "base64", "_compressed": True}, [b"\x0b\x80"]),
    ],
)
def test_archive_contents_become_frames(content: dict[str, Any], pieces: list[bytes]) -> None:
    (interaction,) = archive(
        entry(content=content, headers=[{"name": "content-encoding", "value": "gzip"}])
    ).interactions
    assert [frame.data for frame in interaction.response.frames] == pieces


def test_archive_request_bodies_are_read() -> None:
    result = archive(
        entry({"postData": {"text": b64(b"\x00"), "encoding": "base64"}}),
        entry({"postData": {"mimeType": "x-www-form-urlencoded", "params": [{"name": "a", "value": "b c"}]}}),
        entry(),
    )
    assert [interaction.request.body for interaction in result.interactions] == [b"\x00", b"a=b+c", b""]
    assert result.repaired == ["encoded a form again from its fields"]


def test_our_own_archives_keep_their_frames() -> None:
    wire = {"head": 5, "frames": "6+2 7+1", "end": "9 truncated"}
    (interaction,) = archive({**entry(content={"text": "abc"}), "_wire": wire}).interactions
    assert interaction.response.frames == (Frame(6, b"ab"), Frame(7, b"c"))
    assert (interaction.response.head_ms, interaction.response.end_ms, interaction.response.end) == (
        5,
        9,
        End.TRUNCATED,
    )
    (interaction,) = archive({**entry(content={"text": "edited"}), "_wire": wire}).interactions
    assert interaction.response.frames == (Frame(0, b"edited"),)
