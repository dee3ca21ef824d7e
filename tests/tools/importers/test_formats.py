"""Each format is recognized and read; bad input is refused with position and reason."""

from __future__ import annotations

import copy
import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openai_replay.cassette import reader, writer
from openai_replay.errors import ImportFormatError
from openai_replay.text import yaml_loader
from openai_replay.tools import importers
from openai_replay.tools.importers import builder, source
from tests.tools.importers.samples import (
    AZURE,
    DATADOG,
    FLOW,
    GO,
    HAR,
    NOCK,
    RUBY,
    STREAM,
    TRACE,
    VCRPY,
    assert_is_the_stream,
    b64,
    fixture,
    only_interaction,
    read,
    refusal,
    tnet,
    with_response,
)


@pytest.mark.parametrize(
    ("name", "sample", "at_ms", "end_ms"),
    [
        ("vcrpy", VCRPY, 0, 0),
        ("ruby-vcr", RUBY, 0, 0),
        ("go-vcr", GO, 354, 354),
        ("nock", NOCK, 0, 0),
        ("har", HAR, 298, 400),
        ("azure", AZURE, 0, 0),
        ("datadog", DATADOG, 0, 0),
        ("httprr", TRACE, 0, 0),
        ("mitmproxy", tnet(FLOW), 250, 750),
    ],
)
def test_streams_are_cut_at_events_at_the_times_of_the_format(name: str, sample: Any, at_ms: int, end_ms: int) -> None:
    interaction = only_interaction(sample, name)
    assert_is_the_stream(interaction, at_ms)
    assert interaction.response.end_ms == end_ms


@pytest.mark.parametrize("sample", [VCRPY, NOCK, HAR, AZURE, tnet(FLOW)])
def test_repeated_headers_stay_repeated_and_in_order(sample: Any) -> None:
    _, result = read(sample)
    pairs = result.interactions[0].response.head.headers
    assert [value for name, value in pairs if name.lower() == "set-cookie"] == ["a=1", "b=2"]


@pytest.mark.parametrize("sample", [VCRPY, RUBY, GO, json.dumps(NOCK), json.dumps(HAR)])
def test_a_gz_file_is_unpacked(sample: str) -> None:
    _, result = read(gzip.compress(sample.encode()))
    assert result.interactions[0].response.body == STREAM


def test_the_status_text_is_kept() -> None:
    assert only_interaction(VCRPY, "vcrpy").response.head.reason == "Fine"
    assert only_interaction(GO.replace("200 OK", "200 Very fine"), "go-vcr").response.head.reason == "Very fine"


def test_formats_are_recognized_by_content_and_can_be_named() -> None:
    assert read(VCRPY, "vcrpy")[0] == "vcrpy"
    with pytest.raises(ImportFormatError, match="The file is not in the format go-vcr"):
        read(VCRPY, "go-vcr")
    with pytest.raises(ImportFormatError, match="The file is not in the format raw"):
        read(VCRPY, "raw")
    assert len(importers.FORMAT_NAMES) == len(set(importers.FORMAT_NAMES))


BOMB = gzip.compress(bytes(1 << 20))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "The file is empty."),
        (b" \n", "The file is empty."),
        (b"hello", "The format is unknown: plain text."),
        (b"\x00\xff\x01", "Line 1 is not UTF-8 text, and no known binary format fits."),
        (b'{"interactions": [', "Line 1 is not JSON: "),
        (b"[" * 100_000, "The file is not JSON: nested too deeply."),
        (b'{"a": NaN}', "The file is not JSON: it has NaN or an infinite number."),
        (b'{"a": ' + b"9" * 5000 + b"}", "The file is not JSON: Exceeds the limit"),
        (b"{}", "The format is unknown: a mapping"),
        (b'{"name": 1}', "The format is unknown: a mapping of name"),
        (b"[1]", "The format is unknown: a list"),
        (b"interactions: 3", "The format is unknown: a mapping of interactions"),
        (b"interactions: [{}]", "The format is unknown: a mapping of interactions"),
        (b"interactions:\n- request: {body: 'x\n", "Line 3 is not YAML: "),
        (b"interactions: \x01\n", "The file is not YAML: "),
        (b"interactions: " + b"- " * 20_000, "The file is not YAML: nested too deeply"),
        (b"interactions: " + b"[" * 5000 + b"]" * 5000, "The file is not YAML: nested too deeply"),
        (b"interactions: !!binary x\n", "Line 1 is not YAML: holds !!binary that is not base64"),
        (b"interactions: {[1]: 2}\n", "Line 1 is not YAML: a key is not a text"),
        (VCRPY.replace("code: 200", "code: x").encode(), "Entry 1 is invalid: response.status.code: "),
        (VCRPY.replace("    method: POST\n", "").encode(), "Entry 1 is invalid: request.method: is missing"),
        (VCRPY.replace("POST", "'PO ST'").encode(), "Entry 1 is invalid: 'PO ST' is not a method."),
        (VCRPY.replace("[application/json]", "[{a: b}]").encode(), "Entry 1 is invalid: request.headers"),
        (RUBY.replace("code: 200", "kode: 200").encode(), "Entry 1 has no code"),
        (GO.replace("code: 200", "code: 7").encode(), "Entry 1 is invalid: 7 is not the status of a response."),
        (
            GO.replace("353.6ms", "25h").encode(),
            "Entry 1 is invalid: 90000000 ms is negative, or more than a day.",
        ),
        (TRACE[:-3], "Line 2: The file is cut off. "),
        (TRACE + b"x", "Line 15 must have the lengths of the next request and response."),
        (b"httprr trace v1\n3 3\nabcdef", "Entry 1 is invalid: an HTTP message has no head."),
        (b"httprr trace v1\n5 3\na\r\n\r\ndef", "Entry 1 is invalid: an HTTP message has no first line."),
        (gzip.compress(b"x" * 99)[:-12], "The file is cut off: the end of its gzip data is missing."),
        (b"\x1f\x8bnonsense", "The file is damaged: "),
    ],
    ids=range(32),
)
def test_bad_input_is_refused_with_position_and_reason(data: bytes, message: str) -> None:
    assert refusal(data).startswith(message)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ([{**NOCK[0], "response": "zz", "responseIsBinary": True}], "Entry 1 is invalid: "),
        ([{**NOCK[0], "rawHeaders": ["odd"]}], "Entry 1 is invalid: "),
        (
            [{**NOCK[0], "rawHeaders": {"a": {"b": 1}}}],
            "Entry 1 is invalid: a header's value is neither text nor a list of texts.",
        ),
        ({"Entries": [{**AZURE["Entries"][0], "ResponseBody": [1]}]}, "Entry 1 is invalid: a line of a body"),
        ({**DATADOG, "request": {**DATADOG["request"], "body": 3}}, "Entry 1 is invalid: a body is neither"),
        ([3, NOCK[0]], "The format is unknown"),
        ([NOCK[0], 3], "Entry 2 is invalid: "),
    ],
    ids=range(7),
)
def test_wrong_types_are_refused(sample: Any, message: str) -> None:
    assert refusal(sample).startswith(message)


