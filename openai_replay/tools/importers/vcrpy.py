"""Reads vcrpy's cassettes, YAML and JSON, of every age, and the variants of other projects.

* `interactions`, version 1; `status_code` and `content` where some versions of vcrpy recorded httpx
* a list of items, from before 1.0
* `requests` and `responses` side by side (langchain)
* `parsed_body` instead of a JSON body (pydantic-ai)

Sources: vcr/serialize.py, vcr/serializers/compat.py, vcr/migration.py of vcrpy.
"""

from __future__ import annotations

import re
from typing import Any

from openai_replay.cassette import schema
from openai_replay.errors import ImportFormatError
from openai_replay.model import Interaction
from openai_replay.text import yaml_loader
from openai_replay.tools.importers.builder import (
    ImportResult,
    NoteRepair,
    build_all,
    build_headers,
    build_request,
    build_response,
    decode_base64,
    guess_url,
    to_json,
)


def recognizes(value: Any) -> bool:
    """Return True if `value` is a vcrpy cassette. go-vcr's also has `interactions`, but says `url` instead of `uri`."""
    if isinstance(value, list):
        return bool(value) and _is_item(value[0])
    if not isinstance(value, dict):
        return False
    if _has_separate_lists(value):
        return True
    items = value.get("interactions")
    if not isinstance(items, list):
        return "interactions" in value and items is None
    return not items or _is_item(items[0])


def _is_item(item: Any) -> bool:
    request = item.get("request") if isinstance(item, dict) else None
    return (
        isinstance(request, dict)
        and ("uri" in request or "protocol" in request)
        and isinstance(item.get("response"), dict)
    )


def _has_separate_lists(value: dict[str, Any]) -> bool:
    return isinstance(value.get("requests"), list) and isinstance(value.get("responses"), list)


def read(value: Any) -> ImportResult:
    """Return the interactions of a cassette. One that openai-replay wrote keeps its times and frames."""
    if isinstance(value, dict) and _has_separate_lists(value):
        requests, responses = value["requests"], value["responses"]
        if len(requests) != len(responses):
            raise ImportFormatError(
                f"The file has {len(requests)} requests and {len(responses)} responses. It may be cut off."
            )
        items: Any = [
            {"request": request, "response": response} for request, response in zip(requests, responses, strict=True)
        ]
    else:
        items = value if isinstance(value, list) else value["interactions"] or []
    if any("wire" in item.get("response", {}) for item in items) and "wire" not in items[-1]["response"]:
        raise ImportFormatError(f"Entry {len(items)} is torn: it has no `end`, the last line of a recording.")
    return build_all(items, _interaction)


def _interaction(item: dict[str, Any], note_repair: NoteRepair) -> Interaction:
    raw = {"request": _request(item["request"], note_repair), "response": _response(item["response"], note_repair)}
    recorded, edited, is_timed, pairs = schema.read(raw)
    if edited is not None:
        note_repair("set new frames in a response that was edited")
    request = recorded.request
    uri = request.uri
    if not re.match(r"(?i)https?://", uri):
        guess = guess_url(recorded.response.body)
        uri = guess or uri
        note_repair(
            "restored a removed URL from the response"
            if guess
            else "could not restore a removed URL, so no request will match"
        )
    request = build_request(request.method, uri, build_headers(list(request.headers)), request.body)
    if is_timed:
        return Interaction(request, recorded.response)
    head = recorded.response.head
    return Interaction(
        request,
        build_response(head.status, head.reason, build_headers(list(pairs)), recorded.response.body, note_repair),
    )


def _request(request: dict[str, Any], note_repair: NoteRepair) -> dict[str, Any]:
    if "uri" not in request:  # before 1.0
        port = "" if str(request.get("port")) in ("80", "443", "None") else f":{request['port']}"
        request = {**request, "uri": f"{request['protocol']}://{request['host']}{port}{request.get('path', '/')}"}
    if "parsed_body" in request:
        request = {**request, "body": _to_json(request["parsed_body"], note_repair)}
    return {**request, "body": _body(request.get("body"))}


def _response(response: dict[str, Any], note_repair: NoteRepair) -> dict[str, Any]:
    if "parsed_body" in response:
        return {**response, "body": {"string": _to_json(response["parsed_body"], note_repair)}}
    body = response.get("body")
    return {**response, "body": {"string": _body(body)}} if body is not None else response


def _body(body: Any) -> Any:
    """Return the text or bytes of a body, whatever its wrapping."""
    if isinstance(body, dict):
        if "base64_string" in body:
            return decode_base64(body["base64_string"] or "")
        return _body(body.get("string"))
    if isinstance(body, list):  # the chunks of an iterator
        return b"".join(chunk if isinstance(chunk, bytes) else str(chunk).encode() for chunk in body)
    return body


def _to_json(value: Any, note_repair: NoteRepair) -> bytes:
    note_repair("wrote parsed JSON as text again")
    return to_json(yaml_loader.resolve_types(value))
