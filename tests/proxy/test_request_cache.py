"""What is asked again is not read again, and never taken for something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from openai_replay.config.rules import Rules
from openai_replay.matching.matcher import Matcher
from openai_replay.model import Headers, Request, header
from openai_replay.proxy import request_cache
from openai_replay.proxy.aio import LARGE
from openai_replay.proxy.request_cache import RequestKeyCache
from openai_replay.redaction.redactor import Redactor
from tests.support.proxy import CHAT, interactions, recording
from tests.support.upstream import Upstream, plain

JSON: Headers = (("Content-Type", "application/json"), ("Authorization", "Bearer sk-test"), ("X-User", "1"))
ASKED = Request("POST", "http://tape/v1/chat/completions", JSON, b'{"a":1}')
RULES = Rules(matcher=Matcher(headers=("x-user",)))


def headers(**changed: str) -> Headers:
    return tuple((name, changed.get(name.lower().replace("-", "_"), value)) for name, value in JSON)


@pytest.mark.parametrize(
    "other",
    [
        Request("PUT", ASKED.uri, JSON, ASKED.body),
        Request("POST", ASKED.uri + "?a", JSON, ASKED.body),
        Request("POST", ASKED.uri, headers(content_type="text/plain"), ASKED.body),
        Request("POST", ASKED.uri, headers(x_user="2"), ASKED.body),
        Request("POST", ASKED.uri, (*JSON, ("Content-Encoding", "gzip")), ASKED.body),
        Request("POST", ASKED.uri, JSON, b'{"a": 1}'),
    ],
)
def test_what_differs_in_anything_that_decides_is_read_for_itself(other: Request) -> None:
    asking = RequestKeyCache(RULES)
    asking.compute(ASKED)
    assert asking.lookup(ASKED) is not None
    assert asking.lookup(other) is None


def test_what_is_known_is_what_was_read_of_all_that_decides() -> None:
    asking = RequestKeyCache(RULES)
    read = asking.compute(ASKED)
    assert read == (RULES.matcher.key(Redactor().request(ASKED)), "POST", Redactor().request(ASKED).path)
    again = Request("POST", ASKED.uri, headers(authorization="Bearer sk-other"), ASKED.body)
    assert asking.lookup(again) == read


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    beside = request_cache._BESIDE + 2 * len(ASKED.uri) + len("Content-Type" + "application/json" + "X-User" + "1")
    monkeypatch.setattr(request_cache, "_REMEMBERED", 10 * (1000 + beside))
    asking = RequestKeyCache(RULES)
    many = [Request("POST", ASKED.uri, JSON, b"%1000d" % number) for number in range(100)]
    for one in [*many, *many[-5:]]:  # what is read twice is counted once
        asking.compute(one)
    assert [one for one in many if asking.lookup(one)] == many[-10:]
    long = Request("POST", ASKED.uri, JSON, b"1" * (LARGE + 1))
    asking.compute(long)
    assert asking.lookup(long) is None
    assert asking.lookup(many[-1]) is not None


def test_a_long_target_counts_for_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head may be 64 kB, and a query that is never the same twice must not fill the memory."""
    monkeypatch.setattr(request_cache, "_REMEMBERED", 1_000_000)
    asking = RequestKeyCache(RULES)
    many = [Request("GET", f"http://tape/v1/models?{number:050000}", JSON) for number in range(20)]
    for one in many:
        asking.compute(one)
    assert [one for one in many if asking.lookup(one)] == many[-9:]


async def test_a_request_that_is_known_is_recorded_with_the_headers_it_came_with(tmp_path: Path) -> None:
    tape = tmp_path / "tape.yaml"
    async with Upstream(lambda request: plain(b"{}")) as upstream, recording(upstream.url, tape) as proxy:
        for value in ("1", "2"):
            await proxy.ask("POST", CHAT, b'{"a":1}', [("X-Trace", value)])
    assert [header(one.request.headers, "x-trace") for one in interactions(tape)] == ["1", "2"]
