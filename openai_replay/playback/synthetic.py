"""A schedule for streams of which only the bytes are known: an assumption, and marked as one wherever it goes.

An event counts as a token, as OpenAI's streams have it. What is known stays: a recorded time to the head is kept.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

from openai_replay.errors import UsageError
from openai_replay.model import Frame, Response, media_type
from openai_replay.text.units import parse_duration

_TPS = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)tps")


class Assumed(NamedTuple):
    """Time to the first token in ms, and tokens a second (0: all at once); `text` is how it was written."""

    ttft_ms: float
    tps: float
    text: str


def parse(text: str) -> Assumed:
    """Read `ttft=300ms,50tps`; either may be left out. Raises UsageError with the part that is wrong."""
    ttft_ms = tps = 0.0
    for part in (setting.strip() for setting in text.split(",")):
        if part.startswith("ttft="):
            ttft_ms = parse_duration(part.removeprefix("ttft="))
        elif (match := _TPS.fullmatch(part)) and float(match[1]) > 0:
            tps = float(match[1])
        else:
            raise UsageError(f"{part!r} is not a synthetic pace", "Write for example ttft=300ms,50tps.")
    return Assumed(ttft_ms, tps, text.replace(" ", ""))


def paced(response: Response, assumed: Assumed) -> Response:
    """`response` on the assumed schedule, if it is a stream without one of its own."""
    frames = response.frames
    if media_type(response.head.headers) != "text/event-stream" or not frames or frames[-1].at_ms > response.head_ms:
        return response
    start = float(response.head_ms or assumed.ttft_ms)
    gap = 1000 / assumed.tps if assumed.tps else 0.0
    at = [round(start + gap * number) for number in range(len(frames))]
    return replace(
        response,
        head_ms=round(start),
        frames=tuple(Frame(at_ms, frame.data) for at_ms, frame in zip(at, frames, strict=True)),
        end_ms=max(response.end_ms, at[-1]),
        assumed=assumed.text,
    )
