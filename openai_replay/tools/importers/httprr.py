"""Go's httprr: `httprr trace v1`, then for every exchange the lengths of request and response, and both as HTTP/1 text.

It says nothing about time. Source: internal/httprr/rr.go of golang.org/x/oscar.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from openai_replay.errors import ImportFormatError
from openai_replay.model import Headers, Interaction, header
from openai_replay.tools.importers.builder import (
    ImportResult,
    NoteRepair,
    build_all,
    build_headers,
    build_request,
    build_response,
)
from openai_replay.tools.importers.source import TextFile


def recognizes(value: Any) -> bool:
    """Whether `value` is such a trace."""
    return isinstance(value, TextFile) and value.startswith("httprr trace v1")


_SIZES = re.compile(rb"(\d{1,12}) (\d{1,12})\r?\n")


def read(value: TextFile) -> ImportResult:
    """The interactions of a trace; those after the place where it is cut off are an error."""
    data = value.encode("latin-1")
    at = data.find(b"\n") + 1
    pairs: list[tuple[bytes, bytes]] = []
    while at and at < len(data):
        sizes = _SIZES.match(data, at)
        line = data.count(b"\n", 0, at) + 1
        if sizes is None:
            raise ImportFormatError(f"line {line}: here the lengths of the next request and response should stand")
        start, middle = sizes.end(), sizes.end() + int(sizes[1])
        at = middle + int(sizes[2])
        if at > len(data):
            raise ImportFormatError(
                f"line {line}: is cut off: {at - start} bytes should follow, {len(data) - start} do"
            )
        pairs.append((data[start:middle], data[middle:at]))
    return build_all(pairs, _interaction)


class Message(NamedTuple):
    """An HTTP/1 message: the three parts of its first line, its headers, its body."""

    line: tuple[str, str, str]
    headers: Headers
    body: bytes


def parse_message(data: bytes) -> Message:
    """Take an HTTP/1 message apart. Raises ValueError."""
    blank = _BLANK.search(data)  # where a tool has taken something out, lines may end in LF
    if blank is None:
        raise ValueError("an HTTP message has no head")
    first, *lines = data[: blank.start()].decode("latin-1").splitlines()
    body = data[blank.end() :]
    words = first.split(" ", 2)
    if len(words) < 2:
        raise ValueError("an HTTP message has no first line")
    pairs = build_headers([line.split(":", 1) for line in lines if ":" in line])
    if "chunked" in header(pairs, "transfer-encoding").lower():
        body = _join_chunks(body)
    return Message((words[0], words[1], words[2] if len(words) > 2 else ""), pairs, body)


_BLANK = re.compile(rb"\r?\n\r?\n")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,12})[^\r\n]*\r?\n")


def _join_chunks(body: bytes) -> bytes:
    """The data of chunks (RFC 9112 7.1). As it came where these are none: Go's own reader has joined them."""
    out: list[bytes] = []
    at = 0
    while (size := _CHUNK.match(body, at)) is not None:
        length = int(size[1], 16)
        if not length:
            return b"".join(out)
        out.append(body[size.end() : size.end() + length])
        at = size.end() + length
        at += 2 if body.startswith(b"\r\n", at) else 1
    return body


def _interaction(pair: tuple[bytes, bytes], repair: NoteRepair) -> Interaction:
    asked, answer = parse_message(pair[0]), parse_message(pair[1])
    uri = asked.line[1]
    if uri.startswith("/"):
        uri = f"https://{header(asked.headers, 'host')}{uri}"
    return Interaction(
        build_request(asked.line[0], uri, asked.headers, asked.body),
        build_response(answer.line[1], answer.line[2], answer.headers, answer.body, repair),
    )
