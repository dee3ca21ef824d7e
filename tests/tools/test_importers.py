"""Recordings of other tools are read as they were meant: our own small samples of every format, and what is wrong."""

from __future__ import annotations

import base64
import copy
import gzip
import json
import random
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openai_replay.cassette import reader, writer
from openai_replay.errors import ImportFormatError
from openai_replay.model import End, Frame, Interaction, header
from openai_replay.text import yaml_loader
from openai_replay.tools import importers
from openai_replay.tools.importers import SuppliedRequest, builder, source
from openai_replay.tools.importers.builder import ImportResult
from openai_replay.tools.importers.go_vcr import parse_duration_ms

URL = "https://api.openai.com/v1/chat/completions"
REQUEST_BODY = b'{"model":"m","stream":true}'
EVENTS = [b'data: {"n":1}\n\n', b"data: [DONE]\n\n"]
STREAM = b"".join(EVENTS)
PLAIN = b'{"ok":true}'
ZIPPED = gzip.compress(PLAIN, mtime=0)


def read(
    data: str | bytes | Any, name: str = "auto", supplied: SuppliedRequest | None = None
) -> tuple[str, ImportResult]:
    """Return the format of `data`, a text or a JSON value, and its contents."""
    if not isinstance(data, (str, bytes)):
        data = json.dumps(data)
    return importers.read(data.encode() if isinstance(data, str) else data, supplied, name)


def only_interaction(data: str | bytes | Any, name: str) -> Interaction:
    """Return the only interaction of `data`, which is of the format `name`."""
    format_name, result = read(data)
    assert (format_name, result.skipped, len(result.interactions)) == (name, [], 1)
    return result.interactions[0]


def refusal(data: str | bytes | Any, supplied: SuppliedRequest | None = None) -> str:
    with pytest.raises(ImportFormatError) as error:
        read(data, supplied=supplied)
    return error.value.message


def assert_is_the_stream(interaction: Interaction, at_ms: int = 0) -> None:
    """Assert that this is the stream that every sample holds, cut at its events."""
    assert interaction.request.method == "POST"
    assert interaction.request.uri == URL
    assert json.loads(interaction.request.body) == {"model": "m", "stream": True}
    assert header(interaction.request.headers, "content-type") == "application/json"
    assert interaction.response.head.status == 200
    assert header(interaction.response.head.headers, "content-type") == "text/event-stream"
    assert interaction.response.frames == tuple(Frame(at_ms, event) for event in EVENTS)
    assert (interaction.response.head_ms, interaction.response.end) == (at_ms, End.COMPLETE)
    assert interaction.response.head.length is None


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# ------------------------------------------------------------------------------------------ a sample of each

VCRPY = f"""
interactions:
- request:
    body: '{REQUEST_BODY.decode()}'
    headers:
      content-type: [application/json]
    method: POST
    uri: {URL}
  response:
    body:
      string: "data: {{\\"n\\":1}}\\n\\ndata: [DONE]\\n\\n"
    headers:
      content-type: [text/event-stream]
      set-cookie: [a=1, b=2]
    status: {{code: 200, message: Fine}}
version: 1
"""
RUBY = f"""---
http_interactions:
- request:
    method: post
    uri: {URL}
    body:
      encoding: UTF-8
      string: '{REQUEST_BODY.decode()}'
    headers:
      Content-Type:
      - application/json
  response:
    status:
      code: 200
      message: OK
    headers:
      Content-Type:
      - text/event-stream
    body:
      encoding: ASCII-8BIT
      string: !binary |-
        {b64(STREAM)}
  recorded_at: Fri, 14 Mar 2025 15:11:39 GMT
recorded_with: VCR 6.3.1
"""
GO = f"""---
version: 2
interactions:
    - id: 0
      request:
        proto: HTTP/1.1
        host: api.openai.com
        body: '{REQUEST_BODY.decode()}'
        headers:
            Content-Type:
                - application/json
        url: {URL}
        method: POST
      response:
        proto: HTTP/2.0
        content_length: -1
        uncompressed: true
        body: "data: {{\\"n\\":1}}\\n\\ndata: [DONE]\\n\\n"
        headers:
            Content-Type:
                - text/event-stream
        status: 200 OK
        code: 200
        duration: 353.6ms
"""
NOCK: list[dict[str, Any]] = [
    {
        "scope": "https://api.openai.com:443",
        "method": "POST",
        "path": "/v1/chat/completions",
        "body": {"model": "m", "stream": True},
        "status": 200,
        "response": STREAM.decode(),
        "rawHeaders": ["Content-Type", "text/event-stream", "Set-Cookie", "a=1", "Set-Cookie", "b=2"],
        "responseIsBinary": False,
    }
]
HAR: dict[str, Any] = {
    "log": {
        "version": "1.2",
        "creator": {"name": "a browser", "version": "1"},
        "entries": [
            {
                "request": {
                    "method": "POST",
                    "url": URL,
                    "headers": [
                        {"name": ":authority", "value": "api.openai.com"},
                        {"name": "content-type", "value": "application/json"},
                    ],
                    "postData": {"mimeType": "application/json", "text": REQUEST_BODY.decode()},
                },
                "response": {
                    "status": 200,
                    "statusText": "",
                    "headers": [
                        {"name": "content-type", "value": "text/event-stream"},
                        {"name": "content-encoding", "value": "br"},
                        {"name": "set-cookie", "value": "a=1\nb=2"},
                    ],
                    "content": {"mimeType": "text/event-stream", "text": STREAM.decode(), "size": 30},
                },
                "timings": {"blocked": 3, "dns": -1, "send": 1, "wait": 298.4, "receive": 101.2},
            }
        ],
    }
}
AZURE: dict[str, Any] = {
    "Entries": [
        {
            "RequestUri": URL,
            "RequestMethod": "POST",
            "RequestHeaders": {"Content-Type": "application/json"},
            "RequestBody": {"model": "m", "stream": True},
            "StatusCode": 200,
            "ResponseHeaders": {"Content-Type": "text/event-stream", "Set-Cookie": ["a=1", "b=2"]},
            "ResponseBody": ['data: {"n":1}\n', "\n", "data: [DONE]\n", "\n"],
        }
    ],
    "Variables": {},
}
DATADOG: dict[str, Any] = {
    "request": {
        "method": "POST",
        "url": URL,
        "headers": {"Content-Type": "application/json"},
        "body": REQUEST_BODY.decode(),
    },
    "response": {
        "status": {"code": 200, "message": "OK"},
        "headers": {"Content-Type": "text/event-stream"},
        "body": "base64:" + b64(STREAM),
    },
}


