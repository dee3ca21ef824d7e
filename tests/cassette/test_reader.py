"""The cassette file, rule by rule (docs/cassette-format.md), by our own loader and by vcrpy's."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import pytest
import vcr.serialize
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from vcr.serializers import yamlserializer

from openai_replay.cassette import reader, writer
from openai_replay.errors import CassetteError
from openai_replay.matching.matcher import Matcher
from openai_replay.model import End, Frame, Head, Headers, Interaction, Request, Response
from openai_replay.text import content_encoding, http_headers, json_codec

TAPE = Path("tape.yaml")
LOADERS = [yaml.CSafeLoader, yaml.SafeLoader]
both_loaders = pytest.mark.parametrize("loader", LOADERS, ids=["libyaml", "pure Python"])


@contextmanager
def reading_with(loader: type) -> Iterator[None]:
    """Our loader and vcrpy's, on top of `loader`."""
    constructors = {**loader.yaml_constructors, **yamlserializer._CassetteLoader.yaml_constructors}  # type: ignore[attr-defined]
    stock = type("CassetteLoader", (loader,), {"yaml_constructors": constructors})
    with patch.object(reader, "_Loader", reader._texts(loader)), patch.object(yamlserializer, "_CassetteLoader", stock):
        yield


def written(*interactions: Interaction) -> str:
    items = (
        "".join(writer.write_interaction(interaction, number)) for number, interaction in enumerate(interactions, 1)
    )
    return writer.HEADER + "".join(items)


def read(text: str) -> list[Interaction]:
    document = reader.load(text, TAPE)
    assert document.edited == []
    return document.interactions


def loaded(text: str) -> reader.Document | CassetteError:
    """Return the loaded cassette or its CassetteError. Any other error fails the test."""
    try:
        return reader.load(text, TAPE)
    except CassetteError as error:
        return error


def refused(text: str) -> CassetteError:
    error = loaded(text)
    assert isinstance(error, CassetteError)
    return error


JSON: Headers = (("Content-Type", "application/json"),)
SSE: Headers = (("Content-Type", "text/event-stream; charset=utf-8"),)
CHAT = "https://api.openai.com/v1/chat/completions"


def item(
    body: bytes = b"", *cuts: int, headers: Headers = JSON, request: Request | None = None, end: End = End.COMPLETE
) -> Interaction:
    """An answer of `body`, cut at `cuts`, its frames 10 ms apart."""
    bounds = [0, *cuts, len(body)]
    frames = [body[start:stop] for start, stop in pairwise(bounds)] if body else []
    response = Response(
        Head(200, "OK", headers), 5, tuple(Frame(10 * (i + 1), data) for i, data in enumerate(frames)), 99, end
    )
    return Interaction(request or Request("POST", CHAT, JSON, b'{"model":"m"}'), response)


# ------------------------------------------------------------------------------------------------ rule 1: the layout

HELLO = (
    'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
    'data: {"choices":[{"index":0,"delta":{"content":"Héllo 🌍!"}}]}\n\n'
    "data: [DONE]\n\n"
).encode()
STREAMED = Interaction(
    Request(
        "POST",
        CHAT,
        (("Authorization", "Bearer REDACTED"), ("Content-Type", "application/json")),
        b'{"messages":[{"role":"user","content":"Greet the world."}],"model":"gpt-4o-mini","stream":true}',
    ),
    Response(
        Head(200, "OK", (*SSE, ("x-request-id", "req_8f1c"), ("x-twice", "1"), ("X-Twice", "yes, no"))),
        298,
        (Frame(312, HELLO[:75]), Frame(340, HELLO[75:-14]), Frame(372, HELLO[-14:])),
        380,
    ),
)
TEXT = """\
version: 1
interactions:
# 1  POST /v1/chat/completions  gpt-4o-mini  stream  200  380 ms  "Héllo 🌍!"
- request:
    method: POST
    uri: https://api.openai.com/v1/chat/completions
    headers:
      Authorization: [Bearer REDACTED]
      Content-Type: [application/json]
    body: |
      {
        "messages": [
          {
            "role": "user",
            "content": "Greet the world."
          }
        ],
        "model": "gpt-4o-mini",
        "stream": true
      }
  response:
    status: {code: 200, message: OK}
    headers:
      Content-Type: [text/event-stream; charset=utf-8]
      x-request-id: [req_8f1c]
      x-twice: ["1", "yes, no"]
    body:
      string: |+
        data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}

        data: {"choices":[{"index":0,"delta":{"content":"Héllo 🌍!"}}]}

        data: [DONE]

    wire:
      head: 298
      frames: 312+75 340+68 372+14
      end: 380 complete
"""


def test_rule_1_an_item_is_laid_out_for_review() -> None:
    assert written(STREAMED) == TEXT


@both_loaders
def test_rule_1_what_is_written_is_read(loader: type) -> None:
    with reading_with(loader):
        (interaction,) = read(TEXT)
    assert interaction.response == Response(
        Head(200, "OK", (*STREAMED.response.head.headers[:3], ("x-twice", "yes, no"))), *_rest(STREAMED.response)
    )
    assert interaction.request == Request(*_head(STREAMED.request), json_codec.pretty(STREAMED.request.body) + b"\n")


def _rest(response: Response) -> tuple[int, tuple[Frame, ...], int, End]:
    return response.head_ms, response.frames, response.end_ms, response.end


def _head(request: Request) -> tuple[str, str, Headers]:
    return request.method, request.uri, request.headers


SCALARS = [
    ("GET", "GET"),
    ("text/html; charset=utf-8", "text/html; charset=utf-8"),
    ("https://h/v1&c=%20+(x)~@", "https://h/v1&c=%20+(x)~@"),
    ("https://h/v1?a=b", '"https://h/v1?a=b"'),
    ("Bearer REDACTED", "Bearer REDACTED"),
    *(
        (text, f'"{text}"')
        for text in ["", "a ", " a", "a #b", "a: b", "a:", "a,b", "[", "{", "- a", "?", "*a", "&a", "!a", "é", "#"]
    ),
    *(
        (text, f'"{text}"')
        for text in ["yes", "No", "on", "OFF", "True", "null", "~", "y", "N", "1", "0777", "1.5", ".5", "-1", "="]
    ),
    *((text, f'"{text}"') for text in ["2024-01-01", "12:30", "<<", "a'b", "%a", "`a"]),
    ('a"\\\t', '"a\\"\\\\\\t"'),
    ("a\x85", '"a\\U00000085"'),
]


