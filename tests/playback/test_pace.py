"""The schedule of a recorded response at each pace."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_replay.errors import UsageError
from openai_replay.model import Frame, Head, Response
from openai_replay.playback import pace as pacing
from openai_replay.playback.pace import INSTANT, ORIGINAL, Beat, Pace


@pytest.mark.parametrize(
    ("text", "pace"),
    [
        ("instant", Pace(None, None)),
        ("original", Pace(1.0, None)),
        ("2x", Pace(2.0, None)),
        ("0.5x", Pace(0.5, None)),
        (" original ", Pace(1.0, None)),
        ("original,max-gap=200ms", Pace(1.0, 200.0)),
        ("10x, max-gap=1.5s", Pace(10.0, 1500.0)),
        ("original , max-gap = 2m", Pace(1.0, 120_000.0)),
        ("original,max-gap=0ms", Pace(1.0, 0.0)),
    ],
)
def test_parse_pace(text: str, pace: Pace) -> None:
    assert pacing.parse_pace(text) == pace


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not a pace"),
        ("fast", "'fast' is not a pace"),
        ("0x", "'0x' is not a pace"),
        ("-1x", "'-1x' is not a pace"),
        ("2", "'2' is not a pace"),
        ("nanx", "'nanx' is not a pace"),
        ("9" * 400 + "x", f"{'9' * 400 + 'x'!r} is not a pace"),
        ("original,", "'' is not a pace option"),
        ("original,min-gap=1s", "'min-gap=1s' is not a pace option"),
        ("original,max-gap", "'' is not a duration"),
        ("original,max-gap=5", "'5' is not a duration"),
    ],
)
def test_what_is_no_pace(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        pacing.parse_pace(text)
    assert caught.value.message == f"{message}."
    assert caught.value.hint.startswith("Write ")


def response(head_ms: int, frames: list[tuple[int, bytes]], end_ms: int) -> Response:
    return Response(Head(200, "OK"), head_ms, tuple(Frame(*frame) for frame in frames), end_ms)


ANSWER = response(300, [(340, b"a"), (340, b"b"), (440, b"c")], 440)


@pytest.mark.parametrize(
    ("answer", "pace", "beats"),
    [
        pytest.param(ANSWER, INSTANT, [(0, True, (b"a", b"b", b"c"), True)], id="instant"),
        pytest.param(
            ANSWER,
            ORIGINAL,
            [(300, True, (), False), (340, False, (b"a", b"b"), False), (440, False, (b"c",), True)],
            id="original: absolute times, equal instants are one beat",
        ),
        pytest.param(
            ANSWER,
            Pace(2.0),
            [(150, True, (), False), (170, False, (b"a", b"b"), False), (220, False, (b"c",), True)],
            id="twice as fast",
        ),
        pytest.param(
            ANSWER,
            Pace(0.5),
            [(600, True, (), False), (680, False, (b"a", b"b"), False), (880, False, (b"c",), True)],
            id="half as fast",
        ),
        pytest.param(
            ANSWER,
            Pace(1.0, 50.0),
            [(50, True, (), False), (90, False, (b"a", b"b"), False), (140, False, (b"c",), True)],
            id="no gap over 50 ms, the head's included",
        ),
        pytest.param(
            ANSWER,
            Pace(2.0, 30.0),
            [(30, True, (), False), (50, False, (b"a", b"b"), False), (80, False, (b"c",), True)],
            id="the gap is that of the play, not of the recording",
        ),
        pytest.param(ANSWER, Pace(1.0, 0.0), [(0, True, (b"a", b"b", b"c"), True)], id="no gaps at all"),
        pytest.param(
            response(100, [(90, b"a"), (200, b"b"), (150, b"c")], 10),
            ORIGINAL,
            [(100, True, (b"a",), False), (200, False, (b"b", b"c"), True)],
            id="times that run backwards wait for nothing",
        ),
        pytest.param(
            response(5, [], 9), ORIGINAL, [(5, True, (), False), (9, False, (), True)], id="an answer without a body"
        ),
        pytest.param(response(0, [], 0), ORIGINAL, [(0, True, (), True)], id="everything at once"),
        pytest.param(
            response(0, [(0, b"a")], 100),
            ORIGINAL,
            [(0, True, (b"a",), False), (100, False, (), True)],
            id="the end comes later",
        ),
    ],
)
def test_schedule(answer: Response, pace: Pace, beats: list[tuple[float, bool, tuple[bytes, ...], bool]]) -> None:
    assert pacing.schedule(answer, pace) == [Beat(*beat) for beat in beats]


TIMES = st.integers(0, 5000)


@given(
    TIMES,
    st.lists(st.tuples(TIMES, st.binary(max_size=3)), max_size=20),
    TIMES,
    st.none() | st.floats(0.01, 100),
    st.none() | st.floats(0, 500),
)
def test_every_schedule_holds_the_head_every_frame_and_the_end_once_and_in_order(
    head_ms: int, frames: list[tuple[int, bytes]], end_ms: int, speed: float | None, max_gap: float | None
) -> None:
    beats = pacing.schedule(response(head_ms, frames, end_ms), Pace(speed, max_gap))
    assert [beat.head for beat in beats] == [True] + [False] * (len(beats) - 1)
    assert [beat.end for beat in beats] == [False] * (len(beats) - 1) + [True]
    assert [data for beat in beats for data in beat.frames] == [data for _, data in frames]
    assert [beat.at_ms for beat in beats] == sorted({beat.at_ms for beat in beats})
    if max_gap is not None:
        gaps = [later.at_ms - beat.at_ms for beat, later in pairwise(beats)]
        assert all(gap <= max_gap + 1e-6 for gap in gaps)


@given(st.lists(TIMES, min_size=2).map(sorted), st.floats(0.1, 10))
def test_at_any_speed_a_frame_leaves_at_its_recorded_time_scaled(times: list[int], speed: float) -> None:
    answer = response(times[0], [(at_ms, b"%d" % at_ms) for at_ms in times], times[-1])
    for beat in pacing.schedule(answer, Pace(speed)):
        assert [int(data) / speed for data in beat.frames] == pytest.approx([beat.at_ms] * len(beat.frames))
