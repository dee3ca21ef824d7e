"""Parsing of multipart/form-data, well formed and malformed."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openai_replay.text import multipart


def wire(*parts: tuple[str, bytes], boundary: str = "b") -> bytes:
    """Return a body of `parts`: header lines and content."""
    return (
        b"".join(b"--%b\r\n%b\r\n%b\r\n" % (boundary.encode(), head.encode(), content) for head, content in parts)
        + b"--%b--\r\n" % boundary.encode()
    )


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=----WebKitFormBoundaryAz09", "----WebKitFormBoundaryAz09"),
        ('multipart/form-data; boundary="a b;c"', "a b;c"),
        ("multipart/form-data;Boundary=x;charset=utf-8", "x"),
        ("multipart/form-data; charset=utf-8; boundary = x ", "x"),
        ("multipart/form-data; boundary=a=b", "a=b"),
        ("multipart/form-data; boundary=", ""),
        ("multipart/form-data", ""),
        ("", ""),
    ],
)
def test_the_boundary_is_parsed(content_type: str, boundary: str) -> None:
    assert multipart.parse_boundary(content_type) == boundary


FILE = 'Content-Disposition: form-data; name="file"; filename='


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        pytest.param(
            wire(('Content-Disposition: form-data; name="model"\r\n', b"whisper-1")),
            [("model", "", "", b"whisper-1")],
            id="a field",
        ),
        pytest.param(
            wire((f'{FILE}"a.mp3"\r\nContent-Type: audio/mpeg\r\n', b"\xff\xfb\r\n--no")),
            [("file", "a.mp3", "audio/mpeg", b"\xff\xfb\r\n--no")],
            id="a file, its content with line breaks",
        ),
        pytest.param(
            wire(("content-disposition: form-data; name=a; filename=b.txt\r\ncontent-type:text/x; y=z\r\n", b"")),
            [("a", "b.txt", "text/x; y=z", b"")],
            id="unquoted, empty, parameters kept",
        ),
        pytest.param(wire((FILE + '"ü 😀.txt"\r\n', b"1")), [("file", "ü 😀.txt", "", b"1")], id="UTF-8 name"),
        pytest.param(wire((FILE + r'"a\"b;c\\.txt"' + "\r\n", b"1")), [("file", r"a\"b;c\\.txt", "", b"1")], id="\\"),
        pytest.param(wire((FILE + '"C:\\"\r\n', b"1")), [("file", "C:\\", "", b"1")], id="ends in a backslash"),
        pytest.param(wire((FILE + '"C:\\"; x="y"\r\n', b"1")), [("file", "C:\\", "", b"1")], id="and goes on"),
        pytest.param(
            wire((FILE + "\"x\"; filename*=UTF-8''na%C3%AFve%20%22.txt\r\n", b"1")),
            [("file", 'naïve ".txt', "", b"1")],
            id="filename* goes first",
        ),
        pytest.param(
            wire((FILE + "\"x\"; filename*=iso-8859-1'en'%E9\r\n", b"1")),
            [("file", "iso-8859-1'en'%E9", "", b"1")],
            id="filename* in another charset stays as it is",
        ),
        pytest.param(wire(("X: 1\r\n", b"1")), [("", "", "", b"1")], id="no name"),
        pytest.param(wire(("", b"1")), [("", "", "", b"1")], id="no headers"),
        pytest.param(
            wire(('Content-Disposition: form-data;\r\n\tname="folded"\r\n', b"1")),
            [("folded", "", "", b"1")],
            id="folded header",
        ),
        pytest.param(
            wire((f'{FILE}"1"\r\nContent-Disposition: form-data; name="2"\r\n', b"1")),
            [("file", "1", "", b"1")],
            id="of two headers the first",
        ),
        pytest.param(b"preamble\r\n--b\r\n\r\n1\r\n--b--\r\nepilogue", [("", "", "", b"1")], id="preamble, epilogue"),
        pytest.param(b"--b \t\r\n\r\n1\r\n--b-- \r\n", [("", "", "", b"1")], id="padding behind the boundary"),
        pytest.param(b"--b\r\n\r\n1\r\n--b--", [("", "", "", b"1")], id="no final line break"),
        pytest.param(b"--b--\r\n", [], id="no parts"),
        pytest.param(
            b"--b\r\n\r\n\r\n--b\r\n\r\n\r\n--b--", [("", "", "", b""), ("", "", "", b"")], id="two empty parts"
        ),
    ],
)
def test_well_formed_parts_are_parsed(body: bytes, parts: list[tuple[str, str, str, bytes]]) -> None:
    parsed = multipart.parse_parts(body, "b")
    assert parsed is not None
    assert [(*part[:3], bytes(part.content)) for part in parsed] == parts
    assert all(body[part.start :].startswith(part.content) for part in parsed)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"--c\r\n\r\n1\r\n--c--\r\n", id="another boundary"),
        pytest.param(b"--b\r\n\r\n1\r\n", id="no final boundary"),
        pytest.param(b"--b\r\n\r\n1\r\n--b", id="final boundary without its dashes"),
        pytest.param(b"--b\n\n1\n--b--\n", id="LF only"),
        pytest.param(b"--b\r\nA: b\r\n--b--\r\n", id="headers without an end"),
        pytest.param(b"--b", id="nothing behind the boundary"),
        pytest.param(b"--bc\r\n\r\n1\r\n--bc--\r\n", id="a longer boundary"),
        pytest.param(b"--b\r\n\r\n1\r\n--bc\r\n\r\n2\r\n--b--\r\n", id="a longer boundary inside"),
        pytest.param(b"--b\r\n\r\n1\r\n--b--c\r\n", id="a final boundary that goes on"),
    ],
)
def test_a_malformed_body_is_not_parsed(body: bytes) -> None:
    assert multipart.parse_parts(body, "b") is None


def test_a_body_without_a_boundary_is_not_parsed() -> None:
    assert multipart.parse_parts(b"--\r\n\r\n1\r\n----\r\n", "") is None


SHARDS = st.sampled_from(
    rb"""--b|--b--|Content-Disposition: form-data; name="|"; filename*=|utf-8''%|a|\|;|=|: |x*0*=|--| """.split(b"|")
)
BREAKS = st.sampled_from([b"\r\n", b"\n", b"\r\n\r\n", b"\xff", b"\0"])


@given(st.lists(SHARDS | BREAKS).map(b"".join) | st.binary(), st.sampled_from(["b", "", "a b", "é", "漢"]))
@example(b"--b\r\nContent-Disposition: form-data; filename*=idna''xn--\r\n\r\n\r\n--b--", "b")
@example(b"--b\r\nContent-Disposition: form-data; name*" + b"9" * 5000 + b"=x\r\n\r\n\r\n--b--", "b")
def test_no_input_raises(body: bytes, boundary: str) -> None:
    multipart.parse_parts(body, boundary)
    multipart.parse_boundary(body.decode("latin-1"))


QUOTED = st.text(st.characters(exclude_characters='"\r\n\\', exclude_categories=["Cs"]), max_size=5)
PARTS = st.lists(
    st.tuples(QUOTED, QUOTED, st.sampled_from(["", "text/plain", "a/b; c=d"]), st.binary(max_size=9)), max_size=3
)


@given(PARTS)
def test_written_parts_are_parsed(parts: list[tuple[str, str, str, bytes]]) -> None:
    lines = [
        (f'Content-Disposition: form-data; name="{name}"; filename="{filename}"\r\nContent-Type: {media}\r\n', content)
        for name, filename, media, content in parts
    ]
    parsed = multipart.parse_parts(wire(*lines, boundary="never-in-there"), "never-in-there")
    assert parsed is not None
    assert [(*part[:3], bytes(part.content)) for part in parsed] == parts
