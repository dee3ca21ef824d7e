"""No secret reaches the disk, and everything else stays."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from openai_replay.errors import PatternTimeoutError, UsageError
from openai_replay.matching import matcher
from openai_replay.matching.matcher import Matcher
from openai_replay.model import End, Frame, Headers, Request
from openai_replay.redaction import masker
from openai_replay.redaction.redactor import Redactor, build_redactor
from openai_replay.text.safe_regex import compile_pattern
from tests.matching.test_matcher import JSON, post, upload
from tests.support.redaction import (
    KEYS,
    PLAIN,
    SSE,
    URI,
    chat,
    mask_key,
    read_texts,
    redact_request_body,
    redact_response_body,
    response_of,
    stream,
)
from tests.text.test_json_codec import DUMPS, SCALARS, leaves


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
def test_secret_headers_are_redacted(name: str, value: str, clean: str) -> None:
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
def test_secrets_in_urls_are_redacted(uri: str, clean: str) -> None:
    assert PLAIN.redact_request(Request("GET", uri)).uri == clean


MCP = {"type": "mcp", "server_url": "https://mcp.example", "authorization": "tok\n1", "headers": {"X": "a", "Y": ""}}
MCP_CLEAN = MCP | {"authorization": "REDACTED", "headers": {"X": "REDACTED", "Y": ""}}


def test_many_requests_are_redacted_alike_the_first_and_the_second_time() -> None:
    rules = Redactor()
    for number in [*range(300), *range(300)]:  # more than are cached
        headers = (("Authorization", f"Bearer {KEYS['sk']}"), ("X-Number", str(number)))
        clean = rules.redact_request(Request("GET", f"https://h/{number}?api-key={KEYS['sk']}", headers))
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
def test_credentials_of_mcp_tools_are_redacted(value: Any, clean: Any) -> None:
    assert json.loads(redact_request_body(json.dumps(value))) == clean
    assert [path for path, _ in leaves(json.loads(redact_response_body(json.dumps(value))))] == [
        path for path, _ in leaves(clean)
    ]


def test_credentials_of_mcp_tools_in_a_stream_are_masked() -> None:
    event = {"type": "response.created", "response": {"tools": [MCP | {"authorization": "tok_0123456789"}]}}
    body = f"event: response.created\ndata: {json.dumps(event)}\n\n"
    clean = redact_response_body(body, SSE).decode()
    assert clean == body.replace("tok_0123456789", "REDACTED******").replace('"X": "a"', '"X": "*"')


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_keys_in_multipart_fields_and_files_are_redacted(key: str) -> None:
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
def test_compressed_bodies_are_redacted(encoding: str, pack: Callable[[bytes], bytes]) -> None:
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
        pytest.param("gzip", b"\x1f\x8bno", id="damaged gzip"),
        pytest.param("br", b"\x0b\x02\x80123\xff", id="brotli"),
        pytest.param("zstd", b"\x28\xb5\x2f\xfd123", id="zstd"),
    ],
)
def test_a_body_that_cannot_be_decoded_stays_as_it_is(encoding: str, body: bytes) -> None:
    response = response_of(body, headers=(*JSON, ("content-encoding", encoding)))
    assert build_redactor(patterns=["."]).redact_response(response) == response


def test_a_key_under_a_false_encoding_is_redacted() -> None:
    headers = (*JSON, ("content-encoding", "gzip"))
    assert redact_request_body(f'{{"a":"{KEYS["sk"]}"}}', headers) == b'{"a":"REDACTED"}'
    assert KEYS["sk"].encode() not in redact_response_body(f'{{"a":"{KEYS["sk"]}"}}', headers)


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_key_split_over_two_frames_is_masked_at_every_split(key: str) -> None:
    body = json.dumps({"key": key}).encode()
    for cut in range(len(body) + 1):
        clean = PLAIN.redact_response(response_of(body[:cut], body[cut:]))
        assert clean.body == mask_key(body, key)
        assert [frame.data for frame in clean.frames] == [clean.body[:cut], clean.body[cut:]]
        assert (clean.head_ms, clean.end_ms, clean.end) == (5, 99, End.COMPLETE)


def test_a_response_without_secrets_stays_the_same() -> None:
    response = response_of(b"", b"{}", b"")
    assert PLAIN.redact_response(response) == response
    assert PLAIN.redact_response(response).frames is response.frames


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
def test_matches_of_users_patterns_are_masked(pattern: str, text: str, clean: str) -> None:
    rules = build_redactor(patterns=[pattern])
    assert redact_response_body(text, rules=rules).decode() == clean
    assert redact_request_body(text, rules=rules) == re.sub(rb"REDACTED\**|\*+", b"REDACTED", clean.encode())


def test_a_number_in_plain_text_is_masked() -> None:
    assert redact_response_body(
        "4111111111111111", (("content-type", "text/plain"),), build_redactor(patterns=[r"\d+"])
    ) == (b"REDACTED********")
    assert build_redactor(patterns=[r"\d+"]).redact_text("a 12") == "a REDACTED"


def test_users_patterns_match_texts_split_over_events() -> None:
    rules = build_redactor(patterns=[r"EMP-\d{6}"])
    clean = redact_response_body(stream(chat("I am E"), chat("MP-12"), chat("3456.")), SSE, rules)
    assert read_texts(clean, chat) == {"0": "I am REDACTED**."}
    assert [json.loads(data)["choices"][0]["delta"]["content"] for data in re.findall(rb"data: (\{.*)", clean)] == [
        "I am R",
        "EDACT",
        "ED**.",
    ]


def test_users_patterns_do_not_touch_the_structure_of_an_upload() -> None:
    rules = build_redactor(patterns=[r"\w+"])
    first, second = (
        rules.redact_request(upload(("name", f'; filename="{word}.txt"', b"%b 1" % word.encode()), boundary=boundary))
        for word, boundary in [("abc", "----b1"), ("abcdef", "----b22")]
    )
    assert Matcher().key(first) == Matcher().key(second)
    assert matcher.parse_body(first)[1] == {
        "REDACTED": {"filename": "REDACTED.REDACTED", "content_type": "", "content": "REDACTED REDACTED"}
    }


def test_values_at_users_pointers_are_redacted() -> None:
    rules = build_redactor(pointers=["/user", "/metadata/*", "/schlüssel"])
    value = {"user": "u1", "metadata": {"a": "b", "n": 1}, "schlüssel": "x", "other": "y"}
    clean = {"user": "REDACTED", "metadata": {"a": "REDACTED", "n": 1}, "schlüssel": "REDACTED", "other": "y"}
    for ascii in (True, False):
        assert json.loads(redact_request_body(json.dumps(value, ensure_ascii=ascii), rules=rules)) == clean


@pytest.mark.parametrize("pattern", ["(", "a{99999999999}", "(?P<1>x)"])
def test_an_invalid_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="is not a regular expression") as caught:
        build_redactor(patterns=[pattern])
    assert caught.value.hint == "See Python's re syntax."


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
    """Return `value` without its texts: its structure, numbers, and count of names."""
    if isinstance(value, dict):
        return {number: shape(inner) for number, inner in enumerate(value.values())}
    return (
        [shape(inner) for inner in value] if isinstance(value, list) else "" if isinstance(value, str) else repr(value)
    )


def load_members(text: bytes) -> Any:
    """Load JSON with repeated names, because masking may make two names equal."""
    return json.loads(text, object_pairs_hook=lambda members: dict(enumerate(value for _, value in members)))


@given(DOCUMENTS, DUMPS, PATTERNS)
@example({"a": "sk-" + "a" * 20 + "\n"}, lambda value: json.dumps(value).encode(), ["[^x]"])
def test_json_keeps_its_structure_its_numbers_and_in_responses_its_length(
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
def test_redacting_twice_changes_nothing(text: str, patterns: list[str], headers: Headers) -> None:
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


def test_a_log_goes_without_a_text_that_cannot_be_searched_in_time() -> None:
    """The redaction of a recording fails then, but a log must neither fail nor show the text."""
    redactor = Redactor(patterns=(compile_pattern("(a{1,15}){1,15}b", timeout_s=0.01),))
    letters = "a" * 60
    with pytest.raises(PatternTimeoutError):
        redactor.redact_text(letters)
    assert redactor.redact_for_log(letters) == "REDACTED (a --redact-pattern took too long)"
    target = redactor.redact_target(Request("GET", f"https://h/{letters}"))
    assert (target.method, target.uri) == ("GET", "/REDACTED (a --redact-pattern took too long)")
