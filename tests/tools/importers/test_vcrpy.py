"""Cassettes of vcrpy of each age, and of the projects that build on it."""

from __future__ import annotations

import json

import pytest

from openai_replay.model import End, header
from tests.tools.importers.samples import (
    PLAIN,
    REQUEST_BODY,
    STREAM,
    URL,
    VCRPY,
    ZIPPED,
    b64,
    only_interaction,
    read,
    refusal,
    with_response,
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
