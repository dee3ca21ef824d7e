"""Equal and different requests."""

from __future__ import annotations

import gzip
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_replay.errors import UsageError
from openai_replay.matching import matcher as matching
from openai_replay.matching import normalizers
from openai_replay.matching.matcher import ON, Matcher, parse_headers, parse_on
from openai_replay.model import Headers, Request
from openai_replay.redaction.redactor import Redactor
from openai_replay.text.json_pointer import parse_pointer
from tests.text.test_json_codec import DUMPS, VALUES

JSON: Headers = (("Content-Type", "application/json; charset=utf-8"),)
FORM: Headers = (("content-type", "application/x-www-form-urlencoded"),)
CHAT = "https://api.openai.com/v1/chat/completions"


def post(body: bytes = b"", headers: Headers = JSON, uri: str = CHAT, method: str = "POST") -> Request:
    return Request(method, uri, headers, body)


def upload(*parts: tuple[str, str, bytes], boundary: str = "b") -> Request:
    """A multipart request: name, rest of the header lines, content of each part."""
    body = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{remaining}\r\n\r\n'.encode() + content + b"\r\n"
        for name, remaining, content in parts
    )
    headers = (("content-type", f"multipart/form-data; boundary={boundary}"),)
    return post(body + f"--{boundary}--\r\n".encode(), headers)


FILE = ("file", '; filename="a.txt"\r\nContent-Type: text/plain', b"text")
LARGE = ("file", '; filename="a.bin"', b"\xff" * 5000)

SAME = [
    pytest.param(post(b'{"a":1,"b":[true,null]}'), post(b' { "b" : [true,\n null], "a":1}'), id="white space, order"),
    pytest.param(post(rb'{"a":"\u00e9\/"}'), post('{"a":"é/"}'.encode()), id="escapes"),
    pytest.param(post(b'{"a":1e2}'), post(b'{"a":100.0}'), id="one float in two ways"),
    pytest.param(post(b"{}"), post(b"{ }", headers=()), id="no content type"),
    pytest.param(post(b"{}"), post(b"{}", (*JSON, ("User-Agent", "x"), ("Authorization", "y"))), id="headers"),
    pytest.param(post(uri=CHAT), post(uri="http://127.0.0.1:8080/v1/chat/completions"), id="host"),
    pytest.param(post(method="post"), post(method="POST"), id="case of the method"),
    pytest.param(post(uri=f"{CHAT}?a=1&b=%20x&c"), post(uri=f"{CHAT}?c=&b=+x&a=1"), id="query"),
    pytest.param(post(b"a=1&b=%C3%A9", FORM), post("b=é&a=1".encode(), FORM), id="form"),
    pytest.param(upload(FILE, LARGE), upload(FILE, LARGE, boundary="----other"), id="boundary"),
    pytest.param(post(b"\xff", ()), post(b"\xff", JSON), id="bytes"),
    pytest.param(post(b"[" * 900 + b"]" * 900), post(b"[" * 900 + b"]" * 900), id="nested too deeply for JSON"),
    pytest.param(post(rb'{"a":"\ud83d","b":1}'), post(rb'{"b":1, "a":"\ud83d"}'), id="half a character"),
]

