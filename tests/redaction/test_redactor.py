"""No secret reaches the disk, and nothing else is touched."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from openai_replay.errors import UsageError
from openai_replay.matching import matcher
from openai_replay.matching.matcher import Matcher
from openai_replay.model import End, Frame, Head, Headers, Request, Response
from openai_replay.redaction import key_patterns, masker
from openai_replay.redaction.redactor import Redactor, build_redactor
from openai_replay.text.http_headers import decode_body
from tests.matching.test_matcher import JSON, post, upload
from tests.text.test_json_codec import DUMPS, SCALARS, leaves

URI = "https://api.openai.com/v1/responses"
SSE: Headers = (("content-type", "text/event-stream"),)
PLAIN = Redactor()

KEYS = {
    "sk": "sk-" + "aB3dE6gH" * 6,
    "sk-proj": "sk-proj-" + "Ab_9-Z" * 26,
    "sk-svcacct": "sk-svcacct-" + "q_W-1" * 30,
    "sk-admin": "sk-admin-" + "zY8x" * 20,
    "ek": "ek_" + "68af29c1" * 4,
    "sess": "sess-" + "Q1w2E3r4" * 5,
}


def redact_request_body(body: str | bytes, headers: Headers = JSON, rules: Redactor = PLAIN) -> bytes:
    body = body.encode() if isinstance(body, str) else body
    return rules.redact_request(Request("POST", URI, headers, body)).body


def response_of(*frames: bytes, headers: Headers = JSON) -> Response:
    return Response(Head(200, "OK", headers), 5, tuple(Frame(10 + i, data) for i, data in enumerate(frames)), 99)


def redact_response_body(body: str | bytes, headers: Headers = JSON, rules: Redactor = PLAIN) -> bytes:
    return rules.redact_response(response_of(body.encode() if isinstance(body, str) else body, headers=headers)).body


# ------------------------------------------------------------------------------------------------ what a key looks like

AROUND = [
    "%s",
    '{"key":"%s"}',
    '{"text":"my key:\\n%s\\n"}',
    '{"text":"\\u000a%s\\u0022"}',
    '{"text":"\\t%s\\\\"}',
    '{"arguments":"{\\"key\\":\\"%s\\",\\"n\\":\\"\\\\n%s\\"}"}',
    '{"%s":1}',
    'data: {"delta":"\'%s\'"}\n\n',
    "curl -H 'Authorization: Bearer %s.' https://api.openai.com",
    "OPENAI_API_KEY=%s\n",
    "key=%s&x=1",
    "text=my%%20key%%3A%s&x=1",
    "[%s,%s]",
    "(%s)",
    "wss://x, openai-insecure-api-key.%s, realtime",
]


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("headers", [JSON, SSE, ()], ids=["json", "stream", "none"])
def test_a_key_goes_wherever_it_stands(key: str, around: str, headers: Headers) -> None:
    count = around.count("%s")
    text = around % ((key,) * count)
    assert redact_request_body(text, headers).decode() == around % (("REDACTED",) * count)
    assert redact_response_body(text, headers).decode() == around % (("REDACTED".ljust(len(key), "*"),) * count)
    assert PLAIN.redact_text(text) == around % (("REDACTED",) * count)


BEARERS = [
    ("Bearer abcdef0123456789abcdef", "Bearer REDACTED"),
    ("\\nbearer eyJhbGciOiJIUzI1NiJ9.e30.Zm9v-_+/w==", "\\nbearer REDACTED"),
    ("\\u000aBEARER  abcdef0123456789/=.", "\\u000aBEARER  REDACTED."),
    ("Authorization=Bearer+abcdef0123456789", "Authorization=Bearer+REDACTED"),
    ("Authorization=Bearer%20abcdef0123456789", "Authorization=Bearer%20REDACTED"),
    ("Bearer abc\\/def0123456789", "Bearer REDACTED"),
    ("openai-insecure-api-key.short", "openai-insecure-api-key.REDACTED"),
    ("openai-insecure-api-key.without-any-digit, realtime", "openai-insecure-api-key.REDACTED, realtime"),
]


@pytest.mark.parametrize(("text", "clean"), BEARERS)
def test_a_token_goes_with_its_name(text: str, clean: str) -> None:
    assert redact_request_body(text, ()).decode() == clean
    assert redact_request_body(f'{{"a":"{text}"}}').decode() == f'{{"a":"{clean}"}}'
    assert len(redact_response_body(text)) == len(text)


UNTOUCHED = [
    "task-abcdefghijklmnopqrstuvwxyz0123456789",
    "desk-abcdefghijklmnopqrstuvwxyz0123456789",
    "week_abcdefghijklmnopqrstuvwxyz",
    "sk-short",
    "the key starts with sk-proj- and then come many letters",
    "sk-" + "a" * 201,
    "resp_68af4030baa48193b0b43b4c2a176a1a0e6967589f080e78",
    "call_zZ9sk-8aB3dE6gHaB3dE6gHaB3dE6gH",
    "Zm9v_sk-aB3dE6gHaB3dE6gHaB3dE6gH",
    "Zm9v-sk-aB3dE6gHaB3dE6gHaB3dE6gH",
    "chatcmpl-BfXq2ksk-aB3dE6gHaB3dE6gHaB3dE6gH",
    "msg_0a1b2c3d-4e5f-6789-abcd-ef0123456789",
    "0a1b2c3d-4e5f-6789-abcd-ef0123456789",
    "bearer responsibilities are many",
    "Bearer REDACTED",
    "The forbearer abcdef0123456789abcdef",
    "fp_44709d6fcb",
    "REDACTED",
    "**bold** and *italic*",
]


@pytest.mark.parametrize("text", UNTOUCHED)
def test_what_is_no_key_stays(text: str) -> None:
    for body in (text, json.dumps({"a": text}), f"data: {json.dumps([text])}\n\n"):
        assert redact_request_body(body).decode() == body
        assert redact_response_body(body, SSE).decode() == body


@given(st.binary(max_size=3000), st.integers(0, 40))
def test_no_hit_in_base64(data: bytes, shift: int) -> None:
    planted = b"sk-" * shift + data
    for encoded in (base64.b64encode(planted), base64.urlsafe_b64encode(b"\0" + planted), base64.encodebytes(planted)):
        text = json.dumps({"b64_json": "+" + encoded.decode()})
        assert redact_response_body(text).decode() == text


CORPUS = Path(os.environ.get("OPENAI_REPLAY_CORPUS") or Path(__file__).parents[3] / "shared" / "corpus")


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus of recorded traffic: set OPENAI_REPLAY_CORPUS to its folder")
def test_no_hit_in_the_base64_of_a_corpus() -> None:
    media = re.compile(rb"[A-Za-z0-9+/_-]{300,}={0,2}")
    for path in sorted(CORPUS.rglob("*")):
        data = path.read_bytes() if path.is_file() else b""
        for match in media.finditer(data):
            hits = list(key_patterns.find_keys(data[max(0, match.start() - 9) : match.end() + 9]))
            assert not hits, f"{path}, byte {match.start()}"


# ------------------------------------------------------------------------------------------------ requests


@pytest.mark.parametrize(
    ("name", "value", "clean"),
    [
        ("Authorization", "Bearer sk-123", "Bearer REDACTED"),
        ("authorization", "Basic dTpw", "Basic REDACTED"),
        ("Authorization", "sk-123", "REDACTED"),
        ("Authorization", "Token abc", "REDACTED"),
        ("Authorization", "Bearer ", "REDACTED"),
        ("Proxy-Authorization", "x", "REDACTED"),
        ("api-key", "0123456789abcdef", "REDACTED"),
        ("X-Api-Key", "x", "REDACTED"),
        ("Ocp-Apim-Subscription-Key", "x", "REDACTED"),
        ("Cookie", "__cf_bm=x; y=z", "REDACTED"),
        ("Set-Cookie", "__cf_bm=x; path=/", "REDACTED"),
        ("OpenAI-Organization", "org-x", "REDACTED"),
        ("OpenAI-Project", "proj_x", "REDACTED"),
        ("X-Mine", "x", "REDACTED"),
        (
            "Sec-WebSocket-Protocol",
            f"realtime, openai-insecure-api-key.{KEYS['ek']}",
            "realtime, openai-insecure-api-key.REDACTED",
        ),
        ("X-Debug", f"key={KEYS['sk']}; é", "key=REDACTED; é"),
        ("x-request-id", "req_8f1c", "req_8f1c"),
        ("openai-version", "2020-10-01", "2020-10-01"),
    ],
)
def test_headers(name: str, value: str, clean: str) -> None:
    rules = build_redactor(headers=["x-mine"])
    assert rules.redact_request(Request("GET", URI, ((name, value),))).headers == ((name, clean),)
    assert rules.redact_response(response_of(headers=((name, value),))).head.headers == ((name, clean),)


@pytest.mark.parametrize(
    ("uri", "clean"),
    [
        ("https://h/openai/v1?api-key=abc&api-version=1", "https://h/openai/v1?api-key=REDACTED&api-version=1"),
        ("https://h/v1?a=1&KEY=abc&b", "https://h/v1?a=1&KEY=REDACTED&b"),
        ("https://h/v1?api%2Dkey=abc", "https://h/v1?api%2Dkey=REDACTED"),
        ("https://h/v1?subscription-key=x#f", "https://h/v1?subscription-key=REDACTED"),
        ("https://h/v1?api-key", "https://h/v1?api-key"),
        ("https://h/v1?monkey=1", "https://h/v1?monkey=1"),
        (f"https://h/{KEYS['sk']}/v1?x={KEYS['ek']}", "https://h/REDACTED/v1?x=REDACTED"),
        (f"https://h/v1?x=%20{KEYS['sk']}", "https://h/v1?x=%20REDACTED"),
        ("https://user:pass@h:8/v1", "https://REDACTED@h:8/v1"),
        ("https://h/v1/@user?x=a@b", "https://h/v1/@user?x=a@b"),
        ("https://h//openai/%2F/漢", "https://h//openai/%2F/漢"),
        ("http://[not-an-address?key=1", "http://[not-an-address?key=REDACTED"),
        ("", ""),
    ],
)
def test_urls(uri: str, clean: str) -> None:
    assert PLAIN.redact_request(Request("GET", uri)).uri == clean


MCP = {"type": "mcp", "server_url": "https://mcp.example", "authorization": "tok\n1", "headers": {"X": "a", "Y": ""}}
MCP_CLEAN = MCP | {"authorization": "REDACTED", "headers": {"X": "REDACTED", "Y": ""}}


def test_an_address_is_redacted_alike_from_the_cache_and_after_it_was_dropped() -> None:
    redactor = Redactor()
    for number in [*range(300), *range(300)]:  # more than the cache has room for
        headers = (("Authorization", f"Bearer {KEYS['sk']}"), ("X-Number", str(number)))
        clean = redactor.redact_request(Request("GET", f"https://h/{number}?api-key={KEYS['sk']}", headers))
        assert clean.uri == f"https://h/{number}?api-key=REDACTED"
        assert clean.headers == (("Authorization", "Bearer REDACTED"), ("X-Number", str(number)))


@pytest.mark.parametrize(
    ("value", "clean"),
    [
        ({"tools": [{"type": "web_search"}, MCP]}, {"tools": [{"type": "web_search"}, MCP_CLEAN]}),
        ({"session": {"tools": [MCP]}}, {"session": {"tools": [MCP_CLEAN]}}),
        (
            {"tools": [{"headers": {"X": ["a", {"b": "c"}, 5]}}]},
            {"tools": [{"headers": {"X": ["REDACTED", {"b": "REDACTED"}, 5]}}]},
        ),
        ({"tools": [{"authorization": {"token": "a"}}]}, {"tools": [{"authorization": {"token": "REDACTED"}}]}),
        ({"authorization": "stays", "headers": {"a": "b"}}, {"authorization": "stays", "headers": {"a": "b"}}),
    ],
)
def test_credentials_of_mcp_tools(value: Any, clean: Any) -> None:
    assert json.loads(redact_request_body(json.dumps(value))) == clean
    assert [path for path, _ in leaves(json.loads(redact_response_body(json.dumps(value))))] == [
        path for path, _ in leaves(clean)
    ]


def test_credentials_of_mcp_tools_echoed_in_a_stream() -> None:
    event = {"type": "response.created", "response": {"tools": [MCP | {"authorization": "tok_0123456789"}]}}
    body = f"event: response.created\ndata: {json.dumps(event)}\n\n"
    clean = redact_response_body(body, SSE).decode()
    assert clean == body.replace("tok_0123456789", "REDACTED******").replace('"X": "a"', '"X": "*"')


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_multipart_fields_and_files(key: str) -> None:
    parts = [("prompt", "", "my key is %b"), ("file", f'; filename="{key}.txt"', "\n%b\n\xff"), ("k", "", "%b")]
    fields = [(name, parameters, content.encode("latin-1") % key.encode()) for name, parameters, content in parts]
    kind, clean_fields = matcher.parse_body(PLAIN.redact_request(upload(*fields)))
    assert kind == "multipart"
    assert [clean_fields[name].get("content") for name in ("prompt", "file", "k")] == [
        "my key is REDACTED",
        None,
        "REDACTED",
    ]
    assert clean_fields["file"]["filename"] == "REDACTED.txt"
    assert key.encode() not in PLAIN.redact_request(upload(*fields)).body


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP ", gzip.compress),
        ("deflate", zlib.compress),
        ("gzip", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
    ],
    ids=["gzip", "x-gzip", "case", "deflate", "two members"],
)
def test_compressed_bodies(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    text = json.dumps({"a": KEYS["sk"]}).encode()
    headers = (*JSON, ("Content-Encoding", encoding), ("x", "y"))
    request = PLAIN.redact_request(Request("POST", URI, headers, pack(text)))
    assert (request.body, request.headers) == (b'{"a": "REDACTED"}', (*JSON, ("x", "y")))
    recorded = response_of(*(pack(text)[i : i + 9] for i in range(0, 99, 9)), headers=headers)
    response = PLAIN.redact_response(replace(recorded, head=replace(recorded.head, length=len(pack(text)))))
    assert (response.body, response.head.headers) == (mask_key(text, KEYS["sk"]), (*JSON, ("x", "y")))
    assert response.head.length is None
    clean = response_of(pack(b'{"a":"nothing"}'), headers=headers)
    assert PLAIN.redact_response(clean) == clean


def mask_key(body: bytes, key: str) -> bytes:
    return body.replace(key.encode(), b"REDACTED".ljust(len(key), b"*"))


def test_a_compressed_stream_that_holds_a_secret_is_cut_at_its_events() -> None:
    events = [b"data: 1\n\n", f"data: {KEYS['ek']}\n\n".encode(), b"data: 3\n\n"]
    packed = gzip.compress(b"".join(events))
    third = len(packed) // 3
    headers = (*SSE, ("content-encoding", "gzip"))
    response = PLAIN.redact_response(
        response_of(packed[:third], packed[third : 2 * third], packed[2 * third :], headers=headers)
    )
    assert response.frames == tuple(Frame(10 + i, mask_key(event, KEYS["ek"])) for i, event in enumerate(events))


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        pytest.param("gzip", gzip.compress(b"x")[:-4] + b"1234", id="wrong length"),
        pytest.param("gzip", b"\x1f\x8bno", id="nothing but magic bytes"),
        pytest.param("gzip", gzip.compress(b"0" * 1001), id="past the limit"),
        pytest.param("gzip", gzip.compress(b"0" * 1000) + gzip.compress(b"0"), id="past the limit together"),
        pytest.param("br", b"\x0b\x02\x80123\xff", id="brotli"),
        pytest.param("zstd", b"\x28\xb5\x2f\xfd123", id="zstd"),
    ],
)
def test_what_cannot_be_decoded_stays_as_it_came(encoding: str, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai_replay.text.http_headers._MAX_DECODED_BYTES", 1000)
    rules = build_redactor(patterns=["."])
    response = response_of(body, headers=(*JSON, ("content-encoding", encoding)))
    assert rules.redact_response(response) == response


def test_very_many_members_take_no_more_than_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the text is not copied for each member: with 100 MB that would be petabytes."""
    read = 0

    class Counted:
        def __init__(self, wbits: int) -> None:
            self._one = zlib.decompressobj(wbits)

        def decompress(self, data: bytes, max_length: int) -> bytes:
            nonlocal read
            read += len(data)
            return self._one.decompress(data, max_length)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._one, name)

    monkeypatch.setattr(
        "openai_replay.text.http_headers.zlib", SimpleNamespace(decompressobj=Counted, error=zlib.error)
    )
    headers = (*JSON, ("content-encoding", "gzip"))
    body = gzip.compress(b'"') + gzip.compress(b"") * 5_000 + gzip.compress(b'sk"')
    assert decode_body(headers, body) == (JSON, b'"sk"')
    assert read < 300 * len(body)


