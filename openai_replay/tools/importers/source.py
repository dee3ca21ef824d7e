"""Opens a file: as the value of its JSON or YAML, as text, or as bytes, within limits of size and depth."""

from __future__ import annotations

import json
import re
import zlib
from typing import Any, NamedTuple

from openai_replay.errors import ImportFormatError
from openai_replay.text import json_codec, yaml_loader

#: Maximum bytes of a file, also when decompressed, and of a decompressed body. No test records more.
MAX_BYTES = 1 << 28
GZIP_MAGIC = b"\x1f\x8b"


class TextFile(str):
    """A file that is neither JSON nor YAML, as text (an HTTP trace as latin-1, so that no byte is lost)."""

    is_prose = False


class _Prose(TextFile):
    """Text that is of no format."""

    is_prose = True


class SuppliedRequest(NamedTuple):
    """The request of a raw response, from the command line; None stands for values that were not given."""

    body: bytes | None = None
    method: str = "POST"
    url: str | None = None


def open_source(data: bytes) -> Any:
    """Return the value of a file's JSON or YAML, its `TextFile`, or its bytes. Raises ImportFormatError."""
    if data.startswith(GZIP_MAGIC):
        data = decompress(data, "The file")
    if not data.strip():
        raise ImportFormatError("The file is empty.")
    if data.startswith((b"httprr trace", b"HTTP/")):
        return TextFile(data.decode("latin-1"))
    if re.match(rb"[1-9]\d{0,11}:", data):  # a length, the start of a tnetstring
        return data
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ImportFormatError(f"Line {line} is not UTF-8 text, and no known binary format fits.") from None
    start = text.lstrip()
    if start[0] in "{[":
        return _parse_json(text)
    if _SSE_START.match(start):
        return TextFile(text)
    if not _CASSETTE_KEY.search(text):
        return _Prose(text)
    try:
        return yaml_loader.load(text)
    except yaml_loader.InvalidYamlError as error:
        position = f"Line {error.line}" if error.line else "The file"
        raise ImportFormatError(f"{position} is not YAML: {error}. It may be cut off.") from None


#: The start of a stream: a field or a comment (WHATWG HTML, 9.2.6). No YAML cassette begins with these keys.
_SSE_START = re.compile(r"(?:data|event|id|retry):|:")
#: A key that each YAML cassette has.
_CASSETTE_KEY = re.compile(r"(?m)^[ -]*[\"']?(?:interactions|http_interactions|request|requests)[\"']?[ \t]*:")


def _parse_json(text: str) -> Any:
    try:
        return json_codec.exact(text.encode())
    except ValueError:
        pass
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        if len(lines) > 1 and all(isinstance(json_codec.loads(line.encode()), dict) for line in lines[:2]):
            return TextFile(text)  # JSON lines
        json.loads(text)
    except json.JSONDecodeError as error:
        raise ImportFormatError(f"Line {error.lineno} is not JSON: {error.msg}. It may be cut off.") from None
    except RecursionError:
        raise ImportFormatError("The file is not JSON: nested too deeply.") from None
    except ValueError as error:
        raise ImportFormatError(f"The file is not JSON: {error}.") from None
    raise ImportFormatError("The file is not JSON: it has NaN or an infinite number.")


def decompress(data: bytes, subject: str) -> bytes:
    """Return `data` without gzip or deflate. Raises ImportFormatError if it is damaged or has more than MAX_BYTES."""
    parts: list[bytes] = []
    size = 0
    try:
        while data.startswith(GZIP_MAGIC) or not parts:  # gzip may come in several members
            decoder = zlib.decompressobj(wbits=47)  # zlib detects the format by its magic bytes
            parts.append(decoder.decompress(data, MAX_BYTES + 1 - size))
            size += len(parts[-1])
            if size > MAX_BYTES:
                raise ImportFormatError(f"{subject} has more than {MAX_BYTES >> 20} MiB when decompressed.")
            if not decoder.eof:
                raise ImportFormatError(f"{subject} is cut off: the end of its gzip data is missing.")
            data = decoder.unused_data
    except zlib.error as error:
        raise ImportFormatError(f"{subject} is damaged: {error}.") from None
    return b"".join(parts)