DIFFERENT = [
    pytest.param(post(b'{"a":1}'), post(b'{"a":2}'), id="value"),
    pytest.param(post(b'{"a":1}'), post(b'{"a":1.0}'), id="1 and 1.0"),
    pytest.param(post(b'{"a":1}'), post(b'{"a":true}'), id="1 and true"),
    pytest.param(post(b'{"a":1}'), post(b'{"a":"1"}'), id="1 and '1'"),
    pytest.param(post(b'{"a":null}'), post(b"{}"), id="null and absent"),
    pytest.param(post(b'{"a":[1,2]}'), post(b'{"a":[2,1]}'), id="order of messages"),
    pytest.param(post(b'{"a":9007199254740993.0}'), post(b'{"a":9007199254740993}'), id="2^53 + 1"),
    pytest.param(post(b'{"a":18446744073709551616}'), post(b'{"a":18446744073709551617}'), id="65 bits"),
    pytest.param(post(b'{"a":-9223372036854775809}'), post(b'{"a":-9223372036854775810}'), id="-64 bits"),
    pytest.param(post(rb'{"a":"\ud83d"}'), post(rb'{"a":"\ud83e"}'), id="half a character"),
    pytest.param(post(b"[1e999]"), post(b"[1e998]"), id="numbers past all floats"),
    pytest.param(post(b"[NaN, 1234567890123456789]"), post(b"[null, 1234567890123456789]"), id="NaN and null"),
    pytest.param(post(method="POST"), post(method="PUT"), id="method"),
    pytest.param(post(uri=CHAT), post(uri=CHAT + "/"), id="path"),
    pytest.param(post(uri="https://h//openai/v1"), post(uri="https://h/openai/v1"), id="double slash"),
    pytest.param(post(uri=f"{CHAT}%2F"), post(uri=f"{CHAT}/"), id="escaped slash"),
    pytest.param(post(uri=f"{CHAT}?a=1"), post(uri=f"{CHAT}?a=2"), id="query"),
    pytest.param(post(uri=f"{CHAT}?a=1"), post(uri=CHAT), id="no query"),
    pytest.param(post(uri=f"{CHAT}?a=bc"), post(uri=f"{CHAT}?ab=c"), id="names and values that run together"),
    pytest.param(post(uri=f"{CHAT}?a=%FE"), post(uri=f"{CHAT}?a=%FF"), id="query that is no UTF-8"),
    pytest.param(post(uri=f"{CHAT}?a=b&c=d"), post(uri=f"{CHAT}?a=b%26c%3Dd"), id="escaped query"),
    pytest.param(post(uri=f"{CHAT}?a=1&a=1"), post(uri=f"{CHAT}?a=1"), id="repeat in the query"),
    pytest.param(post(b"a=%FE", FORM), post(b"a=%FF", FORM), id="form that is no UTF-8"),
    pytest.param(post(b"a=1&a=1", FORM), post(b"a=1", FORM), id="repeat in a form"),
    pytest.param(post(b"a=1", FORM), post(b"a=1", ()), id="form and bytes"),
    pytest.param(post(b""), post(b"{}"), id="empty"),
    pytest.param(post(b"\xff"), post(b"\xfe"), id="bytes"),
    pytest.param(upload(FILE), upload(FILE, FILE), id="a part twice"),
    pytest.param(upload(FILE, LARGE), upload(LARGE, FILE), id="order of parts"),
    pytest.param(upload(FILE), upload(("file", FILE[1], b"Text")), id="content of a part"),
    pytest.param(upload(LARGE), upload(("file", LARGE[1], b"\xff" * 5001)), id="content of a large part"),
    pytest.param(upload(FILE), upload(("files", *FILE[1:])), id="name of a part"),
    pytest.param(upload(FILE), upload(("file", FILE[1].replace("a.txt", "b.txt"), b"text")), id="file name"),
    pytest.param(
        upload(("file", '; filename="ü.txt"', b"")), upload(("file", '; filename="ö.txt"', b"")), id="file name, UTF-8"
    ),
    pytest.param(upload(FILE), upload(("file", FILE[1].replace("plain", "html"), b"text")), id="type of a part"),
    pytest.param(
        upload(("file", "\r\nContent-Type: x", b"")), upload(("file", "\r\nContent-Type: y", b"")), id="odd type"
    ),
    pytest.param(
        upload(LARGE),
        upload(("file", LARGE[1], b"5000, blake2b a06fba9fd4e7b9dbf1ea6eb9a5a3a3b9")),
        id="a text that looks like a digest",
    ),
]


@pytest.mark.parametrize(("entry", "second"), SAME)
def test_same(entry: Request, second: Request) -> None:
    assert Matcher().key(entry) == Matcher().key(second)
    assert len(Matcher().key(entry)) == 16


@pytest.mark.parametrize(("entry", "second"), DIFFERENT)
def test_different(entry: Request, second: Request) -> None:
    assert Matcher().key(entry) != Matcher().key(second)


@given(VALUES, DUMPS, DUMPS)
def test_json_is_matched_by_value(value: Any, first: Any, second: Any) -> None:
    assert Matcher().key(post(first(value))) == Matcher().key(post(second(value)))


@given(VALUES, VALUES)
def test_different_values_are_different(first: Any, second: Any) -> None:
    common = json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    assert (
        Matcher().key(post(json.dumps(first).encode())) == Matcher().key(post(json.dumps(second).encode()))
    ) is common


