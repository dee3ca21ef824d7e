"""Targets of the fuzzers, one function each: bytes in, nothing out, and any exception is a finding.

`make fuzz` runs them under atheris (coverage-guided) for ten minutes in all; `make test` runs the seeds below
`corpus/TARGET/` through them, and what Hypothesis thinks of. What a fuzzer has found once lies among the seeds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from openai_replay.cassette import reader, writer
from openai_replay.config.rules import Rules
from openai_replay.errors import CassetteError
from openai_replay.model import Frame, Head, Request, Response
from openai_replay.redaction.redactor import Redactor
from openai_replay.text import content_encoding, http_headers, multipart, sse

CORPUS = Path(__file__).parent / "corpus"
TAPE = Path("tape.yaml")
KEY = "sk-" + "FUZZ0123456789abcdefghijklmnop"


def fuzz_format(data: bytes) -> None:
    """A cassette loads, or is refused by one clear error; what has loaded can be written and loads again."""
    text = data.decode("utf-8", "replace")
    try:
        document = reader.load(text, TAPE)
    except CassetteError as refused:
        if "\n" in refused.message or len(refused.message) > 400:
            raise AssertionError(f"not one short line: {refused.message!r}") from None
        return
    with suppress(CassetteError):  # an item without lines of its own
        reader.item_starts(text, TAPE)
    if document.indent is not None:
        assert 0 <= document.tail <= len(text)
    for interaction in document.interactions:
        Rules().key(interaction.request)
        written = writer.HEADER + "".join(writer.write_interaction(interaction, 1))
        (reread,) = reader.load(written, TAPE).interactions
        assert reread.response.body == interaction.response.body
        assert [len(frame.data) for frame in reread.response.frames] == [
            len(frame.data) for frame in interaction.response.frames
        ]
        assert reread.response.head.status == interaction.response.head.status
        assert Rules().key(reread.request) == Rules().key(interaction.request)


def fuzz_sse(data: bytes) -> None:
    """Events lie side by side and cover all; a new cut loses nothing."""
    spans = list(sse.spans(data))
    assert b"".join(data[start:end] for start, end in spans) == data
    list(sse.events(data))
    finder = sse.LastEventFinder()
    for number in range(len(data)):
        finder.feed(data[number : number + 1])
    for times in ([], [1], [1, 2, 3]):
        for media in ("text/event-stream", "text/plain"):
            assert b"".join(piece for _, piece in sse.recut(times, data, media)) == data


def fuzz_multipart(data: bytes) -> None:
    """The first line is the boundary. Parts lie in the body in order, and another boundary makes the same request."""
    first, _, body = data.partition(b"\n")
    boundary = first.decode("latin-1").strip()
    multipart.parse_boundary(f'multipart/form-data; boundary="{boundary}"')
    parts = multipart.parse_parts(body, boundary)
    position = 0
    for part in parts or []:
        assert part.start >= position
        position = part.start + len(part.content)
        assert body[part.start : position] == bytes(part.content)
    if parts is None or not boundary.isalnum() or not boundary.isascii():
        return
    new_boundary = "another0123456789"
    if (
        new_boundary.encode() in body or body.count(boundary.encode()) != len(parts) + 1
    ):  # it is in a part's content, too
        return
    renamed = body.replace(b"--" + boundary.encode(), b"--" + new_boundary.encode())
    if len(multipart.parse_parts(renamed, new_boundary) or []) == len(parts) and boundary.encode() not in renamed:
        keys = {
            Rules().key(
                Request("POST", "http://h/", (("content-type", f"multipart/form-data; boundary={name}"),), text)
            )
            for name, text in ((boundary, body), (new_boundary, renamed))
        }
        assert len(keys) == 1


def fuzz_headers(data: bytes) -> None:
    """Every line of the head stays one, and nothing that is kept frames a message."""
    text = (
        data.decode("utf-8", "surrogatepass" if b"\xed" in data else "replace")
        if _is_text(data)
        else data.decode("latin-1")
    )
    pairs = tuple((name, value) for name, _, value in (line.partition(":") for line in text.split("\x1e")))
    stored = http_headers.filter_headers(pairs, keep_all=True)
    assert all(name.isascii() and name.lower() not in http_headers.HOP_BY_HOP for name, _ in stored)
    head = http_headers.encode_head([f"HTTP/1.1 200 {text}", *(f"{name}: {value}" for name, value in stored)])
    assert head.endswith(b"\r\n\r\n")
    assert head.count(b"\r") == head.count(b"\n") == len(stored) + 2
    assert b"\0" not in head
    for line, (name, _) in zip(head.split(b"\r\n")[1:], stored, strict=False):
        assert line.startswith(name.encode() + b": ")
    content_encoding.drop_false_encoding(stored, data)


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def fuzz_redactor(data: bytes) -> None:
    """No planted key survives, JSON stays JSON, an answer keeps its length and its frames, and twice is once."""
    kind, cut, data = data[:1], data[1:2], data[2:]
    middle = len(data) // 2
    halves = [data[:middle].decode("utf-8", "replace"), data[middle:].decode("utf-8", "replace")]
    planted = f"{halves[0]} {KEY} {halves[1]}"
    match kind[0] % 5 if kind else 0:
        case 0:
            media, body = (
                "application/json",
                json.dumps({halves[0][:9]: [planted, {"n": 1.5, "s": halves[1]}]}).encode(),
            )
        case 1:
            media, body = "text/plain", data[:middle] + f" {KEY} ".encode() + data[middle:]
        case 2:
            size = cut[0] % 7 + 1 if cut else 3
            pieces = [planted[at : at + size] for at in range(0, len(planted), size)]
            media = "text/event-stream"
            body = b"".join(b"data: %b\n\n" % json.dumps({"delta": {"content": text}}).encode() for text in pieces)
        case 3:
            media = "multipart/form-data; boundary=x"
            body = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + planted.encode() + b"\r\n--x--\r\n"
        case _:
            media, body = "application/json", data  # as it comes: nothing is planted
    redactor, content = Redactor(), (("content-type", media),)
    at = cut[0] % (len(body) + 1) if cut else 0
    answer = Response(Head(200, "OK", content), 0, (Frame(0, body[:at]), Frame(1, body[at:])), 2)
    clean = redactor.redact_response(answer)
    assert [len(frame.data) for frame in clean.frames] == [len(frame.data) for frame in answer.frames]
    assert redactor.redact_response(clean) == clean
    request = redactor.redact_request(Request("POST", "http://h/", content, body))
    assert redactor.redact_request(request) == request
    for remaining in (clean.body, request.body):
        assert KEY.encode() not in remaining
        if media == "text/event-stream":
            events = [json.loads(event.data) for event in sse.events(remaining)]
            assert KEY not in "".join(event["delta"]["content"] for event in events)
        elif media == "application/json" and _is_json(body):
            assert _is_json(remaining)
    assert KEY not in redactor.redact_text(planted)


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


TARGETS: dict[str, Callable[[bytes], None]] = {
    "format": fuzz_format,
    "sse": fuzz_sse,
    "multipart": fuzz_multipart,
    "headers": fuzz_headers,
    "redactor": fuzz_redactor,
}


def seeds(target: str) -> list[bytes]:
    """The seeds of a target, in order of their names."""
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]
