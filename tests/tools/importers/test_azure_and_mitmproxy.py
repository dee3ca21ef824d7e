"""Records of Azure's test proxy, and flow files of mitmproxy."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tools.importers.samples import (
    FLOW,
    URL,
    b64,
    only_interaction,
    read,
    refusal,
    tnet,
)


@pytest.mark.parametrize(
    ("content_type", "value", "expected"),
    [
        ("application/json", {"a": [1, "é"]}, '{"a":[1,"é"]}'.encode()),
        ("application/json; charset=utf-8", '["text"]', b'["text"]'),
        ("text/plain; charset=latin-1", "é", b"\xe9"),
        ("audio/mpeg", b64(b"\x00\xff"), b"\x00\xff"),
        (
            "multipart/form-data; boundary=x",
            ["--x\r\n", "b64:" + b64(b"\x00\xff"), "\r\n--x--"],
            b"--x\r\n\x00\xff\r\n--x--",
        ),
        ("text/plain", None, b""),
        ("text/plain", [], b""),
    ],
)
def test_azure_bodies_are_decoded(content_type: str, value: Any, expected: bytes) -> None:
    record = {
        "RequestUri": URL,
        "RequestMethod": "POST",
        "RequestHeaders": {"Content-Type": content_type},
        "RequestBody": value,
        "StatusCode": 200,
        "ResponseHeaders": {"Content-Type": content_type},
        "ResponseBody": value,
    }
    interaction = only_interaction({"Entries": [record]}, "azure")
    assert (interaction.request.body, interaction.response.body) == (expected, expected)


def test_flows_without_an_exchange_are_skipped() -> None:
    flows = [
        {**FLOW, "type": "tcp"},
        {**FLOW, "response": None, "error": {"msg": "gone"}},
        {**FLOW, "websocket": {"messages": []}},
        {**FLOW, "response": {**FLOW["response"], "content": None}},
        {**FLOW, "request": {**FLOW["request"], "authority": b"example.com:8443"}},
    ]
    _, result = read(b"".join(map(tnet, flows)))
    assert result.skipped == [
        "Entry 1 is a tcp connection.",
        "Entry 2 got no response.",
        "Entry 3 is a WebSocket.",
        "Entry 4 has a response that was streamed and not kept.",
    ]
    assert result.interactions[0].request.uri == "https://example.com:8443/v1/chat/completions"


def test_old_flows_with_bytes_for_keys_are_read() -> None:
    request = {key.encode(): value for key, value in FLOW["request"].items() if key != "timestamp_end"}
    request |= {b"host": b"example.com", b"port": 8080}
    response = {key.encode(): value for key, value in FLOW["response"].items() if key not in ("status_code", "reason")}
    old = {b"type": b"http", b"request": request, b"response": {**response, b"code": 200, b"msg": b"OK"}}
    interaction = only_interaction(tnet(old), "mitmproxy")
    assert interaction.request.uri == "https://example.com:8080/v1/chat/completions"
    assert (interaction.response.head_ms, interaction.response.head.reason) == (750, "OK")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tnet(FLOW)[:-9], "Byte 0: The file is cut off. "),
        (b"99999999999:", "Byte 0: The file is cut off. 100000000000 bytes should follow, but 0 do."),
        (b"3:1:x}", "Byte 2: "),
        (b"3:abc?", "Byte 0: This is not a value of a flow file."),
        (b"3:abc#", "Byte 0: This is not a value of a flow file."),
        (b"4:1:a,}", "Byte 0: A mapping has a key without a value."),
        (tnet([FLOW]), "Entry 1 is invalid: it is not a flow."),
        (tnet({"type": "http"}), "Entry 1 has no request"),
        (tnet(FLOW) + b"junk", f"Byte {len(tnet(FLOW))}: A length is missing."),
    ],
)
def test_bad_flow_files_are_refused_with_the_offset(data: bytes, message: str) -> None:
    assert refusal(data).startswith(message)


def test_a_deeply_nested_flow_file_is_refused() -> None:
    data = b""
    for _ in range(200):
        data = b"%d:%s]" % (len(data), data)
    assert refusal(data).endswith("The value is nested too deeply.")
