"""What a request is to the tape: its key, and how it may be called where others read it.

The same bytes are often asked again, and to take secrets out of them and make their key is most of what playing costs:
what has been read once is remembered, within bounds.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from openai_replay.config.rules import Rules
from openai_replay.model import Headers, Request
from openai_replay.proxy.aio import LARGE

#: Bytes that what is remembered may take in all, and what each takes beside its texts and its body.
_REMEMBERED = 1 << 25
_BESIDE = 1 << 10
#: Of so many requests' headers is remembered which of them decide.
_MOST_DECIDED = 256
#: Headers that decide how a body is read.
_DECIDING = frozenset({"content-type", "content-encoding"})


#: Method, URI, the headers that decide, and the body.
_Same = tuple[str, str, Headers, bytes]


class RequestKey(NamedTuple):
    """The key of a request, and its method and path without secrets."""

    key: bytes
    method: str
    path: str


class RequestKeyCache:
    """Reads requests by `rules`."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._deciding = _DECIDING | set(rules.matcher.headers)
        self._known: OrderedDict[_Same, RequestKey] = OrderedDict()
        self._size = 0  # of all of it, in bytes
        self._decided: dict[Headers, Headers] = {}  # a client sends the same ones again and again

    def lookup(self, request: Request) -> RequestKey | None:
        """What was read of the same bytes before, if it is remembered."""
        return self._known.get(self._same(request))

    def compute(self, request: Request) -> RequestKey:
        """Read `request`, and remember what it is."""
        clean = self._rules.redactor.request(request)
        asked = RequestKey(self._rules.matcher.key(clean), clean.method, clean.path)
        if len(request.body) <= LARGE:
            self._remember(request, asked)
        return asked

    def _remember(self, request: Request, asked: RequestKey) -> None:
        same = self._same(request)
        if self._known.setdefault(same, asked) is asked:
            self._size += _size(same)
        while self._size > _REMEMBERED:
            oldest, _ = self._known.popitem(last=False)
            self._size -= _size(oldest)

    def _same(self, request: Request) -> _Same:
        """All of `request` that its key is made of, as it came."""
        method, uri, headers, body = request
        deciding = self._decided.get(headers)
        if deciding is None:
            deciding = tuple(pair for pair in headers if pair[0].lower() in self._deciding)
            if len(self._decided) >= _MOST_DECIDED:
                self._decided.clear()
            self._decided[headers] = deciding
        return method, uri, deciding, body


def _size(same: _Same) -> int:
    """Bytes that are held for it; the path that is shown may be as long as the URI."""
    _, uri, deciding, body = same
    return len(body) + 2 * len(uri) + sum(len(name) + len(value) for name, value in deciding) + _BESIDE