@both_loaders
def test_rule_1_a_url_is_plain(loader: type) -> None:
    text = written(item(request=Request("GET", "https://h/v1?a=b&c=%20+(x)~@")))
    assert "    uri: https://h/v1?a=b&c=%20+(x)~@\n" in text
    with reading_with(loader):
        assert read(text)[0].request.uri == "https://h/v1?a=b&c=%20+(x)~@"


@both_loaders
@pytest.mark.parametrize(("value", "text"), SCALARS, ids=[repr(value) for value, _ in SCALARS])
def test_rule_1_a_short_text_is_plain_where_that_cannot_be_misread(value: str, text: str, loader: type) -> None:
    written_item = written(item(headers=(("a", value),), request=Request(value, CHAT)))
    assert f"    method: {text}\n" in written_item
    assert f"      a: [{text}]\n" in written_item
    with reading_with(loader):
        (interaction,) = read(written_item)
        assert (interaction.request.method, interaction.response.head.headers) == (value, (("a", value),))
        assert yaml.load(written_item, loader)["interactions"][0]["request"]["method"] == value  # noqa: S506


# ------------------------------------------------------------------------------------------------ rule 2: bytes

STYLES = [
    (b"", '""'),
    (b"a", "|-\n        a"),
    (b"a\n", "|\n        a"),
    (b"a\n\n", "|+\n        a\n"),
    (b"a\n\n\nb", "|-\n        a\n\n\n        b"),
    (b" a\n", "|2\n         a"),
    (b"\na", "|2-\n\n        a"),
    (b"   \n", "|2\n           "),
    ("é 😀 \u00a0".encode(), "|-\n        é 😀 \u00a0"),
    (b"\n", '"\\n"'),
    (b"\n\n", '"\\n\\\n        \\n"'),
    (b"a\tb", '"a\\tb"'),
    (b"a\r\n b\r\n", '"a\\r\\n\\\n        \\ b\\r\\n"'),
    ("\u0085\u2028\ufeff\x00\x7f".encode(), '"\\U00000085\\U00002028\\U0000FEFF\\U00000000\\U0000007F"'),
    (b'"\\\r', '"\\"\\\\\\r"'),
    (b"\xff\xfe", "!!binary |\n        //4="),
    (b"\xff" * 58, "!!binary |\n        " + "/" * 76 + "\n        /w=="),
]


@both_loaders
@pytest.mark.parametrize(("body", "text"), STYLES, ids=[repr(body) for body, _ in STYLES])
def test_rule_2_a_body_is_a_block_or_quoted_or_binary(body: bytes, text: str, loader: type) -> None:
    assert f"      string: {text}\n    wire:\n" in written(item(body))
    with reading_with(loader):
        assert read(written(item(body)))[0].response.body == body


# fmt: off
ODD = st.sampled_from([
    "\n", "\r", "\r\n", "\t", " ", "\x85", "\u2028", "\u2029", "\ufeff", "\0", "\x1b", "\x7f", "\xa0", "😀", "é", "a",
    "#", ":", ": ", "- ", "---", "...", "\n---\n", "\n...\n", "'", '"', "\\", "%", "|", ">", "!!binary", "&a", "*a",
    "{", "]", ",",
])
# fmt: on
TEXTS = st.lists(ODD, max_size=8).map("".join) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
BODIES = TEXTS.map(str.encode) | st.binary(max_size=200) | st.lists(st.just(b"data: {}\n\n")).map(b"".join)
LATIN = st.lists(ODD.filter(lambda text: text < "\u0100"), max_size=4).map("".join) | st.text(
    st.characters(max_codepoint=255), max_size=9
)
TOKENS = st.text(st.sampled_from("!#$%&'*+-.^_`|~09AZaz"), min_size=1, max_size=9)  # RFC 9110 5.6.2
NAMES = TOKENS.filter(lambda name: name.lower() not in http_headers.HOP_BY_HOP)
HEADERS = st.lists(st.tuples(NAMES | st.sampled_from(["Content-Type", "no", "null", "a"]), LATIN), max_size=4).map(
    tuple
)
TIMES = st.integers(0, 10**6)


def is_uri(text: str) -> bool:
    try:
        urlsplit(text)
    except ValueError:
        return False
    return True


@st.composite
def interactions(draw: Any) -> Interaction:
    body = draw(BODIES)
    cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=20)))
    bounds = [0, *cuts, len(body)] if body or cuts else []
    frames = tuple(Frame(draw(TIMES), body[a:b]) for a, b in pairwise(bounds))
    end = draw(st.sampled_from(End))
    length = draw(st.sampled_from([None, len(body) if end is End.COMPLETE else 10**6]))
    head = Head(draw(st.just(101) | st.integers(200, 999)), draw(LATIN), draw(HEADERS), length)
    uri = draw(TEXTS.filter(is_uri) | st.sampled_from([CHAT, "http://h/?a=b&c: d#e"]))
    request = Request(draw(st.sampled_from(["GET", "post"]) | TEXTS), uri, draw(HEADERS | st.just(JSON)), draw(BODIES))
    return Interaction(request, Response(head, draw(TIMES), frames, draw(TIMES), end))


def grouped(headers: Headers) -> dict[str, list[str]]:
    """Return headers as a file can have them: repeated ones together, under the first name."""
    names: dict[str, str] = {}
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(names.setdefault(name.lower(), name), []).append(value)
    return values


def flat(headers: Headers) -> Headers:
    return tuple((name, value) for name, values in grouped(headers).items() for value in values)


@both_loaders
@given(recorded=st.lists(interactions(), min_size=1, max_size=3))
def test_rule_2_any_interaction_comes_back(loader: type, recorded: list[Interaction]) -> None:
    text = written(*recorded)
    with reading_with(loader):
        actual = read(text)
    for before, after in zip(recorded, actual, strict=True):
        head = before.response.head
        assert after.response == Response(
            Head(head.status, head.reason, flat(head.headers), head.length), *_rest(before.response)
        )
        assert _head(after.request) == (before.request.method, before.request.uri, flat(before.request.headers))
        same_request(before.request, after.request)


def same_request(before: Request, after: Request) -> None:
    """Rule 3: a body is the same bytes, or the same JSON."""
    assert Matcher().key(before) == Matcher().key(Request(before.method, before.uri, before.headers, after.body))
    if after.body != before.body:
        assert json.loads(after.body) == json.loads(before.body)
        assert after.body == json_codec.pretty(before.body) + b"\n"


