"""The key of a request, and a cache of keys.

Clients often send the same bytes again, and redacting them and making their key is most of what playing costs.
"""

from __future__ import annotations

from typing import NamedTuple

from openai_replay.config.rules import Rules
from openai_replay.model import Headers, Request
from openai_replay.proxy.aio import LARGE
from openai_replay.text.bounded_cache import BoundedCache

#: Bytes of all requests in the cache together.
_MAX_BYTES = 1 << 25
#: Bytes that an entry takes beside its texts and its body.
_ENTRY_BYTES = 1 << 10
#: Headers that decide how a body is read.
_BODY_HEADERS = frozenset({"content-type", "content-encoding"})

#: Method, URI, relevant headers and body.
_CacheKey = tuple[str, str, Headers, bytes]


class RequestKey(NamedTuple):
    """The key of a request, and its method and path without secrets."""

    key: bytes
    method: str
    path: str


class RequestKeyCache:
    """Makes keys by `rules`, and remembers those of requests up to `LARGE` bytes."""

    def __init__(self, rules: Rules, max_bytes: int = _MAX_BYTES) -> None:
        self._rules = rules
        self._header_names = _BODY_HEADERS | set(rules.matcher.headers)
        self._keys: BoundedCache[_CacheKey, RequestKey] = BoundedCache(max_bytes=max_bytes)

    def lookup(self, request: Request) -> RequestKey | None:
        """Return the key of a request with the same bytes, if it is in the cache."""
        return self._keys.get(self._cache_key(request))

    def compute(self, request: Request) -> RequestKey:
        """Make the key of `request`, and put it into the cache."""
        clean = self._rules.redactor.redact_request(request)
        key = RequestKey(self._rules.matcher.key(clean), clean.method, clean.path)
        if len(request.body) <= LARGE:
            cache_key = self._cache_key(request)
            self._keys.put(cache_key, key, _size(cache_key))
        return key

    def _cache_key(self, request: Request) -> _CacheKey:
        """Return everything in `request` that decides its key, as it was sent."""
        headers = tuple(pair for pair in request.headers if pair[0].lower() in self._header_names)
        return request.method, request.uri, headers, request.body


def _size(cache_key: _CacheKey) -> int:
    """Return the bytes that an entry takes; the path in its value may be as long as the URI."""
    _, uri, headers, body = cache_key
    return len(body) + 2 * len(uri) + sum(len(name) + len(value) for name, value in headers) + _ENTRY_BYTES
