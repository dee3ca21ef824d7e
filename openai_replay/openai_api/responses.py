"""Responses, parsed: texts, refusals, tool calls and errors, of any endpoint, from JSON or from a stream."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, NamedTuple

Json = dict[str, Any]


class Kind(StrEnum):
    """The kind of a part of a message."""

    TEXT = "text"
    REFUSAL = "refusal"
    REASONING = "reasoning"
    CALL = "call"
    NOTE = "note"  # describes parts that cannot be read: images, audio, vectors
    ERROR = "error"


class Part(NamedTuple):
    """A part of a message. In a tool call, `name` is the tool, `id` the call, and `text` its arguments."""

    kind: Kind
    text: str
    name: str = ""
    id: str = ""


class Message(NamedTuple):
    """One message. `finish` is the finish reason, if there is one, and `choice` the index among several."""

    parts: list[Part]
    role: str = ""
    finish: str = ""
    choice: int = 0

    @property
    def text(self) -> str:
        """The text for a reader: texts, refusals, and tool calls with their arguments, but no notes."""
        return "".join(
            part.name + part.text for part in self.parts if part.kind not in (Kind.NOTE, Kind.REASONING, Kind.ERROR)
        )


def parse_messages(response: Any) -> list[Message]:
    """Return the messages of a response as JSON, or as `stream_assembler` assembled it, in the order of their choices.

    An error is its own message, the last one.
    """
    value = _dict(response)
    parsed = list(_messages(value))
    if error := _error_message(value):
        parsed.append(Message([Part(Kind.ERROR, error)]))
    return parsed


def _messages(value: Json) -> Iterator[Message]:
    if isinstance(choices := value.get("choices"), list):  # chat and legacy completions
        yield from sorted((_parse_choice(_dict(choice)) for choice in choices), key=lambda message: message.choice)
    elif isinstance(output := value.get("output"), list):  # Responses
        parts = [part for item in output for part in parse_item(_dict(item))]
        if parts:
            yield Message(parts, "assistant", _finish_reason(value))
    elif isinstance(value.get("messages"), list) or isinstance(value.get("run"), dict):  # an Assistants stream
        for entry in _list(value.get("messages")):
            yield parse_message(_dict(entry))
        for step in _list(value.get("steps")):
            details = _dict(_dict(step).get("step_details"))
            if calls := list(_parse_calls(details.get("tool_calls"))):
                yield Message(calls, "assistant")
        yield from _parse_run(_dict(value.get("run")))
    elif value.get("object") == "thread.message":
        yield parse_message(value)
    elif value.get("object") == "thread.run":
        yield from _parse_run(value)
    elif isinstance(value.get("text"), str):  # a transcription
        yield Message([Part(Kind.TEXT, value["text"])])
    elif isinstance(value.get("audio"), str):
        yield Message([_media_note(value["audio"], "sound")])
    elif isinstance(value.get("b64_json"), str):
        yield Message([_media_note(value["b64_json"], "picture")])
    elif isinstance(data := value.get("data"), list):
        yield from _parse_data(data)


def _parse_choice(choice: Json) -> Message:
    index = choice.get("index")
    finish = _str(choice.get("finish_reason"))
    index = index if isinstance(index, int) else 0
    if isinstance(choice.get("text"), str):
        return Message([Part(Kind.TEXT, choice["text"])] if choice["text"] else [], "", finish, index)
    parsed = parse_message(_dict(choice.get("message")))
    return parsed._replace(finish=finish, choice=index)


def parse_message(message: Json) -> Message:
    """Parse a message of a chat or of a thread."""
    parts = []
    if reasoning := _str(message.get("reasoning_content")) or _str(message.get("reasoning")):
        parts.append(Part(Kind.REASONING, reasoning))
    parts += _parse_contents(message.get("content"))
    if refusal := _str(message.get("refusal")):
        parts.append(Part(Kind.REFUSAL, refusal))
    audio = _dict(message.get("audio"))
    if transcript := _str(audio.get("transcript")):
        parts.append(Part(Kind.TEXT, transcript))
    if sound := _str(audio.get("data")):
        parts.append(_media_note(sound, "sound"))
    parts += _parse_calls(message.get("tool_calls"))
    if isinstance(call := message.get("function_call"), dict):
        parts += _parse_calls([{"function": call}])
    return Message(parts, _str(message.get("role")))


def _parse_calls(calls: Any) -> Iterator[Part]:
    for call in map(_dict, _list(calls)):
        inner = _dict(call.get("function") or call.get("custom") or call.get(_str(call.get("type"))))
        arguments = _str(inner.get("arguments")) or _str(inner.get("input"))
        name = _str(inner.get("name")) or (_str(call.get("type")) if call.get("type") != "function" else "")
        if name or arguments:
            yield Part(Kind.CALL, arguments, name, _str(call.get("id")))


def parse_item(item: Json) -> list[Part]:
    """Return the parts of an output item or input item of a response."""
    kind = _str(item.get("type"))
    if kind == "reasoning" or (not kind and "summary" in item):  # of a stream without the item's first event
        texts = [*_parse_contents(item.get("summary")), *_parse_contents(item.get("content"))]
        return [part._replace(kind=Kind.REASONING) for part in texts]
    if kind == "image_generation_call" and isinstance(item.get("result"), str):
        return [_media_note(item["result"], "picture")]
    arguments = next((item[name] for name in ("arguments", "input", "code") if isinstance(item.get(name), str)), None)
    if arguments is not None:
        return [Part(Kind.CALL, arguments, _str(item.get("name")) or kind, _str(item.get("call_id")))]
    if kind.endswith("_call"):
        return [Part(Kind.NOTE, f"{kind} {_str(item.get('status'))}".strip())]
    return _parse_contents(item.get("content"))


def _parse_contents(contents: Any) -> list[Part]:
    """Return the parts of a text, or of a list of `{"text": "..."}`, in Assistants `{"text": {"value": "..."}}`."""
    if isinstance(contents, str):
        return [Part(Kind.TEXT, contents)] if contents else []
    parts = []
    for content in _list(contents):
        if isinstance(content, str):
            parts.append(Part(Kind.TEXT, content))
            continue
        fields = _dict(content)
        text = (
            _str(fields.get("text")) or _str(_dict(fields.get("text")).get("value")) or _str(fields.get("transcript"))
        )
        if text:
            parts.append(Part(Kind.TEXT, text))
        elif refusal := _str(fields.get("refusal")):
            parts.append(Part(Kind.REFUSAL, refusal))
        elif fields.get("type") not in (None, "text", "output_text", "input_text", "refusal"):
            parts.append(Part(Kind.NOTE, _str(fields.get("type")) or "?"))
    return parts


def _finish_reason(response: Json) -> str:
    """Return the reason if a response is incomplete, otherwise its status."""
    return _str(_dict(response.get("incomplete_details")).get("reason")) or _str(response.get("status"))


def _parse_run(run: Json) -> Iterator[Message]:
    action = _dict(_dict(run.get("required_action")).get("submit_tool_outputs"))
    parts = list(_parse_calls(action.get("tool_calls")))
    if run:
        yield Message(parts, "", _str(run.get("status")))


def _parse_data(data: list[Any]) -> Iterator[Message]:
    first = _dict(data[0]) if data else {}
    if "embedding" in first:
        vector = first["embedding"]
        size = f" of {len(vector)} numbers" if isinstance(vector, list) else ""
        yield Message([Part(Kind.NOTE, f"{len(data)} embedding{'s' if len(data) > 1 else ''}{size}")])
    elif "b64_json" in first or "url" in first:
        yield Message([Part(Kind.NOTE, f"{len(data)} picture{'s' if len(data) > 1 else ''}")])
    elif first.get("object") == "thread.message":
        for entry in data:
            yield parse_message(_dict(entry))


def _error_message(value: Json) -> str:
    error = value.get("error") or _dict(value.get("run")).get("last_error")
    message = _str(error) or _str(_dict(error).get("message"))
    # An API in front of the API: `{"message": "..."}`, `{"detail": "..."}`
    return message or (str(_dict(error).get("code") or _dict(error).get("type") or "error") if error else "")


def _media_note(base64: str, media_name: str) -> Part:
    return Part(Kind.NOTE, f"{len(base64) * 3 // 4} bytes of {media_name}")


def _str(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _dict(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