@both_loaders
@given(recorded=st.lists(interactions(), min_size=1, max_size=3))
def test_rule_2_vcrpy_reads_the_same(loader: type, recorded: list[Interaction]) -> None:
    with reading_with(loader):
        requests, responses = vcr.serialize.deserialize(written(*recorded), yamlserializer)
    for before, request, response in zip(recorded, requests, responses, strict=True):
        assert response["body"]["string"] == before.response.body
        assert response["status"] == {"code": before.response.head.status, "message": before.response.head.reason}
        assert response["headers"] == grouped(before.response.head.headers)
        assert (request.method, request.uri) == (before.request.method, before.request.uri)
        assert dict(request.headers) == {name: values[0] for name, values in grouped(before.request.headers).items()}
        same_request(before.request, Request("", "", (), request.body))


# ------------------------------------------------------------------------------------------------ rule 3: requests


def body_of(body: bytes, headers: Headers = JSON) -> bytes:
    return read(written(item(request=Request("POST", CHAT, headers, body))))[0].request.body


@pytest.mark.parametrize(
    ("body", "stored"),
    [
        (b'{"b":1.0,"a":[]}', b'{\n  "b": 1.0,\n  "a": []\n}\n'),
        (b'{"n":12345678901234567890123,"n":1e2}', b'{\n  "n": 12345678901234567890123,\n  "n": 1e2\n}\n'),
        (rb'{"a":"\u00e9\/\ud83d"}', b'{\n  "a": "\\u00e9\\/\\ud83d"\n}\n'),
        ('"\u2028"'.encode(), '"\u2028"\n'.encode()),
        (b'{"a":', b'{"a":'),
        (b"[NaN]", b"[NaN]"),
        (b"[" * 300 + b"]" * 300, b"[" * 300 + b"]" * 300),
        (b"", b""),
        (b"\xff", b"\xff"),
    ],
)
def test_rule_3_request_json_is_indented_and_nothing_else(body: bytes, stored: bytes) -> None:
    assert body_of(body) == stored
    assert body_of(body, ()) == stored
    same_request(Request("POST", CHAT, JSON, body), Request("POST", CHAT, JSON, body_of(body)))


@pytest.mark.parametrize("media", ["multipart/form-data; boundary=b", "text/plain", "application/octet-stream"])
def test_rule_3_other_bodies_stay_as_they_are(media: str) -> None:
    assert body_of(b'{"a":1}', (("content-type", media),)) == b'{"a":1}'


# ------------------------------------------------------------------------------------------------ rule 4: the comment


@pytest.mark.parametrize(
    ("interaction", "comment"),
    [
        (STREAMED, '# 1  POST /v1/chat/completions  gpt-4o-mini  stream  200  380 ms  "Héllo 🌍!"'),
        (
            item(b'{"output":[{"content":[{"text":"%b"}]}]}' % (b"x" * 99)),
            f'# 1  POST /v1/chat/completions  m  200  99 ms  "{"x" * 59}…"',
        ),
        (
            item(b'{"error":{"message":"a\\nb \\"c\\" \\u0085\\ud83d"}}', end=End.TRUNCATED),
            '# 1  POST /v1/chat/completions  m  200  99 ms  truncated  "a b \\"c\\" �"',
        ),
        (item(request=Request("GET", "https://h/v1/a\u2028b\nc\u0378")), "# 1  GET /v1/a\\u2028bc\u0378  200  99 ms"),
        (
            item(b'{"error":{"message":"\\u202ecod.exe"}}'),
            '# 1  POST /v1/chat/completions  m  200  99 ms  "\\u202ecod.exe"',
        ),
        (item(request=Request("POST", CHAT, (), b"[1]")), "# 1  POST /v1/chat/completions  200  99 ms"),
        (item(request=Request("POST", CHAT, (), b'{"model":5}')), "# 1  POST /v1/chat/completions  200  99 ms"),
        (
            item(b"\xff", headers=(("content-type", "audio/mpeg"),), request=Request("GET", CHAT), end=End.RESET),
            '# 1  GET /v1/chat/completions  200  99 ms  reset  "1 bytes of audio/mpeg"',
        ),
    ],
)
def test_rule_4_a_comment_says_what_was_said(interaction: Interaction, comment: str) -> None:
    text = written(interaction)
    assert text.splitlines()[2] == comment
    assert read(text) == read(text.replace(comment, "# mine")) == read(text.replace(comment + "\n", ""))


# ------------------------------------------------------------------------------------------------ rule 5: frames

THREE = b"data: 1\n\ndata: 2\n\ndata: 3\n\n"