def httprr(*pairs: tuple[bytes, bytes]) -> bytes:
    return b"httprr trace v1\n" + b"".join(
        b"%d %d\n%s%s" % (len(request), len(response), request, response) for request, response in pairs
    )


TRACE = httprr(
    (
        b"POST " + URL.encode() + b" HTTP/1.1\r\nHost: api.openai.com\r\nUser-Agent: me\n"
        b"Content-Type: application/json\r\n\r\n" + REQUEST_BODY,
        b"HTTP/2.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + STREAM,
    )
)


def tnet(value: Any) -> bytes:
    """`value` as a tnetstring, as mitmproxy writes it."""
    if isinstance(value, dict):
        data, kind = b"".join(tnet(inner) for pair in value.items() for inner in pair), b"}"
    elif isinstance(value, list):
        data, kind = b"".join(map(tnet, value)), b"]"
    elif isinstance(value, bool):
        data, kind = str(value).lower().encode(), b"!"
    elif value is None:
        data, kind = b"", b"~"
    elif isinstance(value, float):
        data, kind = repr(value).encode(), b"^"
    elif isinstance(value, int):
        data, kind = b"%d" % value, b"#"
    else:
        data, kind = (value, b",") if isinstance(value, bytes) else (value.encode("utf-8", "surrogatepass"), b";")
    return b"%d:%s%s" % (len(data), data, kind)


FLOW: dict[str, Any] = {
    "type": "http",
    "version": 21,
    "websocket": None,
    "request": {
        "method": b"POST",
        "scheme": b"https",
        "host": "api.openai.com",
        "port": 443,
        "authority": b"",
        "path": b"/v1/chat/completions",
        "headers": [[b"content-type", b"application/json"]],
        "content": REQUEST_BODY,
        "timestamp_start": 100.0,
        "timestamp_end": 100.5,
    },
    "response": {
        "status_code": 200,
        "reason": b"OK",
        "headers": [[b"content-type", b"text/event-stream"], [b"set-cookie", b"a=1"], [b"set-cookie", b"b=2"]],
        "content": STREAM,
        "timestamp_start": 100.75,
        "timestamp_end": 101.25,
    },
    "error": None,
}


@pytest.mark.parametrize(
    ("name", "sample", "at_ms", "end_ms"),
    [
        ("vcrpy", VCRPY, 0, 0),
        ("ruby-vcr", RUBY, 0, 0),
        ("go-vcr", GO, 354, 354),
        ("nock", NOCK, 0, 0),
        ("har", HAR, 298, 400),
        ("azure", AZURE, 0, 0),
        ("datadog", DATADOG, 0, 0),
        ("httprr", TRACE, 0, 0),
        ("mitmproxy", tnet(FLOW), 250, 750),
    ],
)
def test_streams_are_cut_at_events_at_the_times_of_the_format(name: str, sample: Any, at_ms: int, end_ms: int) -> None:
    interaction = only_interaction(sample, name)
    assert_is_the_stream(interaction, at_ms)
    assert interaction.response.end_ms == end_ms


