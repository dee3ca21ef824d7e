"""Recordings of other projects: every vcrpy cassette loads, and every interaction is played with the bytes it has.

What is expected is read from the files without our loader: by PyYAML, or by vcrpy where a file needs its tags. The
corpus is not part of this project: `OPENAI_REPLAY_CORPUS` says where it lies.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Iterable, Iterator
from functools import cache
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import yaml

from openai_replay import counting, selecting, showing, timeline
from openai_replay.model import OnExhausted
from openai_replay.pacing import ORIGINAL
from tests.proxy import Connection, Ended, passed_on, playing, recording
from tests.upstream import Chunk, End, Send, Sleep, Step, Upstream, head

CORPUS = Path(os.environ.get("OPENAI_REPLAY_CORPUS") or Path(__file__).parents[2] / "shared" / "corpus")
FOLDERS = [
    "DataDog+dd-apm-test-agent",
    "elastic+elastic-otel-python-instrumentations",
    "braintrustdata+braintrust-sdk-python",
    "Mirascope+mirascope",
    "Arize-ai+openinference",
]
if not CORPUS.is_dir():
    pytest.skip(
        f"no corpus at {CORPUS}: set OPENAI_REPLAY_CORPUS to a folder with {', '.join(FOLDERS)}",
        allow_module_level=True,
    )

#: Streams that are played as an upstream, recorded and played again.
STREAMS = 300


class Recorded(NamedTuple):
    """An interaction as it stands in a file."""

    method: str
    target: str
    asked: list[tuple[str, str]]  # the headers that tell what the request's body is
    body: bytes
    status: int
    reason: str
    headers: dict[str, list[str]]  # end-to-end ones, names in lower case
    answer: bytes


def files(folder: str) -> list[Path]:
    """The vcrpy cassettes of a project; some have no extension."""
    found = (one for one in (CORPUS / folder).rglob("*") if one.is_file() and one.suffix in (".yaml", ".yml", ""))
    return sorted(one for one in found if b"\ninteractions:" in b"\n" + one.read_bytes())


class _Loader(yaml.CSafeLoader):
    """PyYAML's safe loader, and header names of multidict's string class, which aiohttp's recordings hold."""


_Loader.add_multi_constructor(
    "tag:yaml.org,2002:python/object/", lambda loader, _, node: str(loader.construct_sequence(node)[0])
)


@cache
def interactions(path: Path) -> list[Recorded]:
    """What stands in `path`, by a plain reading of it."""
    document = yaml.load(path.read_text("utf-8"), _Loader)  # noqa: S506 - a safe one
    return [recorded(**one) for one in document["interactions"]]


def recorded(request: dict[str, Any], response: dict[str, Any], **_: Any) -> Recorded:
    """The parts of an item, whichever version of vcrpy wrote it."""
    parts = urlsplit(request["uri"])
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    kind = ("content-type", "content-encoding")
    asked = [(name, value) for name, value in flat(request["headers"]) if name.lower() in kind]
    status = response.get("status") or {"code": response["status_code"]}
    answer = octets(response["body"]["string"] if "body" in response else response["content"])
    headers = by_name(flat(response["headers"]))
    encoding = headers.get("content-encoding", [""])[0]
    if encoding == "gzip" and not answer.startswith(b"\x1f\x8b"):
        del headers["content-encoding"]  # it was stored decoded, under the header it came with
    elif encoding in ("br", "deflate", "zstd"):
        del headers["content-encoding"]  # so were all of these
        answer.decode()
    return Recorded(
        request["method"].upper(),
        target,
        asked,
        octets(request["body"]),
        status["code"],
        status.get("message") or "",
        headers,
        answer,
    )


