"""multipart/form-data taken apart (RFC 7578), so that two uploads can be compared without their random boundaries."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes


class Part(NamedTuple):
    """One part: its field name, file name and content type (empty where not given), its content, and where in the body
    that starts.
    """

    name: str
    filename: str
    content_type: str
    content: memoryview
    start: int


# Some escape a quote by a backslash, others write %22 and take a backslash for itself: a value may end in one.
_PARAMETER = re.compile(
    r';[ \t]*([^\s;="]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"(?=[ \t]*(?:;|$))|"([^"]*)"|([^;"]*))', re.DOTALL
)
_EXTENDED = re.compile(r"utf-8'[^']*'(.*)", re.IGNORECASE | re.DOTALL)  # filename*=UTF-8''na%C3%AFve.txt (RFC 8187)
_FOLDED = re.compile(r"\r\n[ \t]+")
_PADDING = b" \t"


def parse_boundary(content_type: str) -> str:
    """The boundary parameter of a multipart content type; empty if there is none."""
    return _parameters(content_type).get("boundary", "")


def parse_parts(body: bytes, boundary: str) -> list[Part] | None:
    """The parts of `body` in order, nothing copied; None where it is not well formed (RFC 2046 5.1.1)."""
    if not boundary:
        return None
    delimiter = b"\r\n--" + boundary.encode("latin-1", "replace")
    view = memoryview(body)
    if body.startswith(delimiter[2:]):  # the usual case: nothing stands before the first delimiter
        position = len(delimiter) - 2
    elif (position := body.find(delimiter)) >= 0:
        position += len(delimiter)
    else:
        return None
    part_list: list[Part] = []
    while not body.startswith(b"--", position):
        start = body.find(b"\r\n", position)
        end = body.find(delimiter, start)
        # A part without headers has its blank line at once.
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
    """The lines of `block` by lower-case name. Bytes that are no UTF-8 stay apart from those that are."""
    text = _FOLDED.sub(" ", block.decode("utf-8", "surrogateescape"))
    fields = [line.partition(":") for line in text.split("\r\n")]
    return {name.strip().lower(): value.strip() for name, _, value in reversed(fields)}


def _parameters(value: str) -> dict[str, str]:
    """The parameters of a header's value by lower-case name, as they stand between the quotes; of two the first."""
    matches = _PARAMETER.findall(value)
    return {name.lower(): quoted or encoded or token.strip() for name, quoted, encoded, token in reversed(matches)}


def _decode_extended(value: str) -> str:
    match = _EXTENDED.fullmatch(value)
    return unquote_to_bytes(_bytes(match[1])).decode("utf-8", "surrogateescape") if match else value


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
