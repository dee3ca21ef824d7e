"""Made-up schedules keep what is known, and are marked (rule 12 of docs/cassette-format.md)."""

from __future__ import annotations

from pathlib import Path

import pytest

from openai_replay.cassette import reader, writer
from openai_replay.errors import UsageError
from openai_replay.model import Frame, Head, Interaction, Request, Response
from openai_replay.playback.synthetic import paced, parse


def stream(*at: int, head_ms: int = 0, end_ms: int = 0) -> Response:
    head = Head(200, "OK", (("content-type", "text/event-stream"),))
    return Response(head, head_ms, tuple(Frame(ms, b"data: x\n\n") for ms in at), end_ms)


def test_an_assumed_schedule_keeps_what_is_known() -> None:
    """Rule 12."""
    assumed = parse("ttft=300ms, 50tps")
    result = paced(stream(0, 0, 0), assumed)
    assert ([frame.at_ms for frame in result.frames], result.head_ms, result.end_ms) == ([300, 320, 340], 300, 340)
    assert result.assumed == "ttft=300ms,50tps"
    result = paced(stream(90, 90, head_ms=90, end_ms=400), assumed)
    assert ([frame.at_ms for frame in result.frames], result.head_ms, result.end_ms) == ([90, 110], 90, 400)
    for present in (stream(0, 1), stream(), Response(Head(200, "OK"), 0, (Frame(0, b"{}"),), 0)):
        assert paced(present, assumed) is present
    assert [frame.at_ms for frame in paced(stream(0, 0), parse("ttft=1s")).frames] == [1000, 1000]
    assert [frame.at_ms for frame in paced(stream(0, 0), parse("4tps")).frames] == [0, 250]


def test_the_file_marks_it() -> None:
    """Rule 12."""
    request = Request("POST", "http://127.0.0.1/v1/chat/completions", (), b"{}")
    result = Interaction(request, paced(stream(0, 0), parse("ttft=300ms,50tps")))
    text = writer.HEADER + "".join(writer.write_interaction(result, 1))
    assert '\n      assumed: "ttft=300ms,50tps"\n' in text
    assert reader.load(text, Path("tape.yaml")).interactions[0].response == result.response


@pytest.mark.parametrize("text", ["fast", "", "ttft=soon", "0tps", "ttft=1s,x"])
def test_what_is_no_pace_to_assume(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)
