"""Reads cassettes of Go's go-vcr, file versions 1 (go-vcr v2 and older) and 2 (v3, v4).

`duration` is the time until the transport had the head: Go reads bodies later.
Source: pkg/cassette/cassette.go of go-vcr.
"""

from __future__ import annotations

import re
from typing import Any

from openai_replay.model import Interaction, header
from openai_replay.tools.importers.builder import (
    ImportResult,
    NoteRepair,
    build_all,
    build_headers,
    build_request,
    build_response,
    to_bytes,
)


def recognizes(value: Any) -> bool:
    """Return True if `value` is such a cassette: interactions with a `url` and a `code`."""
    items = value.get("interactions") if isinstance(value, dict) else None
    if not isinstance(items, list) or not items or not isinstance(items[0], dict):
        return False
    request, response = items[0].get("request"), items[0].get("response")
    return isinstance(request, dict) and "url" in request and isinstance(response, dict) and "code" in response


def read(value: Any) -> ImportResult:
    """Return the interactions of a cassette."""
    return build_all(value["interactions"], _interaction)


def _interaction(item: dict[str, Any], note_repair: NoteRepair) -> Interaction:
    request, response = item["request"], item["response"]
    pairs = build_headers(response.get("headers"))
    if response.get("transfer_encoding") and not header(pairs, "transfer-encoding"):
        pairs += (("Transfer-Encoding", "chunked"),)
    status = str(response.get("status") or "")
    reason = status.removeprefix(str(response["code"])).strip()
    head_ms = round(parse_duration_ms(response.get("duration")))
    return Interaction(
        build_request(
            request.get("method") or "GET",
            request["url"],
            build_headers(request.get("headers")),
            to_bytes(request.get("body")),
        ),
        build_response(response["code"], reason, pairs, to_bytes(response.get("body")), note_repair, head_ms=head_ms),
    )


_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4, "h": 3.6e6}


def parse_duration_ms(duration: Any) -> float:
    """Return the milliseconds of a Go duration: `1m2.5s`, or a number of nanoseconds. Raises ValueError."""
    text = str(duration or "0").strip().strip('"')
    if re.fullmatch(r"\d{1,18}", text):
        return int(text) / 1e6
    parts = _PART.findall(text)
    if "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration")
    return float(sum(float(number) * _UNITS[unit] for number, unit in parts))
