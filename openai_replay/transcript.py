"""What an answer says, in a line: the model's text, the calls it makes, or the error.

For comments and progress lines only.
"""

from __future__ import annotations

import re
from typing import Any

from openai_replay import jsontext, sse
from openai_replay.model import Response, media_type

#: Characters of an answer that are worth reading for a summary.
_ENOUGH = 200
#: Bytes of a body that are read for it.
_READ = 1 << 16


#: Events whose `delta` is a piece of the text.
_DELTA = re.compile(r".*(?:text|refusal|transcript|arguments)\.delta")


def said(response: Response) -> str:
    """The text of the answer's start, white space collapsed; empty where it says nothing a person could read."""
    media = media_type(response.head.headers)
    body = response.body
    if media == "text/event-stream":
        text = _stream(body[:_READ])
    elif media == "application/json" or media.endswith("+json"):
        value = _loads(body)
        text = _of(value, "") or _str(_dict(value).get("text"))  # a transcription
    elif media.startswith("text/"):
        text = body[: _ENOUGH * 4].decode("utf-8", "ignore")
    else:
        return f"{len(body)} bytes of {media}" if body and media else ""
    # Two halves of a character may come in two deltas. A half alone cannot be written anywhere.
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return " ".join(text[:_ENOUGH].split())


def _stream(body: bytes) -> str:
    text = ""
    for event in sse.events(body):
        if len(text) >= _ENOUGH:
            break
        text += _of(_loads(event.data.encode()), event.type)
    return text


def _loads(text: bytes) -> Any:
    try:
        return jsontext.loads(text)
    except ValueError:
        return None


def _of(answer: Any, event: str) -> str:
    """What one JSON answer, or one event of a stream, adds to the text."""
    value = _dict(answer)
    kind = _str(value.get("type")) or event
    if error := value.get("error") or _dict(value.get("response")).get("error"):
        return _str(error) or _str(_dict(error).get("message"))
    if kind == "error":
        return _str(value.get("message"))
    if isinstance(choices := value.get("choices"), list):  # chat and legacy completions
        first = next((choice for choice in map(_dict, choices) if not choice.get("index")), {})
        return _str(first.get("text")) + _message(_dict(first.get("message") or first.get("delta")))
    if isinstance(delta := value.get("delta"), dict):  # Assistants
        return _contents(delta.get("content"))
    if _DELTA.fullmatch(kind):  # Responses, audio
        return _str(delta)
    output = value.get("output")
    return "".join(_item(_dict(item)) for item in output) if isinstance(output, list) else ""


def _message(message: dict[str, Any]) -> str:
    text = _contents(message.get("content")) or _str(message.get("refusal"))
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = _dict(_dict(call).get("function"))
        text += _str(function.get("name")) + _str(function.get("arguments"))
    return text


def _item(item: dict[str, Any]) -> str:
    if item.get("type") == "function_call":
        return _str(item.get("name")) + _str(item.get("arguments"))
    return _contents(item.get("content"))


def _contents(contents: Any) -> str:
    """A text, or a list of parts: `{"text": "..."}`, or `{"text": {"value": "..."}}` as Assistants have it."""
    if not isinstance(contents, list):
        return _str(contents)
    texts = [_dict(content).get("text") for content in contents]
    return "".join(_str(text) or _str(_dict(text).get("value")) for text in texts)


def _str(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
