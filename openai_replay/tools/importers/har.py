"""HTTP archives (HAR 1.2): of browsers, proxies, and Polly.JS, which stores its recordings so.

`timings.wait` is the time to the head, `receive` that of the body; when which piece came it does not say. Bodies are
decoded; only Polly keeps compressed ones, as a list of base64 (before 6.0 hex) chunks in a text. An archive that
`export` wrote has the pieces in `_wire`, and comes back whole.
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
    """Whether `value` is an archive."""
    return (
        isinstance(value, dict) and isinstance(value.get("log"), dict) and isinstance(value["log"].get("entries"), list)
    )


def read(value: Any) -> ImportResult:
    """The interactions of an archive; WebSockets, and requests that were never answered, are left out."""
    return build_all(value["log"]["entries"], _interaction)


def _interaction(entry: dict[str, Any], repair: NoteRepair) -> Interaction:
    asked, answer = entry["request"], entry["response"]
    if entry.get("_resourceType") == "websocket" or "_webSocketMessages" in entry or answer["status"] == 101:
        raise SkipEntry("a WebSocket")
    if not answer["status"]:
        raise SkipEntry("it was not answered")
    pairs = build_headers(answer.get("headers") or ())
    pieces, decoded = _content(answer.get("content") or {}, pairs)
    timings = entry.get("timings") or {}
    wait, receive = (max(0.0, float(timings.get(part) or 0)) for part in ("wait", "receive"))
    said = build_response(
        answer["status"],
        answer.get("statusText"),
        pairs,
        pieces,
        repair,
        head_ms=round(wait),
        end_ms=round(wait + receive),
        decoded=decoded,
    )
    return Interaction(
        build_request(
            asked["method"], asked["url"], build_headers(asked.get("headers") or ()), _request_body(asked, repair)
        ),
        _with_recorded_frames(said, entry.get("_wire")),
    )


def _request_body(asked: dict[str, Any], repair: NoteRepair) -> bytes:
    posted = asked.get("postData") or {}
    if posted.get("text") is not None:
        return decode_base64(posted["text"]) if posted.get("encoding") == "base64" else to_bytes(posted["text"])
    params = posted.get("params") or []
    if params and "multipart" in str(posted.get("mimeType")):
        raise SkipEntry("the upload that was sent is not in the archive")
    if params:
        repair("a form was written anew from its fields")
        return urlencode([(one["name"], one.get("value") or "") for one in params]).encode()
    return b""


def _content(content: dict[str, Any], pairs: Headers) -> tuple[bytes | list[bytes], bool]:
    """The body, or its chunks, and whether it is decoded already."""
    text = content.get("text")
    if text is None:
        if int(content.get("size") or 0) > 0:
            raise SkipEntry(f"its answer of {content['size']} bytes is not in the archive")
        return b"", True
    base64 = content.get("encoding") == "base64"
    if (base64 or content.get("_isBinary")) and header(pairs, "content-encoding") and text.startswith('["'):
        chunks = json_codec.loads(text.encode())
        return [decode_base64(one) if base64 else decode_hex(one) for one in chunks], False
    if content.get("_isBinary") and not base64:
        return decode_hex(text), True
    return (decode_base64(text) if base64 else to_bytes(text)), not content.get("_compressed")


_CUT = re.compile(r"(\d{1,12})\+(\d{1,12})")


def _with_recorded_frames(said: Response, wire: Any) -> Response:
    """The answer with the times and cuts that our own `_wire` says, if they are those of this body."""
    if not isinstance(wire, dict):
        return said
    cuts = [(int(at), int(size)) for at, size in _CUT.findall(str(wire.get("frames")))]
    body = said.body
    if sum(size for _, size in cuts) != len(body):
        return said
    frames, start = [], 0
    for at, size in cuts:
        frames.append(Frame(at, body[start : start + size]))
        start += size
    end_ms, _, end = str(wire["end"]).partition(" ")
    head = replace(said.head, length=None if wire.get("length") is None else int(wire["length"]))
    times = int(wire["head"]), tuple(frames), int(end_ms), End(end), str(wire.get("assumed", ""))
    return Response(head, *times)
