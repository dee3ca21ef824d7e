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
ASKED = b'{"model":"m","stream":true}'
EVENTS = [b'data: {"n":1}\n\n', b"data: [DONE]\n\n"]
STREAM = b"".join(EVENTS)
PLAIN = b'{"ok":true}'
ZIPPED = gzip.compress(PLAIN, mtime=0)


def read(data: str | bytes | Any, name: str = "auto", asked: SuppliedRequest | None = None) -> tuple[str, ImportResult]:
    """What `data`, a text or a JSON value, holds."""
    if not isinstance(data, (str, bytes)):
        data = json.dumps(data)
    return importers.read(data.encode() if isinstance(data, str) else data, asked, name)


def one(data: str | bytes | Any, name: str) -> Interaction:
    """The only interaction of `data`, which is of the format `name`."""
    known, found = read(data)
    assert (known, found.skipped, len(found.interactions)) == (name, [], 1)
    return found.interactions[0]


def refused(data: str | bytes | Any, asked: SuppliedRequest | None = None) -> str:
    with pytest.raises(ImportFormatError) as error:
        read(data, asked=asked)
    return error.value.message


def is_the_stream(found: Interaction, at_ms: int = 0) -> None:
    """The stream that every sample holds, cut at its events."""
    assert found.request.method == "POST"
    assert found.request.uri == URL
    assert json.loads(found.request.body) == {"model": "m", "stream": True}
    assert header(found.request.headers, "content-type") == "application/json"
    assert found.response.head.status == 200
    assert header(found.response.head.headers, "content-type") == "text/event-stream"
    assert found.response.frames == tuple(Frame(at_ms, event) for event in EVENTS)
    assert (found.response.head_ms, found.response.end) == (at_ms, End.COMPLETE)
    assert found.response.head.length is None


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# ------------------------------------------------------------------------------------------ a sample of each

