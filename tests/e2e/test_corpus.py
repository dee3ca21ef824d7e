"""Recordings of other projects: each file is imported, and each interaction is played with its bytes.

The expected values come from a plain reading of each format, without our importers. The corpus is not part of this
project: `OPENAI_REPLAY_CORPUS` names its folder (`make corpus CORPUS=path`).
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import os
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import yaml
from vcr.persisters.filesystem import FilesystemPersister
from vcr.serializers import yamlserializer

from openai_replay.cassette import reader
from openai_replay.cassette.recordings import read_document
from openai_replay.model import Interaction, OnExhausted, header
from openai_replay.playback.pace import ORIGINAL
from openai_replay.tools import exporters, show, stats, timeline
from openai_replay.tools.importers import SuppliedRequest, run
from tests.support.proxy import Connection, Ended, passed_on, playing, recording
from tests.support.upstream import Chunk, End, Send, Sleep, Step, Upstream, head

CORPUS = Path(os.environ.get("OPENAI_REPLAY_CORPUS") or Path(__file__).parents[3] / "shared" / "corpus")
if not CORPUS.is_dir():
    pytest.skip(
        f"no corpus at {CORPUS}: set OPENAI_REPLAY_CORPUS to a folder with a folder a project", allow_module_level=True
    )
pytestmark = pytest.mark.slow  # a minute or two, even for a part
FOLDERS = sorted(folder.name for folder in CORPUS.iterdir() if folder.is_dir())
#: Projects whose vcrpy cassettes are played as they lie, and whose streams are recorded anew.
VCRPY = [
    "DataDog+dd-apm-test-agent",
    "elastic+elastic-otel-python-instrumentations",
    "braintrustdata+braintrust-sdk-python",
    "Mirascope+mirascope",
    "Arize-ai+openinference",
]

PLAYED = [folder for folder in VCRPY if folder in FOLDERS]

#: Of so many files one is imported and played; `make corpus` takes all.
PART = int(os.environ.get("OPENAI_REPLAY_CORPUS_PART") or 10)
#: Streams that are played as an upstream, recorded and played again.
STREAMS = 300


class Recorded(NamedTuple):
    """An interaction as it stands in a file."""

    method: str
    target: str
    request_headers: list[tuple[str, str]]  # the headers that tell what the request's body is
    body: bytes
    status: int
    reason: str
    headers: dict[str, list[str]]  # end-to-end ones, names in lower case
    answer: bytes


def files(folder: str) -> list[Path]:
    """The vcrpy cassettes of a project; some have no extension."""
    paths = (path for path in (CORPUS / folder).rglob("*") if path.is_file() and path.suffix in (".yaml", ".yml", ""))
    return sorted(path for path in paths if b"\ninteractions:" in b"\n" + path.read_bytes())


class _Loader(yaml.CSafeLoader):
    """PyYAML's safe loader, and header names of multidict's string class, which aiohttp's recordings hold."""


_Loader.add_multi_constructor(
    "tag:yaml.org,2002:python/object/", lambda loader, _, node: str(loader.construct_sequence(node)[0])
)


_Loader.add_constructor("!binary", lambda _, node: base64.b64decode(node.value))


@cache
def interactions(path: Path) -> list[Recorded]:
    """Return the interactions in `path`, by a plain reading of it."""
    document = yaml.load(path.read_text("utf-8"), _Loader)  # noqa: S506 - a safe one
    return [recorded(**item) for item in document["interactions"]]


