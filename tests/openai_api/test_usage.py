"""Usage that responses report, and the totals of `stats`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from openai_replay.errors import UsageError
from openai_replay.model import End, Frame, Head, Interaction, Request, Response
from openai_replay.openai_api.usage import Usage, parse_usage
from openai_replay.tools import stats
from openai_replay.tools.stats import Price, Totals
from tests.openai_api.test_stream_assembler import PARTS, fetch_body
from tests.openai_api.test_transcript import SSE


@pytest.mark.parametrize(
    ("fields", "usage"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}, Usage(5, 7)),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 3},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
            Usage(5, 7, 3, 2),
        ),
        ({"input_tokens": 5, "output_tokens": 7, "input_tokens_details": {"cached_tokens": 1}}, Usage(5, 7, 1)),
        ({"prompt_tokens": 9, "total_tokens": 9}, Usage(9)),  # embeddings
        ({"type": "duration", "seconds": 2.5}, Usage(sound_s=2.5)),
        ({"prompt_tokens": "5", "completion_tokens": -1, "prompt_tokens_details": []}, Usage()),
        ({"total_tokens": 9}, None),
        ({"seconds": float("inf")}, None),
        (None, None),
        ([], None),
    ],
)
def test_usage_is_parsed(fields: Any, usage: Usage | None) -> None:
    assert parse_usage({"usage": fields}) == usage
    assert parse_usage({"usage": None, "run": {"usage": fields}}) == usage


@given(PARTS)
def test_no_shape_raises(value: Any) -> None:
    parse_usage(value)
    parse_usage({"usage": value})


def interaction(body: Any, model: str = "gpt-4o-mini", status: int = 200, end: End = End.COMPLETE) -> Interaction:
    media = SSE if isinstance(body, bytes) else "application/json"
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = Request("POST", "https://api.openai.com/v1/x", (), json.dumps({"model": model} if model else {}).encode())
    return Interaction(
        request, Response(Head(status, "OK", (("content-type", media),)), 5, (Frame(9, data),), 1500, end)
    )


CHAT = {
    "id": "chatcmpl-1",
    "model": "gpt-4o-mini-2024-07-18",
    "usage": {"prompt_tokens": 1000, "completion_tokens": 10},
}


def test_interactions_are_counted_by_model() -> None:
    stream = fetch_body(
        "/v1/chat/completions", model="m", messages=[{"role": "user", "content": "a b"}], stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    counts = stats.count_by_model(
        [
            interaction(CHAT),
            interaction({"error": {"message": "no"}}, status=429),
            interaction(stream, "streamed"),
            interaction(b"data: {}\n\n", "streamed", end=End.RESET),
            interaction({"model": "said"}, ""),
            interaction([], ""),
        ],
        {},
    )
    assert list(counts) == ["gpt-4o-mini", "streamed", "said", "-"]
    first = counts["gpt-4o-mini"]
    assert (first.interactions, first.errors, first.streams, first.without_usage, first.ms) == (2, 1, 0, 1, 3000)
    assert first.usage == Usage(1000, 10)
    second = counts["streamed"]
    assert (second.interactions, second.errors, second.streams, second.without_usage) == (2, 1, 2, 1)
    assert (second.usage.tokens_in, second.usage.tokens_out > 5) == (2, True)
    total = stats.sum_totals(counts.values())
    assert (total.interactions, total.ms, total.cost) == (6, 9000, None)
    assert total.received == sum(count.received for count in counts.values()) > 0


def test_a_response_that_is_requested_again_counts_once() -> None:
    counts = stats.count_by_model([interaction(CHAT), interaction(CHAT), interaction(CHAT | {"id": "chatcmpl-2"})], {})
    assert counts["gpt-4o-mini"].usage == Usage(2000, 20)
    vectors = {"usage": {"prompt_tokens": 3}}  # these have no id
    assert stats.count_by_model([interaction(vectors), interaction(vectors)], {})["gpt-4o-mini"].usage == Usage(6)


def test_a_run_has_its_own_usage() -> None:
    run = {"object": "thread.run", "id": "run_1", "model": "gpt-4o", "usage": {"prompt_tokens": 3}}
    body = f"event: thread.run.completed\ndata: {json.dumps(run)}\n\n".encode()
    assert stats.count_by_model([interaction(body, "")], {})["gpt-4o"].usage == Usage(3)


@pytest.mark.parametrize(
    ("text", "name", "price"),
    [
        ("gpt-4o-mini=0.15/0.60", "gpt-4o-mini", Price(0.15, 0.6, 0.15)),
        ("a=b=1/2/0.5", "a=b", Price(1, 2, 0.5)),
    ],
)
def test_prices_are_parsed(text: str, name: str, price: Price) -> None:
    assert stats.parse_price(text) == (name, price)


@pytest.mark.parametrize("text", ["gpt-4o", "gpt-4o=1", "=1/2", "gpt-4o=a/b", "gpt-4o=1/2/3/4", "gpt-4o=-1/2"])
def test_other_texts_are_not_prices(text: str) -> None:
    with pytest.raises(UsageError, match="is not a price"):
        stats.parse_price(text)


def test_prices_apply_by_either_name_of_a_model() -> None:
    for name in ("gpt-4o-mini", "gpt-4o-mini-2024-07-18"):
        counts = stats.count_by_model([interaction(CHAT), interaction(CHAT, "other")], {name: Price(1, 2, 1)})
        assert counts["gpt-4o-mini"].cost == pytest.approx(0.00102)
    assert Price(2, 4, 1).cost_of(Usage(1_000_000, 500_000, 400_000)) == pytest.approx(1.2 + 0.4 + 2)
    assert stats.sum_totals([Totals(cost=1.0), Totals(), Totals(cost=0.5)]).cost == 1.5
    assert "cost" not in Totals().as_json()
    assert Totals(cost=0.5).as_json()["cost"] == 0.5


def test_the_table_has_a_line_per_model() -> None:
    counts = stats.count_by_model([interaction(CHAT), interaction({}, "other\x1b[2J")], {"gpt-4o-mini": Price(1, 2, 1)})
    lines = list(stats.format_table(counts, stats.sum_totals(counts.values())))
    assert lines[0].split() == [
        "model", "interactions", "streams", "errors", "in", "cached", "out", "reasoning", "seconds", "sent", "received"
    ]  # fmt: skip
    assert lines[1].split()[:9] == ["gpt-4o-mini", "1", "0", "0", "1,000", "0", "10", "0", "1.5"]
    assert lines[2].split()[0] == "other\\x1b[2J"
    assert lines[3].split()[0] == "total"
    assert "without usage: 1 of 2" in lines
    assert lines[-1] == "every replay saves: 3.0 s of waiting, 1,010 tokens, 0.001020 at the given prices"
    sound = stats.count_by_model([interaction({"usage": {"seconds": 2}})], {})
    assert "audio billed by its length: 2 s" in list(stats.format_table(sound, stats.sum_totals(sound.values())))
