"""Keys that are split over the events of a stream are masked."""

from __future__ import annotations

import re
from typing import Any

import pytest

from openai_replay.redaction.redactor import build_redactor
from tests.support.redaction import (
    EVENTS,
    KEYS,
    SSE,
    both,
    chat,
    read_texts,
    redact_response_body,
    stream,
)


@pytest.mark.parametrize("make_event", EVENTS)
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("text", ["%s", "it is \n%s, yes"], ids=["alone", "in a text"])
def test_a_key_split_over_events_is_masked_at_every_split(make_event: Any, key: str, text: str) -> None:
    full_text = text % key
    before = full_text.index(key)
    hidden = full_text.replace(key, "REDACTED".ljust(len(key), "*"))
    for cut in range(before, before + len(key) + 1):
        body = stream(make_event(full_text[:cut]), make_event(full_text[cut:]))
        assert list(read_texts(redact_response_body(body, SSE), make_event).values()) == [hidden]


@pytest.mark.parametrize("make_event", EVENTS)
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_keys_in_interleaved_channels_are_masked(make_event: Any, size: int) -> None:
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
def test_a_key_in_any_line_of_a_stream_is_masked(line: str) -> None:
    body = stream(chat("a")) + line.encode() % KEYS["sk"].encode() + b"\n\n" + stream(chat("b"))
    assert redact_response_body(body, SSE) == body.replace(
        KEYS["sk"].encode(), b"REDACTED".ljust(len(KEYS["sk"]), b"*")
    )


def test_a_key_split_in_a_very_long_stream_is_masked() -> None:
    body = stream(*[chat("word " * 20_000)] * 50, chat(KEYS["sk"][:9]), chat(KEYS["sk"][9:]))
    assert next(iter(read_texts(redact_response_body(body, SSE), chat).values())).endswith(
        "REDACTED".ljust(len(KEYS["sk"]), "*")
    )


def test_a_choice_is_identified_by_its_index_not_by_its_position() -> None:
    key = KEYS["sk"]
    body = stream(chat(key[:9]), both(key[9:20]), chat(key[20:]))
    clean = redact_response_body(body, SSE).decode()
    assert not any(piece in clean for piece in (key[:9], key[9:20], key[20:]))
    assert clean.count('"~"') == 1


@pytest.mark.parametrize(
    "pieces",
    [("Bearer", " abcdef01", "23456789ab"), ("be", "ARER abcdef0123456789ab"), ("openai-insecure-api-", "key.", "abc")],
)
def test_split_tokens_are_masked(pieces: tuple[str, ...]) -> None:
    clean = read_texts(redact_response_body(stream(*map(chat, pieces)), SSE), chat)["0"]
    assert re.fullmatch(r"(Bearer |beARER |openai-insecure-api-key\.)(REDACTED)?\*+", clean)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_streams_with_any_line_end_are_masked(line_end: str) -> None:
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
def test_keys_in_odd_events_are_masked(events: list[Any]) -> None:
    clean = redact_response_body(stream(*events), SSE)
    assert b"REDACTED*" in clean
    assert KEYS["sk"][9:].encode() not in clean


def test_a_key_in_a_repeated_name_is_masked() -> None:
    body = b'data: {"a":{"b":"%b"},"a":5}\n\ndata: {"a":{"b":"%b"},"a":5}\n\n' % (
        KEYS["sk"][:9].encode(),
        KEYS["sk"][9:].encode(),
    )
    assert b"REDA" in redact_response_body(body, SSE)


def test_fields_that_every_event_repeats_are_not_joined() -> None:
    body = stream(chat("a") | {"id": "sk-"}, chat("b") | {"id": "a" * 20})
    assert redact_response_body(body, SSE) == body
