"""Reads flow files of mitmproxy: one tnetstring per flow, with the state of an HTTP exchange.

The times of the head and of the end are kept, those of frames are not. mitmproxy itself is too heavy to depend on, and
pins its own dependencies. Only two dozen keys of its files are read, which have been the same since 0.18.
Sources: mitmproxy/io/tnetstring.py, mitmproxy/http.py, mitmproxy/io/compat.py of mitmproxy.
"""

from __future__ import annotations

from typing import Any

from openai_replay.errors import ImportFormatError
from openai_replay.model import Interaction, header
from openai_replay.tools.importers.builder import (
    ImportResult,
    NoteRepair,
    SkipEntry,
    build_all,
    build_headers,
    build_request,
    build_response,
    to_bytes,
)

#: Maximum levels of lists and mappings; a flow has eight.
_MAX_DEPTH = 100


def recognizes(value: Any) -> bool:
    """Return True if `value` starts with a mapping in a tnetstring."""
    return isinstance(value, bytes)


def read(value: bytes) -> ImportResult:
    """Return the HTTP exchanges of a file, without other connections and requests that got no response."""
    flows: list[Any] = []
    offset = 0
    while offset < len(value):
        flow, offset = parse_tnetstring(value, offset, len(value))
        flows.append(flow)
    return build_all(flows, _interaction)


def parse_tnetstring(data: bytes, offset: int, stop: int, depth: int = 0) -> tuple[Any, int]:
    """Return the value at `offset`, and the offset of its end: `LENGTH:DATA` and a byte for its type.

    Raises ImportFormatError.
    """
    colon = data.find(b":", offset, min(stop, offset + 13))
    digits = data[offset:colon] if colon > offset else b""
    end = colon + 1 + int(digits) if digits.isdigit() else -1
    if end < 0:
        raise ImportFormatError(f"Byte {offset}: A length is missing.")
    if end >= stop:
        raise ImportFormatError(
            f"Byte {offset}: The file is cut off. {end - colon} bytes should follow, but {stop - colon - 1} do."
        )
    if depth > _MAX_DEPTH:
        raise ImportFormatError(f"Byte {offset}: The value is nested too deeply.")
    kind, start = data[end : end + 1], colon + 1
    if kind in (b"]", b"}"):
        values: list[Any] = []
        while start < end:
            item, start = parse_tnetstring(data, start, end, depth + 1)
            values.append(item)
        if kind == b"]":
            return values, end + 1
        if len(values) % 2 or any(isinstance(key, (list, dict)) for key in values[::2]):
            raise ImportFormatError(f"Byte {offset}: A mapping has a key without a value.")
        keys = [key.decode("latin-1") if isinstance(key, bytes) else key for key in values[::2]]
        return dict(zip(keys, values[1::2], strict=True)), end + 1
    text = data[start:end]
    try:
        return _SCALARS[kind](text), end + 1
    except (KeyError, ValueError):
        raise ImportFormatError(f"Byte {offset}: This is not a value of a flow file.") from None


_SCALARS: dict[bytes, Any] = {
    b",": bytes,
    b";": lambda text: text.decode("utf-8"),
    b"#": int,
    b"^": float,
    b"!": {b"true": True, b"false": False}.__getitem__,
    b"~": lambda _: None,
}


def _interaction(flow: Any, note_repair: NoteRepair) -> Interaction:
    if not isinstance(flow, dict):
        raise ValueError("it is not a flow")
    if _text(flow.get("type", "http")) != "http":
        raise SkipEntry(f"is a {_text(flow['type'])} connection.")
    request, response = flow["request"], flow.get("response")
    if flow.get("websocket"):
        raise SkipEntry("is a WebSocket.")
    if not response:
        raise SkipEntry("got no response.")
    if response.get("content") is None:
        raise SkipEntry("has a response that was streamed and not kept.")
    pairs = build_headers(request["headers"])
    host = header(pairs, "host") or _text(request.get("authority") or "") or _host(request)
    start = request.get("timestamp_end") or request["timestamp_start"]
    head_ms, end_ms = (
        max(0, round(1000 * ((response.get(name) or start) - start))) for name in ("timestamp_start", "timestamp_end")
    )
    uri = f"{_text(request['scheme'])}://{host}{_text(request['path'])}"
    status = response.get("status_code", response.get("code"))
    reason = _text(response.get("reason", response.get("msg", "")))
    built = build_response(
        status,
        reason,
        build_headers(response["headers"]),
        to_bytes(response["content"]),
        note_repair,
        head_ms=head_ms,
        end_ms=end_ms,
    )
    return Interaction(build_request(_text(request["method"]), uri, pairs, to_bytes(request.get("content"))), built)


def _host(request: dict[str, Any]) -> str:
    host, port = _text(request["host"]), request.get("port")
    return host if port in (80, 443, None) else f"{host}:{port}"


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