@pytest.mark.parametrize("sample", [VCRPY, NOCK, HAR, AZURE, tnet(FLOW)])
def test_repeated_headers_stay_repeated_and_in_order(sample: Any) -> None:
    _, result = read(sample)
    pairs = result.interactions[0].response.head.headers
    assert [value for name, value in pairs if name.lower() == "set-cookie"] == ["a=1", "b=2"]


@pytest.mark.parametrize("sample", [VCRPY, RUBY, GO, json.dumps(NOCK), json.dumps(HAR)])
def test_a_gz_file_is_unpacked(sample: str) -> None:
    _, result = read(gzip.compress(sample.encode()))
    assert result.interactions[0].response.body == STREAM


def test_the_status_text_is_kept() -> None:
    assert only_interaction(VCRPY, "vcrpy").response.head.reason == "Fine"
    assert only_interaction(GO.replace("200 OK", "200 Very fine"), "go-vcr").response.head.reason == "Very fine"


def test_formats_are_recognized_by_content_and_can_be_named() -> None:
    assert read(VCRPY, "vcrpy")[0] == "vcrpy"
    with pytest.raises(ImportFormatError, match="The file is not in the format go-vcr"):
        read(VCRPY, "go-vcr")
    with pytest.raises(ImportFormatError, match="The file is not in the format raw"):
        read(VCRPY, "raw")
    assert len(importers.FORMAT_NAMES) == len(set(importers.FORMAT_NAMES))


# ------------------------------------------------------------------------------------------ vcrpy


def with_response(string: str, headers: str = "{}") -> str:
    return VCRPY.replace('"data: {\\"n\\":1}\\n\\ndata: [DONE]\\n\\n"', string).replace(
        "\n      content-type: [text/event-stream]\n      set-cookie: [a=1, b=2]", f" {headers}"
    )


@pytest.mark.parametrize(
    ("string", "body", "encoding"),
    [
        (f"!!binary {b64(ZIPPED)}", ZIPPED, "gzip"),
        (f"!!python/tuple ['{PLAIN.decode()}']", PLAIN, ""),
        (f"'{PLAIN.decode()}'", PLAIN, ""),
    ],
)
def test_a_gzip_body_stays_and_a_decoded_one_loses_its_header(string: str, body: bytes, encoding: str) -> None:
    _, result = read(with_response(string, "{content-encoding: [gzip]}"))
    response = result.interactions[0].response
    assert response.body == body
    assert header(response.head.headers, "content-encoding") == encoding
    assert result.repaired == ([] if encoding else ["dropped a content-encoding that the body does not have"])


def test_brotli_and_zstd_bodies_stay_and_are_reported_as_unsearched() -> None:
    for encoding, body in (("br", b"\x0b\x02\x80\xff"), ("zstd", b"\x28\xb5\x2f\xfd\x00")):
        _, result = read(with_response(f"!!binary {b64(body)}", f"{{content-encoding: [{encoding}]}}"))
        assert result.interactions[0].response.body == body
        assert header(result.interactions[0].response.head.headers, "content-encoding") == encoding
        assert result.repaired == [f"kept a {encoding} body compressed, without searching it for secrets"]


def test_httpx_responses_with_multidict_header_names_are_read() -> None:
    interaction = only_interaction(
        f"""
interactions:
- request: {{method: GET, uri: '{URL}', body: null, headers: {{}}}}
  response:
    status_code: 201
    content: !!binary {b64(PLAIN)}
    http_version: HTTP/1.1
    headers:
      ? !!python/object/apply:multidict._multidict.istr [Content-Type]
      : !!python/tuple [!!binary {b64(b"application/json")}]
""",
        "vcrpy",
    )
    assert (interaction.response.head.status, interaction.response.body) == (201, PLAIN)
    assert interaction.response.head.headers == (("Content-Type", "application/json"),)
    assert interaction.response.head.length == len(PLAIN)


def test_json_cassettes_hold_text_or_base64() -> None:
    for body in ({"string": PLAIN.decode()}, {"base64_string": b64(PLAIN)}):
        item = {
            "request": {"method": "GET", "uri": URL, "body": None, "headers": {}},
            "response": {"status": {"code": 200, "message": "OK"}, "headers": {}, "body": body},
        }
        assert only_interaction({"version": 1, "interactions": [item]}, "vcrpy").response.body == PLAIN
    assert read({"version": 1, "interactions": []})[1].interactions == []
    assert read("interactions:\nversion: 1\n")[1].interactions == []