def edited_text(interaction: Interaction, old: str, new: str) -> str:
    text = written(interaction)
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("text", "says", "frames"),
    [
        pytest.param(
            edited_text(item(THREE, 9, 18, headers=SSE), "data: 2", "data: 22222"),
            (27, 31),
            ((10, b"data: 1\n\n"), (20, b"data: 22222\n\n"), (30, b"data: 3\n\n")),
            id="an event grew: the times stay",
        ),
        pytest.param(
            edited_text(item(THREE, 9, 18, headers=SSE), "        data: 2\n\n", ""),
            (27, 18),
            ((10, b"data: 1\n\n"), (20, b"data: 3\n\n")),
            id="an event went",
        ),
        pytest.param(
            edited_text(item(b'{"a":1}', 3), '{"a":1}', '{"a":1000}'),
            (7, 10),
            ((20, b'{"a":1000}'),),
            id="JSON is one frame, when its last one came",
        ),
        pytest.param(edited_text(item(b'{"a":1}', 3), '|-\n        {"a":1}', '""'), (7, 0), (), id="nothing is left"),
        pytest.param(
            edited_text(item(), '""\n    wire', "more\n    wire"), (0, 4), ((0, b"more"),), id="something is new"
        ),
        pytest.param(edited_text(item(b"a"), "frames: 10+1", "frames:"), (0, 1), ((0, b"a"),), id="no frames"),
        pytest.param(
            edited_text(item(THREE, *range(1, 25), headers=SSE), "data: 3", "data: three"),
            (27, 31),
            ((10, b"data: 1\n\n"), (90, b"data: 2\n\n"), (170, b"data: three\n\n")),
            id="frames over several lines",
        ),
        pytest.param(
            edited_text(item(b"".join(b"data: %d\n\n" % i for i in range(30)), headers=SSE), "data: 29", "data: last"),
            (290, 292),
            (*((10, b"data: %d\n\n" % i) for i in range(29)), (10, b"data: last\n\n")),
            id="more lines than before",
        ),
        pytest.param(
            re.sub(
                r"wire:\n *(.*)\n *(.*)\n *(.*)\n",
                r"wire: {\1, \2, \3}\n",
                edited_text(
                    item(b"".join(b"data: %d\n\n" % i for i in range(30)), headers=SSE), "data: 29", "data: last"
                ),
            ),
            (290, 292),
            (*((10, b"data: %d\n\n" % i) for i in range(29)), (10, b"data: last\n\n")),
            id="in a flow mapping",
        ),
    ],
)
@both_loaders
@pytest.mark.parametrize("shape", ["as it is", "indented", "CRLF", "followed"])
def test_rule_5_what_was_edited_is_found_and_cut_anew(
    text: str, says: tuple[int, int], frames: tuple[Any, ...], shape: str, loader: type
) -> None:
    if shape == "indented":
        text = re.sub(r"(?m)^(?=[-# ] ?.)", "   ", text)
    elif shape == "CRLF":
        text = text.replace("\n", "\r\n")
    elif shape == "followed":
        text += "# comment\n" + written(item(b"x")).removeprefix(writer.HEADER)
    with reading_with(loader):
        document = reader.load(text, TAPE)
        (edited,) = document.edited
        assert (edited.recorded, edited.body) == says
        assert (edited.number, edited.line) == (1, text[: text.index("frames:")].count("\n") + 1)
        assert document.interactions[0].response.frames == tuple(Frame(*frame) for frame in frames)
        second_run = writer.recut_frames(text, document.edited)
        assert read(second_run) == document.interactions
    without = r"frames:(?:(?!end:).)*|, end"
    assert re.sub(without, "", second_run, flags=re.DOTALL) == re.sub(without, "", text, flags=re.DOTALL)


def test_rule_5_several_edits_and_a_shared_item() -> None:
    text = written(item(b"a"), item(b"b"), item(b"c"))
    text = text.replace("        a\n", f"        {'a' * 50}\n").replace("        c\n", f"        {'c' * 500}\n")
    text = text.replace("- request", "- &shared\n  request", 1) + "- *shared\n"
    document = reader.load(text, TAPE)
    assert [(edited.number, edited.recorded, edited.body) for edited in document.edited] == [
        (1, 1, 50),
        (3, 1, 500),
        (4, 1, 50),
    ]
    assert read(writer.recut_frames(text, document.edited)) == document.interactions


def test_rule_5_the_length_of_an_edited_answer_is_its_own() -> None:
    response = Response(Head(200, "OK", JSON, 7), 1, (Frame(2, b'{"a":1}'),), 3)
    text = written(Interaction(Request("GET", CHAT), response))
    assert read(text)[0].response == response
    (edited,) = reader.load(text.replace('"a":1', '"a":1000'), TAPE).interactions
    assert edited.response.head.length == 10
    cut = Response(Head(200, "OK", JSON, 99), 1, (Frame(2, b'{"a":1}'),), 3, End.TRUNCATED)
    assert read(written(Interaction(Request("GET", CHAT), cut)))[0].response == cut


@pytest.mark.parametrize(
    ("framing", "length"), [("content-length: ['3']", 3), ("Transfer-Encoding: [chunked]", None), ("x: []", 3)]
)
def test_rule_5_a_plain_vcrpy_item_is_one_frame_at_0(framing: str, length: int | None) -> None:
    (interaction,) = read(plain(headers=f"{{{framing}}}", body="abc"))
    assert interaction.response == Response(Head(200, "OK", (), length), 0, (Frame(0, b"abc"),), 0)
    assert read(plain(body="''"))[0].response.frames == ()


def plain(headers: str = "{}", body: str = "{}", request_body: str = "null", request_headers: str = "{}") -> str:
    """A cassette as vcrpy writes it: a body alone stands for `{string: ...}`."""
    body = body if body.startswith(("{", "null")) else f"{{string: {body}}}"
    return f"""\
interactions:
- request:
    body: {request_body}
    headers: {request_headers}
    method: GET
    uri: https://h/v1
  response:
    body: {body}
    headers: {headers}
    status: {{code: 200, message: OK}}
version: 1
"""


# ------------------------------------------------------------------------------------------------ rules 6 to 9


def test_rule_6_our_keys_live_under_response_only() -> None:
    value = yaml.safe_load(written(STREAMED))
    assert list(value) == ["version", "interactions"]
    assert list(value["interactions"][0]) == ["request", "response"]
    assert list(value["interactions"][0]["request"]) == ["method", "uri", "headers", "body"]
    assert list(value["interactions"][0]["response"]) == ["status", "headers", "body", "wire"]


@pytest.mark.parametrize(
    ("name", "is_kept", "with_all"),
    [
        ("content-type", True, True),
        ("x-request-id", True, True),
        ("openai-processing-ms", True, True),
        ("x-ratelimit-remaining-tokens", True, True),
        ("Retry-After", True, True),
        ("cf-ray", False, True),
        ("CF-Cache-Status", False, True),
        ("alt-svc", False, True),
        ("NEL", False, True),
        ("report-to", False, True),
        ("strict-transport-security", False, True),
        ("User-Agent", False, True),
        ("accept-encoding", False, True),
        ("X-Stainless-Retry-Count", False, True),
        ("Content-Length", False, False),
        ("transfer-encoding", False, False),
        ("Connection", False, False),
        ("Host", False, False),
        ("Via", False, False),
        ("X-Hop", False, False),  # named by Connection
    ],
)
def test_rule_7_headers_that_are_stored(name: str, is_kept: bool, with_all: bool) -> None:
    entry = (name, "x")
    connection = ("connection", "keep-alive, x-hop")
    assert (entry in http_headers.filter_headers((connection, entry))) is is_kept
    assert (entry in http_headers.filter_headers((connection, entry), keep_all=True)) is with_all