@given(st.lists(st.tuples(st.text("ab&=+% é"), st.text("ab&=+% é")), max_size=3), st.randoms(use_true_random=False))
def test_a_query_and_a_form_are_matched_in_any_order(pairs: list[tuple[str, str]], random: Any) -> None:
    second = random.sample(pairs, len(pairs))
    requests, current = (post(uri=f"{CHAT}?{urlencode(query)}") for query in (pairs, second))
    assert Matcher().key(requests) == Matcher().key(current)
    form, form_now = (post(urlencode(entry).encode(), FORM) for entry in (pairs, second))
    assert Matcher().key(form) == Matcher().key(form_now)
    kind, text = matching.parse_body(form)
    assert (kind, set(text)) == ("form", {name for name, _ in pairs})
    assert all(
        (text[name] if isinstance(text[name], list) else [text[name]]) == sorted(v for n, v in pairs if n == name)
        for name in text
    )


@given(st.binary(max_size=40), st.binary(max_size=40), st.sampled_from([(), JSON, FORM, upload().headers]))
def test_odd_bodies_never_raise_and_equal_bytes_are_equal(first: bytes, second: bytes, headers: Headers) -> None:
    assert Matcher().key(post(first, headers)) == Matcher().key(post(first, headers))
    if headers == upload().headers:  # nothing of it is well formed
        assert (Matcher().key(post(first, headers)) == Matcher().key(post(second, headers))) is (first == second)


BODY = {"user": "u1", "messages": [{"id": "a", "content": "x"}, {"id": "b"}], "m": {"a/b": 1, "c~d": 2}}


@pytest.mark.parametrize(
    ("ignore", "changed"),
    [
        (["/user"], BODY | {"user": "u2"}),
        (["/user"], {name: value for name, value in BODY.items() if name != "user"}),
        (["/messages/*/id"], BODY | {"messages": [{"id": "q", "content": "x"}, {}]}),
        (["/messages/0/content"], BODY | {"messages": [{"id": "a", "content": "y"}, {"id": "b"}]}),
        (["/m/a~1b", "/m/c~0d"], BODY | {"m": {"a/b": 3}}),
        (["/m/*"], BODY | {"m": {}}),
        (["/messages/1"], BODY | {"messages": [{"id": "a", "content": "x"}, {"id": "other"}]}),
    ],
)
def test_ignore(ignore: list[str], changed: dict[str, Any]) -> None:
    pointers = tuple(parse_pointer(text) for text in ignore)
    recorded, current = (post(json.dumps(value).encode()) for value in (BODY, changed))
    assert Matcher(pointers).key(recorded) == Matcher(pointers).key(current)
    assert Matcher().key(recorded) != Matcher().key(current)


def test_ignoring_one_thing_ignores_nothing_else() -> None:
    pointer = (parse_pointer("/user"),)
    second = BODY | {"user": "u2", "messages": []}
    recorded, current = (post(json.dumps(value).encode()) for value in (BODY, second))
    assert Matcher(pointer).key(recorded) != Matcher(pointer).key(current)


PURPOSE = ("purpose", "", b"batch")


@pytest.mark.parametrize(
    ("pointer", "part", "second"),
    [
        ("/file/content", upload(FILE, PURPOSE), upload(("file", FILE[1], b"else"), PURPOSE)),
        (
            "/file/filename",
            upload(FILE, PURPOSE),
            upload(("file", FILE[1].replace("a.txt", "b.txt"), b"text"), PURPOSE),
        ),
        ("/file", upload(FILE, PURPOSE), upload(PURPOSE)),
        ("/purpose/content", upload(FILE, PURPOSE), upload(FILE, ("purpose", "", b"user_data"))),
        ("/*/content", upload(FILE, PURPOSE), upload(("file", FILE[1], b""), ("purpose", "", b""))),
        ("/file/1/bytes", upload(FILE, LARGE), upload(FILE, ("file", LARGE[1], b"\xfe"))),
        ("/file/*/filename", upload(FILE, LARGE), upload(("file", FILE[1].replace("a.", "b."), b"text"), LARGE)),
        ("/user", post(b"a=1&user=x", FORM), post(b"user=y&a=1", FORM)),
        ("/tag/0", post(b"tag=a&tag=z", FORM), post(b"tag=b&tag=z", FORM)),
    ],
)
def test_ignore_reaches_forms_and_parts_by_name(pointer: str, part: Request, second: Request) -> None:
    matcher = Matcher((parse_pointer(pointer),))
    assert matcher.key(part) == matcher.key(second)
    assert Matcher().key(part) != Matcher().key(second)