def test_cassettes_from_before_version_one_are_read() -> None:
    interaction = only_interaction(
        """
- request: !!python/object:vcr.request.Request
    body: hi
    headers: {a: b}
    host: example.com
    method: post
    path: /v1/x
    port: 8080
    protocol: http
  response:
    body: {string: ok}
    headers: {}
    status: {code: 200, message: OK}
""",
        "vcrpy",
    )
    assert (interaction.request.method, interaction.request.uri) == ("POST", "http://example.com:8080/v1/x")
    assert (interaction.request.headers, interaction.request.body) == ((("a", "b"),), b"hi")


def test_parsed_bodies_keep_the_types_that_were_written() -> None:
    _, result = read(
        f"""
interactions:
- request:
    headers: {{}}
    method: POST
    parsed_body: {{model: m, stream: true, temperature: 0.5, n: 2, user: '7', stop: null, input: [a, 2020-10-01]}}
    uri: {URL}
  response:
    headers: {{content-type: [application/json]}}
    parsed_body: {{ok: true, said: 'é'}}
    status: {{code: 200, message: OK}}
version: 1
"""
    )
    (interaction,) = result.interactions
    assert interaction.request.body == (
        b'{"model":"m","stream":true,"temperature":0.5,"n":2,"user":"7","stop":null,"input":["a","2020-10-01"]}'
    )
    assert interaction.response.body.decode() == '{"ok":true,"said":"é"}'
    assert result.repaired[0] == "wrote parsed JSON as text again"


def test_separate_lists_are_read_and_removed_urls_are_restored() -> None:
    for body, path in [
        ({"object": "chat.completion"}, "chat/completions"),
        ({"object": "response"}, "responses"),
        ({"object": "text_completion"}, "completions"),
        ({"object": "list", "data": [{"object": "embedding"}]}, "embeddings"),
    ]:
        text = f"""
requests:
- {{body: !!binary {b64(REQUEST_BODY)}, headers: {{}}, method: POST, uri: '**REDACTED**'}}
responses:
- {{body: {{string: !!binary {b64(json.dumps(body).encode())}}}, headers: {{}}, status: {{code: 200, message: OK}}}}
"""
        _, result = read(text)
        assert result.interactions[0].request.uri == f"https://api.openai.com/v1/{path}"
        assert result.repaired[0] == "restored a removed URL from the response"
    assert refusal("requests: [{}]\nresponses: []\n").startswith("The file has 1 requests and 0 responses.")


def test_a_removed_url_stays_if_the_response_does_not_tell_it() -> None:
    for body in ("no json", "[]", '{"object": "list", "data": []}', 'data: {"type": "x"}\n\n'):
        text = with_response(json.dumps(body)).replace(URL, "'**GONE**'")
        assert only_interaction(text, "vcrpy").request.uri == "**GONE**"
        assert "no request will match" in read(text)[1].repaired[0]


def test_a_removed_content_type_is_restored_from_the_body() -> None:
    for string, kind in (
        (json.dumps(STREAM.decode()), "text/event-stream"),
        (f"'{PLAIN.decode()}'", "application/json"),
        ("hello", "**GONE**"),
    ):
        text = with_response(string, "{content-type: ['**GONE**']}").replace("[application/json]", "['**GONE**']")
        _, result = read(text)
        request, response = result.interactions[0].request, result.interactions[0].response
        assert header(response.head.headers, "content-type") == kind
        assert header(request.headers, "content-type") == "application/json"
        assert result.repaired == ["restored a missing content-type from the body"]
        assert len(response.frames) == (2 if "event" in kind else 1)
    _, result = read(with_response(json.dumps(STREAM.decode())))  # no headers at all
    assert header(result.interactions[0].response.head.headers, "content-type") == "text/event-stream"
    assert len(result.interactions[0].response.frames) == 2
    _, result = read(with_response(json.dumps(STREAM.decode()), "{x-request-id: [r]}"))
    assert result.interactions[0].response.head.headers == (("x-request-id", "r"),)


def test_chunks_of_an_iterator_are_joined() -> None:
    text = VCRPY.replace(
        f"body: '{REQUEST_BODY.decode()}'", f"body: [!!binary {b64(REQUEST_BODY[:4])}, '{REQUEST_BODY[4:].decode()}']"
    )
    assert only_interaction(text, "vcrpy").request.body == REQUEST_BODY


WIRE = """
    wire:
      head: 298
      assumed: ttft=298ms
      frames: 298+20 310+9
      end: 310 reset
"""