@pytest.mark.parametrize(
    ("encoding", "body", "true"),
    [
        ("gzip", b"\x1f\x8b\x08", True),
        ("gzip", b"{}", False),
        ("X-GZip", b"{}", False),
        ("zstd", b"\x28\xb5\x2f\xfd", True),
        ("zstd", b"{}", False),
        ("br", b"\x8b\x02\x80", True),
        ("br", b"{}", False),
        ("deflate", b"x\x9c", True),
        ("gzip", b"", True),
        ("", b"{}", True),
    ],
)
def test_rule_8_an_encoding_that_the_body_does_not_have_is_dropped(encoding: str, body: bytes, true: bool) -> None:
    entry: Headers = (("Content-Encoding", encoding), ("x", "y"))
    assert content_encoding.drop_false_encoding(entry, body) == (entry if true else (("x", "y"),))
    binary = "".join(f"\\x{byte:02x}" for byte in body)
    if body.isascii():
        (interaction,) = read(plain(headers=f"{{Content-Encoding: ['{encoding}'], x: ['y']}}", body=f'"{binary}"'))
        assert interaction.response.head.headers == (entry if true else (("x", "y"),))


def test_rule_8_what_we_recorded_is_taken_at_its_word() -> None:
    entry: Headers = (("content-encoding", "gzip"),)
    assert read(written(item(b"{}", headers=entry)))[0].response.head.headers == entry


@pytest.mark.parametrize("count", [0, 1, 12, 13, 24, 25, 1753])
def test_rule_9_frames_are_one_scalar(count: int) -> None:
    recorded = item(b"x" * count, *range(1, count))
    text = written(recorded)
    assert isinstance(yaml.safe_load(text)["interactions"][0]["response"]["wire"]["frames"], str)
    assert max(map(len, text[text.index("frames:") :].splitlines())) < 120
    assert read(text)[0].response.frames == recorded.response.frames


# ------------------------------------------------------------------------------------------------ rule 10: torn files

TORN = {
    "streams": (STREAMED, STREAMED),
    "quoted": (item(b"data: 1\r\n\r\n", 3), item(b"data: 1\r\n\r\n data: 22\r\n", 3, headers=SSE)),
    "binary": (item(b"a\n"), item(bytes(range(200, 256)) * 3, 7, headers=())),
    "empty": (item(), item()),
    "many frames": (item(b" \n\n"), item(THREE, *range(1, 25), headers=SSE, end=End.RESET)),
    "no headers": (item(b"\n", headers=()), item(b"version: 1\n", headers=(), request=Request("GET", CHAT))),
}


@both_loaders
@pytest.mark.parametrize("items", TORN.values(), ids=TORN)
def test_rule_10_a_file_cut_anywhere_never_gives_a_wrong_item(items: tuple[Interaction, ...], loader: type) -> None:
    data = written(*items).encode()
    complete = read(data.decode())
    ends = [len(written(*items[:count]).encode()) - 1 for count in (1, 2)]  # the last line feed is not needed
    with reading_with(loader):
        for cut in range(0, len(data), 1 if loader is yaml.CSafeLoader else 11):
            text = data[:cut].decode("utf-8", "ignore")
            actual = loaded(text)
            if isinstance(actual, CassetteError):
                assert actual.line
                continue
            assert actual.interactions == complete[: sum(end <= cut for end in ends)], f"cut at byte {cut}"
            assert actual.edited == []


def test_rule_10_a_torn_last_item_says_what_to_do() -> None:
    text = written(STREAMED, item(b"abc"))
    error = refused(text[: text.rindex("    wire:")])
    assert error.message == "tape.yaml:40: interaction 2 is torn: it has no `end`, the last line of an item."
    assert error.hint.startswith("Remove it, from its comment")
    # vcrpy's own items have no end, and no comment of ours.
    assert len(read(text[: text.rindex("    wire:")].replace("# 2  POST", "# two  POST"))) == 2
    first = written(item(b"abc"))
    assert len(read(first[: first.rindex("    wire:")].replace("# 1 ", "#"))) == 1


# ------------------------------------------------------------------------------------------------ files of other hands


def with_item(**changes: str) -> str:
    return plain(**changes)


@both_loaders
@pytest.mark.parametrize(
    ("text", "count"),
    [
        pytest.param("interactions: []\nversion: 1\n", 0, id="an empty list"),
        pytest.param("version: 1\ninteractions:\n", 0, id="nothing behind interactions"),
        pytest.param("interactions: null\n", 0, id="null, no version"),
        pytest.param("version: !!int 1\ninteractions: []\n", 0, id="a tagged version"),
        pytest.param("# comment\n---\n%YAML\n".replace("%YAML\n", "") + plain() + "...\n", 1, id="document marks"),
        pytest.param(plain().replace("\n", "\r\n"), 1, id="CRLF"),
        pytest.param(re.sub(r"(?m)^(?=[- ])", "    ", plain()), 1, id="an indented list"),
        pytest.param(json.dumps(yaml.safe_load(plain())), 1, id="JSON"),
        pytest.param(plain().replace("- request", "- &a\n  request") + "x: *a\n", 1, id="anchor"),
        pytest.param("recorded_with: x\n" + plain(), 1, id="another key at the top"),
        pytest.param(plain().replace("method: GET", "method: GET\n    extra: {a: [b]}"), 1, id="another key inside"),
        pytest.param(
            "base: &base\n  status: {code: 200, message: OK}\n"
            "interactions:\n- request: {method: GET, uri: /}\n  response:\n    <<: *base\n    body: {string: a}\n",
            1,
            id="merge key",
        ),
        pytest.param(
            "x: &x\n" + plain().split("\n", 1)[1].replace("version: 1\n", "") + "interactions: *x\n", 1, id="alias"
        ),
    ],
)
def test_other_layouts_load(text: str, count: int, loader: type) -> None:
    with reading_with(loader):
        assert len(read(text)) == count


@both_loaders
@pytest.mark.parametrize(
    ("text", "request_body"),
    [
        pytest.param(plain(request_body="text"), b"text", id="text"),
        pytest.param(plain(request_body="12:30"), b"12:30", id="what YAML 1.1 takes for a number"),
        pytest.param(plain(request_body="null"), b"", id="null"),
        pytest.param(plain(request_body="nullable"), b"nullable", id="no null"),
        pytest.param(plain(request_body="!!binary aGk="), b"hi", id="binary"),
        pytest.param(plain(request_body="{string: text}"), b"text", id="a mapping"),
        pytest.param(plain(request_body="!!python/unicode 'é'"), "é".encode(), id="python/unicode"),
        pytest.param(plain(request_body="!!python/str 'a'"), b"a", id="python/str"),
        pytest.param(
            plain(request_body="!!python/object/new:_io.BytesIO\n      state: !!python/tuple [!!binary aGk=, 0, null]"),
            b"hi",
            id="BytesIO",
        ),
        pytest.param(
            plain(request_body="!!python/object/apply:builtins.iter\n      args: [[!!binary aGk=, é]]"),
            "hié".encode(),
            id="iterator of chunks",
        ),
        pytest.param(
            plain(request_body="!!python/object/apply:builtins.iter\n      args: [!!binary aGk=]"),
            b"hi",
            id="iterator of bytes",
        ),
    ],
)
def test_request_bodies_of_every_age(text: str, request_body: bytes, loader: type) -> None:
    with reading_with(loader):
        assert read(text)[0].request.body == request_body


