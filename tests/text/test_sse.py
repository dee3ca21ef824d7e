"""Server-sent events: their spans, parsing, and new frames of edited streams."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_replay.text import sse
from openai_replay.text.sse import Event

SSE = "text/event-stream"


@pytest.mark.parametrize(
    ("body", "events"),
    [
        pytest.param(b"data: 1\n\ndata: 2\n\n", [("message", "1"), ("message", "2")], id="LF"),
        pytest.param(b"data: 1\r\n\r\ndata: 2\r\n\r\n", [("message", "1"), ("message", "2")], id="CRLF"),
        pytest.param(b"data: 1\r\rdata: 2\r\r", [("message", "1"), ("message", "2")], id="CR"),
        pytest.param(b"data: 1\r\n\ndata: 2\n\r\n", [("message", "1"), ("message", "2")], id="mixed line ends"),
        pytest.param(b"data: 1\r\ndata: 2\r\n\r\n", [("message", "1\n2")], id="one CRLF is no blank line"),
        pytest.param(b"event: response.created\ndata: {}\n\n", [("response.created", "{}")], id="event name"),
        pytest.param(b"data: {}\nevent: done\n\n", [("done", "{}")], id="event name after the data"),
        pytest.param(b"data:no space\ndata:  two\n\n", [("message", "no space\n two")], id="one space goes"),
        pytest.param(b"data: a\ndata\ndata: b\n\n", [("message", "a\n\nb")], id="several lines, one without a colon"),
        pytest.param(b": OPENROUTER PROCESSING\n\ndata: 1\n\n", [("message", "1")], id="comment"),
        pytest.param(b"id: 7\nretry: 10\nfoo: bar\n\n", [], id="nothing but other fields"),
        pytest.param(b"event: keepalive\n\n", [], id="an event without data"),
        pytest.param(b"\xef\xbb\xbfdata: 1\n\n", [("message", "1")], id="BOM"),
        pytest.param(b"data: 1\n\n\xef\xbb\xbfdata: 2\n\n", [("message", "1")], id="a BOM is one at the start only"),
        pytest.param(b"data: 1\n\ndata: cut", [("message", "1"), ("message", "cut")], id="no final blank line"),
        pytest.param(b"data: \xff\n\n", [("message", "�")], id="not UTF-8"),
        pytest.param(b"", [], id="empty"),
    ],
)
def test_events_are_parsed(body: bytes, events: list[tuple[str, str]]) -> None:
    assert list(sse.events(body)) == [Event(*event) for event in events]


@pytest.mark.parametrize(
    ("body", "pieces"),
    [
        (b"a\n\nb\n\n", [b"a\n\n", b"b\n\n"]),
        (b"a\r\n\r\nb", [b"a\r\n\r\n", b"b"]),
        (b"a\n\n\nb\n\n", [b"a\n\n", b"\nb\n\n"]),
        (b"\n\na", [b"\n\n", b"a"]),
        (b"", []),
    ],
)
def test_spans_end_with_blank_lines(body: bytes, pieces: list[bytes]) -> None:
    assert [body[start:end] for start, end in sse.spans(body)] == pieces


@given(
    st.lists(st.sampled_from([b"data: x", b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"\xff", b": c"])).map(b"".join)
)
def test_spans_partition_any_body(body: bytes) -> None:
    spans = list(sse.spans(body))
    assert b"".join(body[start:end] for start, end in spans) == body
    assert all(start < end for start, end in spans)
    assert [start for start, _ in spans[1:]] == [end for _, end in spans[:-1]]


STREAM = b"data: 1\n\ndata: 22\n\ndata: 3\n\n"


@pytest.mark.parametrize(
    ("times", "body", "media", "cuts"),
    [
        ([5, 6, 7], STREAM, SSE, [(5, b"data: 1\n\n"), (6, b"data: 22\n\n"), (7, b"data: 3\n\n")]),
        ([5, 9], STREAM, SSE, [(5, b"data: 1\n\n"), (5, b"data: 22\n\n"), (9, b"data: 3\n\n")]),
        ([1, 2, 3, 4, 5, 6], STREAM, SSE, [(1, b"data: 1\n\n"), (3, b"data: 22\n\n"), (5, b"data: 3\n\n")]),
        ([], STREAM, SSE, [(0, STREAM)]),
        ([5, 6, 7], b"", SSE, []),
        ([5, 6], b"{}\n\n{}", "application/json", [(6, b"{}\n\n{}")]),
        ([], b"{}", "application/json", [(0, b"{}")]),
    ],
)
def test_edited_streams_are_cut_at_their_events(
    times: list[int], body: bytes, media: str, cuts: list[tuple[int, bytes]]
) -> None:
    assert sse.recut(times, body, media) == cuts


@given(st.lists(st.integers(0, 10**6)).map(sorted), st.lists(st.just(b"data: x\n\n"), min_size=1).map(b"".join))
def test_recut_keeps_the_bytes_and_takes_only_recorded_times_in_order(times: list[int], body: bytes) -> None:
    cuts = sse.recut(times, body, SSE)
    assert b"".join(data for _, data in cuts) == body
    assert [at for at, _ in cuts] == sorted(at for at, _ in cuts)
    assert {at for at, _ in cuts} <= set(times or [0])


@pytest.mark.parametrize(
    ("frame", "ends"),
    [
        (b"data: [DONE]\n\n", True),
        (b"data:[DONE]\r\n\r\n", True),
        (b'data: {"a":1}\n\ndata: [DONE]\n\n', True),
        (b"event: response.completed\ndata: {}\n\n", True),
        (b"event: response.failed\r\ndata: {}\r\n\r\n", True),
        (b"event: response.incomplete\ndata: {}\n\n", True),
        (b"event: done\ndata: [DONE]\n\n", True),
        (b'data: {"delta":"data: [DONE]"}\n\n', False),
        (b"event: response.completed.not\ndata: {}\n\n", False),
        (b"event: response.created\ndata: {}\n\n", False),
        (b"data: [DONE]\n\nevent: done\ndata: half", True),
        (b"", False),
    ],
)
def test_the_last_event_is_found(frame: bytes, ends: bool) -> None:
    assert sse.LastEventFinder().feed(frame) is ends


@given(
    st.lists(
        st.sampled_from(
            [b"data: [DONE]", b"event: done", b"event: response.completed", b"data: x", b"\n", b"\r\n", b"\r", b": c"]
        )
    ),
    st.data(),
)
def test_the_last_event_is_found_wherever_the_stream_is_cut(pieces: list[bytes], data: st.DataObject) -> None:
    """A read completes a last event if one of its bytes does."""
    stream = b"".join(pieces)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))) | {0, len(stream)})
    finder = sse.LastEventFinder()
    results = [finder.feed(stream[start:end]) for start, end in pairwise(cuts)]
    byte_by_byte = sse.LastEventFinder()
    by_byte = [byte_by_byte.feed(stream[number : number + 1]) for number in range(len(stream))]
    assert results == [any(by_byte[start:end]) for start, end in pairwise(cuts)]
