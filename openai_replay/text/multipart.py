"""Parsing of multipart/form-data (RFC 7578), so that uploads are compared without their random boundaries."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes


class Part(NamedTuple):
    """A part of a body. Missing names and types are empty. `start` is the offset of its content in the body."""

    name: str
    filename: str
    content_type: str
    content: memoryview
    start: int


# Some clients escape a quote by a backslash. Others write %22 and a plain backslash, even at the end of a value.
_PARAMETER = re.compile(
    r';[ \t]*([^\s;="]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"(?=[ \t]*(?:;|$))|"([^"]*)"|([^;"]*))', re.DOTALL
)
_EXTENDED = re.compile(r"utf-8'[^']*'(.*)", re.IGNORECASE | re.DOTALL)  # filename*=UTF-8''na%C3%AFve.txt (RFC 8187)
_FOLDED = re.compile(r"\r\n[ \t]+")
_PADDING = b" \t"


def parse_boundary(content_type: str) -> str:
    """Return the boundary parameter of a multipart content type, or an empty text."""
    return _parameters(content_type).get("boundary", "")


def parse_parts(body: bytes, boundary: str) -> list[Part] | None:
    """Return the parts of `body` in order, without copying, or None if it is malformed (RFC 2046 5.1.1)."""
    if not boundary:
        return None
    delimiter = b"\r\n--" + boundary.encode("latin-1", "replace")
    view = memoryview(body)
    if body.startswith(delimiter[2:]):  # the usual case: without a preamble
        position = len(delimiter) - 2
    elif (position := body.find(delimiter)) >= 0:
        position += len(delimiter)
    else:
        return None
    part_list: list[Part] = []
    while not body.startswith(b"--", position):
        start = body.find(b"\r\n", position)
        end = body.find(delimiter, start)
        # A part without headers starts with its blank line.
        head_end = start if body.startswith(b"\r\n\r\n", start) else body.find(b"\r\n\r\n", start, end)
        if start < 0 or end < 0 or head_end < 0 or body[position:start].strip(_PADDING):
            return None
        headers = _headers(body[start + 2 : head_end])
        disposition = _parameters(headers.get("content-disposition", ""))
        part_list.append(
            Part(
                disposition.get("name", ""),
                _decode_extended(disposition.get("filename*", "")) or disposition.get("filename", ""),
                headers.get("content-type", ""),
                view[head_end + 4 : end],
                head_end + 4,
            )
        )
        position = end + len(delimiter)
    return part_list if body[position + 2 :].lstrip(_PADDING)[:2] in (b"", b"\r\n") else None


def _headers(block: bytes) -> dict[str, str]:
    """Return the header values in `block` by lower-case name. Invalid UTF-8 stays distinguishable (surrogateescape)."""
    text = _FOLDED.sub(" ", block.decode("utf-8", "surrogateescape"))
    fields = [line.partition(":") for line in text.split("\r\n")]
    return {name.strip().lower(): value.strip() for name, _, value in reversed(fields)}


def _parameters(value: str) -> dict[str, str]:
    """Return a header's parameters by lower-case name, without quotes but not unescaped. The first of a name counts."""
    matches = _PARAMETER.findall(value)
    return {name.lower(): quoted or encoded or token.strip() for name, quoted, encoded, token in reversed(matches)}


def _decode_extended(value: str) -> str:
    match = _EXTENDED.fullmatch(value)
    return unquote_to_bytes(_bytes(match[1])).decode("utf-8", "surrogateescape") if match else value


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
