"""Writes an HTTP archive (HAR 1.2): decoded bodies, the times of head and end, and all of `wire` as a custom field.

A cassette does not have the time of a request: `startedDateTime` is the response's own date, or else the epoch with a
comment.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl

from openai_replay import __version__
from openai_replay.model import Headers, Interaction, Response, header, media_type
from openai_replay.text.content_encoding import decode_body, drop_false_encoding
from openai_replay.tools.exporters.result import ExportResult


def write(interactions: list[Interaction]) -> ExportResult:
    """Return one archive."""
    creator = {"name": "openai-replay", "version": __version__}
    log = {"version": "1.2", "creator": creator, "entries": [_entry(interaction) for interaction in interactions]}
    text = json.dumps({"log": log}, indent=2, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return ExportResult({".har": text + b"\n"})


def _entry(interaction: Interaction) -> dict[str, Any]:
    request, response = interaction.request, interaction.response
    started, comment = _start_time(response)
    receive = response.end_ms - response.head_ms
    request_entry: dict[str, Any] = {
        "method": request.method,
        "url": request.uri,
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": _header_list(request.headers),
        "queryString": [
            {"name": name, "value": value} for name, value in parse_qsl(request.query, keep_blank_values=True)
        ],
        "headersSize": -1,
        "bodySize": len(request.body),
    }
    if request.body:
        text = _encode_body(request.body)
        request_entry["postData"] = {"mimeType": header(request.headers, "content-type"), "params": [], **text}
    frames = " ".join(f"{frame.at_ms}+{len(frame.data)}" for frame in response.frames)
    wire: dict[str, Any] = {"head": response.head_ms, "frames": frames, "end": f"{response.end_ms} {response.end}"}
    if response.assumed:
        wire["assumed"] = response.assumed
    if response.head.length is not None:
        wire["length"] = response.head.length
    return {
        "startedDateTime": started,
        "time": response.end_ms,
        "request": request_entry,
        "response": {
            "status": response.head.status,
            "statusText": response.head.reason,
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": _header_list(response.head.headers),
            "content": _content(response),
            "redirectURL": header(response.head.headers, "location"),
            "headersSize": -1,
            "bodySize": len(response.body),
        },
        "cache": {},
        "timings": {"blocked": -1, "dns": -1, "connect": -1, "ssl": -1, "send": 0, "wait": response.head_ms}
        | {"receive": max(0, receive)},
        **({"comment": comment} if comment else {}),
        "_wire": wire,
    }


def _start_time(response: Response) -> tuple[str, str]:
    try:
        date = parsedate_to_datetime(header(response.head.headers, "date"))
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).isoformat(), ""
    except ValueError:
        return "1970-01-01T00:00:00+00:00", "The time of the request was not recorded."


def _header_list(headers: Headers) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in headers]


def _encode_body(body: bytes) -> dict[str, str]:
    try:
        return {"text": body.decode()}
    except UnicodeDecodeError:
        return {"text": base64.b64encode(body).decode(), "encoding": "base64"}


def _content(response: Response) -> dict[str, Any]:
    """Return the body decoded, as readers of archives expect it. A body that cannot be decoded is marked."""
    headers, body = decode_body(response.head.headers, response.body)
    content: dict[str, Any] = {"size": len(body), "mimeType": media_type(headers) or "x-unknown", **_encode_body(body)}
    if body and header(drop_false_encoding(headers, body), "content-encoding").strip().lower() not in ("", "identity"):
        content["_compressed"] = True
    return content