def test_an_encoding_that_is_not_true_hides_nothing() -> None:
    headers = (*JSON, ("content-encoding", "gzip"))
    assert redact_request_body(f'{{"a":"{KEYS["sk"]}"}}', headers) == b'{"a":"REDACTED"}'
    assert KEYS["sk"].encode() not in redact_response_body(f'{{"a":"{KEYS["sk"]}"}}', headers)


# ------------------------------------------------------------------------------------------------ answers


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_key_split_over_two_frames_goes_at_every_split(key: str) -> None:
    body = json.dumps({"key": key}).encode()
    for cut in range(len(body) + 1):
        clean = PLAIN.redact_response(response_of(body[:cut], body[cut:]))
        assert clean.body == mask_key(body, key)
        assert [frame.data for frame in clean.frames] == [clean.body[:cut], clean.body[cut:]]
        assert (clean.head_ms, clean.end_ms, clean.end) == (5, 99, End.COMPLETE)


def test_an_answer_without_secrets_is_kept_as_it_is() -> None:
    response = response_of(b"", b"{}", b"")
    assert PLAIN.redact_response(response) == response
    assert PLAIN.redact_response(response).frames is response.frames


def chat(text: str, index: int = 0) -> Any:
    return {"id": "chatcmpl-1", "created": 1, "choices": [{"index": index, "delta": {"content": text}}]}