VCRPY = f"""
interactions:
- request:
    body: '{ASKED.decode()}'
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
      string: '{ASKED.decode()}'
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
        body: '{ASKED.decode()}'
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
                    "postData": {"mimeType": "application/json", "text": ASKED.decode()},
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
        "body": ASKED.decode(),
    },
    "response": {
        "status": {"code": 200, "message": "OK"},
        "headers": {"Content-Type": "text/event-stream"},
        "body": "base64:" + b64(STREAM),
    },
}


def httprr(*pairs: tuple[bytes, bytes]) -> bytes:
    return b"httprr trace v1\n" + b"".join(b"%d %d\n%s%s" % (len(one), len(two), one, two) for one, two in pairs)


TRACE = httprr(
    (
        b"POST " + URL.encode() + b" HTTP/1.1\r\nHost: api.openai.com\r\nUser-Agent: me\n"
        b"Content-Type: application/json\r\n\r\n" + ASKED,
        b"HTTP/2.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + STREAM,
    )
)


def tnet(value: Any) -> bytes:
    """`value` as a tnetstring, as mitmproxy writes it."""
    if isinstance(value, dict):
        data, kind = b"".join(tnet(one) for pair in value.items() for one in pair), b"}"
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
        "content": ASKED,
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
def test_a_stream_is_cut_at_its_events_and_has_the_times_that_the_format_says(
    name: str, sample: Any, at_ms: int, end_ms: int
) -> None:
    found = one(sample, name)
    is_the_stream(found, at_ms)
    assert found.response.end_ms == end_ms


@pytest.mark.parametrize("sample", [VCRPY, NOCK, HAR, AZURE, tnet(FLOW)])
def test_repeated_headers_stay_repeated_and_in_order(sample: Any) -> None:
    _, found = read(sample)
    pairs = found.interactions[0].response.head.headers
    assert [value for name, value in pairs if name.lower() == "set-cookie"] == ["a=1", "b=2"]


@pytest.mark.parametrize("sample", [VCRPY, RUBY, GO, json.dumps(NOCK), json.dumps(HAR)])
def test_a_gz_file_is_unpacked(sample: str) -> None:
    _, found = read(gzip.compress(sample.encode()))
    assert found.interactions[0].response.body == STREAM


def test_the_status_text_is_kept() -> None:
    assert one(VCRPY, "vcrpy").response.head.reason == "Fine"
    assert one(GO.replace("200 OK", "200 Very fine"), "go-vcr").response.head.reason == "Very fine"


def test_formats_are_told_apart_by_content_and_can_be_named() -> None:
    assert read(VCRPY, "vcrpy")[0] == "vcrpy"
    with pytest.raises(ImportFormatError, match="The file is not in the format go-vcr"):
        read(VCRPY, "go-vcr")
    with pytest.raises(ImportFormatError, match="The file is not in the format raw"):
        read(VCRPY, "raw")
    assert len(importers.FORMAT_NAMES) == len(set(importers.FORMAT_NAMES))


# ------------------------------------------------------------------------------------------ vcrpy


def answer(string: str, headers: str = "{}") -> str:
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
    _, found = read(answer(string, "{content-encoding: [gzip]}"))
    said = found.interactions[0].response
    assert said.body == body
    assert header(said.head.headers, "content-encoding") == encoding
    assert found.repaired == ([] if encoding else ["dropped a content-encoding that the body does not have"])


def test_brotli_and_zstd_stay_as_they_came_and_it_is_said_that_nobody_read_them() -> None:
    for encoding, body in (("br", b"\x0b\x02\x80\xff"), ("zstd", b"\x28\xb5\x2f\xfd\x00")):
        _, found = read(answer(f"!!binary {b64(body)}", f"{{content-encoding: [{encoding}]}}"))
        assert found.interactions[0].response.body == body
        assert header(found.interactions[0].response.head.headers, "content-encoding") == encoding
        assert found.repaired == [f"kept a {encoding} body compressed, without searching it for secrets"]


def test_httpx_style_and_header_keys_of_multidict_and_values_as_bytes() -> None:
    found = one(
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
    assert (found.response.head.status, found.response.body) == (201, PLAIN)
    assert found.response.head.headers == (("Content-Type", "application/json"),)
    assert found.response.head.length == len(PLAIN)


def test_json_cassettes_with_text_and_with_base64() -> None:
    for body in ({"string": PLAIN.decode()}, {"base64_string": b64(PLAIN)}):
        item = {
            "request": {"method": "GET", "uri": URL, "body": None, "headers": {}},
            "response": {"status": {"code": 200, "message": "OK"}, "headers": {}, "body": body},
        }
        assert one({"version": 1, "interactions": [item]}, "vcrpy").response.body == PLAIN
    assert read({"version": 1, "interactions": []})[1].interactions == []
    assert read("interactions:\nversion: 1\n")[1].interactions == []


def test_cassettes_from_before_version_one() -> None:
    found = one(
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
    assert (found.request.method, found.request.uri) == ("POST", "http://example.com:8080/v1/x")
    assert (found.request.headers, found.request.body) == ((("a", "b"),), b"hi")


def test_parsed_bodies_have_the_types_that_were_written() -> None:
    _, found = read(
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
    (interaction,) = found.interactions
    assert interaction.request.body == (
        b'{"model":"m","stream":true,"temperature":0.5,"n":2,"user":"7","stop":null,"input":["a","2020-10-01"]}'
    )
    assert interaction.response.body.decode() == '{"ok":true,"said":"é"}'
    assert found.repaired[0] == "wrote parsed JSON as text again"


def test_requests_beside_responses_and_a_url_that_was_taken_out() -> None:
    for said, path in [
        ({"object": "chat.completion"}, "chat/completions"),
        ({"object": "response"}, "responses"),
        ({"object": "text_completion"}, "completions"),
        ({"object": "list", "data": [{"object": "embedding"}]}, "embeddings"),
    ]:
        text = f"""
