"""Assembly of a stream's events into the response that the same request gets without streaming.

It reads chat and legacy completions, Responses, Assistants, transcriptions, speech and images, complete or cut off. If
the last event contains the complete response (`response.completed`), that counts. An error inside a stream becomes the
`error` of the response. `responses` parses the result.

The shapes are those of https://platform.openai.com/docs/api-reference: chat/streaming, responses-streaming,
assistants-streaming, audio. A cassette may contain anything: an event of another shape is ignored, and never an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from openai_replay.text import json_codec
from openai_replay.text.sse import Event

Json = dict[str, Any]

#: Fields whose text replaces the text before. The text of any other field is appended.
_REPLACED = frozenset(
    {"id", "type", "role", "object", "status", "model", "finish_reason", "call_id", "created", "index"}
)
#: Deltas of a Responses item by their event: the list in the item, and the field in its entry.
_DELTAS = {
    "output_text": ("content", "text"),
    "refusal": ("content", "refusal"),
    "reasoning_text": ("content", "text"),
    "reasoning_summary_text": ("summary", "text"),
    "function_call_arguments": ("", "arguments"),
    "mcp_call_arguments": ("", "arguments"),
    "custom_tool_call_input": ("", "input"),
    "code_interpreter_call_code": ("", "code"),
    "audio.transcript": ("content", "transcript"),
}
_DELTA = re.compile(rf"(?:response\.)?({'|'.join(map(re.escape, _DELTAS))})\.delta")
#: Largest gap in the indexes of a list. No API skips as many: a larger gap is an attempt to fill the memory.
_MAX_GAP = 128


class Assembly:
    """A partial response. Call `add` with each event, then read `value`."""

    def __init__(self) -> None:
        self.value: Json = {}
        #: True after the last event. A stream that was cut off has none.
        self.ended = False

    def add(self, event: Event) -> None:
        """Add `event`."""
        if event.data.strip() == "[DONE]":
            self.ended = True
            return
        try:
            fields = json_codec.shallow(event.data.encode("utf-8", "surrogatepass"))
        except ValueError:
            return
        if not isinstance(fields, dict):
            return
        kind = _str(fields.get("type")) or event.type
        if kind == "error" or fields.get("error"):
            self.value["error"] = fields.get("error") or fields
        elif isinstance(fields.get("choices"), list):
            self._add_chunk(fields)
        elif event.type.startswith("thread.") or _str(fields.get("object")).startswith("thread."):
            self._add_assistants_object(event.type, fields)
        elif isinstance(fields.get("response"), dict):
            self._take_snapshot(kind, fields["response"])
        elif kind.startswith("response.") or _DELTA.fullmatch(kind):
            self._add_delta(kind, fields)
        else:
            self._add_media(kind, fields)

    def _add_chunk(self, chunk: Json) -> None:
        """Add a chunk of chat or legacy completions. The last one may have usage and no choices."""
        for name, value in chunk.items():
            if name != "choices" and (value is not None or name not in self.value):
                self.value[name] = value.removesuffix(".chunk") if name == "object" and value else value
        choices = _list_in(self.value, "choices")
        for choice in chunk["choices"]:
            if not isinstance(choice, dict):
                continue
            choice_so_far = _object_at(choices, choice.get("index", 0))
            delta = choice.get("delta")
            _merge(choice_so_far, {name: value for name, value in choice.items() if name != "delta"})
            if isinstance(delta, dict):
                _merge(_dict_in(choice_so_far, "message"), delta)

    def _take_snapshot(self, kind: str, response: Json) -> None:
        """Take a snapshot of the response. Some APIs leave the streamed output out of the last one."""
        output = response.get("output") or self.value.get("output")
        error = response.get("error") or self.value.get("error")
        self.value = response | ({"output": output} if output else {}) | ({"error": error} if error else {})
        self.ended |= kind in ("response.completed", "response.failed", "response.incomplete")

    def _add_delta(self, kind: str, event: Json) -> None:
        items = _list_in(self.value, "output")
        if kind in ("response.output_item.added", "response.output_item.done"):
            if isinstance(event.get("item"), dict):
                item = _object_at(items, event.get("output_index", len(items)))
                item.clear()
                item.update(event["item"])
            return
        if match := _DELTA.fullmatch(kind):
            list_name, name = _DELTAS[match[1]]
            target = _object_at(items, event.get("output_index", 0))
            if list_name:
                index = event.get("summary_index" if list_name == "summary" else "content_index", 0)
                target = _object_at(_list_in(target, list_name), index)
            _merge(target, {name: event.get("delta")})

    def _add_assistants_object(self, kind: str, data: Json) -> None:
        """Add a run, a step or a message of an Assistants stream. Each replaces its earlier version."""
        sort = _str(data.get("object"))
        if sort in ("thread.message", "thread.message.delta"):
            self._update_object("messages", data, sort.endswith(".delta"))
        elif sort in ("thread.run.step", "thread.run.step.delta"):
            self._update_object("steps", data, sort.endswith(".delta"))
        elif sort == "thread.run":
            self.value["run"] = data
        elif "delta" in data:  # without an `object`, by compatible servers
            self._update_object("steps" if ".step." in kind else "messages", data, True)

    def _update_object(self, list_name: str, data: Json, delta: bool) -> None:
        items = _list_in(self.value, list_name)
        present = next(
            (entry for entry in items if isinstance(entry, dict) and entry.get("id") == data.get("id")), None
        )
        if present is None:
            present = {"id": data.get("id")}
            items.append(present)
        if not delta:
            present.clear()
            present.update(data)
        elif isinstance(data.get("delta"), dict):
            _merge(present, data["delta"])

    def _add_media(self, kind: str, event: Json) -> None:
        """Add an event of audio or images: a part of a text or of base64, or a last event with the usage."""
        name = "audio" if "audio" in event or ".audio." in kind else "text"
        if isinstance(piece := event.get("delta", event.get("audio")), str):
            _merge(self.value, {name: piece})
        elif kind.endswith((".done", ".completed")):
            self.value |= {name: value for name, value in event.items() if name != "type"}
        self.ended |= kind.endswith((".done", ".completed")) and not kind.endswith(".segment.done")


def assemble(events: Iterable[Event]) -> Json:
    """Return the response that `events` add up to, as JSON. Empty if they have no data."""
    assembly = Assembly()
    for event in events:
        assembly.add(event)
    return assembly.value


def _merge(into: Json, delta: Json) -> None:
    """Merge a delta: append to texts, merge objects, and lists by the `index` of their items, replace all else."""
    for name, value in delta.items():
        present = into.get(name)
        if value is None and present is not None:
            continue
        if isinstance(present, str) and isinstance(value, str) and name not in _REPLACED:
            into[name] = present + value if name != "name" or present != value else present
        elif isinstance(value, dict):
            _merge(_dict_in(into, name), value)
        elif isinstance(value, list):
            items = _list_in(into, name)
            for item in value:
                if isinstance(item, dict) and isinstance(item.get("index"), int):
                    _merge(_object_at(items, item["index"]), item)
                else:
                    items.append(item)
        else:
            into[name] = value


def _object_at(items: list[Any], index: Any) -> Json:
    """Return the object at `index`, and add it first if it is missing. An impossible index gets an object outside."""
    if not isinstance(index, int) or not 0 <= index <= len(items) + _MAX_GAP:
        return {}
    while len(items) <= index:
        items.append({})
    if not isinstance(items[index], dict):
        items[index] = {}
    entry: Json = items[index]
    return entry


def _dict_in(value: Json, name: str) -> Json:
    if not isinstance(value.get(name), dict):
        value[name] = {}
    fields: Json = value[name]
    return fields


def _list_in(value: Json, name: str) -> list[Any]:
    if not isinstance(value.get(name), list):
        value[name] = []
    entries: list[Any] = value[name]
    return entries


def _str(value: Any) -> str:
    return value if isinstance(value, str) else ""
