"""Requests are read from JSON texts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openai_replay.errors import UsageError
from openai_replay.model import Request
from openai_replay.tools import request_file
from openai_replay.tools.request_file import RequestOverrides

CHAT = Request("POST", "https://api.openai.com/v1/chat/completions")


def parsed(value: Any, overrides: RequestOverrides = RequestOverrides(), *recorded: Request) -> Request:  # noqa: B008 - it never changes
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return request_file.parse(text, "a.json", overrides, recorded)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"messages": []}, "/v1/chat/completions"),
        ({"messages": [], "method": "x"}, "/v1/chat/completions"),
        ({"input": "x"}, "/v1/responses"),
        ({"previous_response_id": "resp_1"}, "/v1/responses"),
        ({"model": "text-embedding-3-small", "input": "x"}, "/v1/embeddings"),
        ({"input": "x", "dimensions": 3}, "/v1/embeddings"),
        ({"input": "x", "model": "omni-moderation-latest"}, "/v1/moderations"),
        ({"input": "x", "voice": "alloy"}, "/v1/audio/speech"),
        ({"prompt": "x"}, "/v1/completions"),
        ({"prompt": "x", "model": "dall-e-3"}, "/v1/images/generations"),
        ({"prompt": "x", "size": "1024x1024"}, "/v1/images/generations"),
    ],
)
def test_the_path_is_guessed_from_the_body(body: Any, path: str) -> None:
    request = parsed(body)
    assert (request.method, request.path, request.headers) == ("POST", path, (("content-type", "application/json"),))
    assert request.body == json.dumps(body).encode()


@pytest.mark.parametrize(
    ("body", "uri", "target"),
    [
        (
            {"messages": []},
            "https://x/openai/deployments/a/chat/completions?api-version=1",
            "completions?api-version=1",
        ),
        ({"messages": []}, "https://x/api/v1/chat/completions", "/api/v1/chat/completions"),
        ({"input": "x"}, "https://x/v1/embeddings", "/v1/embeddings"),
        ({"anything": 1}, "https://x/v1/vector_stores", "/v1/vector_stores"),
        ([1], "https://x/v1/vector_stores", "/v1/vector_stores"),
    ],
)
def test_recorded_paths_are_guessed_first(body: Any, uri: str, target: str) -> None:
    recorded = Request("GET", "https://x/v1/models"), Request("POST", uri)
    assert parsed(body, RequestOverrides(), *recorded).uri.endswith(target)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"path": "/v1/models"}, Request("GET", "http://cassette/v1/models")),
        (
            {"method": "delete", "uri": "https://x/v1/files/file-1?a=1"},
            Request("DELETE", "http://cassette/v1/files/file-1?a=1"),
        ),
        (
            {"method": "POST", "url": "v1/x", "headers": {"A": "b", "C": ["d", "e"]}, "body": {"a": 1}},
            Request(
                "POST",
                "http://cassette/v1/x",
                (("A", "b"), ("C", "d"), ("C", "e"), ("content-type", "application/json")),
                b'{"a": 1}',
            ),
        ),
        (
            {"method": "POST", "path": "/v1/x", "headers": [["content-type", "text/plain"]], "body": "é"},
            Request("POST", "http://cassette/v1/x", (("content-type", "text/plain"),), "é".encode()),
        ),
        (
            {
                "request": {"method": "POST", "uri": "https://x/y", "headers": [], "body": {"text": "{}"}},
                "response": {},
            },
            Request("POST", "http://cassette/y", (("content-type", "application/json"),), b"{}"),
        ),
        (
            {"method": "POST", "path": "/y", "headers": [["content-type", "a/b"]], "body": {"base64": "/w=="}},
            Request("POST", "http://cassette/y", (("content-type", "a/b"),), b"\xff"),
        ),
        (
            {"method": "POST", "path": "/y", "body": {"a": "b"}},
            Request("POST", "http://cassette/y", (("content-type", "application/json"),), b'{"a": "b"}'),
        ),
        (
            {"method": "POST", "body": {"messages": []}},
            Request(
                "POST",
                "http://cassette/v1/chat/completions",
                (("content-type", "application/json"),),
                b'{"messages": []}',
            ),
        ),
    ],
)
def test_an_object_with_method_and_path_is_a_request(value: Any, expected: Request) -> None:
    assert parsed(value) == expected


def test_overrides_win_over_the_text() -> None:
    overrides = RequestOverrides("put", "/v1/y?z=1", (("content-type", "a/b"),))
    assert parsed({"a": 1}, overrides) == Request("PUT", "http://cassette/v1/y?z=1", overrides.headers, b'{"a": 1}')
    assert parsed({"path": "/x", "body": "c"}, overrides) == Request(
        "PUT", "http://cassette/v1/y?z=1", overrides.headers, b"c"
    )


def test_a_header() -> None:
    assert request_file.parse_header("A: b: c ") == ("A", "b: c")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "a.json:1:1: The text is empty."),
        (b'{"a":\n  1,}', "a.json:2:5: The text is not JSON: "),
        (b'{"a":\n "\xff"}', "a.json:2:3: The text is not JSON: it is not UTF-8."),
        (b"NaN", "a.json: The text is not JSON, which has no NaN or Infinity."),
        (b"[" * 100_000, "a.json: The text is not JSON: it is nested too deeply, or a number is too long."),
        (b'{"a": 1}', "The body does not tell its path."),
        (b'{"method": 1}', "a.json: The method and the path must be strings."),
        (b'{"path": "/x", "body": {"base64": "x"}}', "a.json: The body is not base64: "),
        (b'{"path": "/x", "headers": 1}', "a.json: The headers must be an object of strings, or a list of pairs."),
        (
            b'{"path": "/x", "headers": {"a": 1}}',
            "a.json: The headers must be an object of strings, or a list of pairs.",
        ),
        (
            b'{"path": "/x", "headers": [["a", 1]]}',
            "a.json: The headers must be an object of strings, or a list of pairs.",
        ),
    ],
)
def test_a_text_that_is_not_a_request_is_refused(text: bytes, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(text)
    assert caught.value.message.startswith(says)
    assert caught.value.exit_code == 2


def test_a_text_that_is_not_a_header_is_refused() -> None:
    with pytest.raises(UsageError, match="'a' is not a header"):
        request_file.parse_header("a")