def test_our_own_cassettes_keep_their_times_and_torn_ones_are_refused() -> None:
    text = VCRPY.replace("\nversion: 1\n", WIRE)
    response = only_interaction(text, "vcrpy").response
    assert (response.head_ms, [frame.at_ms for frame in response.frames], response.end) == (298, [298, 310], End.RESET)
    assert response.assumed == "ttft=298ms"
    assert read(text.replace("310+9", "310+8"))[1].repaired == ["set new frames in a response that was edited"]
    torn = text + VCRPY.split("interactions:\n")[1].replace("version: 1\n", "")
    assert refusal(torn) == "Entry 2 is torn: it has no `end`, the last line of a recording."


# ------------------------------------------------------------------------------------------ Ruby and R


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


# ------------------------------------------------------------------------------------------ Go


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


# ------------------------------------------------------------------------------------------ nock, HAR


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


# ------------------------------------------------------------------------------------------ Azure, mitmproxy


@pytest.mark.parametrize(
    ("content_type", "value", "expected"),
    [
        ("application/json", {"a": [1, "é"]}, '{"a":[1,"é"]}'.encode()),
        ("application/json; charset=utf-8", '["text"]', b'["text"]'),
        ("text/plain; charset=latin-1", "é", b"\xe9"),
        ("audio/mpeg", b64(b"\x00\xff"), b"\x00\xff"),
        (
            "multipart/form-data; boundary=x",
            ["--x\r\n", "b64:" + b64(b"\x00\xff"), "\r\n--x--"],
            b"--x\r\n\x00\xff\r\n--x--",
        ),
        ("text/plain", None, b""),
        ("text/plain", [], b""),
    ],
)
def test_azure_bodies_are_decoded(content_type: str, value: Any, expected: bytes) -> None:
    record = {
        "RequestUri": URL,
        "RequestMethod": "POST",
        "RequestHeaders": {"Content-Type": content_type},
        "RequestBody": value,
        "StatusCode": 200,
        "ResponseHeaders": {"Content-Type": content_type},
        "ResponseBody": value,
    }
    interaction = only_interaction({"Entries": [record]}, "azure")
    assert (interaction.request.body, interaction.response.body) == (expected, expected)


def test_flows_without_an_exchange_are_skipped() -> None:
    flows = [
        {**FLOW, "type": "tcp"},
        {**FLOW, "response": None, "error": {"msg": "gone"}},
        {**FLOW, "websocket": {"messages": []}},
        {**FLOW, "response": {**FLOW["response"], "content": None}},
        {**FLOW, "request": {**FLOW["request"], "authority": b"example.com:8443"}},
    ]
    _, result = read(b"".join(map(tnet, flows)))
    assert result.skipped == [
        "Entry 1 is a tcp connection.",
        "Entry 2 got no response.",
        "Entry 3 is a WebSocket.",
        "Entry 4 has a response that was streamed and not kept.",
    ]
    assert result.interactions[0].request.uri == "https://example.com:8443/v1/chat/completions"


def test_old_flows_with_bytes_for_keys_are_read() -> None:
    request = {key.encode(): value for key, value in FLOW["request"].items() if key != "timestamp_end"}
    request |= {b"host": b"example.com", b"port": 8080}
    response = {key.encode(): value for key, value in FLOW["response"].items() if key not in ("status_code", "reason")}
    old = {b"type": b"http", b"request": request, b"response": {**response, b"code": 200, b"msg": b"OK"}}
    interaction = only_interaction(tnet(old), "mitmproxy")
    assert interaction.request.uri == "https://example.com:8080/v1/chat/completions"
    assert (interaction.response.head_ms, interaction.response.head.reason) == (750, "OK")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tnet(FLOW)[:-9], "Byte 0: The file is cut off. "),
        (b"99999999999:", "Byte 0: The file is cut off. 100000000000 bytes should follow, but 0 do."),
        (b"3:1:x}", "Byte 2: "),
        (b"3:abc?", "Byte 0: This is not a value of a flow file."),
        (b"3:abc#", "Byte 0: This is not a value of a flow file."),
        (b"4:1:a,}", "Byte 0: A mapping has a key without a value."),
        (tnet([FLOW]), "Entry 1 is invalid: it is not a flow."),
        (tnet({"type": "http"}), "Entry 1 has no request"),
        (tnet(FLOW) + b"junk", f"Byte {len(tnet(FLOW))}: A length is missing."),
    ],
)
def test_bad_flow_files_are_refused_with_the_offset(data: bytes, message: str) -> None:
    assert refusal(data).startswith(message)


def test_a_deeply_nested_flow_file_is_refused() -> None:
    data = b""
    for _ in range(200):
        data = b"%d:%s]" % (len(data), data)
    assert refusal(data).endswith("The value is nested too deeply.")


