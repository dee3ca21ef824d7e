"""Keys of repeated requests come from the cache, and never for another request."""

from __future__ import annotations

from pathlib import Path

import pytest

from openai_replay.config.rules import Rules
from openai_replay.matching.matcher import Matcher
from openai_replay.model import Headers, Request, header
from openai_replay.proxy.aio import LARGE
from openai_replay.proxy.request_cache import RequestKeyCache
from openai_replay.redaction.redactor import Redactor
from tests.support.proxy import CHAT, interactions, recording
from tests.support.upstream import Upstream, plain

JSON: Headers = (("Content-Type", "application/json"), ("Authorization", "Bearer sk-test"), ("X-User", "1"))
REQUEST = Request("POST", "http://tape/v1/chat/completions", JSON, b'{"a":1}')
RULES = Rules(matcher=Matcher(headers=("x-user",)))


def headers(**changed: str) -> Headers:
    return tuple((name, changed.get(name.lower().replace("-", "_"), value)) for name, value in JSON)


@pytest.mark.parametrize(
    "different",
    [
        Request("PUT", REQUEST.uri, JSON, REQUEST.body),
        Request("POST", REQUEST.uri + "?a", JSON, REQUEST.body),
        Request("POST", REQUEST.uri, headers(content_type="text/plain"), REQUEST.body),
        Request("POST", REQUEST.uri, headers(x_user="2"), REQUEST.body),
        Request("POST", REQUEST.uri, (*JSON, ("Content-Encoding", "gzip")), REQUEST.body),
        Request("POST", REQUEST.uri, JSON, b'{"a": 1}'),
    ],
)
def test_a_request_that_differs_in_anything_relevant_is_not_in_the_cache(different: Request) -> None:
    cache = RequestKeyCache(RULES)
    cache.compute(REQUEST)
    assert cache.lookup(REQUEST) is not None
    assert cache.lookup(different) is None


def test_a_cached_key_is_the_computed_one() -> None:
    cache = RequestKeyCache(RULES)
    key = cache.compute(REQUEST)
    assert key == (
        RULES.matcher.key(Redactor().redact_request(REQUEST)),
        "POST",
        Redactor().redact_request(REQUEST).path,
    )
    repeated = Request("POST", REQUEST.uri, headers(authorization="Bearer sk-other"), REQUEST.body)
    assert cache.lookup(repeated) == key


def test_the_cache_is_bounded() -> None:
    entry_bytes = 1024 + 2 * len(REQUEST.uri) + len("Content-Type" + "application/json" + "X-User" + "1")
    cache = RequestKeyCache(RULES, max_bytes=10 * (1000 + entry_bytes))
    requests = [Request("POST", REQUEST.uri, JSON, b"%1000d" % number) for number in range(100)]
    for request in [*requests, *requests[-5:]]:  # a request that is computed twice counts once
        cache.compute(request)
    assert [request for request in requests if cache.lookup(request)] == requests[-10:]
    long = Request("POST", REQUEST.uri, JSON, b"1" * (LARGE + 1))
    cache.compute(long)
    assert cache.lookup(long) is None
    assert cache.lookup(requests[-1]) is not None


def test_a_long_target_counts_with_its_size() -> None:
    """A head may be 64 kB, and queries that never repeat must not fill the memory."""
    cache = RequestKeyCache(RULES, max_bytes=1_000_000)
    requests = [Request("GET", f"http://tape/v1/models?{number:050000}", JSON) for number in range(20)]
    for request in requests:
        cache.compute(request)
    assert [request for request in requests if cache.lookup(request)] == requests[-9:]


async def test_a_cached_request_is_recorded_with_its_own_headers(tmp_path: Path) -> None:
    tape = tmp_path / "tape.yaml"
    async with Upstream(lambda request: plain(b"{}")) as upstream, recording(upstream.url, tape) as proxy:
        for value in ("1", "2"):
            await proxy.ask("POST", CHAT, b'{"a":1}', [("X-Trace", value)])
    assert [header(recorded.request.headers, "x-trace") for recorded in interactions(tape)] == ["1", "2"]