requests:
- {{body: !!binary {b64(ASKED)}, headers: {{}}, method: POST, uri: '**REDACTED**'}}
responses:
- {{body: {{string: !!binary {b64(json.dumps(said).encode())}}}, headers: {{}}, status: {{code: 200, message: OK}}}}
"""
        _, found = read(text)
        assert found.interactions[0].request.uri == f"https://api.openai.com/v1/{path}"
        assert found.repaired[0] == "restored a removed URL from the response"
    assert refused("requests: [{}]\nresponses: []\n").startswith("The file has 1 requests and 0 responses.")


def test_a_url_that_nothing_tells_stays_as_it_is() -> None:
    for body in ("no json", "[]", '{"object": "list", "data": []}', 'data: {"type": "x"}\n\n'):
        text = answer(json.dumps(body)).replace(URL, "'**GONE**'")
        assert one(text, "vcrpy").request.uri == "**GONE**"
        assert "no request will match" in read(text)[1].repaired[0]


def test_a_content_type_that_was_taken_out_is_put_back_where_the_body_tells() -> None:
    for string, kind in (
        (json.dumps(STREAM.decode()), "text/event-stream"),
        (f"'{PLAIN.decode()}'", "application/json"),
        ("hello", "**GONE**"),
    ):
        text = answer(string, "{content-type: ['**GONE**']}").replace("[application/json]", "['**GONE**']")
        _, found = read(text)
        asked, said = found.interactions[0].request, found.interactions[0].response
        assert header(said.head.headers, "content-type") == kind
        assert header(asked.headers, "content-type") == "application/json"
        assert found.repaired == ["restored a missing content-type from the body"]
        assert len(said.frames) == (2 if "event" in kind else 1)
    _, found = read(answer(json.dumps(STREAM.decode())))  # no headers at all
    assert header(found.interactions[0].response.head.headers, "content-type") == "text/event-stream"
    assert len(found.interactions[0].response.frames) == 2
    _, found = read(answer(json.dumps(STREAM.decode()), "{x-request-id: [r]}"))
    assert found.interactions[0].response.head.headers == (("x-request-id", "r"),)


def test_chunks_of_an_iterator_are_joined() -> None:
    text = VCRPY.replace(f"body: '{ASKED.decode()}'", f"body: [!!binary {b64(ASKED[:4])}, '{ASKED[4:].decode()}']")
    assert one(text, "vcrpy").request.body == ASKED


WIRE = """
    wire:
      head: 298
      assumed: ttft=298ms
      frames: 298+20 310+9
      end: 310 reset
