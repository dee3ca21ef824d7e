"""Defaults of the API for parameters that a request leaves out. `n: 1`, `n: null` and no `n` are the same request."""

from __future__ import annotations

import re
from typing import Any

_SAMPLING = {"n": 1, "stream": False, "temperature": 1, "top_p": 1}
_PENALTIES = {"frequency_penalty": 0, "presence_penalty": 0}
#: Default values by the end of the path, from the API reference. Parameters whose default depends on the model are left
#: out. (https://platform.openai.com/docs/api-reference)
_DEFAULTS: dict[str, dict[str, Any]] = {
    "chat/completions": {
        **_SAMPLING,
        **_PENALTIES,
        "logprobs": False,
        "modalities": ["text"],
        "parallel_tool_calls": True,
        "service_tier": "auto",
        "store": False,
    },
    "completions": {**_SAMPLING, **_PENALTIES, "best_of": 1, "echo": False, "max_tokens": 16},
    "responses": {
        "background": False,
        "parallel_tool_calls": True,
        "service_tier": "auto",
        "store": True,
        "stream": False,
        "temperature": 1,
        "text": {"format": {"type": "text"}},
        "top_p": 1,
        "truncation": "disabled",
    },
    "embeddings": {"encoding_format": "float"},
    "images/generations": {"background": "auto", "moderation": "auto", "n": 1, "quality": "auto", "stream": False},
    "images/edits": {"background": "auto", "n": 1, "quality": "auto", "stream": False},
    "audio/speech": {"response_format": "mp3", "speed": 1, "stream_format": "audio"},
    "audio/transcriptions": {"response_format": "json", "stream": False, "temperature": 0},
    "audio/translations": {"response_format": "json", "temperature": 0},
    "moderations": {"model": "omni-moderation-latest"},
    "threads/runs": {"parallel_tool_calls": True, "stream": False, "temperature": 1, "top_p": 1},
}
_THREAD_RUNS = re.compile(r"/threads/[^/]+/runs")


def drop_defaults(path: str, kind: str, body: Any) -> Any:
    """Return `body` without parameters that are null or have the API's default value."""
    path = _THREAD_RUNS.sub("/threads/runs", path)
    table = next((table for end, table in _DEFAULTS.items() if path.endswith(f"/{end}")), None)
    if table is None or not isinstance(body, dict) or kind not in ("json", "form", "multipart"):
        return body
    return {name: value for name, value in body.items() if not _is_default(kind, value, table.get(name))}


def _is_default(kind: str, value: Any, default: Any) -> bool:
    if kind == "json":
        return value is None or _equal(value, default)
    text = value.get("content") if isinstance(value, dict) else value
    default_text = str(default).lower() if isinstance(default, (bool, int)) else default
    return isinstance(text, str) and text == default_text


def _equal(value: Any, default: Any) -> bool:
    """Compare as JSON does: `true` is not a number, and `1.0` is the number 1."""
    return value == default and isinstance(value, bool) is isinstance(default, bool)
