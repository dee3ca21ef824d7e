"""Cassettes of Ruby's and R's vcr, of go-vcr, and traces of httprr."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from openai_replay.tools.importers.go_vcr import parse_duration_ms
from tests.tools.importers.samples import (
    GO,
    PLAIN,
    URL,
    ZIPPED,
    b64,
    httprr,
    only_interaction,
    read,
    refusal,
)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"encoding": "UTF-8", "string": "é"}, "é".encode()),
        ({"encoding": "US-ASCII", "string": ""}, b""),
        ({"encoding": "ASCII-8BIT", "string": "é"}, "é".encode()),
        ({"encoding": "ISO-8859-1", "string": "é"}, b"\xe9"),
        ({"encoding": "ISO-8859-1", "string": "🌍"}, "🌍".encode()),
        ({"encoding": "no-such", "string": "é"}, "é".encode()),
        ({"encoding": "ASCII-8BIT", "base64_string": b64(ZIPPED) + "\n"}, ZIPPED),
        ({"encoding": "", "raw_gzip": b64(zlib.compress(PLAIN))}, PLAIN),
        ("alone", b"alone"),
        (None, b""),
    ],
)
def test_bodies_of_ruby_and_r_are_decoded(body: Any, expected: bytes) -> None:
    item = {
        "request": {"method": ":get", "uri": URL, "body": body, "headers": {"A": "b"}},
        "response": {"status": 200, "headers": {"content-type": "text/plain"}, "body": body},
    }
    interaction = only_interaction({"http_interactions": [item], "recorded_with": "vcr-vcr/2.0"}, "ruby-vcr")
    assert (interaction.request.method, interaction.request.body) == ("GET", expected)
    assert (interaction.response.body, interaction.response.head.status, interaction.response.head.reason) == (
        expected,
        200,
        "",
    )


def test_an_entry_with_a_body_in_another_file_is_skipped() -> None:
    item = {
        "request": {"method": "get", "uri": URL},
        "response": {"status": {"code": 200}, "body": {"string": "big.bin", "file": True}},
    }
    _, result = read({"http_interactions": [item]})
    assert result.skipped == ["Entry 1 has a body in another file, big.bin."]


def test_old_go_vcr_cassettes_have_transfer_encoding_beside_the_headers() -> None:
    item = {
        "request": {"url": URL, "body": "", "form": {}, "headers": {}},
        "response": {"body": "x", "headers": {}, "code": 404, "transfer_encoding": ["chunked"], "duration": 1500000},
    }
    interaction = only_interaction({"version": 1, "interactions": [item]}, "go-vcr")
    assert (interaction.request.method, interaction.response.head.reason, interaction.response.head.length) == (
        "GET",
        "",
        None,
    )
    assert interaction.response.head_ms == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1m2.5s", 62_500), ("353µs", 0.353), ("1h", 3.6e6), (None, 0), ("", 0), ("1500000", 1.5), (".5ms", 0.5)],
)
def test_go_durations_become_milliseconds(text: Any, expected: float) -> None:
    assert parse_duration_ms(text) == pytest.approx(expected)


def test_an_invalid_go_duration_is_refused() -> None:
    assert refusal(GO.replace("353.6ms", "soon")) == "Entry 1 is invalid: 'soon' is not a duration."


def test_httprr_urls_come_from_the_host_header_and_chunks_are_joined() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    joined = b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\nnot chunked"
    request = b"GET /v1/models?a=b HTTP/1.1\r\nHost: example.com\r\n\r\n"
    _, result = read(httprr((request, chunked), (request, joined)))
    assert [interaction.request.uri for interaction in result.interactions] == ["https://example.com/v1/models?a=b"] * 2
    assert [interaction.response.body for interaction in result.interactions] == [b"abcde", b"not chunked"]
    assert result.interactions[1].response.head.reason == ""