def test_bombs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (source, builder):
        monkeypatch.setattr(module, "MAX_BYTES", 1 << 20)
    text = with_response(f"!!binary {b64(BOMB)}", "{content-encoding: [gzip]}")
    assert only_interaction(text, "vcrpy").response.body == BOMB
    assert refusal(gzip.compress(bytes(1 << 20 | 1))) == "The file has more than 1 MiB when decompressed."
    assert refusal(BOMB * 2) == "The file has more than 1 MiB when decompressed."
    text = with_response(f"!!binary {b64(BOMB * 2)}", "{content-encoding: [gzip]}")
    assert refusal(text) == f"Entry 1: The response of {2 * len(BOMB)} bytes has more than 1 MiB when decompressed."


def test_aliases_that_expand_without_end_are_refused() -> None:
    levels = "\n".join(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 10))
    message = refusal(f"interactions: 1\na0: &a0 [x]\n{levels}\n")
    assert message.startswith("The file is not YAML: is small, and its aliases make something very large of it")
    assert refusal("\ninteractions: &a [*a]\n").startswith("Line 2 is not YAML: holds an alias of itself")


@pytest.mark.parametrize("levels", [600, 990, 5_000, 100_000])
def test_deep_nesting_is_refused_whoever_notices_it(levels: int) -> None:
    with pytest.raises(yaml_loader.InvalidYamlError, match="nested too deeply"):
        yaml_loader.load("[" * levels + "]" * levels)


def test_yaml_tags_are_data_and_merges_are_merged() -> None:
    value = yaml_loader.load(
        "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [*a, {z: 4}, 5]}\nd: !ruby/object:X {e: !sym f}\n"
    )
    assert value["b"] == {"x": "1", "y": "3"}
    assert value["c"] == {"x": "1", "y": "2", "z": "4"}
    assert value["d"] == {"e": "f"}
    assert yaml_loader.load("") is None
    assert yaml_loader.load("a: !!python/object/apply:os.system [echo]") == {"a": "echo"}
    assert source.MAX_BYTES == 1 << 28


SAMPLES = [
    *(yaml_loader.load(text) for text in (VCRPY, RUBY, GO)),
    NOCK,
    HAR,
    AZURE,
    DATADOG,
    FLOW,
    fixture({"content": "Hello"}, {"ttftMs": 1, "interChunkDelaysMs": [1, 2], "totalDurationMs": 3}),
]
WRONG: list[Any] = [
    None,
    [],
    {},
    "",
    "x",
    -1,
    0,
    1e308,
    10**30,
    True,
    "\ud800",
    "\0",
    "a\r\nb",
    [1],
    ["a"],
    [[1, 2]],
    {"a": 1},
    [{}],
]


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value inside of `value`."""
    if path:
        yield path
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(inner, (*path, key))


@pytest.mark.parametrize("number", range(len(SAMPLES)))
def test_any_file_is_refused_or_becomes_a_cassette_that_loads(number: int) -> None:
    chance = random.Random(number)
    for path in paths(SAMPLES[number]):
        changed = copy.deepcopy(SAMPLES[number])
        inner = changed
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = chance.choice(WRONG)
        data = (
            tnet(changed)
            if SAMPLES[number] is FLOW
            else json.dumps(changed, default=lambda interaction: interaction.decode()).encode()
        )
        try:
            _, result = importers.read(data)
        except ImportFormatError:
            continue
        text = writer.HEADER + "".join(
            part for interaction in result.interactions for part in writer.write_interaction(interaction, 1)
        )
        if result.interactions:
            reloaded = reader.load(text, Path("a.yaml")).interactions
            assert [interaction.response.frames for interaction in reloaded] == [
                interaction.response.frames for interaction in result.interactions
            ]
