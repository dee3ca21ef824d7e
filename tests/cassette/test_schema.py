"""An item as a loader hands it over: what is read, and what is refused, and where."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest

from openai_replay.cassette import schema
from openai_replay.model import End, Frame, Headers

WIRE = {"head": "5", "frames": "10+2 20+1", "end": "30 complete"}


def item(request: dict[Any, Any] | None = None, response: dict[Any, Any] | None = None) -> dict[str, Any]:
    """An item of three bytes, with these fields in the place of its own."""
    requests = {"method": "GET", "uri": "https://h/v1/models"}
    answer = {"status": {"code": "200", "message": "OK"}, "body": {"string": "abc"}}
    return {"request": {**requests, **(request or {})}, "response": {**answer, **(response or {})}}


def timed(**wire: Any) -> dict[str, Any]:
    """An item whose `wire` has these fields in the place of its own."""
    return item(response={"wire": {**WIRE, **wire}})


def refused(raw: Any) -> str:
    """Return the error, with its path."""
    with pytest.raises(schema.SchemaError) as caught:
        schema.read(raw)
    assert str(caught.value).startswith(".".join(caught.value.path))
    return str(caught.value)


def test_what_is_read() -> None:
    interaction, summed, is_timed, headers = schema.read(timed(length="3", assumed="even"))
    assert (summed, is_timed, headers) == (None, True, ())
    assert (interaction.request.method, interaction.request.uri) == ("GET", "https://h/v1/models")
    response = interaction.response
    assert (response.head.status, response.head.reason, response.head.length) == (200, "OK", 3)
    assert response.frames == (Frame(10, b"ab"), Frame(20, b"c"))
    assert (response.head_ms, response.end_ms, response.end, response.assumed) == (5, 30, End.COMPLETE, "even")


def test_frames_that_sum_up_to_something_else() -> None:
    interaction, summed, *_ = schema.read(timed(frames="10+2 20+7"))
    assert summed == 9
    assert interaction.response.body == b"abc"


@pytest.mark.parametrize(
    "number",
    [7, "7", "+7", "007", " 7 ", "7\n", b"7", 7.0, "7.0", "7.000", "0_7"],
    ids=repr,
)
def test_a_number_is_what_loaders_and_people_make_of_it(number: object) -> None:
    assert schema.read(timed(head=number)).interaction.response.head_ms == 7


@pytest.mark.parametrize(
    "number",
    [
        *(
            -1,
            "-1",
            7.5,
            "7.5",
            "7.",
            ".7",
            "",
            " ",
            "7e0",
            "0x7",
            "7 7",
            "_7",
            "7_",
            "7__7",
            "--7",
            "+-7",
            "٧",
            b"\xb2",
        ),
        *(86_400_001, "86400001", float("inf"), float("nan"), 10**400, "9" * 50, "0" * 9999, None, [], [7], {7: 7}),
    ],
    ids=lambda number: repr(number)[:20],
)
def test_what_is_no_number_or_too_large(number: object) -> None:
    assert refused(timed(head=number)) == "response.wire.head: is not a whole number from 0 to 86400000"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (5, "is not text"),
        (None, "is not text"),
        (["GET"], "is not text"),
        (b"\xff", "'utf-8' codec can't decode"),
        ("\ud800", "half of a character"),
    ],
    ids=repr,
)
def test_what_is_no_text(text: object, reason: str) -> None:
    for path, raw in {
        "request.method": item(request={"method": text}),
        "request.uri": item(request={"uri": text}),
        "response.wire.end": timed(end=text),
        "response.wire.assumed": timed(assumed=text),
    }.items():
        assert refused(raw).startswith(f"{path}: {reason}")


def test_text_as_bytes_is_met_in_old_files() -> None:
    raw = timed(frames=b"10+3", end=b"9 reset")
    raw["response"]["status"]["message"] = "né".encode()
    response = schema.read(raw).interaction.response
    assert (response.frames, response.end, response.head.reason) == ((Frame(10, b"abc"),), End.RESET, "né")


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (None, b""),
        ("é", "é".encode()),
        (b"\xff", b"\xff"),
        (BytesIO(b"\xff"), b"\xff"),
        (iter(b"ab"), b"ab"),
        (iter([b"a", "é"]), "aé".encode()),
        ({"string": "a"}, b"a"),
        ({"string": None}, b""),
        ({}, b""),
    ],
    ids=range(9),
)
def test_a_body_of_every_age(body: object, data: bytes) -> None:
    assert schema.read(item(request={"body": body})).interaction.request.body == data


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (5, "request.body: is neither text nor bytes"),
        ([b"a"], "request.body: is neither text nor bytes"),
        ({"string": {"string": "a"}}, "request.body.string: is neither text nor bytes"),
        (iter([256]), "request.body: bytes must be in range(0, 256)"),
        (iter([None]), "request.body: is neither text nor bytes"),
        ("\ud800", "request.body: half of a character"),
        (iter(["\ud800"]), "request.body: half of a character"),
    ],
    ids=range(7),
)
def test_what_is_no_body(body: object, reason: str) -> None:
    assert refused(item(request={"body": body})).startswith(reason)


@pytest.mark.parametrize(
    ("headers", "pairs"),
    [
        ({"a": ["1", "2"], "b": "3"}, (("a", "1"), ("a", "2"), ("b", "3"))),
        ({"a": ("1",), b"b\xe9": b"\xe9", "c": None}, (("a", "1"), ("bé", "é"), ("c", ""))),
        ({"a": 5, 5: [1.5, True]}, (("a", "5"), ("5", "1.5"), ("5", "True"))),
        ({"5": "first", 5: "last"}, (("5", "last"),)),
        ({"a": []}, ()),
        (None, ()),
        ([], ()),
        ("", ()),
    ],
    ids=range(8),
)
def test_headers_of_every_age(headers: object, pairs: Headers) -> None:
    assert schema.read(item(request={"headers": headers})).interaction.request.headers == pairs


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([["a", "b"]], "is not a mapping"),
        ("a: b", "is not a mapping"),
        ({"a": {"b": "c"}}, "a header's value is text"),
        ({"a": [["b"]]}, "a header's value is text"),
        ({("a",): "b"}, "a header's value is text"),
        ({"a": "\ud800"}, "half of a character"),
    ],
    ids=range(6),
)
def test_what_are_no_headers(headers: object, reason: str) -> None:
    assert refused(item(response={"headers": headers})).startswith(f"response.headers: {reason}")


def test_headers_are_all_that_are_there() -> None:
    read = schema.read(item(response={"headers": {"Connection": "close", "x-a": "b"}}))
    assert read.headers == (("Connection", "close"), ("x-a", "b"))
    assert read.interaction.response.head.headers == (("x-a", "b"),)


def test_an_answer_of_httpx() -> None:
    raw = item(response={"status_code": 404, "content": b"gone", "body": 5})
    del raw["response"]["status"]
    response = schema.read(raw).interaction.response
    assert (response.head.status, response.head.reason, response.body) == (404, "", b"gone")
    raw["response"]["status_code"] = "fine"
    assert refused(raw) == "response.status_code: is not a whole number from 100 to 999"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "is not a mapping"),
        ([], "is not a mapping"),
        ({}, "request: is missing"),
        ({"request": None}, "request: is not a mapping"),
        ({"request": item()["request"]}, "response: is missing"),
        (item(request={"uri": "http://["}), "request.uri: Invalid IPv6 URL"),
        (item(response={"status": 200}), "response.status: is not a mapping"),
        (item(response={"status": {}}), "response.status.code: is missing"),
        (item(response={"status": {"code": 100}}), "response.status.code: 100 is not a final status"),
        (item(response={"status": {"code": 200, "message": 5}}), "response.status.message: is not text"),
        (item(response={"body": "abc"}), "response.body: is not a mapping"),
        (item(response={"body": {"string": 5}}), "response.body.string: is neither text nor bytes"),
        (item(response={"wire": []}), "response.wire: is not a mapping"),
        (item(response={"wire": {}}), "response.wire.head: is missing"),
        (timed(mine=5), "response.wire.mine: is no key of `wire`"),
        (timed(**{"": 5}), "response.wire.: is no key of `wire`"),
        (timed(length=-1), "response.wire.length: is not a whole number from 0 to 999999999999999"),
        (timed(assumed="x" * 101), "response.wire.assumed: is longer than 100 characters"),
        (timed(frames=["1+3"]), "response.wire.frames: is not text"),
        (timed(frames="1+3,"), "response.wire.frames: '1+3,' is not a frame"),
        (timed(frames="86400001+3"), "response.wire.frames: 86400001 ms is more than a day"),
        (timed(end="86400001 reset"), "response.wire.end: 86400001 ms is more than a day"),
        (timed(end="5 exploded"), "response.wire.end: '5 exploded' is not an end"),
    ],
    ids=range(23),
)
def test_what_is_no_item(raw: object, reason: str) -> None:
    assert refused(raw).startswith(reason)


def test_what_may_be_null_or_left_out() -> None:
    raw = timed(length=None, frames=None)
    raw["response"] |= {"body": None, "status": {"code": "204", "message": None}, "else": {}}
    response = schema.read(raw | {"metadata": 5}).interaction.response
    assert (response.body, response.head.length, response.assumed) == (b"", None, "")
    del raw["response"]["body"], raw["response"]["wire"]
    assert schema.read(raw).interaction.response.frames == ()
