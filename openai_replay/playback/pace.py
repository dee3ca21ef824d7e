"""The pace of a playback, and the schedule that it makes of a recording: offsets from the start, so that errors never
add up.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from openai_replay.errors import UsageError
from openai_replay.model import Response
from openai_replay.text.units import parse_duration

_SPEED = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)x")
_HINT = "Write instant, original, or a speed such as 2x. Add ,max-gap=200ms to shorten pauses."


class Pace(NamedTuple):
    """The speed of a playback: 2.0 is twice as fast, None is at once. No pause is longer than `max_gap_ms`."""

    speed: float | None = None
    max_gap_ms: float | None = None


INSTANT = Pace()
ORIGINAL = Pace(1.0)


class Beat(NamedTuple):
    """All that is due at one instant, `at_ms` after the request had been read."""

    at_ms: float
    head: bool
    frames: tuple[bytes, ...]
    end: bool


def parse_pace(text: str) -> Pace:
    """Read `instant`, `original`, `2x`, `original,max-gap=200ms`. Raises UsageError with the part that is wrong."""
    first, *options = (part.strip() for part in text.split(","))
    speed: float | None
    if first == "instant":
        speed = None
    elif first == "original":
        speed = 1.0
    elif (match := _SPEED.fullmatch(first)) and float(match[1]) > 0:
        speed = float(match[1])
    else:
        raise UsageError(f"{first!r} is not a pace", _HINT)
    max_gap: float | None = None
    for option in options:
        name, _, value = option.partition("=")
        if name.strip() != "max-gap":
            raise UsageError(f"{option!r} is not a pace option", _HINT)
        max_gap = parse_duration(value)
    return Pace(speed, max_gap)


def schedule(response: Response, pace: Pace) -> list[Beat]:
    """The beats of `response` at `pace`, in order; together they hold the head once, every frame and the end once."""
    if pace.speed is None:
        return [Beat(0.0, True, tuple(frame.data for frame in response.frames), True)]
    beats: list[Beat] = []
    recorded = due = 0.0
    moments: list[tuple[int, bytes | None, bool]] = [(response.head_ms, None, False)]
    moments += [(frame.at_ms, frame.data, False) for frame in response.frames]
    moments.append((response.end_ms, None, True))
    for at_ms, data, end in moments:
        gap = max(0.0, at_ms - recorded) / pace.speed  # a time that runs backwards can only come from an edited file
        recorded = max(recorded, at_ms)
        due += gap if pace.max_gap_ms is None else min(gap, pace.max_gap_ms)
        frames = () if data is None else (data,)
        if beats and beats[-1].at_ms == due:
            last = beats[-1]
            beats[-1] = Beat(due, last.head, last.frames + frames, end)
        else:
            beats.append(Beat(due, not beats, frames, end))
    return beats
