"""The times of a response are drawn."""

from __future__ import annotations

import gzip
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_replay.model import End, Frame, Head, Response
from openai_replay.tools import timeline
from tests.openai_api.test_stream_assembler import fetch_body
from tests.openai_api.test_transcript import SSE

STREAM = (("content-type", SSE),)
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n'


def response_of(
    *frames: tuple[int, bytes], end_ms: int = 100, end: End = End.COMPLETE, headers: object = STREAM
) -> Response:
    head = Head(200, "OK", headers)  # type: ignore[arg-type]
    return Response(head, 5, tuple(Frame(*frame) for frame in frames), end_ms, end)


def drawn(response: Response, width: int = 80, style: timeline.Style = timeline.ASCII) -> list[str]:
    return list(timeline.draw(response, width, style))


@pytest.mark.parametrize(
    ("response", "ttft"),
    [
        (response_of((10, EVENT % b""), (20, EVENT % b"Hi")), 20),
        (response_of((10, EVENT % b"" + (EVENT % b"Hi")[:9]), (20, (EVENT % b"Hi")[9:]), (30, EVENT % b"x")), 20),
        (response_of((10, b": ping\n\n"), (20, EVENT % b"Hi")), 20),
        (response_of((10, EVENT % b"")), None),
        (response_of(), None),
        (response_of((10, b"{}"), headers=(("content-type", "application/json"),)), None),
        (response_of((10, gzip.compress(EVENT)), headers=(*STREAM, ("content-encoding", "gzip"))), 10),
    ],
)
def test_the_first_token(response: Response, ttft: int | None) -> None:
    assert timeline.first_token_ms(response) == ttft


def test_a_tool_call_and_a_response_have_a_first_token_too() -> None:
    tool = {"type": "function", "name": "f", "function": {"name": "f"}}
    for path, extra in (("chat/completions", {"messages": [{"role": "user", "content": "a"}]}), ("responses", {})):
        body = fetch_body(f"/v1/{path}", model="m", tools=[tool], stream=True, **extra)
        assert timeline.first_token_ms(response_of((7, body))) == 7


def test_the_figures_of_a_response_are_drawn() -> None:
    frames = [(10, EVENT % b"Hi"), (50, b"x" * 100), (50, b"y" * 10), (51, b"z"), (90, b"")]
    facts = drawn(response_of(*frames, end=End.RESET))[:6]
    assert facts == [
        "head    5 ms",
        "TTFT    10 ms",
        "frames  5 frames, 169 bytes; 0 to 100 each, median 10",
        "gaps    median 20 ms, longest 40 ms before frame 2",
        "bursts  1, of up to 3 frames within 1 ms of each other",
        "end     100 ms, 10 ms after the last byte: reset: the connection broke",
    ]
    assert drawn(response_of(end=End.TRUNCATED))[1:3] == [
        "frames  none",
        "end     100 ms, 95 ms after the last byte: truncated: the connection closed before the response was complete",
    ]


def test_every_frame_stands_at_its_time() -> None:
    frames = [(0, b"a" * 10), (50, b"b" * 80), (100, b"c" * 40)]
    axis, ticks, head, *rows, end = drawn(response_of(*frames), 24 + 1 + 51)[-7:]
    assert axis.split()[:3] == ["frame", "gap", "bytes"]
    assert ticks.strip("+- ") == ""
    assert (head.split()[0], head[24:].index("H")) == ("head", 2)
    assert [row[:24].split() for row in rows] == [["1", "+0", "10"], ["2", "+50", "80"], ["3", "+50", "40"]]
    assert [len(row[24:]) - 1 for row in rows] == [0, 25, 50]
    assert [row[-1] for row in rows] == [".", "@", "="]
    assert (end.split()[0], end[24:].index("E")) == ("end", 50)


def test_many_frames_share_rows() -> None:
    frames = [(at, b"x") for at in range(1000)]
    rows = [row for row in drawn(response_of(*frames, end_ms=1000)) if re.match(r" *\d+-\d+ ", row)]
    assert 20 <= len(rows) <= 41
    numbers = [[int(number) for number in row.split()[0].split("-")] for row in rows]
    assert numbers[0][0] == 1
    assert numbers[-1][1] == 1000
    assert all(before[1] + 1 == after[0] for before, after in pairwise(numbers))
    assert sum(int(row.split()[2]) for row in rows) == 1000


def test_bursts() -> None:
    def bursts(*times: int) -> list[tuple[int, int]]:
        return timeline.find_bursts([Frame(at, b"") for at in times])

    assert bursts() == bursts(1) == bursts(1, 5, 9) == []
    assert bursts(1, 1, 5, 9, 10, 11) == [(1, 2), (9, 3)]
    assert bursts(1, 1, 5) == [(1, 2)]


TIMES = st.lists(st.integers(0, 200_000), max_size=90).map(sorted)


@given(TIMES, st.integers(0, 300), st.sampled_from([timeline.ASCII, timeline.UNICODE]), st.integers(0, 250_000))
def test_any_times_fit_the_width(times: list[int], width: int, style: timeline.Style, end_ms: int) -> None:
    lines = drawn(response_of(*((at, b"x" * (at % 977)) for at in times), end_ms=end_ms), width, style)
    drawing = lines[lines.index("") :]
    assert max(map(len, drawing)) <= max(width, 40)
    if style is timeline.ASCII:
        assert "".join(lines).isascii()


@pytest.mark.parametrize(("size", "label"), [(99_999, "99999"), (123_456, "123k")])
def test_large_frames_fit(size: int, label: str) -> None:
    (row,) = [row for row in drawn(response_of((100, b"x" * size))) if re.match(r" *1 ", row)]
    assert row.split()[2] == label
    (row,) = [row for row in drawn(response_of((123_456, b"x"))) if re.match(r" *1 ", row)]
    assert row.split()[1] == "+123s"


def test_gaps_of_years_fit() -> None:
    lines = drawn(response_of((10**11, b"x"), end_ms=10**12 - 1))
    assert "+27777h" in lines[-2]
    assert lines[-4].lstrip("- +") == ""
