"""Reads Go's httprr: `httprr trace v1`, then for each exchange the lengths of request and response, and both as HTTP/1.

Times are not kept. Source: internal/httprr/rr.go of golang.org/x/oscar.
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
    """Return True if `value` is such a trace."""
    return isinstance(value, TextFile) and value.startswith("httprr trace v1")


_SIZES = re.compile(rb"(\d{1,12}) (\d{1,12})\r?\n")


def read(value: TextFile) -> ImportResult:
    """Return the interactions of a trace. Raises ImportFormatError if it is cut off."""
    data = value.encode("latin-1")
    offset = data.find(b"\n") + 1
    pairs: list[tuple[bytes, bytes]] = []
    while offset and offset < len(data):
        sizes = _SIZES.match(data, offset)
        line = data.count(b"\n", 0, offset) + 1
        if sizes is None:
            raise ImportFormatError(f"Line {line} must have the lengths of the next request and response.")
        start, middle = sizes.end(), sizes.end() + int(sizes[1])
        offset = middle + int(sizes[2])
        if offset > len(data):
            raise ImportFormatError(
                f"Line {line}: The file is cut off. {offset - start} bytes should follow, but {len(data) - start} do."
            )
        pairs.append((data[start:middle], data[middle:offset]))
    return build_all(pairs, _interaction)


class Message(NamedTuple):
    """An HTTP/1 message: the three parts of its first line, its headers, its body."""

    line: tuple[str, str, str]
    headers: Headers
    body: bytes


def parse_message(data: bytes) -> Message:
    """Split an HTTP/1 message. Raises ValueError."""
    blank = _BLANK.search(data)  # lines may end in LF if a tool has removed something
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
    """Return the data of chunks (RFC 9112 7.1), or the body as it is without chunks: Go's own reader joins them."""
    chunks: list[bytes] = []
    offset = 0
    while (size := _CHUNK.match(body, offset)) is not None:
        length = int(size[1], 16)
        if not length:
            return b"".join(chunks)
        chunks.append(body[size.end() : size.end() + length])
        offset = size.end() + length
        offset += 2 if body.startswith(b"\r\n", offset) else 1
    return body


def _interaction(pair: tuple[bytes, bytes], note_repair: NoteRepair) -> Interaction:
    request, response = parse_message(pair[0]), parse_message(pair[1])
    uri = request.line[1]
    if uri.startswith("/"):
        uri = f"https://{header(request.headers, 'host')}{uri}"
    return Interaction(
        build_request(request.line[0], uri, request.headers, request.body),
        build_response(response.line[1], response.line[2], response.headers, response.body, note_repair),
    )