@both_loaders
@pytest.mark.parametrize(
    ("text", "actual"),
    [
        ("{a: [b, c]}", [("a", "b"), ("a", "c")]),
        ("{a: b}", [("a", "b")]),
        (
            "{a: 1_000, b: [0777, yes, 2024-01-01, 1.50]}",
            [("a", "1_000"), ("b", "0777"), ("b", "yes"), ("b", "2024-01-01"), ("b", "1.50")],
        ),
        ("{a: [null, '', ~]}", [("a", "")] * 3),
        ("{a: []}", []),
        ("null", []),
        ("{a: [!!binary w6k=]}", [("a", "Ã©")]),
        ("{!!binary eA==: [y]}", [("x", "y")]),
        ("{a: !!python/tuple [b, 0777]}", [("a", "b"), ("a", "0777")]),
        ("{!!python/unicode 'a': [!!python/unicode 'b']}", [("a", "b")]),
        ("{? !!python/object/apply:multidict._multidict.istr [Content-Type] : [a/b]}", [("Content-Type", "a/b")]),
        ("{? !!python/object/new:multidict.istr [X] : ['1']}", [("X", "1")]),
        ("{a: &x [b], c: *x}", [("a", "b"), ("c", "b")]),
    ],
)
def test_headers_of_every_age(text: str, actual: list[tuple[str, str]], loader: type) -> None:
    with reading_with(loader):
        (entry,) = read(plain(request_headers=text))
        assert entry.request.headers == tuple(actual)
        (entry,) = read(plain(headers=text))
        assert entry.response.head.headers == tuple(actual)


@both_loaders
@pytest.mark.parametrize(
    ("text", "status", "reason", "body"),
    [
        (plain(body="null"), 200, "OK", b""),
        (plain(body="{string: null}"), 200, "OK", b""),
        (plain(body="{string: 123}"), 200, "OK", b"123"),
        (plain(body="{string: !!binary /w==}"), 200, "OK", b"\xff"),
        (plain().replace("{code: 200, message: OK}", "{code: '404', message: null}"), 404, "", b""),
        (
            plain().replace("    status: {code: 200, message: OK}", "    status_code: 201\n    content: new"),
            201,
            "",
            b"new",
        ),
        (plain().replace("    body: {}\n    headers: {}\n    status", "    status"), 200, "OK", b""),
    ],
)
def test_answers_of_every_age(text: str, status: int, reason: str, body: bytes, loader: type) -> None:
    with reading_with(loader):
        (interaction,) = read(text)
        assert (interaction.response.head.status, interaction.response.head.reason, interaction.response.body) == (
            status,
            reason,
            body,
        )


GOOD = written(item(b"a"))
HINT_YAML = "If it is cut off"
HINT_ALIAS = "Write it out"
HINT_TAG = "Only vcrpy's own safe tags"