def recorded(request: dict[str, Any], response: dict[str, Any], **_: Any) -> Recorded:
    """The parts of an item, whichever version of vcrpy wrote it."""
    parts = urlsplit(request["uri"])
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    kind = ("content-type", "content-encoding")
    request_headers = [(name, value) for name, value in flat(request["headers"]) if name.lower() in kind]
    status = response.get("status") or {"code": response["status_code"]}
    response_body = octets(response["body"]["string"] if "body" in response else response["content"])
    headers = by_name(flat(response["headers"]))
    encoding = headers.get("content-encoding", [""])[0]
    if encoding == "gzip" and not response_body.startswith(b"\x1f\x8b"):
        del headers["content-encoding"]  # it was stored decoded, under the header it came with
    elif encoding in ("br", "deflate", "zstd"):
        del headers["content-encoding"]  # so were all of these
        response_body.decode()
    return Recorded(
        request["method"].upper(),
        target,
        request_headers,
        octets(request["body"]),
        status["code"],
        status.get("message") or "",
        headers,
        response_body,
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


@pytest.mark.parametrize("folder", PLAYED)
async def test_every_interaction_plays_with_its_bytes(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    count = 0
    wrong: list[str] = []
    cassette_paths = files(folder)
    for cassette_path in cassette_paths:
        expected = interactions(cassette_path)
        count += len(expected)
        async with (
            playing(cassette_path, on_exhausted=OnExhausted.ERROR) as player,
            Connection(player.origin) as client,
        ):
            for number, recorded in enumerate(expected, 1):
                played = await client.ask(recorded.method, recorded.target, recorded.body, recorded.request_headers)
                parts = {
                    "status": (played.status, recorded.status),
                    "reason": (played.reason, recorded.reason),
                    "ended": (played.ended, Ended.COMPLETE),
                    "body": (played.body, b"" if recorded.method == "HEAD" else recorded.answer),
                    "headers": (by_name(played.headers), recorded.headers),
                }
                wrong += [
                    f"{cassette_path}, {number}: {part} {played_value!r}, recorded {expected_value!r}"[:2000]
                    for part, (played_value, expected_value) in parts.items()
                    if played_value != expected_value
                ]
            wrong += [f"{cassette_path}: unplayed {unplayed.number}" for unplayed in player.engine.cassette.unplayed()]
    capsys.readouterr()
    assert not wrong, f"{len(wrong)} of {count}:\n" + "\n".join(wrong[:10])
    assert count
    with capsys.disabled():
        print(f" [{count} interactions in {len(cassette_paths)} files]", end="")


@pytest.mark.parametrize("folder", PLAYED)
def test_every_interaction_can_be_shown(folder: str) -> None:
    looked = 0
    for path in files(folder):
        recordings = read_document(path, lambda _: None)[1].interactions
        for number, interaction in enumerate(recordings, 1):
            lines = [
                *show.format_recording(interaction),
                *show.format_table([show.summarize(number, interaction)], 100),
            ]
            lines += timeline.draw(interaction.response, 80, timeline.ASCII)
            # No control character but a tab, and nothing that cannot be written.
            assert re.search("[\0-\x08\x0a-\x1f\x7f-\x9f]", "".join(lines)) is None
            "".join(lines).encode()
            json.dumps(show.as_json(number, interaction))
            looked += 1
        counts = stats.count_by_model(recordings, {})
        assert stats.sum_totals(counts.values()).interactions == len(recordings)
    assert looked


def by_name(headers: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """End-to-end headers, names in lower case, the values of each in order."""
    values: dict[str, list[str]] = {}
    for name, value in passed_on(headers):
        values.setdefault(name.lower(), []).append(value)
    return values


def streams() -> list[bytes]:
    """Event streams as real APIs sent them."""
    bodies = [
        recorded.answer
        for folder in VCRPY
        for path in files(folder)
        for recorded in interactions(path)
        if "event-stream" in recorded.headers.get("content-type", [""])[0]
        and not recorded.answer.startswith(b"\x1f\x8b")
    ]
    return [body for body in dict.fromkeys(bodies) if body]


def events(body: bytes) -> list[bytes]:
    """`body` cut behind every blank line."""
    cuts = [0, *(match.end() for match in re.finditer(rb"\r?\n\r?\n", body)), len(body)]
    return [body[start:end] for start, end in pairwise(cuts) if start < end]


# ------------------------------------------------------------------------------------------ import

#: What a raw answer of the corpus is an answer to: nobody kept it.
GIVEN = SuppliedRequest(b'{"model": "m"}', "POST", None)


class Plain(NamedTuple):
    """An interaction as its file has it: `body` of the request where the file has its bytes, `values` of JSON ones."""

    method: str
    url: str
    status: int
    answer: bytes | None  # None: kept as `value`
    body: bytes | None = None
    value: Any = None
    encoding: str = ""


def lower(headers: Iterable[tuple[str, Any]]) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in headers}


def plainly(name: str, data: bytes) -> Iterator[Plain]:
    """Yield the interactions of a file of the format `name`, by a reading that knows only the corpus."""
    if data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data)
    if name == "httprr":
        at = data.index(b"\n") + 1
        while at < len(data):
            sizes, start = data[at : data.index(b"\n", at)].split(), data.index(b"\n", at) + 1
            middle, at = start + int(sizes[0]), start + int(sizes[0]) + int(sizes[1])
            (request, body), (response, answer) = (
                re.split(rb"\r?\n\r?\n", text, maxsplit=1) for text in (data[start:middle], data[middle:at])
            )
            yield Plain(
                request.split()[0].decode(), request.split()[1].decode(), int(response.split()[1]), answer, body
            )
        return
    if name in ("vcrpy", "ruby-vcr", "go-vcr"):
        document = yaml.load(data, _Loader)  # noqa: S506 - a safe one
    else:
        document = json.loads(data.decode("utf-8-sig"))
    match name:
        case "vcrpy":
            items = document.get("interactions") or [
                {"request": item, "response": two}
                for item, two in zip(document["requests"], document["responses"], strict=True)
            ]
            for item in items:
                request, response = item["request"], item["response"]
                status = response["status"]["code"] if "status" in response else response["status_code"]
                answer = octets(response["body"]["string"] if "body" in response else response["content"])
                encoding = lower((key, value) for key, value in flat(response["headers"])).get("content-encoding", "")
                yield Plain(request["method"], request["uri"], status, answer, octets(request["body"]), None, encoding)
        case "ruby-vcr":
            for item in document["http_interactions"]:
                request, response = item["request"], item["response"]
                bodies = [
                    base64.b64decode(part["base64_string"]) if "base64_string" in part else octets(part["string"])
                    for part in (item.get("body", {"string": ""}) for item in (request, response))
                ]
                yield Plain(request["method"], request["uri"], response["status"]["code"], bodies[1], bodies[0])
        case "go-vcr":
            for item in document["interactions"]:
                request, response = item["request"], item["response"]
                yield Plain(
                    request["method"],
                    request["url"],
                    response["code"],
                    octets(response["body"]),
                    octets(request["body"]),
                )
        case "nock":
            for item in document:
                response, headers = item["response"], lower(item["rawHeaders"].items())
                url = item["scope"].removesuffix(":443") + item["path"]
                if isinstance(response, list) and "content-encoding" in headers:
                    answer = binascii.unhexlify("".join(response))
                    yield Plain(item["method"], url, item["status"], answer, None, None, headers["content-encoding"])
                elif isinstance(response, str):
                    yield Plain(item["method"], url, item["status"], response.encode())
                else:
                    yield Plain(item["method"], url, item["status"], None, None, response)
        case "har":
            for item in document["log"]["entries"]:
                request, response = item["request"], item["response"]
                body = request.get("postData", {}).get("text", "").encode()
                yield Plain(
                    request["method"],
                    request["url"],
                    response["status"],
                    response["content"].get("text", "").encode(),
                    body,
                )
        case "azure":
            for item in document["Entries"]:
                response = item["ResponseBody"]
                kind = lower(item["ResponseHeaders"].items()).get("content-type", "")
                answer, value = None, None
                if isinstance(response, list):
                    answer = "".join(response).encode()
                elif isinstance(response, str):
                    answer = response.encode() if kind.startswith("text/") else base64.b64decode(response)
                else:
                    value = response
                yield Plain(item["RequestMethod"], item["RequestUri"], item["StatusCode"], answer, None, value)
        case "datadog":
            request, response = document["request"], document["response"]
            bodies = [
                base64.b64decode(text[7:]) if text.startswith("base64:") else text.encode()
                for text in (request["body"], response["body"])
            ]
            yield Plain(request["method"], request["url"], response["status"]["code"], bodies[1], bodies[0])


_TELLS = r'"object": ?"(?:chat\.completion|response|text_completion|embedding)|"type": ?"response\.'


def is_at_fault(path: Path, error: str) -> bool:
    """Return True if a refused file is not a recording, is damaged, or does not tell the URL of its request."""
    text = path.read_text("utf-8")
    if path.name.startswith(("LICENSE", "README", "NOTICE")):
        return error == "The format is unknown: plain text."
    if "Give it with --url" in error:
        return re.search(_TELLS, text) is None
    if "is not JSON" in error:
        for line in text.splitlines():
            try:
                json.loads(line)
            except ValueError:
                return True
    return False


def compacted(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def data_of(body: bytes) -> list[bytes]:
    """The data of every event of a stream, read as simply as can be."""
    lines = body.replace(b"\r\n", b"\n").split(b"\n")
    return [line[5:].strip() for line in lines if line.startswith(b"data:")]


@pytest.mark.parametrize("folder", FOLDERS)
async def test_every_file_is_imported_and_plays(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    settings = run.ImportSettings(supplied_request=GIVEN)
    for job in run.plan_jobs([CORPUS / folder], tmp_path)[::PART]:
        outcome = run.run_job(job, settings)
        if outcome.error:
            counts["refused"] += 1
            if not is_at_fault(job.source, outcome.error):
                wrong.append(f"{job.source}: refused: {outcome.error}")
            continue
        counts[outcome.format_name] += outcome.interactions
        counts["streams"] += outcome.streams
        wrong += [f"{job.source}: left out: {reason}" for reason in outcome.skipped]
        wrong += [
            f"{job.source}: {problem}"
            for problem in await unlike(outcome.format_name, job.source.read_bytes(), job.target)
        ]
        wrong += [f"{job.source}: {problem}" for problem in unlike_in_vcrpy(job.target, tmp_path / "plain.yaml")]
    capsys.readouterr()
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(problem[:1000] for problem in wrong[:10])
    with capsys.disabled():
        print(f" [{', '.join(f'{name} {count}' for name, count in counts.items())}]", end="")


def on(cassette_path: Path) -> list[Interaction]:
    return reader.load(cassette_path.read_text("utf-8"), cassette_path).interactions


async def unlike(name: str, source: bytes, cassette_path: Path) -> list[str]:
    """Return the differences between the responses of an imported cassette and its source."""
    stored = on(cassette_path)
    if name == "raw":
        if source.lstrip().startswith(b"{"):
            lines = [source] if not stored[0].response.body.startswith((b"data:", b"event:")) else source.splitlines()
            expected = [json.loads(line) for line in lines if line.strip()]
            body = stored[0].response.body
            events_found = [json.loads(expected) for expected in (data_of(body) or [body]) if expected != b"[DONE]"]
            return [] if events_found == expected else ["the events are not those of the file"]
        return [] if stored[0].response.body == source else ["the stream is not that of the file"]
    expected_ones = list(plainly(name, source))
    if len(expected_ones) != len(stored):
        return [f"{len(stored)} interactions of {len(expected_ones)}"]
    wrong: list[str] = []
    async with playing(cassette_path, on_exhausted=OnExhausted.ERROR) as player, Connection(player.origin) as client:
        for number, (plain, interaction) in enumerate(zip(expected_ones, stored, strict=True), 1):
            if not interaction.request.uri.startswith("http"):
                continue  # taken out, and nothing tells it
            parts = urlsplit(plain.url if plain.url.startswith("http") else interaction.request.uri)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            kinds = [
                pair for pair in interaction.request.headers if pair[0].lower() in ("content-type", "content-encoding")
            ]
            body = interaction.request.body if plain.body is None else plain.body
            played = await client.ask(plain.method.upper(), target, body, kinds)
            played_body = played.body
            expected_body = b"" if plain.method.upper() == "HEAD" else plain.answer
            if expected_body is None:  # kept as a value
                expected_body = (
                    b""
                    if plain.value is None
                    else played_body
                    if json.loads(played_body) == plain.value
                    else compacted(plain.value)
                )
            redacted = b"REDACTED*" in played_body and len(played_body) == len(expected_body)
            if (
                played.status != plain.status
                or played.ended is not Ended.COMPLETE
                or not (played_body == expected_body or redacted)
            ):
                wrong.append(
                    f"{number}: {played.status} {played_body!r:.300} was {plain.status} {expected_body!r:.300}"
                )
            headers = dict(passed_on(played.headers))
            if "event-stream" in header(tuple(headers.items()), "content-type") and not played_body.startswith(
                b"\x1f\x8b"
            ):
                if data_of(played_body) != data_of(expected_body):
                    wrong.append(f"{number}: other events")
                if [frame.data for frame in interaction.response.frames] != events(played_body):
                    wrong.append(f"{number}: not cut at its events")
            is_packed = played_body.startswith(b"\x1f\x8b") or (plain.encoding == "br" and b"{" not in played_body)
            if header(tuple(headers.items()), "content-encoding") and not is_packed and played_body:
                wrong.append(f"{number}: a content-encoding that is not true")
    return wrong


def unlike_in_vcrpy(cassette_path: Path, plain: Path) -> list[str]:
    """Return the bodies in which stock vcrpy sees another value in an exported cassette."""
    stored = on(cassette_path)
    plain.write_bytes(exporters.FORMATS["vcrpy"](stored).files[".yaml"])
    requests, responses = FilesystemPersister.load_cassette(plain, yamlserializer)
    pairs = zip(stored, requests, responses, strict=True)
    return [
        f"{number}: another body in vcrpy"
        for number, (interaction, request, response) in enumerate(pairs, 1)
        if response["body"]["string"] != interaction.response.body or (request.body or b"") != interaction.request.body
    ]


# ------------------------------------------------------------------------------------------ record again

SSE = Send(head(200, "OK", [("content-type", "text/event-stream; charset=utf-8"), ("transfer-encoding", "chunked")]))


async def test_real_streams_are_recorded_and_played_cut_for_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cassette_path = tmp_path / "tape.yaml"
    bodies = streams()[:STREAMS]
    assert len(bodies) > 50
    live = []
    async with Upstream() as up, recording(up.url, cassette_path) as proxy, Connection(proxy.origin) as client:
        for number, body in enumerate(bodies):
            up.script("POST", f"/v1/{number}", [SSE, *map(Chunk, events(body)), End()])
            live.append(await client.ask("POST", f"/v1/{number}", {"stream": True}))
    async with playing(cassette_path) as player, Connection(player.origin) as client:
        for number, (recorded, body) in enumerate(zip(live, bodies, strict=True)):
            played = await client.ask("POST", f"/v1/{number}", {"stream": True})
            assert recorded.body == body
            if len(body) < 32_000:  # a longer one may come in several reads, that cut events
                assert recorded.cuts == events(body)
            assert (played.cuts, played.ended) == (recorded.cuts, recorded.ended)
    capsys.readouterr()
    with capsys.disabled():
        print(f" [{len(bodies)} streams, {sum(len(recorded.pieces) for recorded in live)} frames]", end="")


async def test_a_real_stream_on_time(tmp_path: Path) -> None:
    cassette_path = tmp_path / "tape.yaml"
    cuts = events(next(body for body in streams() if 20 <= len(events(body)) <= 60))
    chance = random.Random(1)
    steps: list[Step] = [Sleep(0.2), SSE]
    for cut in cuts:
        steps += [Sleep(chance.uniform(0.005, 0.05)), Chunk(cut)]
    async with Upstream() as up, recording(up.url, cassette_path) as proxy:
        up.script("POST", "/v1/responses", [*steps, Sleep(0.1), End()])
        live = await proxy.ask("POST", "/v1/responses", {})
        (recorded_frames,) = up.answers
    async with playing(cassette_path, pace=ORIGINAL) as player:
        played = await player.ask("POST", "/v1/responses", {})
        (recording_,) = player.engine.cassette.recordings
    assert played.cuts == live.cuts == cuts
    response = recording_.interaction.response
    assert len(recorded_frames) == len(cuts) + 2
    assert response.head_ms >= 199
    for piece, frame in zip(played.pieces, response.frames, strict=True):
        assert frame.at_ms - 2 <= piece.at * 1000 <= frame.at_ms + 1000
    assert played.end_at * 1000 >= response.end_ms - 2
