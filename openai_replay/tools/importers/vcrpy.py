"""vcrpy's cassettes, YAML and JSON, of every age, and the variants that projects have put on top of it.

* `interactions`, version 1; `status_code` and `content` where an age of vcrpy recorded httpx so
* a list of items, from before 1.0
* `requests` and `responses` side by side (langchain)
* `parsed_body` in the place of a JSON body (pydantic-ai)

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
    """Whether `value` is a vcrpy cassette. go-vcr's has `interactions`, too, and says `url` for `uri`."""
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
    asked = item.get("request") if isinstance(item, dict) else None
    return (
        isinstance(asked, dict) and ("uri" in asked or "protocol" in asked) and isinstance(item.get("response"), dict)
    )


def _has_separate_lists(value: dict[str, Any]) -> bool:
    return isinstance(value.get("requests"), list) and isinstance(value.get("responses"), list)


def read(value: Any) -> ImportResult:
    """The interactions of a cassette. One that we wrote keeps its times and cuts."""
    if isinstance(value, dict) and _has_separate_lists(value):
        asked, answered = value["requests"], value["responses"]
        if len(asked) != len(answered):
            raise ImportFormatError(f"has {len(asked)} requests and {len(answered)} responses; is it cut off?")
        items: Any = [{"request": one, "response": two} for one, two in zip(asked, answered, strict=True)]
    else:
        items = value if isinstance(value, list) else value["interactions"] or []
    if any("wire" in one.get("response", {}) for one in items) and "wire" not in items[-1]["response"]:
        raise ImportFormatError(f"entry {len(items)}: is torn: it has no `end`, the last line of an item")
    return build_all(items, _interaction)


def _interaction(item: dict[str, Any], repair: NoteRepair) -> Interaction:
    raw = {"request": _request(item["request"], repair), "response": _response(item["response"], repair)}
    found, summed, is_timed, pairs = schema.read(raw)
    if summed is not None:
        repair("an answer that was edited was cut anew")
    asked = found.request
    uri = asked.uri
    if not re.match(r"(?i)https?://", uri):
        likely = guess_url(found.response.body)
        uri = likely or uri
        repair(
            "a URL that was taken out was put back by what the answer says to be"
            if likely
            else "a URL was taken out, and nothing tells it: no request will match"
        )
    asked = build_request(asked.method, uri, build_headers(list(asked.headers)), asked.body)
    if is_timed:
        return Interaction(asked, found.response)
    head = found.response.head
    return Interaction(
        asked, build_response(head.status, head.reason, build_headers(list(pairs)), found.response.body, repair)
    )


def _request(asked: dict[str, Any], repair: NoteRepair) -> dict[str, Any]:
    if "uri" not in asked:  # before 1.0
        port = "" if str(asked.get("port")) in ("80", "443", "None") else f":{asked['port']}"
        asked = {**asked, "uri": f"{asked['protocol']}://{asked['host']}{port}{asked.get('path', '/')}"}
    if "parsed_body" in asked:
        asked = {**asked, "body": _to_json(asked["parsed_body"], repair)}
    return {**asked, "body": _body(asked.get("body"))}


def _response(answer: dict[str, Any], repair: NoteRepair) -> dict[str, Any]:
    if "parsed_body" in answer:
        return {**answer, "body": {"string": _to_json(answer["parsed_body"], repair)}}
    body = answer.get("body")
    return {**answer, "body": {"string": _body(body)}} if body is not None else answer


def _body(body: Any) -> Any:
    """The text or bytes of a body in whichever wrapping it has."""
    if isinstance(body, dict):
        if "base64_string" in body:
            return decode_base64(body["base64_string"] or "")
        return _body(body.get("string"))
    if isinstance(body, list):  # an iterator, which vcrpy keeps as its chunks
        return b"".join(one if isinstance(one, bytes) else str(one).encode() for one in body)
    return body


def _to_json(value: Any, repair: NoteRepair) -> bytes:
    repair("JSON that was kept as values was written anew")
    return to_json(yaml_loader.typed(value))
