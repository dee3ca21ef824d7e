"""The events of a stream put together again: the answer that the same request gets where it does not stream.

One reading of chat and legacy completions, Responses, Assistants, transcriptions, speech and images, whole or cut off.
What the API's own last event says goes before what was put together (`response.completed` holds the whole response);
errors inside a stream become the `error` of the answer. `answers` tells what such an answer says.

The shapes are those of https://platform.openai.com/docs/api-reference: chat/streaming, responses-streaming,
assistants-streaming, audio. Anything may stand in a cassette: what has no such shape adds nothing, and raises nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from openai_replay.text import json_codec
from openai_replay.text.sse import Event

Json = dict[str, Any]

#: Keys whose text replaces what was there; the text of any other is the next piece of one.
_WHOLE = frozenset({"id", "type", "role", "object", "status", "model", "finish_reason", "call_id", "created", "index"})
#: Pieces of a Responses item, by the event that brings one: where it stands in the item, and in what.
_PIECES = {
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
_PIECE = re.compile(rf"(?:response\.)?({'|'.join(map(re.escape, _PIECES))})\.delta")
#: An index further than this behind the last item is none of an API, but one that somebody wrote to fill the memory.
_GAP = 128


class Assembly:
    """An answer that is being put together: `add` event by event, then take `value`."""

    def __init__(self) -> None:
        self.value: Json = {}
        #: Whether the event has come after which nothing more does: of a stream that was cut it has not.
        self.ended = False

    def add(self, event: Event) -> None:
        """Put `event` to the rest."""
        if event.data.strip() == "[DONE]":
            self.ended = True
            return
        try:
            found = json_codec.shallow(event.data.encode("utf-8", "surrogatepass"))
        except ValueError:
            return
        if not isinstance(found, dict):
            return
        kind = _str(found.get("type")) or event.type
        if kind == "error" or found.get("error"):
            self.value["error"] = found.get("error") or found
        elif isinstance(found.get("choices"), list):
            self._chunk(found)
        elif event.type.startswith("thread.") or _str(found.get("object")).startswith("thread."):
            self._assistant(event.type, found)
        elif isinstance(found.get("response"), dict):
            self._response(kind, found["response"])
        elif kind.startswith("response.") or _PIECE.fullmatch(kind):
            self._piece(kind, found)
        else:
            self._other(kind, found)

    def _chunk(self, chunk: Json) -> None:
        """A chunk of chat or legacy completions. The last one may have usage and no choices."""
        for name, value in chunk.items():
            if name != "choices" and (value is not None or name not in self.value):
                self.value[name] = value.removesuffix(".chunk") if name == "object" and value else value
        choices = _list_in(self.value, "choices")
        for choice in chunk["choices"]:
            if not isinstance(choice, dict):
                continue
            whole = _at(choices, choice.get("index", 0))
            delta = choice.get("delta")
            _merge(whole, {name: value for name, value in choice.items() if name != "delta"})
            if isinstance(delta, dict):
                _merge(_dict_in(whole, "message"), delta)

    def _response(self, kind: str, response: Json) -> None:
        """The whole of a response so far. Some APIs leave out of the last one what they have streamed."""
        output = response.get("output") or self.value.get("output")
        error = response.get("error") or self.value.get("error")
        self.value = response | ({"output": output} if output else {}) | ({"error": error} if error else {})
        self.ended |= kind in ("response.completed", "response.failed", "response.incomplete")

    def _piece(self, kind: str, event: Json) -> None:
        items = _list_in(self.value, "output")
        if kind in ("response.output_item.added", "response.output_item.done"):
            if isinstance(event.get("item"), dict):
                item = _at(items, event.get("output_index", len(items)))
                item.clear()
                item.update(event["item"])
            return
        if match := _PIECE.fullmatch(kind):
            where, name = _PIECES[match[1]]
            target = _at(items, event.get("output_index", 0))
            if where:
                place = event.get("summary_index" if where == "summary" else "content_index", 0)
                target = _at(_list_in(target, where), place)
            _merge(target, {name: event.get("delta")})

    def _assistant(self, kind: str, found: Json) -> None:
        """Runs, steps and messages of an Assistants stream, each as it was last."""
        sort = _str(found.get("object"))
        if sort in ("thread.message", "thread.message.delta"):
            self._put("messages", found, sort.endswith(".delta"))
        elif sort in ("thread.run.step", "thread.run.step.delta"):
            self._put("steps", found, sort.endswith(".delta"))
        elif sort == "thread.run":
            self.value["run"] = found
        elif "delta" in found:  # without an `object`, by compatible servers
            self._put("steps" if ".step." in kind else "messages", found, True)

    def _put(self, place: str, found: Json, delta: bool) -> None:
        items = _list_in(self.value, place)
        known = next((one for one in items if isinstance(one, dict) and one.get("id") == found.get("id")), None)
        if known is None:
            known = {"id": found.get("id")}
            items.append(known)
        if not delta:
            known.clear()
            known.update(found)
        elif isinstance(found.get("delta"), dict):
            _merge(known, found["delta"])

    def _other(self, kind: str, event: Json) -> None:
        """Audio and images: pieces of text or base64, and a last event that says the usage."""
        name = "audio" if "audio" in event or ".audio." in kind else "text"
        if isinstance(piece := event.get("delta", event.get("audio")), str):
            _merge(self.value, {name: piece})
        elif kind.endswith((".done", ".completed")):
            self.value |= {name: value for name, value in event.items() if name != "type"}
        self.ended |= kind.endswith((".done", ".completed")) and not kind.endswith(".segment.done")


def assembled(events: Iterable[Event]) -> Json:
    """The answer that `events` bring, as JSON; empty where they bring none."""
    assembly = Assembly()
    for event in events:
        assembly.add(event)
    return assembly.value


def _merge(into: Json, delta: Json) -> None:
    """Add a delta: texts go on, objects are merged, lists by the `index` of their items, all else is replaced."""
    for name, value in delta.items():
        known = into.get(name)
        if value is None and known is not None:
            continue
        if isinstance(known, str) and isinstance(value, str) and name not in _WHOLE:
            into[name] = known + value if name != "name" or known != value else known
        elif isinstance(value, dict):
            _merge(_dict_in(into, name), value)
        elif isinstance(value, list):
            items = _list_in(into, name)
            for item in value:
                if isinstance(item, dict) and isinstance(item.get("index"), int):
                    _merge(_at(items, item["index"]), item)
                else:
                    items.append(item)
        else:
            into[name] = value


def _at(items: list[Any], index: Any) -> Json:
    """The object at `index`, made where it is not there; one of its own where there is no such place."""
    if not isinstance(index, int) or not 0 <= index <= len(items) + _GAP:
        return {}
    while len(items) <= index:
        items.append({})
    if not isinstance(items[index], dict):
        items[index] = {}
    found: Json = items[index]
    return found


def _dict_in(value: Json, name: str) -> Json:
    if not isinstance(value.get(name), dict):
        value[name] = {}
    found: Json = value[name]
    return found


def _list_in(value: Json, name: str) -> list[Any]:
    if not isinstance(value.get(name), list):
        value[name] = []
    found: list[Any] = value[name]
    return found


def _str(value: Any) -> str:
    return value if isinstance(value, str) else ""
