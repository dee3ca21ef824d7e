"""Reads HTTP archives (HAR 1.2) of browsers, proxies, and Polly.JS, which stores its recordings as archives.

`timings.wait` is the time to the head, `receive` that of the body; the times of frames are not kept. Bodies are
decoded; only Polly keeps compressed ones, as a list of base64 (before 6.0 hex) chunks in a text. An archive that
`export` wrote has the frames in `_wire`, so that nothing is lost.
Sources: the HAR 1.2 specification; packages/@pollyjs/persister and adapter-node-http of Polly.JS.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from openai_replay.model import End, Frame, Headers, Interaction, Response, header
from openai_replay.text import json_codec
from openai_replay.tools.importers.builder import (
    ImportResult,
    NoteRepair,
    SkipEntry,
    build_all,
    build_headers,
    build_request,
    build_response,
    decode_base64,
    decode_hex,
    to_bytes,
)


def recognizes(value: Any) -> bool:
    """Return True if `value` is an archive."""
    return (
        isinstance(value, dict) and isinstance(value.get("log"), dict) and isinstance(value["log"].get("entries"), list)
    )


def read(value: Any) -> ImportResult:
    """Return the interactions of an archive, without WebSockets and requests that got no response."""
    return build_all(value["log"]["entries"], _interaction)


def _interaction(entry: dict[str, Any], note_repair: NoteRepair) -> Interaction:
    request, response = entry["request"], entry["response"]
    if entry.get("_resourceType") == "websocket" or "_webSocketMessages" in entry or response["status"] == 101:
        raise SkipEntry("is a WebSocket.")
    if not response["status"]:
        raise SkipEntry("got no response.")
    pairs = build_headers(response.get("headers") or ())
    body, decoded = _content(response.get("content") or {}, pairs)
    timings = entry.get("timings") or {}
    wait, receive = (max(0.0, float(timings.get(part) or 0)) for part in ("wait", "receive"))
    built = build_response(
        response["status"],
        response.get("statusText"),
        pairs,
        body,
        note_repair,
        head_ms=round(wait),
        end_ms=round(wait + receive),
        decoded=decoded,
    )
    return Interaction(
        build_request(
            request["method"],
            request["url"],
            build_headers(request.get("headers") or ()),
            _request_body(request, note_repair),
        ),
        _with_recorded_frames(built, entry.get("_wire")),
    )


def _request_body(request: dict[str, Any], note_repair: NoteRepair) -> bytes:
    posted = request.get("postData") or {}
    if posted.get("text") is not None:
        return decode_base64(posted["text"]) if posted.get("encoding") == "base64" else to_bytes(posted["text"])
    params = posted.get("params") or []
    if params and "multipart" in str(posted.get("mimeType")):
        raise SkipEntry("has an upload that the archive does not contain.")
    if params:
        note_repair("encoded a form again from its fields")
        return urlencode([(field["name"], field.get("value") or "") for field in params]).encode()
    return b""


def _content(content: dict[str, Any], pairs: Headers) -> tuple[bytes | list[bytes], bool]:
    """Return the body, or its chunks, and True if it is decoded already."""
    text = content.get("text")
    if text is None:
        if int(content.get("size") or 0) > 0:
            raise SkipEntry(f"has a response of {content['size']} bytes that the archive does not contain.")
        return b"", True
    base64 = content.get("encoding") == "base64"
    if (base64 or content.get("_isBinary")) and header(pairs, "content-encoding") and text.startswith('["'):
        chunks = json_codec.loads(text.encode())
        return [decode_base64(chunk) if base64 else decode_hex(chunk) for chunk in chunks], False
    if content.get("_isBinary") and not base64:
        return decode_hex(text), True
    return (decode_base64(text) if base64 else to_bytes(text)), not content.get("_compressed")


_CUT = re.compile(r"(\d{1,12})\+(\d{1,12})")


def _with_recorded_frames(built: Response, wire: Any) -> Response:
    """Return the response with the times and frames of our own `_wire`, if they fit its body."""
    if not isinstance(wire, dict):
        return built
    sizes = [(int(at_ms), int(size)) for at_ms, size in _CUT.findall(str(wire.get("frames")))]
    body = built.body
    if sum(size for _, size in sizes) != len(body):
        return built
    frames, start = [], 0
    for at_ms, size in sizes:
        frames.append(Frame(at_ms, body[start : start + size]))
        start += size
    end_ms, _, end = str(wire["end"]).partition(" ")
    head = replace(built.head, length=None if wire.get("length") is None else int(wire["length"]))
    times = int(wire["head"]), tuple(frames), int(end_ms), End(end), str(wire.get("assumed", ""))
    return Response(head, *times)
