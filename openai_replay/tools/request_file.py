"""Reads a request from a text: only the JSON of its body, or an object with `method`, `path` (or `uri`), `headers` and
`body`, as `show --json` writes it.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from openai_replay.errors import UsageError
from openai_replay.model import Headers, Request, header
from openai_replay.text import json_codec

_JSON_HEADER = ("content-type", "application/json")
_OBJECT_KEYS = frozenset(("uri", "url", "path", "method"))
_BODY_KEYS = frozenset(("model", "messages", "input", "prompt"))
_HINT = "Give the JSON body of a request, or an object with method, path, headers and body."


class RequestOverrides(NamedTuple):
    """The method, path and headers that were given beside the text; empty if not given."""

    method: str = ""
    path: str = ""
    headers: Headers = ()


def parse(text: bytes, name: str, overrides: RequestOverrides, recorded: Sequence[Request]) -> Request:
    """Return the request in `text`, which came from `name`. `overrides` win over the text.

    A body does not tell its path: it is guessed by the body's shape, among those of `recorded` if one of them fits.
    Raises UsageError, with line and column if the text is not JSON.
    """
    try:
        value = json_codec.exact(text)
    except ValueError:
        raise UsageError(_describe_json_error(text, name), _HINT) from None
    if isinstance(value, dict) and isinstance(value.get("request"), dict) and "response" in value:
        value = value["request"]
    if isinstance(value, dict) and value.keys() & _OBJECT_KEYS and not value.keys() & _BODY_KEYS:
        return _parse_object(value, name, overrides, recorded)
    return _build_request(
        overrides.method or "POST", overrides.path or _guess_target(value, recorded), overrides.headers, text
    )


def parse_header(text: str) -> tuple[str, str]:
    """Split `NAME: VALUE`. Raises UsageError."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise UsageError(f"{text!r} is not a header.", "Write it like 'x-tenant: a'.")
    return name.strip(), value.strip()


def _build_request(method: str, path: str, headers: Headers, body: bytes) -> Request:
    if body and not header(headers, "content-type"):
        headers = (*headers, _JSON_HEADER)
    return Request(method.upper(), f"http://cassette{path if path.startswith('/') else f'/{path}'}", headers, body)


# ------------------------------------------------------------------------------------------------ objects


def _parse_object(
    value: dict[str, Any], name: str, overrides: RequestOverrides, recorded: Sequence[Request]
) -> Request:
    method = value.get("method", "POST" if value.get("body") else "GET")
    path = next((value[key] for key in ("path", "uri", "url") if key in value), "")
    if not isinstance(method, str) or not isinstance(path, str):
        raise UsageError(f"{name}: The method and the path must be strings.", _HINT)
    parts = urlsplit(path)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    body = _parse_body(value.get("body"), name)
    target = overrides.path or target or _guess_target(value.get("body"), recorded)
    return _build_request(
        overrides.method or method, target, (*overrides.headers, *_parse_headers(value.get("headers"), name)), body
    )


def _parse_body(value: Any, name: str) -> bytes:
    if value is None:
        return b""
    if isinstance(value, dict) and len(value) == 1:  # as `show --json` has it
        if isinstance(text := value.get("text"), str):
            return text.encode("utf-8", "surrogateescape")
        if isinstance(text := value.get("base64"), str):
            try:
                return base64.b64decode(text, validate=True)
            except binascii.Error as error:
                raise UsageError(f"{name}: The body is not base64: {error}.", _HINT) from None
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else json.dumps(value).encode()


def _parse_headers(value: Any, name: str) -> Headers:
    pairs = list(value.items()) if isinstance(value, dict) else value or []
    try:
        headers = [(key, text) for key, values in pairs for text in ([values] if isinstance(values, str) else values)]
    except (TypeError, ValueError):
        headers = [("", None)]
    if not all(isinstance(key, str) and key and isinstance(text, str) for key, text in headers):
        raise UsageError(f"{name}: The headers must be an object of strings, or a list of pairs.", _HINT)
    return tuple(headers)


# ------------------------------------------------------------------------------------------------ guesses


def _guess_target(body: Any, recorded: Sequence[Request]) -> str:
    """Return the path that a body would be sent to. Raises UsageError if its shape does not tell."""
    endpoints = _candidate_endpoints(body) if isinstance(body, dict) else []
    posts = [request for request in recorded if request.method.upper() == "POST"]
    for endpoint in endpoints:
        for request in posts:
            if request.path.endswith(endpoint):
                return request.path + (f"?{request.query}" if request.query else "")
    if endpoints:
        return f"/v1{endpoints[0]}"
    if len(paths := {request.path for request in posts}) == 1:
        return paths.pop()
    raise UsageError("The body does not tell its path.", "Add the path, for example --path /v1/chat/completions.")


def _candidate_endpoints(body: dict[str, Any]) -> list[str]:
    """Return the endpoints that a body may be for, the likeliest first."""
    model = str(body.get("model", ""))
    if "messages" in body:
        return ["/chat/completions", "/threads"]
    if "voice" in body:
        return ["/audio/speech"]
    if "input" in body or "previous_response_id" in body:
        endpoints = ["/responses", "/embeddings", "/moderations"]
        if "embed" in model or body.keys() & {"dimensions", "encoding_format"}:
            endpoints.insert(0, "/embeddings")
        elif "moderation" in model:
            endpoints.insert(0, "/moderations")
        return endpoints
    if "prompt" in body:
        images = re.match("dall-e|gpt-image", model) or body.keys() & {"size", "quality", "style"}
        return ["/images/generations", "/completions"] if images else ["/completions", "/responses"]
    return []


def _describe_json_error(text: bytes, name: str) -> str:
    """Return the position and the reason of an error in `text`, which is not JSON."""
    if not text.strip():
        return f"{name}:1:1: The text is empty."
    try:
        json.loads(text.decode())
    except json.JSONDecodeError as error:
        return f"{name}:{error.lineno}:{error.colno}: The text is not JSON: {error.msg[:1].lower()}{error.msg[1:]}."
    except UnicodeDecodeError as error:
        valid = text[: error.start].decode()
        line, column = valid.count("\n") + 1, len(valid) - valid.rfind("\n")
        return f"{name}:{line}:{column}: The text is not JSON: it is not UTF-8."
    except (ValueError, RecursionError):
        return f"{name}: The text is not JSON: it is nested too deeply, or a number is too long."
    return f"{name}: The text is not JSON, which has no NaN or Infinity."