"""


def test_a_cassette_of_ours_keeps_its_times_and_a_torn_one_is_refused() -> None:
    ours = VCRPY.replace("\nversion: 1\n", WIRE)
    said = one(ours, "vcrpy").response
    assert (said.head_ms, [frame.at_ms for frame in said.frames], said.end) == (298, [298, 310], End.RESET)
    assert said.assumed == "ttft=298ms"
    assert read(ours.replace("310+9", "310+8"))[1].repaired == ["set new frames in a response that was edited"]
    torn = ours + VCRPY.split("interactions:\n")[1].replace("version: 1\n", "")
    assert refused(torn) == "Entry 2 is torn: it has no `end`, the last line of a recording."


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
def test_bodies_of_ruby_and_r(body: Any, expected: bytes) -> None:
    item = {
        "request": {"method": ":get", "uri": URL, "body": body, "headers": {"A": "b"}},
        "response": {"status": 200, "headers": {"content-type": "text/plain"}, "body": body},
    }
    found = one({"http_interactions": [item], "recorded_with": "vcr-vcr/2.0"}, "ruby-vcr")
    assert (found.request.method, found.request.body) == ("GET", expected)
    assert (found.response.body, found.response.head.status, found.response.head.reason) == (expected, 200, "")


def test_a_body_in_another_file_is_left_out_and_said() -> None:
    item = {
        "request": {"method": "get", "uri": URL},
        "response": {"status": {"code": 200}, "body": {"string": "big.bin", "file": True}},
    }
    _, found = read({"http_interactions": [item]})
    assert found.skipped == ["Entry 1 has a body in another file, big.bin."]


# ------------------------------------------------------------------------------------------ Go


def test_go_vcr_of_old_and_transfer_encoding_beside_the_headers() -> None:
    item = {
        "request": {"url": URL, "body": "", "form": {}, "headers": {}},
        "response": {"body": "x", "headers": {}, "code": 404, "transfer_encoding": ["chunked"], "duration": 1500000},
    }
    found = one({"version": 1, "interactions": [item]}, "go-vcr")
    assert (found.request.method, found.response.head.reason, found.response.head.length) == ("GET", "", None)
    assert found.response.head_ms == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1m2.5s", 62_500), ("353µs", 0.353), ("1h", 3.6e6), (None, 0), ("", 0), ("1500000", 1.5), (".5ms", 0.5)],
)
def test_durations_of_go(text: Any, expected: float) -> None:
    assert parse_duration_ms(text) == pytest.approx(expected)


def test_no_duration() -> None:
    assert refused(GO.replace("353.6ms", "soon")) == "Entry 1 is invalid: 'soon' is not a duration."


def test_httprr_requests_by_host_and_chunked_answers() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    joined = b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\nnot chunked"
    asked = b"GET /v1/models?a=b HTTP/1.1\r\nHost: example.com\r\n\r\n"
    _, found = read(httprr((asked, chunked), (asked, joined)))
    assert [one.request.uri for one in found.interactions] == ["https://example.com/v1/models?a=b"] * 2
    assert [one.response.body for one in found.interactions] == [b"abcde", b"not chunked"]
    assert found.interactions[1].response.head.reason == ""


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
def test_answers_of_nock(fields: dict[str, Any], pieces: list[bytes]) -> None:
    (found,) = nocked(**fields).interactions
    assert [frame.data for frame in found.response.frames] == pieces
    assert found.request.uri == "http://localhost/x?a=b"


def entry(request: dict[str, Any] | None = None, **response: Any) -> dict[str, Any]:
    return {
        "request": {"method": "GET", "url": URL, **(request or {})},
        "response": {"status": 200, **response},
    }


def archive(*entries: dict[str, Any]) -> ImportResult:
    return read({"log": {"entries": list(entries)}})[1]


def test_what_an_archive_does_not_hold_is_left_out_and_said() -> None:
    found = archive(
        {**entry(), "_resourceType": "websocket"},
        {**entry(), "_webSocketMessages": []},
        entry(status=101),
        entry(status=0),
        entry(content={"size": 7}),
        entry({"postData": {"mimeType": "multipart/form-data", "params": [{"name": "a"}]}}),
        entry(content={"size": 0}),
    )
    assert found.skipped == [
        "Entry 1 is a WebSocket.",
        "Entry 2 is a WebSocket.",
        "Entry 3 is a WebSocket.",
        "Entry 4 got no response.",
        "Entry 5 has a response of 7 bytes that the archive does not contain.",
        "Entry 6 has an upload that the archive does not contain.",
    ]
    assert [one.response.body for one in found.interactions] == [b""]


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
def test_contents_of_archives(content: dict[str, Any], pieces: list[bytes]) -> None:
    (found,) = archive(entry(content=content, headers=[{"name": "content-encoding", "value": "gzip"}])).interactions
    assert [frame.data for frame in found.response.frames] == pieces


def test_bodies_that_were_posted() -> None:
    found = archive(
        entry({"postData": {"text": b64(b"\x00"), "encoding": "base64"}}),
        entry({"postData": {"mimeType": "x-www-form-urlencoded", "params": [{"name": "a", "value": "b c"}]}}),
        entry(),
    )
    assert [one.request.body for one in found.interactions] == [b"\x00", b"a=b+c", b""]
    assert found.repaired == ["encoded a form again from its fields"]


def test_an_archive_of_ours_has_the_cuts_in_it() -> None:
    wire = {"head": 5, "frames": "6+2 7+1", "end": "9 truncated"}
    (found,) = archive({**entry(content={"text": "abc"}), "_wire": wire}).interactions
    assert found.response.frames == (Frame(6, b"ab"), Frame(7, b"c"))
    assert (found.response.head_ms, found.response.end_ms, found.response.end) == (5, 9, End.TRUNCATED)
    (found,) = archive({**entry(content={"text": "edited"}), "_wire": wire}).interactions
    assert found.response.frames == (Frame(0, b"edited"),)


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
def test_bodies_of_azure(content_type: str, value: Any, expected: bytes) -> None:
    record = {
        "RequestUri": URL,
        "RequestMethod": "POST",
        "RequestHeaders": {"Content-Type": content_type},
        "RequestBody": value,
        "StatusCode": 200,
        "ResponseHeaders": {"Content-Type": content_type},
        "ResponseBody": value,
    }
    found = one({"Entries": [record]}, "azure")
    assert (found.request.body, found.response.body) == (expected, expected)


def test_flows_that_are_no_exchange_are_left_out_and_said() -> None:
    flows = [
        {**FLOW, "type": "tcp"},
        {**FLOW, "response": None, "error": {"msg": "gone"}},
        {**FLOW, "websocket": {"messages": []}},
        {**FLOW, "response": {**FLOW["response"], "content": None}},
        {**FLOW, "request": {**FLOW["request"], "authority": b"example.com:8443"}},
    ]
    _, found = read(b"".join(map(tnet, flows)))
    assert found.skipped == [
        "Entry 1 is a tcp connection.",
        "Entry 2 got no response.",
        "Entry 3 is a WebSocket.",
        "Entry 4 has a response that was streamed and not kept.",
    ]
    assert found.interactions[0].request.uri == "https://example.com:8443/v1/chat/completions"


def test_flows_of_old_have_bytes_for_keys_and_another_port() -> None:
    request = {key.encode(): value for key, value in FLOW["request"].items() if key != "timestamp_end"}
    request |= {b"host": b"example.com", b"port": 8080}
    response = {key.encode(): value for key, value in FLOW["response"].items() if key not in ("status_code", "reason")}
    old = {b"type": b"http", b"request": request, b"response": {**response, b"code": 200, b"msg": b"OK"}}
    found = one(tnet(old), "mitmproxy")
    assert found.request.uri == "https://example.com:8080/v1/chat/completions"
    assert (found.response.head_ms, found.response.head.reason) == (750, "OK")


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
def test_bad_flow_files(data: bytes, message: str) -> None:
    assert refused(data).startswith(message)


def test_a_flow_file_nested_without_end() -> None:
    data = b""
    for _ in range(200):
        data = b"%d:%s]" % (len(data), data)
    assert refused(data).endswith("The value is nested too deeply.")


# ------------------------------------------------------------------------------------------ aimock, raw


def fixture(response: dict[str, Any], timings: Any = None, **match: Any) -> dict[str, Any]:
    one = {"match": match or {"userMessage": "Hi"}, "response": response}
    return {"fixtures": [one | ({"recordedTimings": timings} if timings else {})]}


def test_a_fixture_with_timings_is_a_stream_on_that_schedule() -> None:
    timings = {"ttftMs": 200, "interChunkDelaysMs": [10, 20, 30, 40], "totalDurationMs": 350}
    known, found = read(fixture({"content": "Hello"}, timings))
    (interaction,) = found.interactions
    assert known == "aimock"
    assert [frame.at_ms for frame in interaction.response.frames] == [200, 210, 230, 260, 300]
    assert (interaction.response.head_ms, interaction.response.end_ms) == (200, 350)
    chunks = [json.loads(frame.data[6:]) for frame in interaction.response.frames[:-1]]
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == "Hello"
    assert interaction.response.frames[-1].data == b"data: [DONE]\n\n"
    assert json.loads(interaction.request.body)["stream"] is True
    assert found.repaired == ["built request and response from the texts of a fixture, which holds no bytes"]


def test_fixtures_of_every_kind() -> None:
    call = {"name": "weather", "arguments": {"city": "Oslo"}}
    said = one(fixture({"toolCalls": [call]}), "aimock").response
    (choice,) = json.loads(said.body)["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city":"Oslo"}'}
    timings = {"ttftMs": 5, "interChunkDelaysMs": [], "totalDurationMs": 0}
    assert b'"tool_calls"' in one(fixture({"toolCalls": [call]}, timings), "aimock").response.body
    said = one(fixture({"error": {"message": "slow down"}, "status": 429}), "aimock").response
    assert (said.head.status, json.loads(said.body)["error"]["message"]) == (429, "slow down")
    found = one(fixture({"embedding": [0.5]}, inputText="x", endpoint="embedding"), "aimock")
    assert found.request.uri.endswith("/v1/embeddings")
    assert json.loads(found.response.body)["data"][0]["embedding"] == [0.5]
    found = one(
        fixture({"content": {"a": 1}, "usage": {"total_tokens": 3}}, userMessage="x", systemMessage="y"), "aimock"
    )
    assert [one["role"] for one in json.loads(found.request.body)["messages"]] == ["system", "user"]
    assert json.loads(found.response.body)["usage"] == {"total_tokens": 3}
    assert (
        read(fixture({"content": "x"}, toolName="y"))[1]
        .skipped[0]
        .startswith("Entry 1 is a fixture without a chat message")
    )
    assert read(fixture({"image": {}}))[1].skipped[0].startswith("Entry 1 is a fixture whose response is neither")


def test_a_fixture_that_takes_years_is_refused() -> None:
    timings = {"ttftMs": 1e12, "interChunkDelaysMs": [], "totalDurationMs": 0}
    assert refused(fixture({"content": "x"}, timings)).startswith(
        "Entry 1 is invalid: 1000000000000 ms is negative, or more"
    )
    timings["ttftMs"] = -3.0
    assert refused(fixture({"content": "x"}, timings)).startswith("Entry 1 is invalid: -3 ms is negative, or more")


GIVEN = SuppliedRequest(ASKED)


def test_a_raw_stream_and_the_request_that_is_given() -> None:
    for start in ("", ": comment\n\n", "\ufeff"):
        known, found = read(start + STREAM.decode(), asked=SuppliedRequest(ASKED, "POST", URL))
        assert known == "raw"
        assert found.interactions[0].response.body.endswith(STREAM)
    assert found.interactions[0].request.body == ASKED
    assert refused(STREAM) == "The file is a response without its request. Give the request with --request FILE."
    assert (
        refused(STREAM, GIVEN) == "Entry 1: The response does not tell the URL of its request. Give it with --url URL."
    )


def test_json_lines_become_the_stream_that_the_api_sends() -> None:
    chat = '{"object":"chat.completion.chunk","n":1}\n\n{"object":"chat.completion.chunk","n":2}\n[DONE]\n'
    (found,) = read(chat, asked=GIVEN)[1].interactions
    assert found.request.uri == URL
    assert found.response.body == (
        b'data: {"object":"chat.completion.chunk","n":1}\n\ndata: {"object":"chat.completion.chunk","n":2}\n\n'
        b"data: [DONE]\n\n"
    )
    responses = '{"type":"response.created"}\n{"type":"response.completed"}\n'
    (found,) = read(responses, asked=GIVEN)[1].interactions
    assert found.request.uri == "https://api.openai.com/v1/responses"
    assert found.response.frames[1].data == b'event: response.completed\ndata: {"type":"response.completed"}\n\n'
    assert refused(responses + '{"type":', GIVEN) == "Entry 1: Line 3 is not JSON. It may be cut off."
    assert refused(responses + "[1]", GIVEN) == "Entry 1: Line 3 is not an event."


def test_a_json_answer_alone() -> None:
    (found,) = read({"object": "response", "id": "x"}, asked=GIVEN)[1].interactions
    assert (found.response.head.status, found.response.body) == (200, b'{"object":"response","id":"x"}')
    (found,) = read({"error": {"message": "no"}}, asked=SuppliedRequest(b"", "GET", URL))[1].interactions
    assert (found.response.head.status, found.request.headers) == (400, ())
    (found,) = read({"created": 1}, asked=SuppliedRequest(b"", "GET", URL))[1].interactions
    assert found.response.body == b'{"created":1}'


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
def test_bad_input_is_refused_with_place_and_reason(data: bytes, message: str) -> None:
    assert refused(data).startswith(message)


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
    assert refused(sample).startswith(message)


def test_bombs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (source, builder):
        monkeypatch.setattr(module, "MAX_BYTES", 1 << 20)
    text = answer(f"!!binary {b64(BOMB)}", "{content-encoding: [gzip]}")
    assert one(text, "vcrpy").response.body == BOMB
    assert refused(gzip.compress(bytes(1 << 20 | 1))) == "The file has more than 1 MiB when decompressed."
    assert refused(BOMB * 2) == "The file has more than 1 MiB when decompressed."
    text = answer(f"!!binary {b64(BOMB * 2)}", "{content-encoding: [gzip]}")
    assert refused(text) == f"Entry 1: The response of {2 * len(BOMB)} bytes has more than 1 MiB when decompressed."


def test_aliases_that_unfold_without_end_are_refused() -> None:
    levels = "\n".join(f"a{one}: &a{one} [{', '.join([f'*a{one - 1}'] * 9)}]" for one in range(1, 10))
    said = refused(f"interactions: 1\na0: &a0 [x]\n{levels}\n")
    assert said.startswith("The file is not YAML: is small, and its aliases make something very large of it")
    assert refused("\ninteractions: &a [*a]\n").startswith("Line 2 is not YAML: holds an alias of itself")


def test_header_values_cannot_split_an_answer() -> None:
    (found,) = nocked(rawHeaders={"a": "b\r\nc: d", "bad name": "x", "e": "é🌍", "f": None}).interactions
    assert found.response.head.headers == (
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
    """The path of every value inside of `value`."""
    if path:
        yield path
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(inner, (*path, key))


@pytest.mark.parametrize("number", range(len(SAMPLES)))
def test_whatever_stands_in_a_file_it_is_refused_or_becomes_a_cassette_that_loads(number: int) -> None:
    chance = random.Random(number)
    for path in paths(SAMPLES[number]):
        changed = copy.deepcopy(SAMPLES[number])
        inner = changed
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = chance.choice(WRONG)
        data = (
            tnet(changed) if SAMPLES[number] is FLOW else json.dumps(changed, default=lambda one: one.decode()).encode()
        )
        try:
            _, found = importers.read(data)
        except ImportFormatError:
            continue
        text = writer.HEADER + "".join(piece for one in found.interactions for piece in writer.dump(one, 1))
        if found.interactions:
            again = reader.load(text, Path("a.yaml")).interactions
            assert [one.response.frames for one in again] == [one.response.frames for one in found.interactions]