def test_ignore_leaves_bytes_alone() -> None:
    pointer = (parse_pointer("/0"),)
    assert Matcher(pointer).key(post(b"\xff")) == Matcher().key(post(b"\xff"))


TARGET = post(b'{"a": 1}', (*JSON, ("X-Tenant", "one")), f"{CHAT}?v=1")


@pytest.mark.parametrize(
    ("part", "second"),
    [
        ("method", TARGET._replace(method="PUT")),
        ("path", TARGET._replace(uri="https://h/v1/else?v=1")),
        ("query", TARGET._replace(uri=f"{CHAT}?v=2")),
        ("body", TARGET._replace(body=b'{"a": 2}')),
    ],
)
def test_what_is_not_matched_on_makes_no_difference(part: str, second: Request) -> None:
    without = Matcher(on=parse_on(entry for entry in ON if entry != part))
    assert without.key(TARGET) == without.key(second)
    assert without.comparable(TARGET) == without.comparable(second)
    assert Matcher(on=(part,)).key(TARGET) != Matcher(on=(part,)).key(second)
    assert Matcher().target(TARGET) == ("POST", "/v1/chat/completions")


@pytest.mark.parametrize(
    ("entry", "second", "common"),
    [
        ((("X-Tenant", "a"),), (("x-tenant", "a"), ("x-other", "b")), True),
        ((("x-tenant", "a"),), (("x-tenant", "b"),), False),
        ((("x-tenant", "a"),), (), False),
        ((("x-tenant", "a"), ("x-tenant", "b")), (("x-tenant", "b"), ("x-tenant", "a")), False),
        ((("x-tenant", "a"), ("x-user", "b")), (("x-user", "b"), ("x-tenant", "a")), True),
        ((("x-tenant", "x-user"),), (("x-user", "x-tenant"),), False),
        ((), (("x-other", ""),), True),
    ],
)
def test_headers_are_matched_where_they_are_named(entry: Headers, second: Headers, common: bool) -> None:
    matcher = Matcher(headers=parse_headers(["X-Tenant", "x-user"]))
    assert (matcher.key(post(headers=entry)) == matcher.key(post(headers=second))) is common
    assert Matcher().key(post(headers=entry)) == Matcher().key(post(headers=second))


def test_a_header_is_no_query() -> None:
    matcher = Matcher(headers=("a",))
    assert matcher.key(post(headers=(("a", "b"),))) != matcher.key(post(uri=f"{CHAT}?a=b"))


@pytest.mark.parametrize("texts", ["body,query", ["query", "body"], ["body", " query,body "]])
def test_what_to_match_on_is_named_in_any_order(texts: str | list[str]) -> None:
    assert parse_on(texts) == ("query", "body")


@pytest.mark.parametrize(
    ("parse", "texts", "says"),
    [
        (parse_on, "body,uri", "'uri' is not a part of a request"),
        (parse_on, "", "'' is not a part of a request"),
        (parse_on, [], "No part is left"),
        (parse_headers, ["x tenant"], "'x tenant' is not the name"),
        (parse_headers, ["x", "Host"], "'host' belongs to one connection"),
    ],
)
def test_bad_settings_are_named(parse: Any, texts: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says) as error:
        parse(texts)
    assert error.value.hint


def test_secrets_are_not_part_of_the_key() -> None:
    def request(key: str) -> Request:
        uri = f"https://x.openai.azure.com/openai/v1/responses?api-key={key}&api-version=1"
        tools = [{"type": "mcp", "authorization": f"mcp-{key}", "headers": {"X-Token": key}}]
        return post(json.dumps({"input": f"my key is {key}", "tools": tools}).encode(), uri=uri)

    rules = Redactor()
    keys = [f"sk-proj-{'A1b2' * 10}", f"sk-{'Zz9_' * 30}"]
    assert len({Matcher().key(rules.redact_request(request(key))) for key in keys}) == 1
    assert len({Matcher().key(request(key)) for key in keys}) == 2