def call(text: str, index: int = 0) -> Any:
    return {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": index, "function": {"arguments": text}}]}}]}


def responses(text: str, index: int = 0) -> Any:
    item = {"item_id": f"msg_{index}", "output_index": index, "content_index": 0}
    return {"type": "response.output_text.delta", "sequence_number": id(text) % 9, "delta": text, **item}


def both(text: str, index: int = 0) -> Any:
    """An event that speaks for two choices, where others speak for one."""
    return {"choices": [{"index": 1 - index, "delta": {"content": "~"}}, *chat(text, index)["choices"]]}


def assistants(text: str, index: int = 0) -> Any:
    return {"object": "thread.message.delta", "delta": {"content": [{"index": index, "text": {"value": text}}]}}


def stream(*events: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"


def read_texts(body: bytes, make_event: Callable[[str, int], Any]) -> dict[Any, str]:
    """Return the text of each channel of a stream, by its index."""
    (path,) = (path for path, text in leaves(make_event("\0", 0)) if text == "\0")
    texts_by_index: dict[Any, str] = {}
    for data in re.findall(rb"data: (\{.*)", body):
        value = json.loads(data)
        indexes = re.findall(r"'(?:index|output_index)': (\d)", str(value))
        for part in path:
            value = value[part]
        texts_by_index["".join(indexes)] = texts_by_index.get("".join(indexes), "") + value
    return texts_by_index


def arguments(text: str, index: int = 0) -> Any:
    return {"type": "response.function_call_arguments.delta", "output_index": index, "delta": text}


EVENTS = [chat, call, responses, arguments, assistants]


@pytest.mark.parametrize("make_event", EVENTS)
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("text", ["%s", "it is \n%s, yes"], ids=["alone", "in a text"])
def test_a_key_split_over_events_goes_at_every_split(make_event: Any, key: str, text: str) -> None:
    full_text = text % key
    before = full_text.index(key)
    hidden = full_text.replace(key, "REDACTED".ljust(len(key), "*"))
    for cut in range(before, before + len(key) + 1):
        body = stream(make_event(full_text[:cut]), make_event(full_text[cut:]))
        assert list(read_texts(redact_response_body(body, SSE), make_event).values()) == [hidden]


@pytest.mark.parametrize("make_event", EVENTS)
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_key_in_many_pieces_goes_while_others_speak(make_event: Any, size: int) -> None:
    long_key, short_key = KEYS["sk-proj"], KEYS["sk"]
    pieces = [[key[i : i + size] for i in range(0, len(key), size)] for key in (long_key, short_key)]
    body = stream(
        *(make_event(piece, index) for pair in zip(*pieces, strict=False) for index, piece in enumerate(pair))
    )
    body += stream(*(make_event(piece, 0) for piece in pieces[0][len(pieces[1]) :]))
    clean = redact_response_body(body, SSE)
    assert list(read_texts(clean, make_event).values()) == [
        "REDACTED".ljust(len(key), "*") for key in (long_key, short_key)
    ]
    assert len(clean) == len(body)


@pytest.mark.parametrize(
    "line", [": %s", "event: %s", "id: %s", "data:%s", "data: {%s", ": data: %s", "data:\ndata: [%s]", 'data: {"%s":0}']
)
def test_a_key_goes_from_any_line_of_a_stream(line: str) -> None:
    body = stream(chat("a")) + line.encode() % KEYS["sk"].encode() + b"\n\n" + stream(chat("b"))
    assert redact_response_body(body, SSE) == body.replace(
        KEYS["sk"].encode(), b"REDACTED".ljust(len(KEYS["sk"]), b"*")
    )


def test_a_key_split_in_a_very_long_stream_goes() -> None:
    body = stream(*[chat("word " * 20_000)] * 50, chat(KEYS["sk"][:9]), chat(KEYS["sk"][9:]))
    assert next(iter(read_texts(redact_response_body(body, SSE), chat).values())).endswith(
        "REDACTED".ljust(len(KEYS["sk"]), "*")
    )


def test_a_choice_is_known_by_its_index_not_by_its_place() -> None:
    key = KEYS["sk"]
    body = stream(chat(key[:9]), both(key[9:20]), chat(key[20:]))
    clean = redact_response_body(body, SSE).decode()
    assert not any(piece in clean for piece in (key[:9], key[9:20], key[20:]))
    assert clean.count('"~"') == 1


@pytest.mark.parametrize(
    "pieces",
    [("Bearer", " abcdef01", "23456789ab"), ("be", "ARER abcdef0123456789ab"), ("openai-insecure-api-", "key.", "abc")],
)
def test_tokens_are_joined_too(pieces: tuple[str, ...]) -> None:
    clean = read_texts(redact_response_body(stream(*map(chat, pieces)), SSE), chat)["0"]
    assert re.fullmatch(r"(Bearer |beARER |openai-insecure-api-key\.)(REDACTED)?\*+", clean)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_line_ends_of_a_stream(line_end: str) -> None:
    rules = build_redactor(patterns=[r"\d+"])
    text = 'event: e1\ndata: {"a":"123","n":5}\n\ndata:{"a":"4"}\n\n: 6\ndata: no JSON 78\n\ndata: [DONE]\n\n'
    clean = 'event: e1\ndata: {"a":"***","n":5}\n\ndata:{"a":"*"}\n\n: 6\ndata: no JSON **\n\ndata: [DONE]\n\n'
    assert redact_response_body(text.replace("\n", line_end), SSE, rules).decode() == clean.replace("\n", line_end)


@pytest.mark.parametrize(
    "events",
    [
        [{"index": [1], "delta": KEYS["sk"][:9]}, {"index": [1], "delta": KEYS["sk"][9:]}],
        [{"a": [{"index": {}, "b": KEYS["sk"][:9]}]}, {"a": [{"index": {}, "b": KEYS["sk"][9:]}]}],
        [[KEYS["sk"][:9]], [KEYS["sk"][9:]]],
        [KEYS["sk"][:9], KEYS["sk"][9:]],
        [{"delta": "\ud83d" + KEYS["sk"][:9]}, {"delta": KEYS["sk"][9:] + "\ude00"}],
    ],
)
def test_odd_events(events: list[Any]) -> None:
    clean = redact_response_body(stream(*events), SSE)
    assert b"REDACTED*" in clean
    assert KEYS["sk"][9:].encode() not in clean


def test_two_values_of_one_name() -> None:
    body = b'data: {"a":{"b":"%b"},"a":5}\n\ndata: {"a":{"b":"%b"},"a":5}\n\n' % (
        KEYS["sk"][:9].encode(),
        KEYS["sk"][9:].encode(),
    )
    assert b"REDA" in redact_response_body(body, SSE)


def test_a_name_said_anew_in_every_event_is_no_text_in_pieces() -> None:
    body = stream(chat("a") | {"id": "sk-"}, chat("b") | {"id": "a" * 20})
    assert redact_response_body(body, SSE) == body


# ------------------------------------------------------------------------------------------------ one's own patterns


@pytest.mark.parametrize(
    ("pattern", "text", "clean"),
    [
        pytest.param(r"\d{4}", '{"a":"pin 1234","b":1234}', '{"a":"pin ****","b":1234}', id="numbers stay"),
        pytest.param(r"EMP-\d+", '{"a":"EMP-123456"}', '{"a":"REDACTED**"}', id="the word where it fits"),
        pytest.param(
            r"EMP-\d+", '["\\"EMP-1\\" \\n \\u00e9EMP-2"]', '["\\"*****\\" \\n \\u00e9*****"]', id="among escapes"
        ),
        pytest.param('"', '{"a":"x\\"y"}', '{"a":"x**y"}', id="a quote"),
        pytest.param("\\\\", '{"a":"C:\\\\x"}', '{"a":"C:**x"}', id="a backslash"),
        pytest.param("é+", '["éé \\u00e9"]', '["**** ******"]', id="not ASCII"),
        pytest.param("😀", '["😀 \\ud83d\\ude00 x"]', '["**** REDACTED**** x"]', id="surrogate pairs"),
        pytest.param("x*", '{"a":"bxxb"}', '{"a":"b**b"}', id="an empty match is none"),
        pytest.param(".*", '{"a":"secret","n":[1,true,null]}', '{"a":"******","n":[1,true,null]}', id=".*"),
        pytest.param(".", '{"a":"secret thing"}', '{"a":"REDACTED****"}', id="hits that touch are one"),
        pytest.param(r"\d", '"1"', '"*"', id="a string alone"),
        pytest.param(r"\d+", "12", "12", id="a number alone is JSON"),
        pytest.param(r"\d+", '{"a":"1"}\n{"b":2}\n\n', '{"a":"*"}\n{"b":2}\n\n', id="JSON lines"),
        pytest.param(r"\d+", '{"a":"1"}\n{"b":', '{"a":"*"}\n{"b":', id="no JSON, plain text"),
        pytest.param(r"\d+", " " * 99 + '{"a":1}', " " * 99 + '{"a":1}', id="after white space"),
        pytest.param(r"é\d", "é1 ü", "*** ü", id="plain text, not ASCII"),
        pytest.param(r"^a|b$", '["abab"]', '["*ba*"]', id="anchors mean the string's"),
    ],
)
def test_patterns(pattern: str, text: str, clean: str) -> None:
    rules = build_redactor(patterns=[pattern])
    assert redact_response_body(text, rules=rules).decode() == clean
    assert redact_request_body(text, rules=rules) == re.sub(rb"REDACTED\**|\*+", b"REDACTED", clean.encode())


def test_a_number_in_plain_text_is_text() -> None:
    assert redact_response_body(
        "4111111111111111", (("content-type", "text/plain"),), build_redactor(patterns=[r"\d+"])
    ) == (b"REDACTED********")
    assert build_redactor(patterns=[r"\d+"]).redact_text("a 12") == "a REDACTED"


def test_patterns_reach_what_is_split_over_events() -> None:
    rules = build_redactor(patterns=[r"EMP-\d{6}"])
    clean = redact_response_body(stream(chat("I am E"), chat("MP-12"), chat("3456.")), SSE, rules)
    assert read_texts(clean, chat) == {"0": "I am REDACTED**."}
    assert [json.loads(data)["choices"][0]["delta"]["content"] for data in re.findall(rb"data: (\{.*)", clean)] == [
        "I am R",
        "EDACT",
        "ED**.",
    ]


def test_patterns_leave_the_frame_of_an_upload_alone() -> None:
    rules = build_redactor(patterns=[r"\w+"])
    first, second = (
        rules.redact_request(upload(("name", f'; filename="{word}.txt"', b"%b 1" % word.encode()), boundary=boundary))
        for word, boundary in [("abc", "----b1"), ("abcdef", "----b22")]
    )
    assert Matcher().key(first) == Matcher().key(second)
    assert matcher.parse_body(first)[1] == {
        "REDACTED": {"filename": "REDACTED.REDACTED", "content_type": "", "content": "REDACTED REDACTED"}
    }


def test_pointers() -> None:
    rules = build_redactor(pointers=["/user", "/metadata/*", "/schlüssel"])
    value = {"user": "u1", "metadata": {"a": "b", "n": 1}, "schlüssel": "x", "other": "y"}
    clean = {"user": "REDACTED", "metadata": {"a": "REDACTED", "n": 1}, "schlüssel": "REDACTED", "other": "y"}
    for ascii in (True, False):
        assert json.loads(redact_request_body(json.dumps(value, ensure_ascii=ascii), rules=rules)) == clean


@pytest.mark.parametrize("pattern", ["(", "a{99999999999}", "(?P<1>x)"])
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(UsageError, match="is not a regular expression") as caught:
        build_redactor(patterns=[pattern])
    assert caught.value.hint == "See Python's re syntax."


# ------------------------------------------------------------------------------------------------ laws

SECRETS = st.sampled_from(
    [*KEYS.values(), "Bearer abcdef0123456789", "openai-insecure-api-key.abcdefgh", "REDACTED***", "REDACTED"]
)
TEXTS = st.lists(
    SECRETS.map(" {} ".format) | st.text(max_size=4) | st.sampled_from([" ", "\n", '"', "\\", "*", "1", "12"]),
    max_size=5,
).map("".join)
DOCUMENTS: st.SearchStrategy[Any] = st.recursive(
    SCALARS | TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)
PATTERNS = st.lists(
    st.sampled_from(
        [
            ".*",
            r"\d+",
            '"',
            ".",
            r"\w",
            r"\s",
            "(?s).+",
            "E|1",
            "D.",
            "a|RED",
            r"\*+",
            "[^x]",
            r"(?<=k)-",
            "$",
            r"\b",
            "^.",
        ]
    ),
    max_size=2,
)


def shape(value: Any) -> Any:
    """`value` with its texts taken out: structure, numbers, and how many names there are."""
    if isinstance(value, dict):
        return {number: shape(inner) for number, inner in enumerate(value.values())}
    return (
        [shape(inner) for inner in value] if isinstance(value, list) else "" if isinstance(value, str) else repr(value)
    )


def load_members(text: bytes) -> Any:
    """JSON with repeated names kept: masking may make two names the same."""
    return json.loads(text, object_pairs_hook=lambda members: dict(enumerate(value for _, value in members)))


@given(DOCUMENTS, DUMPS, PATTERNS)
@example({"a": "sk-" + "a" * 20 + "\n"}, lambda value: json.dumps(value).encode(), ["[^x]"])
def test_json_keeps_its_structure_numbers_and_in_answers_its_length(
    value: Any, dumps: Any, patterns: list[str]
) -> None:
    rules, text = build_redactor(patterns=patterns), dumps(value)
    clean = redact_response_body(text, rules=rules)
    assert len(clean) == len(text)
    for redacted in (clean, redact_request_body(text, rules=rules)):
        assert shape(load_members(redacted)) == shape(load_members(text))
        assert not any(key.encode() in redacted for key in KEYS.values())


@given(st.lists(DOCUMENTS, max_size=4), PATTERNS, st.integers(0, 99))
def test_streams_keep_their_events_and_frames(values: list[Any], patterns: list[str], cut: int) -> None:
    rules, body = build_redactor(patterns=patterns), stream(*values, *(chat(str(value)[:cut]) for value in values))
    response = response_of(body[:cut], body[cut:], headers=SSE)
    clean = rules.redact_response(response)
    assert [len(frame.data) for frame in clean.frames] == [len(frame.data) for frame in response.frames]
    before, after = (re.findall(rb"data: (.*)\n\n", data.body) for data in (response, clean))
    assert [data if data == b"[DONE]" else shape(load_members(data)) for data in after] == [
        data if data == b"[DONE]" else shape(load_members(data)) for data in before
    ]
    assert rules.redact_response(clean) == clean


@given(TEXTS | st.text(), PATTERNS, st.sampled_from([JSON, SSE, ()]))
@example("AREDACTEDx", ["AR"], ())
@example("xfoo", ["(?<!x)foo|x"], ())
@example("Bearer sk-aaaaaaaaaaaaaaaaaaaa.", [], ())
def test_to_redact_twice_changes_nothing(text: str, patterns: list[str], headers: Headers) -> None:
    rules = build_redactor(patterns=patterns)
    for body in (text.encode("utf-8", "replace"), json.dumps({text: [text]}).encode()):
        request = rules.redact_request(Request("POST", URI + "?" + text, (*headers, ("x", text)), body))
        assert rules.redact_request(request) == request
        response = rules.redact_response(response_of(body, headers=(*headers, ("x", text))))
        assert rules.redact_response(response) == response
        assert len(response.body) == len(body)


@given(DOCUMENTS, st.sampled_from(list(KEYS.values())), st.sampled_from(list(KEYS.values())))
def test_todays_key_and_tomorrows_make_the_same_request(value: Any, today: str, tomorrow: str) -> None:
    def request(key: str) -> Request:
        text = json.dumps({"input": value, "key": f"it is {key}.", "tools": [{"authorization": key}]})
        return Request("POST", f"{URI}?api-key={key}", (*JSON, ("Authorization", f"Bearer {key}")), text.encode())

    assert PLAIN.redact_request(request(today)) == PLAIN.redact_request(request(tomorrow))


@given(st.sampled_from(list(KEYS.values())), TEXTS)
def test_a_client_that_sends_back_a_mask_makes_the_recorded_request(key: str, around: str) -> None:
    assume(not re.search(r"[\w-]$", around) and "Bearer" not in around)
    sent = json.dumps({"content": f"{around}{key} {around}"})
    received = json.loads(redact_response_body(sent))["content"]
    recorded, current = (
        PLAIN.redact_request(post(json.dumps([text]).encode())) for text in (f"{around}{key} {around}", received)
    )
    assert recorded == current


@given(st.integers(0, 300))
def test_a_mask_is_as_long_as_the_secret(length: int) -> None:
    assert len(masker.mask(length)) == length
    assert masker.unmask(masker.mask(length)) == (b"REDACTED" if length >= 8 else b"*" * length)
    assert masker.redact(length) == b"REDACTED"


@pytest.mark.parametrize("before", [(1 << 20) - 30, (1 << 20) - 2, (1 << 20) - 1, 1 << 20, (2 << 20) - 3])
@pytest.mark.parametrize("secret", [KEYS["sk"].encode(), b"Bearer abcdef0123456789abcdef"])
def test_a_key_at_the_seams_of_a_large_body(before: int, secret: bytes) -> None:
    hidden = secret if secret.startswith(b"sk-") else secret.removeprefix(b"Bearer ")
    assert hidden not in redact_response_body(b"\n" * before + secret + b"\n" * 100, (("content-type", "text/plain"),))
