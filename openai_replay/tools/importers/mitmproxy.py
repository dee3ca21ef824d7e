"""Flow files of mitmproxy: one tnetstring a flow, with the state of an HTTP exchange in it.

The head's time and the end's are kept; when which piece came it does not say. mitmproxy itself is too heavy to depend
on, and pins what it depends on; of its files only these two dozen keys are read, which have been the same since 0.18.
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

#: Levels of lists and mappings; a flow has eight.
_MAX_DEPTH = 100


def recognizes(value: Any) -> bool:
    """Whether `value` starts with a mapping in a tnetstring."""
    return isinstance(value, bytes)


def read(value: bytes) -> ImportResult:
    """The HTTP exchanges of a file; connections that are none, and requests without an answer, are left out."""
    flows: list[Any] = []
    at = 0
    while at < len(value):
        flow, at = parse_tnetstring(value, at, len(value))
        flows.append(flow)
    return build_all(flows, _interaction)


def parse_tnetstring(data: bytes, at: int, stop: int, depth: int = 0) -> tuple[Any, int]:
    """The value that starts at `at`, and where it ends: `LENGTH:DATA` and a byte for its type. Raises SourceError."""
    colon = data.find(b":", at, min(stop, at + 13))
    digits = data[at:colon] if colon > at else b""
    end = colon + 1 + int(digits) if digits.isdigit() else -1
    if end < 0:
        raise ImportFormatError(f"byte {at}: here a length should stand")
    if end >= stop:
        raise ImportFormatError(f"byte {at}: is cut off: {end - colon} bytes should follow, {stop - colon - 1} do")
    if depth > _MAX_DEPTH:
        raise ImportFormatError(f"byte {at}: is nested too deeply")
    kind, start = data[end : end + 1], colon + 1
    if kind in (b"]", b"}"):
        values: list[Any] = []
        while start < end:
            one, start = parse_tnetstring(data, start, end, depth + 1)
            values.append(one)
        if kind == b"]":
            return values, end + 1
        if len(values) % 2 or any(isinstance(key, (list, dict)) for key in values[::2]):
            raise ImportFormatError(f"byte {at}: a mapping has a key without a value")
        keys = [key.decode("latin-1") if isinstance(key, bytes) else key for key in values[::2]]
        return dict(zip(keys, values[1::2], strict=True)), end + 1
    text = data[start:end]
    try:
        return _SCALARS[kind](text), end + 1
    except (KeyError, ValueError):
        raise ImportFormatError(f"byte {at}: is no value of a flow file") from None


_SCALARS: dict[bytes, Any] = {
    b",": bytes,
    b";": lambda text: text.decode("utf-8"),
    b"#": int,
    b"^": float,
    b"!": {b"true": True, b"false": False}.__getitem__,
    b"~": lambda _: None,
}


def _interaction(flow: Any, repair: NoteRepair) -> Interaction:
    if not isinstance(flow, dict):
        raise ValueError("is no flow")
    if _text(flow.get("type", "http")) != "http":
        raise SkipEntry(f"a {_text(flow['type'])} connection")
    asked, answer = flow["request"], flow.get("response")
    if flow.get("websocket"):
        raise SkipEntry("a WebSocket")
    if not answer:
        raise SkipEntry("it was not answered")
    if answer.get("content") is None:
        raise SkipEntry("its answer was streamed through and not kept")
    pairs = build_headers(asked["headers"])
    host = header(pairs, "host") or _text(asked.get("authority") or "") or _host(asked)
    start = asked.get("timestamp_end") or asked["timestamp_start"]
    head_ms, end_ms = (
        max(0, round(1000 * ((answer.get(name) or start) - start))) for name in ("timestamp_start", "timestamp_end")
    )
    uri = f"{_text(asked['scheme'])}://{host}{_text(asked['path'])}"
    status = answer.get("status_code", answer.get("code"))
    reason = _text(answer.get("reason", answer.get("msg", "")))
    said = build_response(
        status,
        reason,
        build_headers(answer["headers"]),
        to_bytes(answer["content"]),
        repair,
        head_ms=head_ms,
        end_ms=end_ms,
    )
    return Interaction(build_request(_text(asked["method"]), uri, pairs, to_bytes(asked.get("content"))), said)


def _host(asked: dict[str, Any]) -> str:
    host, port = _text(asked["host"]), asked.get("port")
    return host if port in (80, 443, None) else f"{host}:{port}"


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
