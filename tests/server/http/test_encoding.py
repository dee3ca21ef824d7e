"""The bytes of a response: its framing, its head, its frames and its end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from openai_replay.model import End, Head
from openai_replay.server.http.encoding import Framing, choose_framing, encode
from openai_replay.server.http.request import RequestHead

GET = RequestHead("GET", "/", ())
OK = Head(200, "OK", (("X-A", "1"), ("x-a", "2")))
COUNTED = replace(OK, length=5)


@pytest.mark.parametrize(
    ("request_head", "head", "framing"),
    [
        (GET, COUNTED, Framing(chunked=False, no_body=False, keep_alive=True, http11=True)),
        (GET, OK, Framing(chunked=True, no_body=False, keep_alive=True, http11=True)),
        (GET._replace(method="HEAD"), OK, Framing(chunked=False, no_body=True, keep_alive=True, http11=True)),
        (GET, replace(OK, status=204), Framing(chunked=False, no_body=True, keep_alive=True, http11=True)),
        (GET, replace(OK, status=304), Framing(chunked=False, no_body=True, keep_alive=True, http11=True)),
        (GET._replace(http11=False), COUNTED, Framing(chunked=False, no_body=False, keep_alive=True, http11=False)),
        # The end of the connection is the end of the body.
        (GET._replace(http11=False), OK, Framing(chunked=False, no_body=False, keep_alive=False, http11=False)),
        (GET._replace(keep_alive=False), OK, Framing(chunked=True, no_body=False, keep_alive=False, http11=True)),
        # A request that could not be read is the last one.
        (None, COUNTED, Framing(chunked=False, no_body=False, keep_alive=False, http11=True)),
    ],
)
def test_framing_follows_from_request_and_head(request_head: RequestHead | None, head: Head, framing: Framing) -> None:
    assert choose_framing(request_head, head, close_after=False) == framing
    assert choose_framing(request_head, head, close_after=True) == framing._replace(keep_alive=False)


CHUNKED = Framing(chunked=True, no_body=False, keep_alive=True, http11=True)
PLAIN = CHUNKED._replace(chunked=False)
HEAD_LINES = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\n"


@pytest.mark.parametrize(
    ("framing", "head", "lines"),
    [
        (PLAIN, COUNTED, b"Content-Length: 5\r\n"),
        (CHUNKED, OK, b"Transfer-Encoding: chunked\r\n"),
        (PLAIN._replace(keep_alive=False), OK, b"Connection: close\r\n"),
        (PLAIN._replace(http11=False), COUNTED, b"Content-Length: 5\r\nConnection: keep-alive\r\n"),
        (
            PLAIN._replace(cors_origin="http://localhost:3000"),
            COUNTED,
            b"Access-Control-Allow-Origin: http://localhost:3000\r\nAccess-Control-Expose-Headers: *\r\n"
            b"Vary: Origin\r\nContent-Length: 5\r\n",
        ),
    ],
)
def test_a_head_is_written_as_it_is_with_the_framing_after_it(framing: Framing, head: Head, lines: bytes) -> None:
    assert encode(framing, head, (), None) == HEAD_LINES + lines + b"\r\n"


def test_a_204_has_no_length() -> None:
    head = Head(204, "No Content", (), 0)
    assert encode(PLAIN._replace(no_body=True), head, (), End.COMPLETE) == b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.mark.parametrize(
    ("framing", "end", "data"),
    [
        (CHUNKED, None, b"3\r\nabc\r\n2\r\nde\r\n"),
        (CHUNKED, End.COMPLETE, b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
        (CHUNKED, End.TRUNCATED, b"3\r\nabc\r\n2\r\nde\r\n"),
        (CHUNKED, End.RESET, b"3\r\nabc\r\n2\r\nde\r\n"),
        (PLAIN, End.COMPLETE, b"abcde"),
        (PLAIN._replace(no_body=True), End.COMPLETE, b""),
    ],
)
def test_each_frame_is_a_chunk_and_an_empty_one_is_not_the_end(framing: Framing, end: End | None, data: bytes) -> None:
    assert encode(framing, None, [b"abc", b"", b"de"], end) == data