@both_loaders
@pytest.mark.parametrize(
    ("text", "line", "expected", "hint"),
    [
        pytest.param("", 1, "is not a cassette: it has no `interactions`", "A cassette starts", id="empty"),
        pytest.param("\n\nhello\n", 3, "is not a cassette", "A cassette starts", id="words"),
        pytest.param("version: 1\n", 1, "is not a cassette", "A cassette starts", id="no interactions"),
        pytest.param("- request: {}\n  response: {}\n", 1, "is from vcrpy before 1.0", "Migrate it", id="vcrpy 0"),
        pytest.param("[1]", 1, "is not a cassette", "A cassette starts", id="another list"),
        pytest.param("\nversion: 2\ninteractions: []\n", 2, "has version 2,", "Update openai-replay", id="version 2"),
        pytest.param("version: null\ninteractions: []\n", 1, "has version None,", "Update", id="version null"),
        pytest.param("version: 1\ninteractions: 5\n", 2, "`interactions` is not a list", "", id="a number"),
        pytest.param("interactions: {a: b}\n", 1, "`interactions` is not a list", "", id="a mapping"),
        pytest.param(
            "a: 1\ninteractions: !!pairs [a: b, c: d]\n", 2, "interaction 1: is not a mapping", "", id="pairs"
        ),
        pytest.param(
            GOOD + "<<<<<<< HEAD\n=======\n",
            24,
            "is not YAML: it has a merge conflict",
            "Resolve the conflict",
            id="conflict",
        ),
        pytest.param(GOOD.replace("OK}", "OK"), 15, "is not YAML: ", HINT_YAML, id="a brace is missing"),
        pytest.param(GOOD.replace("    uri", "\turi"), 6, "is not YAML: ", HINT_YAML, id="a tab"),
        pytest.param("é\né\n" + GOOD + "\0", 26, "is not YAML: ", HINT_YAML, id="NUL"),
        pytest.param(f"# {'é' * 50}\n\0{GOOD}", 2, "is not YAML: ", HINT_YAML, id="NUL after letters of two bytes"),
        pytest.param(GOOD + "--- \na\n", 24, "is not YAML: ", HINT_YAML, id="two documents"),
        pytest.param(GOOD.replace("    uri: ", "    uri "), 6, "is not YAML: ", HINT_YAML, id="a colon is missing"),
        pytest.param("a: *b\n" + GOOD, 1, "is not YAML: found undefined alias", HINT_YAML, id="no anchor"),
        pytest.param(
            plain(body="!mine x"), 8, "has a tag that cassettes must not have: ", HINT_TAG, id="a tag of one's own"
        ),
        pytest.param(
            plain(body="!!python/object/apply:os.system [ls]"),
            8,
            "has a tag that cassettes must not have: ",
            HINT_TAG,
            id="code",
        ),
        pytest.param(
            plain(headers="{!!python/unicode a: !!python/name:os.system ''}"),
            9,
            "has a tag that cassettes must not have: ",
            HINT_TAG,
            id="code beside vcrpy's tags",
        ),
        pytest.param(
            plain(headers="{a: !!int [1]}"),
            9,
            "has a tag that cassettes must not have: ",
            HINT_TAG,
            id="a list for a number",
        ),
        pytest.param(
            plain().replace("code: 200", "code: !!int 0x" + "9" * 9999),
            10,
            "interaction 1: response.status.code: ",
            "",
            id="a large number",
        ),
        pytest.param("x: &x [*x]\n" + plain(), 1, "holds an alias of itself", HINT_ALIAS, id="an endless list"),
        pytest.param(plain(body="!!binary é"), 8, "has a tag that cassettes must not have: ", HINT_TAG, id="no base64"),
        pytest.param(
            plain(request_body="!!python/object/new:_io.BytesIO {state: !!python/tuple [{a: b}]}"),
            None,
            "has a value that cannot be read: ",
            "",
            id="a BytesIO of something",
        ),
        pytest.param(
            plain(headers="{? [a] : b}"), 9, "has a tag that cassettes must not have: ", HINT_TAG, id="a list for a key"
        ),
        pytest.param(
            plain(headers="{a: &a [*a]}"),
            9,
            "holds an alias of itself",
            HINT_ALIAS,
            id="endless",
        ),
        pytest.param(
            plain(headers="{a: {b: c}}"),
            9,
            "interaction 1: response.headers: a header's value is text",
            "",
            id="mapping",
        ),
        pytest.param(plain(headers="[[a, b]]"), 9, "interaction 1: response.headers: ", "", id="a list of headers"),
        pytest.param(
            plain(body="{string: [a]}"), 8, "interaction 1: response.body.string: ", "", id="a list for a body"
        ),
        pytest.param(
            plain(request_body="!!python/object/apply:builtins.iter {args: [[[]]]}"),
            3,
            "interaction 1: request.body: is neither text nor bytes",
            "",
            id="an iterator of lists",
        ),
        pytest.param(
            plain(request_body="!!python/object/apply:builtins.iter {args: [[!!python/tuple []]]}"),
            3,
            "interaction 1: request.body: ",
            "",
            id="an iterator of tuples",
        ),
        pytest.param(
            plain().replace("GET", "[GET]"), 5, "interaction 1: request.method: ", "", id="a list for a method"
        ),
        pytest.param(
            plain().replace("    method: GET\n", ""),
            3,
            "interaction 1: request.method: is missing",
            "",
            id="no method",
        ),
        pytest.param(
            plain().replace("https://h", "http://["), 6, "interaction 1: request.uri: Invalid IPv6", "", id="no URL"
        ),
        pytest.param(
            plain().replace("code: 200", "code: fine"), 10, "interaction 1: response.status.code: ", "", id="no code"
        ),
        pytest.param(
            plain().replace("code: 200", "code: 99"), 10, "interaction 1: response.status.code: ", "", id="a small code"
        ),
        pytest.param(
            GOOD.replace("10+1", "10-1"),
            22,
            "interaction 1: response.wire.frames: '10-1' is not a frame",
            "",
            id="frame",
        ),
        pytest.param(GOOD.replace("10+1", "{a: b}"), 22, "interaction 1: response.wire.frames: ", "", id="no frames"),
        pytest.param(
            GOOD.replace("99 complete", "99 exploded"),
            23,
            "interaction 1: response.wire.end: '99 exploded'",
            "",
            id="end",
        ),
        pytest.param(GOOD.replace("head: 5", "head: -5"), 21, "interaction 1: response.wire.head: ", "", id="time"),
        pytest.param(
            GOOD.replace("head: 5", "heat: 5"), 21, "interaction 1: response.wire.head: is missing", "", id="key"
        ),
        pytest.param(GOOD + "      mine: 5\n", 24, "interaction 1: response.wire.mine: ", "", id="an unknown key"),
        pytest.param(GOOD + "-\n", 24, "interaction 2: is not a mapping", "", id="an item that is null"),
        pytest.param(
            GOOD + "- request: {method: GET, uri: /}\n",
            24,
            "interaction 2: response: is missing",
            "",
            id="no answer",
        ),
        pytest.param("a: " + "[" * 12_000, None, "is nested too deeply", "", id="12,000 lists"),
        pytest.param("a: " + "[" * 100_000 + "]" * 100_000, None, "is nested too deeply", "", id="100,000 lists"),
        pytest.param("- " * 50_000, None, "is nested too deeply", "", id="50,000 block lists"),
        pytest.param("? " * 50_000, None, "is nested too deeply", "", id="50,000 keys"),
        pytest.param("a: " + "{a: [" * 50_000, None, "is nested too deeply", "", id="50,000 mappings"),
    ],
)
def test_one_clear_error(text: str, line: int | None, expected: str, hint: str, loader: type) -> None:
    with reading_with(loader):
        error = refused(text)
    if loader is yaml.CSafeLoader:  # Python's loader sees some of them in another line
        assert error.line == line
    assert error.message.startswith((f"tape.yaml:{error.line}: " if error.line else "tape.yaml: ") + expected)
    assert error.hint.startswith(hint)
    assert bool(error.hint) is bool(hint)
    assert "\n" not in error.message


@pytest.mark.parametrize("depth", [500, 1024, 1100, 5000])
@both_loaders
def test_nesting_that_is_deep_but_loads_or_is_refused(depth: int, loader: type) -> None:
    text = plain() + "x: " + "[" * depth + "]" * depth + "\n"
    with reading_with(loader):
        actual = loaded(text)
    if isinstance(actual, CassetteError):
        assert actual.message == "tape.yaml: is nested too deeply to be a cassette."
    else:
        assert len(actual.interactions) == 1


# fmt: off
INSERTED = st.sampled_from([
    "\n", " ", "  ", "\t", ":", "- ", "-", "[", "]", "{", "}", "'", '"', "|", ">", "#", "? ", "<<: ", "&a ", "*a",
    "\0", "\x85", "\r", "\ufeff", "\ud800", "é", "null", "-1", "2024-13-45", "9" * 5000, "---\n", "...\n", "%YAML 3\n",
    "!mine ", "!!int ", "!!float ", "!!bool ", "!!null ", "!!str ", "!!seq ", "!!map ", "!!set ", "!!omap ",
    "!!binary ",
    "!!timestamp ", "!!python/tuple ", "!!python/object/new:_io.BytesIO ", "!!python/object/apply:builtins.iter ",
    "!!python/object/apply:multidict.istr ",
])
# fmt: on
MUTATIONS = st.tuples(
    st.sampled_from(["cut", "insert", "double", "swap"]), st.floats(0, 1), st.integers(0, 40), INSERTED
)
VALID = [written(STREAMED, item(THREE, 5, headers=SSE)), plain(headers="{a: [b]}", body="text"), TEXT + "# end\n"]


