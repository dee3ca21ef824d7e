"""The values everything else speaks in.

In memory they are valid already; text is checked where it enters (`schema`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import urlsplit

#: What this machine is called.
LOOPBACK = ("127.0.0.1", "localhost", "::1")

#: Headers in the order they came, repeats included. Text is latin-1, so that every byte survives the way to disk and
#: back (RFC 9110 5.5 knows no other encoding, and `http.client`, and with it vcrpy, reads them so).
Headers = tuple[tuple[str, str], ...]


class Frame(NamedTuple):
    """The bytes of one read from the upstream, and its time in ms after the request was read."""

    at_ms: int
    data: bytes


class End(StrEnum):
    """The ending of a response."""

    COMPLETE = "complete"
    TRUNCATED = "truncated"  # closed in good order before the body was complete
    RESET = "reset"  # the connection broke


class Mode(StrEnum):
    """Record modes, in vcrpy's words and meanings. OFF only forwards."""

    NONE = "none"
    ONCE = "once"
    NEW_EPISODES = "new_episodes"
    ALL = "all"
    OFF = "off"


class OnExhausted(StrEnum):
    """The response to a request whose recordings have all been played."""

    ERROR = "error"
    REPEAT = "repeat"  # the last one again
    CYCLE = "cycle"  # from the first one again


class Fallback(StrEnum):
    """The choice of a recording for a request that no recording matches."""

    NONE = "none"  # nothing: it is a miss
    LAST_USER_MESSAGE = "last-user-message"  # the nearest one whose last user message is the same
    SEQUENCE = "sequence"  # the next unplayed one, in recorded order


class Request(NamedTuple):
    """A request as the upstream gets it: `uri` is absolute, upstream's origin and the client's own path and query."""

    method: str
    uri: str
    headers: Headers = ()
    body: bytes = b""

    @property
    def path(self) -> str:
        """The path as sent, percent-encoding and double slashes untouched.

        Without a fragment, which is never sent (RFC 9112 3.2), but is shown to recorders that sit inside a client.
        """
        return urlsplit(self.uri).path

    @property
    def query(self) -> str:
        """The query as sent, without the question mark."""
        return urlsplit(self.uri).query


@dataclass(frozen=True, slots=True)
class Head:
    """Status line and headers of a response, without hop-by-hop headers and content-length.

    `length` is the Content-Length of the upstream in bytes, or None for other framing (chunked, until close).
    """

    status: int
    reason: str
    headers: Headers = ()
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer: its head at `head_ms`, its frames, its `end` at `end_ms`; all ms since the request had been
    read. Times that nobody measured are marked: `assumed` says how they were made up.
    """

    head: Head
    head_ms: int
    frames: tuple[Frame, ...]
    end_ms: int
    end: End = End.COMPLETE
    assumed: str = ""

    @property
    def body(self) -> bytes:
        """The bytes of all frames."""
        return self.frames[0].data if len(self.frames) == 1 else b"".join(frame.data for frame in self.frames)


@dataclass(frozen=True, slots=True)
class Interaction:
    """One item of a cassette."""

    request: Request
    response: Response


def header(headers: Headers, name: str, default: str = "") -> str:
    """Return the first value of the header `name` (any case), or `default`."""
    name = name.lower()
    return next((value for key, value in headers if key.lower() == name), default)


def media_type(headers: Headers) -> str:
    """Return the lower-case media type of `content-type` without parameters; empty without one."""
    return header(headers, "content-type").partition(";")[0].strip().lower()