def test_a_compressed_request_is_matched_by_what_it_says() -> None:
    packed = post(gzip.compress(b'{"a": 1}'), (*JSON, ("Content-Encoding", "gzip")))
    assert Matcher().key(Redactor().redact_request(packed)) == Matcher().key(post(b'{"a":1}'))


# ------------------------------------------------------------------------------------------------ in words

MATCHERS = st.builds(
    Matcher,
    st.lists(st.text(max_size=5).map(lambda text: parse_pointer("/" + text.replace("~", "~0"))), max_size=3).map(tuple),
    st.sets(st.sampled_from(ON), min_size=1).map(parse_on),
    st.sets(st.sampled_from(["x-tenant", "a.b", "x~y"]), max_size=2).map(parse_headers),
    st.lists(
        st.sampled_from(["uuid", "date", "order=ORD-[0-9]{1,3}; x", 'quoted="[^"]*"', "e=é"]),
        max_size=3,
        unique=True,
    ).map(normalizers.parse),
)


@given(MATCHERS)
def test_a_description_is_one_line_of_ascii_and_reads_back(matcher: Matcher) -> None:
    assert matching.parse(matcher.description) == matcher
    assert matcher.description.isascii()
    assert matcher.description.isprintable()


def test_descriptions_are_json() -> None:
    assert Matcher().description == ""
    matcher = Matcher(
        (parse_pointer("/metadata/run"), parse_pointer("/a b/*")), normalize=normalizers.parse(["uuid,date", "o=a,b"])
    )
    assert matcher.description == '{"normalize": ["uuid", "date", "o=a,b"], "ignore": ["/metadata/run", "/a b/*"]}'
    matcher = Matcher(on=("path",), headers=("x-a", "x-b"))
    assert matcher.description == '{"match_on": ["path"], "match_header": ["x-a", "x-b"]}'
    uuid = '{"normalize": ["uuid"]}'
    assert matching.same_matching('{"normalize":["uuid"]}', uuid)
    assert matching.same_matching(uuid, '{"match_on": ["query", "path", "body", "method"], "normalize": ["uuid"]}')
    assert matching.same_matching("", '{"match_on": ["method,path,query,body"]}')
    assert not matching.same_matching(uuid, "")
    assert not matching.same_matching("normalize uuid", "")


@pytest.mark.parametrize(
    "text",
    [
        "on path",
        "[]",
        "{",
        '{"on": ["path"]}',
        '{"match_on": "path"}',
        '{"match_on": ["uri"]}',
        '{"ignore": [5]}',
        '{"ignore": ["a"]}',
        '{"normalize": ["a=(x"]}',
    ],
)
def test_what_is_no_description(text: str) -> None:
    with pytest.raises(UsageError):
        matching.parse(text)


# ------------------------------------------------------------------------------------------------ both sides alike

FIELDS = st.dictionaries(st.text("abc", min_size=1, max_size=2), st.text('ab\r\n-"é', max_size=6), max_size=3)


@given(FIELDS, FIELDS, st.sampled_from(["q1", "--q", "xyz0123456789"]), st.randoms(use_true_random=False))
def test_an_upload_is_its_fields(first: dict[str, str], second: dict[str, str], boundary: str, random: Any) -> None:
    def made(fields: dict[str, str], boundary: str) -> Request:
        parts = [(name, "", text.encode()) for name, text in fields.items()]
        return upload(*random.sample(parts, len(parts)), boundary=boundary)

    clean = Redactor().redact_request
    for matcher in (Matcher(), Matcher(normalize=normalizers.parse(["uuid,date,tmp-path"]))):
        assert matcher.key(clean(made(first, "q"))) == matcher.key(clean(made(first, boundary)))
        assert (matcher.key(clean(made(first, "q"))) == matcher.key(clean(made(second, boundary)))) is (first == second)


@given(VALUES, DUMPS, DUMPS)
def test_a_value_without_secrets_has_one_key(value: Any, first: Any, second: Any) -> None:
    clean = Redactor().redact_request
    for matcher in (Matcher(), Matcher(normalize=normalizers.parse([",".join(normalizers.BUILT_IN)]))):
        assert matcher.key(clean(post(first(value)))) == matcher.key(clean(clean(post(second(value)))))