# ------------------------------------------------------------------------------------------ aimock, raw


def fixture(response: dict[str, Any], timings: Any = None, **match: Any) -> dict[str, Any]:
    content = {"match": match or {"userMessage": "Hi"}, "response": response}
    return {"fixtures": [content | ({"recordedTimings": timings} if timings else {})]}


def test_a_fixture_with_timings_is_a_stream_on_that_schedule() -> None:
    timings = {"ttftMs": 200, "interChunkDelaysMs": [10, 20, 30, 40], "totalDurationMs": 350}
    format_name, result = read(fixture({"content": "Hello"}, timings))
    (interaction,) = result.interactions
    assert format_name == "aimock"
    assert [frame.at_ms for frame in interaction.response.frames] == [200, 210, 230, 260, 300]
    assert (interaction.response.head_ms, interaction.response.end_ms) == (200, 350)
    chunks = [json.loads(frame.data[6:]) for frame in interaction.response.frames[:-1]]
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == "Hello"
    assert interaction.response.frames[-1].data == b"data: [DONE]\n\n"
    assert json.loads(interaction.request.body)["stream"] is True
    assert result.repaired == ["built request and response from the texts of a fixture, which holds no bytes"]


def test_fixtures_of_each_kind_become_responses() -> None:
    call = {"name": "weather", "arguments": {"city": "Oslo"}}
    response = only_interaction(fixture({"toolCalls": [call]}), "aimock").response
    (choice,) = json.loads(response.body)["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city":"Oslo"}'}
    timings = {"ttftMs": 5, "interChunkDelaysMs": [], "totalDurationMs": 0}
    assert b'"tool_calls"' in only_interaction(fixture({"toolCalls": [call]}, timings), "aimock").response.body
    response = only_interaction(fixture({"error": {"message": "slow down"}, "status": 429}), "aimock").response
    assert (response.head.status, json.loads(response.body)["error"]["message"]) == (429, "slow down")
    interaction = only_interaction(fixture({"embedding": [0.5]}, inputText="x", endpoint="embedding"), "aimock")
    assert interaction.request.uri.endswith("/v1/embeddings")
    assert json.loads(interaction.response.body)["data"][0]["embedding"] == [0.5]
    interaction = only_interaction(
        fixture({"content": {"a": 1}, "usage": {"total_tokens": 3}}, userMessage="x", systemMessage="y"), "aimock"
    )
    assert [message["role"] for message in json.loads(interaction.request.body)["messages"]] == ["system", "user"]
    assert json.loads(interaction.response.body)["usage"] == {"total_tokens": 3}
    assert (
        read(fixture({"content": "x"}, toolName="y"))[1]
        .skipped[0]
        .startswith("Entry 1 is a fixture without a chat message")
    )
    assert read(fixture({"image": {}}))[1].skipped[0].startswith("Entry 1 is a fixture whose response is neither")


def test_a_fixture_that_takes_years_is_refused() -> None:
    timings = {"ttftMs": 1e12, "interChunkDelaysMs": [], "totalDurationMs": 0}
    assert refusal(fixture({"content": "x"}, timings)).startswith(
        "Entry 1 is invalid: 1000000000000 ms is negative, or more"
    )
    timings["ttftMs"] = -3.0
    assert refusal(fixture({"content": "x"}, timings)).startswith("Entry 1 is invalid: -3 ms is negative, or more")


SUPPLIED = SuppliedRequest(REQUEST_BODY)


def test_a_raw_stream_needs_a_supplied_request() -> None:
    for start in ("", ": comment\n\n", "\ufeff"):
        format_name, result = read(start + STREAM.decode(), supplied=SuppliedRequest(REQUEST_BODY, "POST", URL))
        assert format_name == "raw"
        assert result.interactions[0].response.body.endswith(STREAM)
    assert result.interactions[0].request.body == REQUEST_BODY
    assert refusal(STREAM) == "The file is a response without its request. Give the request with --request FILE."
    assert (
        refusal(STREAM, SUPPLIED)
        == "Entry 1: The response does not tell the URL of its request. Give it with --url URL."
    )


