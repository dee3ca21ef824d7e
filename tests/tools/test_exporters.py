"""Exported files load in other tools with the recorded data, and notes say what a format leaves out."""

from __future__ import annotations

import gzip
import json
import os
import shlex
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from vcr.persisters.filesystem import FilesystemPersister
from vcr.serializers import yamlserializer

from openai_replay.cassette import reader, writer
from openai_replay.model import End, Frame, Head, Headers, Interaction, Request, Response
from openai_replay.tools import exporters, importers
from openai_replay.tools.formats import EXPORT_FORMATS
from tests.support.proxy import invoke
from tests.support.upstream import plain, running_upstream

URL = "https://api.openai.com/v1/chat/completions"
JSON = (("content-type", "application/json"),)
SSE = (("content-type", "text/event-stream"), ("set-cookie", "a=1"), ("set-cookie", "b=2"))
STREAM = Interaction(
    Request("POST", URL, (*JSON, ("authorization", "Bearer REDACTED")), b'{"model": "m\'s $HOME `id`"}'),
    Response(
        Head(200, "Fine", (*SSE, ("date", "Fri, 14 Mar 2025 15:11:39 GMT"))),
        298,
        (Frame(312, "data: Héllo\r\n".encode()), Frame(340, b"\r\ndata: [DONE]\r\n\r\n")),
        380,
    ),
)


def interaction_of(
    body: bytes = b"{}", headers: Headers = JSON, body_sent: bytes = b"", end: End = End.COMPLETE, **request: Any
) -> Interaction:
    frames = (Frame(5, body),) if body else ()
    return Interaction(
        Request(**({"method": "GET", "uri": URL, "headers": JSON, "body": body_sent} | request)),
        Response(Head(200, "OK", headers, len(body)), 5, frames, 7, end),
    )


BINARY = interaction_of(b"\x00\xff", (("content-type", "audio/mpeg"),))
ZIPPED = interaction_of(gzip.compress(b'{"a":1}', mtime=0), (*JSON, ("content-encoding", "gzip")))
BROTLI = interaction_of(b"\x0b\x02\x80\xff", (*JSON, ("content-encoding", "br")))
CUT = interaction_of(b'{"a"', end=End.TRUNCATED)
EVERY = [STREAM, BINARY, ZIPPED, BROTLI, CUT, interaction_of(b"", method="HEAD")]


def exported(name: str, *interactions: Interaction) -> dict[str, bytes]:
    return exporters.FORMATS[name](list(interactions)).files


def test_the_names_of_the_command_are_those_of_the_formats() -> None:
    assert tuple(exporters.FORMATS) == EXPORT_FORMATS


# ------------------------------------------------------------------------------------------ vcrpy


def test_stock_vcrpy_loads_equal_bodies_and_no_wire(tmp_path: Path) -> None:
    path = tmp_path / "plain.yaml"
    path.write_bytes(exported("vcrpy", *EVERY)[".yaml"])
    requests, responses = FilesystemPersister.load_cassette(path, yamlserializer)
    assert [response["body"]["string"] for response in responses] == [recording.response.body for recording in EVERY]
    assert [set(response) for response in responses] == [{"status", "headers", "body"}] * len(EVERY)
    assert [(request.method, request.uri) for request in requests] == [
        (recording.request.method, recording.request.uri) for recording in EVERY
    ]
    assert responses[0]["headers"]["set-cookie"] == ["a=1", "b=2"]
    assert responses[0]["status"] == {"code": 200, "message": "Fine"}
    assert [recording.response.body for recording in reader.load(path.read_text(), path).interactions] == [
        recording.response.body for recording in EVERY
    ]


def test_export_notes_what_vcrpy_cannot_express() -> None:
    assert exporters.FORMATS["vcrpy"](EVERY).notes == [
        "Recording 5 was truncated. The exported response looks complete."
    ]
    assert reader.load(exported("vcrpy")[".yaml"].decode(), Path("x")).interactions == []


# ------------------------------------------------------------------------------------------ HAR


