"""A small sample of each format, and helpers that read it."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from openai_replay.errors import ImportFormatError
from openai_replay.model import End, Frame, Interaction, header
from openai_replay.tools import importers
from openai_replay.tools.importers import SuppliedRequest
from openai_replay.tools.importers.builder import ImportResult

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


def with_response(string: str, headers: str = "{}") -> str:
    return VCRPY.replace('"data: {\\"n\\":1}\\n\\ndata: [DONE]\\n\\n"', string).replace(
        "\n      content-type: [text/event-stream]\n      set-cookie: [a=1, b=2]", f" {headers}"
    )


def fixture(response: dict[str, Any], timings: Any = None, **match: Any) -> dict[str, Any]:
    content = {"match": match or {"userMessage": "Hi"}, "response": response}
    return {"fixtures": [content | ({"recordedTimings": timings} if timings else {})]}