def mutated(text: str, mutations: list[tuple[str, float, int, str]]) -> str:
    for expected, location, length, new in mutations:
        start = int(location * len(text))
        piece = text[start : start + length]
        text = (
            text[:start]
            + {"cut": "", "insert": new + piece, "double": piece * 2, "swap": new}[expected]
            + text[start + length :]
        )
    return text


@both_loaders
@given(text=st.sampled_from(VALID), mutations=st.lists(MUTATIONS, min_size=1, max_size=4))
def test_a_damaged_file_loads_or_gives_one_clear_error(text: str, mutations: Any, loader: type) -> None:
    text = mutated(text, mutations)
    with reading_with(loader):
        document = loaded(text)
        if isinstance(document, CassetteError):
            assert re.match(r"tape\.yaml(:\d+)?: [\w`]", document.message)
            assert len(document.text.splitlines()) <= 2
            return
        for interaction in document.interactions:
            Matcher().key(interaction.request)
            assert sum(len(frame.data) for frame in interaction.response.frames) == len(interaction.response.body)
        second_run = writer.recut_frames(text, document.edited)
        if document.edited and "&" not in text:
            assume("!!" not in text and "? " not in text)
            assert reader.load(second_run, TAPE).interactions == document.interactions


# ------------------------------------------------------------------------------------------------ where to add


@both_loaders
@pytest.mark.parametrize(
    ("text", "indent", "tail"),
    [
        pytest.param(GOOD, 0, "", id="ours"),
        pytest.param(plain(), 0, "version: 1\n", id="vcrpy's"),
        pytest.param(re.sub(r"(?m)^(?=[- ])", "    ", plain()), 4, "version: 1\n", id="indented"),
        pytest.param(
            re.sub(r"(?m)^(?=  )", "  ", plain()).replace("- request", "-   request"),
            0,
            "version: 1\n",
            id="a wide dash",
        ),
        pytest.param(GOOD + "...\n", 0, "...\n", id="end of document"),
        pytest.param("interactions: []\nversion: 1\n", 0, "version: 1\n", id="empty"),
        pytest.param(GOOD + "...key: 1\n", 0, "...key: 1\n", id="a key that looks like the end"),
        pytest.param("interactions:\n", 0, "", id="nothing"),
        pytest.param(
            "interactions: [{request: {method: GET, uri: /}, response: {status: {code: 200}}}]\n", None, "", id="flow"
        ),
        pytest.param("{interactions: [], version: 1}\n", None, "version: 1}\n", id="flow mapping"),
        pytest.param("é: 😀\n" + plain(), 0, "version: 1\n", id="characters, not bytes"),
        pytest.param(plain().replace("interactions:", "interactions: &a"), None, "version: 1\n", id="anchor"),
    ],
)
def test_where_an_item_can_be_added(text: str, indent: int | None, tail: str, loader: type) -> None:
    with reading_with(loader):
        document = reader.load(text, TAPE)
    assert (document.indent, text[document.tail :]) == (indent, tail)
    if indent is not None and not tail and document.interactions:
        added = "".join(writer.write_interaction(item(b"new"), 2))
        assert len(read(text + added)) == 2


TWO = written(item(b"a"), item(b"b"))


@both_loaders
@pytest.mark.parametrize(
    ("text", "starts"),
    [
        pytest.param(TWO, ["# 1  POST", "# 2  POST"], id="ours"),
        pytest.param(TWO.replace("\n", "\r\n"), ["# 1  POST", "# 2  POST"], id="CRLF"),
        pytest.param(TWO.replace("# 2", "# more\n# 2"), ["# 1  POST", "# more"], id="two comments"),
        pytest.param(TWO.replace("# 2", "# far\n\n# 2"), ["# 1  POST", "# 2  POST"], id="a comment further up"),
        pytest.param(re.sub(r"(?m)^(?=[-# ] ?.)", "  ", TWO), ["  # 1  POST", "  # 2  POST"], id="indented"),
        pytest.param(plain(), ["- request:"], id="vcrpy's"),
        pytest.param("# at the top\n" + plain(), ["- request:"], id="a comment at the top"),
        pytest.param("interactions: []\n", [], id="empty"),
    ],
)
def test_where_items_start(text: str, starts: list[str], loader: type) -> None:
    with reading_with(loader):
        actual = reader.item_starts(text, TAPE)
    assert [text[start : start + len(begin)] for start, begin in zip(actual, starts, strict=True)] == starts
    assert all(start == 0 or text[start - 1] == "\n" for start in actual)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            plain().replace("- request", "- &a\n  request").replace("version", "- *a\nversion"), id="an alias"
        ),
        pytest.param(json.dumps(yaml.safe_load(plain())), id="flow"),
        pytest.param(plain().replace("- request", "-\n  request"), id="a dash in a line of its own"),
    ],
)
def test_items_without_lines_of_their_own(text: str) -> None:
    assert len(read(text)) >= 1
    with pytest.raises(CassetteError, match="an item shares a line with others"):
        reader.item_starts(text, TAPE)


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("https://api.openai.com/v1/chat/completions", "/v1"),
        ("https://openrouter.ai/api/v1/models?x=/v2", "/api/v1"),
        ("https://h//openai/v1/responses", "//openai/v1"),
        ("https://h/v1beta/openai/chat", "/v1beta"),
        ("https://h/openai/deployments/gpt/chat/completions", ""),
        ("https://h/chat/completions", ""),
        ("https://h/v1", "/v1"),
        ("https://h/va1/x", ""),
        ("", ""),
    ],
)
def test_base_path(uri: str, path: str) -> None:
    assert reader.base_path(uri) == path


def test_vcrpy_is_imported_only_for_tags_of_its_past() -> None:
    imports = "import sys; from openai_replay.cassette import reader; from pathlib import Path"
    code = f"{imports}; %s; print('vcr' in sys.modules)"
    for text, imported in ((GOOD, "False"), (plain(request_body="!!python/unicode 'a'"), "True")):
        run = [sys.executable, "-c", code % f"reader.load({text!r}, Path('x'))"]
        assert subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip() == imported