def test_json_lines_become_the_stream_that_the_api_sends() -> None:
    chat = '{"object":"chat.completion.chunk","n":1}\n\n{"object":"chat.completion.chunk","n":2}\n[DONE]\n'
    (interaction,) = read(chat, supplied=SUPPLIED)[1].interactions
    assert interaction.request.uri == URL
    assert interaction.response.body == (
        b'data: {"object":"chat.completion.chunk","n":1}\n\ndata: {"object":"chat.completion.chunk","n":2}\n\n'
        b"data: [DONE]\n\n"
    )
    responses = '{"type":"response.created"}\n{"type":"response.completed"}\n'
    (interaction,) = read(responses, supplied=SUPPLIED)[1].interactions
    assert interaction.request.uri == "https://api.openai.com/v1/responses"
    assert interaction.response.frames[1].data == b'event: response.completed\ndata: {"type":"response.completed"}\n\n'
    assert refusal(responses + '{"type":', SUPPLIED) == "Entry 1: Line 3 is not JSON. It may be cut off."
    assert refusal(responses + "[1]", SUPPLIED) == "Entry 1: Line 3 is not an event."


def test_a_json_response_alone_is_read() -> None:
    (interaction,) = read({"object": "response", "id": "x"}, supplied=SUPPLIED)[1].interactions
    assert (interaction.response.head.status, interaction.response.body) == (200, b'{"object":"response","id":"x"}')
    (interaction,) = read({"error": {"message": "no"}}, supplied=SuppliedRequest(b"", "GET", URL))[1].interactions
    assert (interaction.response.head.status, interaction.request.headers) == (400, ())
    (interaction,) = read({"created": 1}, supplied=SuppliedRequest(b"", "GET", URL))[1].interactions
    assert interaction.response.body == b'{"created":1}'


# ------------------------------------------------------------------------------------------ bad input

BOMB = gzip.compress(bytes(1 << 20))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "The file is empty."),
        (b" \n", "The file is empty."),
        (b"hello", "The format is unknown: plain text."),
        (b"\x00\xff\x01", "Line 1 is not UTF-8 text, and no known binary format fits."),
        (b'{"interactions": [', "Line 1 is not JSON: "),
        (b"[" * 100_000, "The file is not JSON: nested too deeply."),
        (b'{"a": NaN}', "The file is not JSON: it has NaN or an infinite number."),
        (b'{"a": ' + b"9" * 5000 + b"}", "The file is not JSON: Exceeds the limit"),
        (b"{}", "The format is unknown: a mapping"),
        (b'{"name": 1}', "The format is unknown: a mapping of name"),
        (b"[1]", "The format is unknown: a list"),
        (b"interactions: 3", "The format is unknown: a mapping of interactions"),
        (b"interactions: [{}]", "The format is unknown: a mapping of interactions"),
        (b"interactions:\n- request: {body: 'x\n", "Line 3 is not YAML: "),
        (b"interactions: \x01\n", "The file is not YAML: "),
        (b"interactions: " + b"- " * 20_000, "The file is not YAML: nested too deeply"),
        (b"interactions: " + b"[" * 5000 + b"]" * 5000, "The file is not YAML: nested too deeply"),
        (b"interactions: !!binary x\n", "Line 1 is not YAML: holds !!binary that is not base64"),
        (b"interactions: {[1]: 2}\n", "Line 1 is not YAML: a key is not a text"),
        (VCRPY.replace("code: 200", "code: x").encode(), "Entry 1 is invalid: response.status.code: "),
        (VCRPY.replace("    method: POST\n", "").encode(), "Entry 1 is invalid: request.method: is missing"),
        (VCRPY.replace("POST", "'PO ST'").encode(), "Entry 1 is invalid: 'PO ST' is not a method."),
        (VCRPY.replace("[application/json]", "[{a: b}]").encode(), "Entry 1 is invalid: request.headers"),
        (RUBY.replace("code: 200", "kode: 200").encode(), "Entry 1 has no code"),
        (GO.replace("code: 200", "code: 7").encode(), "Entry 1 is invalid: 7 is not the status of a response."),
        (
            GO.replace("353.6ms", "25h").encode(),
            "Entry 1 is invalid: 90000000 ms is negative, or more than a day.",
        ),
        (TRACE[:-3], "Line 2: The file is cut off. "),
        (TRACE + b"x", "Line 15 must have the lengths of the next request and response."),
        (b"httprr trace v1\n3 3\nabcdef", "Entry 1 is invalid: an HTTP message has no head."),
        (b"httprr trace v1\n5 3\na\r\n\r\ndef", "Entry 1 is invalid: an HTTP message has no first line."),
        (gzip.compress(b"x" * 99)[:-12], "The file is cut off: the end of its gzip data is missing."),
        (b"\x1f\x8bnonsense", "The file is damaged: "),
    ],
    ids=range(32),
)
def test_bad_input_is_refused_with_position_and_reason(data: bytes, message: str) -> None:
    assert refusal(data).startswith(message)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ([{**NOCK[0], "response": "zz", "responseIsBinary": True}], "Entry 1 is invalid: "),
        ([{**NOCK[0], "rawHeaders": ["odd"]}], "Entry 1 is invalid: "),
        (
            [{**NOCK[0], "rawHeaders": {"a": {"b": 1}}}],
            "Entry 1 is invalid: a header's value is neither text nor a list of texts.",
        ),
        ({"Entries": [{**AZURE["Entries"][0], "ResponseBody": [1]}]}, "Entry 1 is invalid: a line of a body"),
        ({**DATADOG, "request": {**DATADOG["request"], "body": 3}}, "Entry 1 is invalid: a body is neither"),
        ([3, NOCK[0]], "The format is unknown"),
        ([NOCK[0], 3], "Entry 2 is invalid: "),
    ],
    ids=range(7),
)
def test_wrong_types_are_refused(sample: Any, message: str) -> None:
    assert refusal(sample).startswith(message)