def flat(headers: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    for name, values in (headers or {}).items():
        for value in values if isinstance(values, list) else [values]:
            yield name, value.decode("latin-1") if isinstance(value, bytes) else str(value)


def octets(value: Any) -> bytes:
    if isinstance(value, dict):
        value = value["string"]
    if isinstance(value, BytesIO):
        return value.getvalue()
    return value.encode() if isinstance(value, str) else value or b""


@pytest.mark.parametrize("folder", FOLDERS)
async def test_every_interaction_plays_with_its_bytes(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    count = 0
    wrong: list[str] = []
    tapes = files(folder)
    for tape in tapes:
        expected = interactions(tape)
        count += len(expected)
        async with playing(tape, on_exhausted=OnExhausted.ERROR) as player, Connection(player.origin) as client:
            for number, one in enumerate(expected, 1):
                played = await client.ask(one.method, one.target, one.body, one.asked)
                same = {
                    "status": (played.status, one.status),
                    "reason": (played.reason, one.reason),
                    "ended": (played.ended, Ended.COMPLETE),
                    "body": (played.body, b"" if one.method == "HEAD" else one.answer),
                    "headers": (by_name(played.headers), one.headers),
                }
                wrong += [
                    f"{tape}, {number}: {what} {is_now!r}, recorded {was!r}"[:2000]
                    for what, (is_now, was) in same.items()
                    if is_now != was
                ]
            wrong += [f"{tape}: unplayed {one.number}" for one in player.engine.cassette.unplayed()]
    capsys.readouterr()
    assert not wrong, f"{len(wrong)} of {count}:\n" + "\n".join(wrong[:10])
    assert count
    with capsys.disabled():
        print(f" [{count} interactions in {len(tapes)} files]", end="")


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_interaction_can_be_looked_at(folder: str) -> None:
    looked = 0
    for path in files(folder):
        found = selecting.read(path, lambda _: None)
        for number, one in enumerate(found, 1):
            shown = [*showing.lines(one), *showing.table([showing.line(number, one)], 100)]
            shown += timeline.lines(one.response, 80, timeline.ASCII)
            # No control character but a tab, and nothing that cannot be written.
            assert re.search("[\0-\x08\x0a-\x1f\x7f-\x9f]", "".join(shown)) is None
            "".join(shown).encode()
            json.dumps(showing.machine(number, one))
            looked += 1
        counts = counting.counted(found, {})
        assert counting.total(counts.values()).interactions == len(found)
    assert looked


def by_name(headers: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """End-to-end headers, names in lower case, the values of each in order."""
    values: dict[str, list[str]] = {}
    for name, value in passed_on(headers):
        values.setdefault(name.lower(), []).append(value)
    return values


def streams() -> list[bytes]:
    """Event streams as real APIs sent them."""
    found = [
        one.answer
        for folder in FOLDERS
        for path in files(folder)
        for one in interactions(path)
        if "event-stream" in one.headers.get("content-type", [""])[0] and not one.answer.startswith(b"\x1f\x8b")
    ]
    return [body for body in dict.fromkeys(found) if body]


def events(body: bytes) -> list[bytes]:
    """`body` cut behind every blank line."""
    cuts = [0, *(match.end() for match in re.finditer(rb"\r?\n\r?\n", body)), len(body)]
    return [body[start:end] for start, end in pairwise(cuts) if start < end]


SSE = Send(head(200, "OK", [("content-type", "text/event-stream; charset=utf-8"), ("transfer-encoding", "chunked")]))


async def test_real_streams_are_recorded_and_played_cut_for_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tape = tmp_path / "tape.yaml"
    bodies = streams()[:STREAMS]
    assert len(bodies) > 50
    live = []
    async with Upstream() as up, recording(up.url, tape) as proxy, Connection(proxy.origin) as client:
        for number, body in enumerate(bodies):
            up.script("POST", f"/v1/{number}", [SSE, *map(Chunk, events(body)), End()])
            live.append(await client.ask("POST", f"/v1/{number}", {"stream": True}))
    async with playing(tape) as player, Connection(player.origin) as client:
        for number, (one, body) in enumerate(zip(live, bodies, strict=True)):
            played = await client.ask("POST", f"/v1/{number}", {"stream": True})
            assert one.body == body
            if len(body) < 32_000:  # a longer one may come in several reads, that cut events
                assert one.cuts == events(body)
            assert (played.cuts, played.ended) == (one.cuts, one.ended)
    capsys.readouterr()
    with capsys.disabled():
        print(f" [{len(bodies)} streams, {sum(len(one.pieces) for one in live)} frames]", end="")


async def test_a_real_stream_on_time(tmp_path: Path) -> None:
    tape = tmp_path / "tape.yaml"
    cuts = events(next(body for body in streams() if 20 <= len(events(body)) <= 60))
    chance = random.Random(1)
    steps: list[Step] = [Sleep(0.2), SSE]
    for cut in cuts:
        steps += [Sleep(chance.uniform(0.005, 0.05)), Chunk(cut)]
    async with Upstream() as up, recording(up.url, tape) as proxy:
        up.script("POST", "/v1/responses", [*steps, Sleep(0.1), End()])
        live = await proxy.ask("POST", "/v1/responses", {})
        (on_tape,) = up.answers
    async with playing(tape, pace=ORIGINAL) as player:
        played = await player.ask("POST", "/v1/responses", {})
        (recording_,) = player.engine.cassette.recordings
    assert played.cuts == live.cuts == cuts
    response = recording_.interaction.response
    assert len(on_tape) == len(cuts) + 2
    assert response.head_ms >= 199
    for piece, frame in zip(played.pieces, response.frames, strict=True):
        assert frame.at_ms - 2 <= piece.at * 1000 <= frame.at_ms + 1000
    assert played.end_at * 1000 >= response.end_ms - 2
