"""Compressed bodies are decoded within a limit, or stay as they are."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from openai_replay.model import Headers
from openai_replay.text.content_encoding import decode_body

JSON: Headers = (("Content-Type", "application/json"),)


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        pytest.param("gzip", gzip.compress, id="gzip"),
        pytest.param("x-gzip", gzip.compress, id="x-gzip"),
        pytest.param("GZIP ", gzip.compress, id="case"),
        pytest.param("deflate", zlib.compress, id="deflate"),
        pytest.param("gzip", lambda data: gzip.compress(data[:2]) + gzip.compress(data[2:]), id="two members"),
        pytest.param("gzip", lambda data: gzip.compress(data + b" " * 994), id="as large as the limit"),
    ],
)
def test_a_compressed_body_is_decoded(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    headers = (*JSON, ("Content-Encoding", encoding), ("x", "y"))
    clean_headers, body = decode_body(headers, pack(b"[1, 2]"), 1000)
    assert (clean_headers, body.rstrip()) == ((*JSON, ("x", "y")), b"[1, 2]")


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        pytest.param("gzip", gzip.compress(b"x")[:-4] + b"1234", id="wrong length"),
        pytest.param("gzip", b"\x1f\x8bno", id="nothing but magic bytes"),
        pytest.param("gzip", gzip.compress(b"0" * 1001), id="over the limit"),
        pytest.param("gzip", gzip.compress(b"0" * 1000) + gzip.compress(b"0"), id="over the limit together"),
        pytest.param("br", b"\x0b\x02\x80123\xff", id="brotli"),
        pytest.param("zstd", b"\x28\xb5\x2f\xfd123", id="zstd"),
        pytest.param("identity", b"{}", id="identity"),
        pytest.param("gzip", b"", id="empty"),
    ],
)
def test_a_body_that_cannot_be_decoded_stays_as_it_is(encoding: str, body: bytes) -> None:
    headers = (*JSON, ("content-encoding", encoding))
    assert decode_body(headers, body, 1000) == (headers, body)


class CountedBytes(bytes):
    """Bytes that count how many of them are read by slices."""

    read = 0

    def __getitem__(self, key: Any) -> Any:
        part = super().__getitem__(key)
        self.read += len(part)
        return part


def test_many_members_are_decoded_in_linear_time() -> None:
    """The bytes after a member must not be copied for each member: for 100 MB that would be petabytes."""
    headers = (*JSON, ("content-encoding", "gzip"))
    body = CountedBytes(gzip.compress(b'"') + gzip.compress(b"") * 5_000 + gzip.compress(b'sk"'))
    assert decode_body(headers, body) == (JSON, b'"sk"')
    assert 0 < body.read < 300 * len(body)