def test_bombs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (source, builder):
        monkeypatch.setattr(module, "MAX_BYTES", 1 << 20)
    text = with_response(f"!!binary {b64(BOMB)}", "{content-encoding: [gzip]}")
    assert only_interaction(text, "vcrpy").response.body == BOMB
    assert refusal(gzip.compress(bytes(1 << 20 | 1))) == "The file has more than 1 MiB when decompressed."
    assert refusal(BOMB * 2) == "The file has more than 1 MiB when decompressed."
    text = with_response(f"!!binary {b64(BOMB * 2)}", "{content-encoding: [gzip]}")
    assert refusal(text) == f"Entry 1: The response of {2 * len(BOMB)} bytes has more than 1 MiB when decompressed."


def test_aliases_that_expand_without_end_are_refused() -> None:
    levels = "\n".join(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 10))
    message = refusal(f"interactions: 1\na0: &a0 [x]\n{levels}\n")
    assert message.startswith("The file is not YAML: is small, and its aliases make something very large of it")
    assert refusal("\ninteractions: &a [*a]\n").startswith("Line 2 is not YAML: holds an alias of itself")


def test_header_values_cannot_split_a_response() -> None:
    (interaction,) = nocked(rawHeaders={"a": "b\r\nc: d", "bad name": "x", "e": "é🌍", "f": None}).interactions
    assert interaction.response.head.headers == (
        ("a", "b"),
        ("a", "c: d"),
        ("e", "é🌍".encode().decode("latin-1")),
        ("f", ""),
    )
    assert header((("a", "é"),), "a") == "é"


def test_yaml_tags_are_data_and_merges_are_merged() -> None:
    value = yaml_loader.load(
        "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [*a, {z: 4}, 5]}\nd: !ruby/object:X {e: !sym f}\n"
    )
    assert value["b"] == {"x": "1", "y": "3"}
    assert value["c"] == {"x": "1", "y": "2", "z": "4"}
    assert value["d"] == {"e": "f"}
    assert yaml_loader.load("") is None
    assert yaml_loader.load("a: !!python/object/apply:os.system [echo]") == {"a": "echo"}
    assert source.MAX_BYTES == 1 << 28


# ------------------------------------------------------------------------------------------ anything

SAMPLES = [
    *(yaml_loader.load(text) for text in (VCRPY, RUBY, GO)),
    NOCK,
    HAR,
    AZURE,
    DATADOG,
    FLOW,
    fixture({"content": "Hello"}, {"ttftMs": 1, "interChunkDelaysMs": [1, 2], "totalDurationMs": 3}),
]
WRONG: list[Any] = [
    None,
    [],
    {},
    "",
    "x",
    -1,
    0,
    1e308,
    10**30,
    True,
    "\ud800",
    "\0",
    "a\r\nb",
    [1],
    ["a"],
    [[1, 2]],
    {"a": 1},
    [{}],
]


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value inside of `value`."""
    if path:
        yield path
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(inner, (*path, key))


@pytest.mark.parametrize("number", range(len(SAMPLES)))
def test_any_file_is_refused_or_becomes_a_cassette_that_loads(number: int) -> None:
    chance = random.Random(number)
    for path in paths(SAMPLES[number]):
        changed = copy.deepcopy(SAMPLES[number])
        inner = changed
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = chance.choice(WRONG)
        data = (
            tnet(changed)
            if SAMPLES[number] is FLOW
            else json.dumps(changed, default=lambda interaction: interaction.decode()).encode()
        )
        try:
            _, result = importers.read(data)
        except ImportFormatError:
            continue
        text = writer.HEADER + "".join(
            part for interaction in result.interactions for part in writer.dump(interaction, 1)
        )
        if result.interactions:
            reloaded = reader.load(text, Path("a.yaml")).interactions
            assert [interaction.response.frames for interaction in reloaded] == [
                interaction.response.frames for interaction in result.interactions
            ]