def test_an_archive_has_all_that_har_can_express_and_imports_whole() -> None:
    text = exported("har", STREAM, BINARY, BROTLI, CUT, EVERY[-1])[".har"]
    entries = json.loads(text)["log"]["entries"]
    assert entries[0]["startedDateTime"] == "2025-03-14T15:11:39+00:00"
    assert entries[1]["comment"] == "The time of the request was not recorded."
    assert (entries[0]["timings"]["wait"], entries[0]["timings"]["receive"], entries[0]["time"]) == (298, 82, 380)
    assert entries[0]["response"]["content"]["text"] == STREAM.response.body.decode()
    assert entries[0]["request"]["postData"]["text"] == STREAM.request.body.decode()
    name, result = importers.read(text)
    assert (name, result.skipped) == ("har", [])
    assert result.interactions == [STREAM, BINARY, BROTLI, CUT, EVERY[-1]]


def test_a_gzip_body_is_decoded_in_an_archive_as_its_readers_expect() -> None:
    (entry,) = json.loads(exported("har", ZIPPED)[".har"])["log"]["entries"]
    assert entry["response"]["content"]["text"] == '{"a":1}'
    (interaction,) = importers.read(exported("har", ZIPPED)[".har"])[1].interactions
    assert interaction.response.body == b'{"a":1}'
    assert interaction.response.head.headers == JSON


def test_invented_times_stay_marked_in_an_archive() -> None:
    text = writer.HEADER + "".join(writer.write_interaction(STREAM, 1)).replace(
        "head: 298\n", "head: 298\n      assumed: 50tps\n"
    )
    (interaction,) = reader.load(text, Path("x")).interactions
    assert interaction.response.assumed == "50tps"
    assert importers.read(exported("har", interaction)[".har"])[1].interactions == [interaction]
    no_zone = interaction_of(headers=(("date", "Fri, 14 Mar 2025 15:11:39 -0000"),), body_sent=b"\xff")
    (entry,) = json.loads(exported("har", no_zone)[".har"])["log"]["entries"]
    assert entry["startedDateTime"] == "2025-03-14T15:11:39+00:00"
    assert entry["request"]["postData"]["encoding"] == "base64"


# ------------------------------------------------------------------------------------------ curl

REQUESTED = [
    STREAM,
    interaction_of(body_sent=b"@/etc/hostname", method="PUT", headers=()),
    interaction_of(body_sent=b"a'b\n$(id)\\", method="POST"),
    interaction_of(body_sent=bytes(range(256)) * 500, method="POST"),
    interaction_of(body_sent=b"\xff\xfe", method="POST"),
    interaction_of(uri="https://api.openai.com/v1/models?a[]=$HOME&b='c'", headers=()),
    interaction_of(uri="https://api.openai.com//v1/../x", headers=()),
    Interaction(
        Request("DELETE", URL, (("x-empty", ""), ("x-quote", "\"$(id)'"), ("x-latin", "\xe9"), ("cookie", "REDACTED"))),
        STREAM.response,
    ),
    Interaction(Request("GET", "https://api.openai.com", (("api-key", "REDACTED"),)), STREAM.response),
]


def test_the_script_sends_the_recorded_requests_with_the_key_of_the_environment(tmp_path: Path) -> None:
    script = exported("curl", *REQUESTED)[".sh"]
    assert b"REDACTED" not in script
    path = tmp_path / "ask.sh"
    path.write_bytes(script)
    with running_upstream(lambda _: plain(b"{}")) as upstream:
        origin = upstream.url.removesuffix("/v1")
        environment = {"PATH": os.environ["PATH"], "OPENAI_API_KEY": "sk-test", "OPENAI_BASE_ORIGIN": origin}
        ran = subprocess.run(["sh", path], env=environment, capture_output=True, timeout=60)
        assert ran.returncode == 0, ran.stderr
        received = list(upstream.requests)
    assert [request.method for request in received] == [recording.request.method for recording in REQUESTED]
    assert [request.body for request in received] == [recording.request.body for recording in REQUESTED]
    assert [request.target for request in received] == [
        recording.request.uri.partition(".com")[2] or "/" for recording in REQUESTED
    ]
    headers = [{name.lower(): value for name, value in request.headers} for request in received]
    assert headers[0]["authorization"] == "Bearer sk-test"
    assert headers[-1]["api-key"] == "sk-test"
    assert "content-type" not in headers[-2]
    assert "cookie" not in headers[-2]
    assert (headers[-2]["x-empty"], headers[-2]["x-quote"]) == ("", "\"$(id)'")
    assert headers[-2]["x-latin"].encode("latin-1", "surrogateescape") == b"\xe9"


