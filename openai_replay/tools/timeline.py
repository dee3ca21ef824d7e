"""Draws the times of a response for a terminal: head, first token, gaps, bursts, sizes, and the end.

All times are ms since the request had been read, as on the cassette.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from statistics import median
from typing import NamedTuple

from openai_replay.model import End, Frame, Response, header, media_type
from openai_replay.openai_api.responses import parse_messages
from openai_replay.openai_api.stream_assembler import assemble
from openai_replay.text import sse

#: Frames at most this far apart arrived together: the upstream had written them at once.
_BURST_MS = 1
#: Maximum number of rows of frames. If there are more frames, neighbours share a row.
_MAX_ROWS = 40
#: Columns to the left and right of the axis in a row.
_LEFT, _RIGHT = 24, 1


class Style(NamedTuple):
    """The characters of a drawing, with `bars` from small to large."""

    axis: str
    tick: str
    bars: str


UNICODE = Style("─", "┬", "▁▂▃▄▅▆▇█")
ASCII = Style("-", "+", ".:-=+*#@")


def first_token_ms(response: Response) -> int | None:
    """Return the time at which the first event with content was complete (TTFT); None if there is none, or no stream.

    For a compressed stream, return the time of its first bytes.
    """
    if media_type(response.head.headers) != "text/event-stream" or not response.frames:
        return None
    if header(response.head.headers, "content-encoding").lower() not in ("", "identity"):
        return response.frames[0].at_ms
    body = response.body
    for start, end in sse.spans(body):
        if any(message.parts for message in parse_messages(assemble(sse.events(body[start:end])))):
            received_bytes = accumulate(len(frame.data) for frame in response.frames)
            return next(frame.at_ms for frame, size in zip(response.frames, received_bytes, strict=True) if size >= end)
    return None


def draw(response: Response, width: int, style: Style) -> Iterator[str]:
    """Yield the timeline of `response`, line by line, in `width` columns (40 at least)."""
    columns = max(width, 40) - _LEFT - _RIGHT
    first = first_token_ms(response)
    total = max([response.end_ms, response.head_ms, *(frame.at_ms for frame in response.frames)])
    yield from _describe_numbers(response, first)
    yield ""
    yield from _draw_axis(total, columns, style)
    for label, at_ms in (("head", response.head_ms), ("TTFT", first)):
        if at_ms is not None:
            yield _draw_row(label, at_ms, " " * _column(at_ms, total, columns) + label[0].upper())
    max_bytes = max((len(frame.data) for frame in response.frames), default=1)
    for group in _group_frames(response.frames, total):
        yield _draw_frames(group, total, columns, max_bytes, style)
    ending = _column(response.end_ms, total, columns)
    yield _draw_row("end", response.end_ms, " " * ending + _ENDS[response.end])


_ENDS = {End.COMPLETE: "E", End.TRUNCATED: "X", End.RESET: "X"}
_ENDED = {
    End.COMPLETE: "complete",
    End.TRUNCATED: "truncated: the connection closed before the response was complete",
    End.RESET: "reset: the connection broke",
}


def _describe_numbers(response: Response, first: int | None) -> Iterator[str]:
    """Yield the figures of a response, one line each."""
    frames = response.frames
    yield f"head    {response.head_ms} ms"
    if first is not None:
        yield f"TTFT    {first} ms"
    sizes = [len(frame.data) for frame in frames]
    if frames:
        total = f"{len(frames)} frame{'s' if len(frames) > 1 else ''}, {sum(sizes):,} bytes"
        sizes_text = f"; {min(sizes):,} to {max(sizes):,} each, median {median(sizes):,.0f}" if len(frames) > 1 else ""
        yield f"frames  {total}{sizes_text}"
    else:
        yield "frames  none"
    gaps = [(after.at_ms - before.at_ms, number) for number, (before, after) in enumerate(pairwise(frames), 2)]
    if gaps:
        longest_ms, number = max(gaps, key=lambda gap: (gap[0], -gap[1]))
        median_ms = median(gap for gap, _ in gaps)
        yield f"gaps    median {median_ms:,.0f} ms, longest {longest_ms:,} ms before frame {number}"
        bursts = [count for _, count in find_bursts(frames)]
        if bursts:
            max_frames = max(bursts)
            yield f"bursts  {len(bursts)}, of up to {max_frames} frames within {_BURST_MS} ms of each other"
    after = response.end_ms - frames[-1].at_ms if frames else response.end_ms - response.head_ms
    yield f"end     {response.end_ms} ms, {after} ms after the last byte: {_ENDED[response.end]}"


def find_bursts(frames: Sequence[Frame]) -> list[tuple[int, int]]:
    """Return each burst of frames that arrived together: when it began, and its number of frames."""
    bursts: list[tuple[int, int]] = []
    start_ms, count, last_ms = 0, 0, -_BURST_MS - 1
    for frame in frames:
        if frame.at_ms - last_ms <= _BURST_MS:
            count += 1
        else:
            if count > 1:
                bursts.append((start_ms, count))
            start_ms, count = frame.at_ms, 1
        last_ms = frame.at_ms
    return [*bursts, (start_ms, count)] if count > 1 else bursts


class _Group(NamedTuple):
    """Neighbouring frames that share a row, the `number` of the first, from 1, and the gap before it."""

    number: int
    frames: list[Frame]
    gap_ms: int


def _group_frames(frames: Sequence[Frame], total: int) -> Iterator[_Group]:
    """Yield one frame per row or, if there are too many, the frames of one slice of the time."""
    slice_ms = 0 if len(frames) <= _MAX_ROWS else max(total // _MAX_ROWS, 1)
    group: list[Frame] = []
    first_number = last_ms = 0
    for number, frame in enumerate(frames, 1):
        if group and (not slice_ms or frame.at_ms // slice_ms != group[0].at_ms // slice_ms):
            yield _Group(first_number, group, group[0].at_ms - last_ms)
            last_ms, group = group[-1].at_ms, []
        if not group:
            first_number = number
        group.append(frame)
    if group:
        yield _Group(first_number, group, group[0].at_ms - last_ms if first_number > 1 else group[0].at_ms)


def _draw_frames(group: _Group, total: int, columns: int, max_bytes: int, style: Style) -> str:
    cells = [" "] * columns
    for frame in group.frames:
        column = _column(frame.at_ms, total, columns)
        bar = style.bars[min(len(frame.data) * len(style.bars) // (max_bytes + 1), len(style.bars) - 1)]
        if style.bars.find(cells[column]) < style.bars.index(bar):
            cells[column] = bar
    last_number = group.number + len(group.frames) - 1
    label = f"{group.number}" if len(group.frames) == 1 else f"{group.number}-{last_number}"
    size = sum(len(frame.data) for frame in group.frames)
    return f"{label:>9}{_format_gap(group.gap_ms, '+'):>7}{_format_size(size):>7} {''.join(cells).rstrip()}"


def _draw_row(label: str, at_ms: int, cells: str) -> str:
    return f"{label:>9}{f'{at_ms} ms':>14} {cells}"


def _draw_axis(total: int, columns: int, style: Style) -> Iterator[str]:
    """Yield two lines: the labels of the ticks, and the ticks."""
    labels, ticks = [" "] * columns, [style.axis] * columns
    step = _tick_step_ms(total, columns)
    free = 0
    for at_ms in range(0, total + 1, step):
        column = _column(at_ms, total, columns)
        ticks[column] = style.tick
        label = f"{at_ms} ms" if at_ms == 0 else f"{at_ms}"
        start = min(column, columns - len(label))
        if start >= free:
            labels[start : start + len(label)] = label
            free = start + len(label) + 1
    yield f"{'frame':>9}{'gap':>7}{'bytes':>7} {''.join(labels).rstrip()}"
    yield " " * _LEFT + "".join(ticks)


def _tick_step_ms(total: int, columns: int) -> int:
    """Return the ms between ticks: 1, 2 or 5 times a power of ten, so that there is space for the labels."""
    step = 1
    while total // step > max(columns // 10, 1):
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return step


def _column(at_ms: int, total: int, columns: int) -> int:
    return min(at_ms * (columns - 1) // max(total, 1), columns - 1)


def _format_gap(value: int, sign: str = "") -> str:
    if value >= 100_000_000:
        return f"{sign}{value // 3_600_000}h"
    return f"{sign}{value}" if value < 100_000 else f"{sign}{value // 1000}s"


def _format_size(size: int) -> str:
    return f"{size}" if size < 100_000 else f"{size // 1000}k"
