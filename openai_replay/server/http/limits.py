"""Limits on the requests that a server accepts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on the size of a message, in bytes, and on silence, in seconds."""

    head: int = 64 << 10  # the head of a request, and each of its lines
    body: int = 512 << 20  # the body of a request: the largest file that api.openai.com takes
    response: int = 256 << 20  # a recorded response: `Upstream` has the same default
    #: Silence in the middle of a request, or of a connection without one. Longer than any client's pool keeps a
    #: connection, so that none is closed while it is being used again.
    idle_s: float = 300.0
    #: The time in which the rest of a request may arrive after its response: a client that is hung up on earlier may
    #: not see the response.
    linger_s: float = 10.0