def test_strange_urls_cannot_leave_their_quotes() -> None:
    for uri in ("https://x}$(id)/v1", "**REDACTED**", "https://u@host/", "https://h`id`/"):
        script = exported("curl", interaction_of(uri=uri))[".sh"].decode()
        assert f"--url {shlex.quote(uri)} " in script
    written = exporters.FORMATS["curl"]([interaction_of(body_sent=b"REDACTED"), interaction_of(method="HEAD")])
    assert written.notes == ["Recording 1 has redacted secrets. The script sends REDACTED instead."]
    assert b"--head" in written.files[".sh"]


# ------------------------------------------------------------------------------------------ sse, and the command


def test_each_stream_becomes_a_file() -> None:
    packed = interaction_of(
        gzip.compress(b"data: x\n\n"), (("content-type", "text/event-stream"), ("content-encoding", "gzip"))
    )
    closed = interaction_of(b"\x0b\x02\x80\xff", (("content-type", "text/event-stream"), ("content-encoding", "br")))
    written = exporters.FORMATS["sse"]([STREAM, packed, closed, BINARY])
    assert written.files == {"-1.sse": STREAM.response.body, "-2.sse": b"data: x\n\n"}
    assert written.notes == [
        "Recording 3 is compressed with an encoding that cannot be decoded.",
        "Recording 4 is not a stream.",
    ]


def cassette(folder: Path, *interactions: Interaction) -> Path:
    path = folder / "chat.yaml"
    items = (
        piece
        for number, interaction in enumerate(interactions, 1)
        for piece in writer.write_interaction(interaction, number)
    )
    path.write_text(writer.HEADER + "".join(items))
    return path


def test_export_writes_to_stdout_to_a_file_or_into_a_folder(tmp_path: Path) -> None:
    path = cassette(tmp_path, STREAM, STREAM)
    folder = tmp_path / "out"
    assert json.loads(invoke("export", path, "--to", "har").stdout)["log"]["version"] == "1.2"
    assert invoke("export", path, "--to", "har", "-o", folder / "x.har").code == 0
    assert invoke("export", path, "--to", "curl", "-o", folder).code == 0
    assert invoke("export", path, "--to", "sse", "-o", folder).code == 0
    assert sorted(file.name for file in folder.iterdir()) == ["chat-1.sse", "chat-2.sse", "chat.sh", "x.har"]
    assert (folder / "chat-1.sse").read_bytes() == STREAM.response.body
    multiple = invoke("export", path, "--to", "sse")
    assert (multiple.code, "exports to 2 files." in multiple.stderr) == (2, True)
    repeated = invoke("export", path, "--to", "har", "-o", folder / "x.har")
    assert (repeated.code, "exists already" in repeated.stderr) == (2, True)
    assert invoke("export", path, "--to", "har", "-o", folder / "x.har", "--force").code == 0
    (tmp_path / "file").touch()
    assert invoke("export", path, "--to", "har", "-o", tmp_path / "file" / "x").code == 3


def test_export_prints_its_notes_and_fails_without_recordings(tmp_path: Path) -> None:
    result = invoke("export", cassette(tmp_path, CUT), "--to", "vcrpy")
    assert (result.code, "chat.yaml: Recording 1 was truncated." in result.stderr) == (0, True)
    result = invoke("export", tmp_path / "chat.yaml", "--to", "sse")
    assert (result.code, "holds nothing to export" in result.stderr) == (1, True)


@pytest.mark.parametrize("name", EXPORT_FORMATS)
def test_secrets_that_another_recorder_left_are_not_exported(tmp_path: Path, name: str) -> None:
    key = "sk-proj-" + "Fake0Key1" * 6
    leaky = Interaction(
        Request("POST", f"{URL}?api-key={key}", (("authorization", f"Bearer {key}"),), f'{{"a": "{key}"}}'.encode()),
        Response(Head(200, "OK", SSE), 0, (Frame(0, f'data: {{"a": "{key}"}}\n\n'.encode()),), 0),
    )
    result = invoke("export", cassette(tmp_path, leaky), "--to", name)
    assert result.code == 0
    assert key not in result.stdout + result.stderr
    assert stat.S_ISREG((tmp_path / "chat.yaml").stat().st_mode)
