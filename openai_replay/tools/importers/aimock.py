"""Reads fixtures of aimock: the response to each message, as text, with the times of a recorded stream.

A fixture holds no bytes: a chat completion is built from its text, with one chunk per recorded delay. aimock matches a
part of the user's message; the interaction has the whole message. Source: src/types.ts, src/recorder.ts of aimock.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

from openai_replay.model import Frame, Head, Interaction, Response
from openai_replay.tools.importers.builder import ImportResult, NoteRepair, SkipEntry, build_all, build_request, to_json

_URL = "https://api.openai.com/v1/"
_JSON = (("content-type", "application/json"),)
_STREAM = (("content-type", "text/event-stream; charset=utf-8"),)


def recognizes(value: Any) -> bool:
    """Return True if `value` is a file of fixtures."""
    fixtures = value.get("fixtures") if isinstance(value, dict) else None
    return (
        isinstance(fixtures, list)
        and bool(fixtures)
        and isinstance(fixtures[0], dict)
        and "match" in fixtures[0]
        and "response" in fixtures[0]
    )


def read(value: Any) -> ImportResult:
    """Return an interaction for each fixture of a chat, an embedding or an error."""
    return build_all(value["fixtures"], _interaction)


def _interaction(fixture: dict[str, Any], note_repair: NoteRepair) -> Interaction:
    match, response, timings = fixture["match"], fixture["response"], fixture.get("recordedTimings")
    model = str(response.get("model") or match.get("model") or "gpt-4o")
    if match.get("endpoint") == "embedding" or "embedding" in response:
        body: dict[str, Any] = {"model": model, "input": match.get("inputText", "")}
        data = [{"object": "embedding", "index": 0, "embedding": response["embedding"]}]
        note_repair(_BUILT)
        response_body = {
            "object": "list",
            "data": data,
            "model": model,
            "usage": {"prompt_tokens": 0, "total_tokens": 0},
        }
        return _json_interaction("embeddings", body, 200, response_body)
    if match.get("endpoint", "chat") != "chat" or not isinstance(match.get("userMessage"), str):
        raise SkipEntry("is a fixture without a chat message or an input to embed.")
    body = {"model": model, "messages": [{"role": "user", "content": match["userMessage"]}]}
    if isinstance(match.get("systemMessage"), str):
        body["messages"].insert(0, {"role": "system", "content": match["systemMessage"]})
    note_repair(_BUILT)
    if "error" in response:
        return _json_interaction(
            "chat/completions", body, int(response.get("status", 500)), {"error": response["error"]}
        )
    if not {"content", "toolCalls"} & set(response):
        raise SkipEntry("is a fixture whose response is neither text nor tool calls.")
    content, calls = _content_and_calls(response)
    base: dict[str, Any] = {
        "id": str(response.get("id", "chatcmpl-aimock")),
        "created": int(response.get("created", 0)),
        "model": model,
    }
    end = response.get("finishReason") or ("tool_calls" if calls else "stop")
    if timings is None:
        message = {"role": "assistant", "content": content, **({"tool_calls": calls} if calls else {})}
        choice = {"index": 0, "message": message, "finish_reason": end}
        completion = {**base, "object": "chat.completion", "choices": [choice]}
        return _json_interaction("chat/completions", body, 200, {**completion, **_usage(response)})
    return _stream_interaction(body, {**base, "object": "chat.completion.chunk"}, content, calls, end, timings)


_BUILT = "built request and response from the texts of a fixture, which holds no bytes"


def _usage(response: dict[str, Any]) -> dict[str, Any]:
    return {"usage": response["usage"]} if isinstance(response.get("usage"), dict) else {}


def _content_and_calls(response: dict[str, Any]) -> tuple[str | None, list[dict[str, Any]]]:
    content = response.get("content")
    calls = [
        {
            "index": number,
            "id": str(call.get("id", f"call_{number}")),
            "type": "function",
            "function": {"name": call["name"], "arguments": _to_text(call["arguments"])},
        }
        for number, call in enumerate(response.get("toolCalls") or ())
    ]
    return None if content is None else _to_text(content), calls


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value).decode()


def _json_interaction(
    path: str, request_body: dict[str, Any], status: int, response_body: dict[str, Any]
) -> Interaction:
    data = to_json(response_body)
    head = Head(status, "", _JSON, len(data))
    return Interaction(
        build_request("POST", _URL + path, _JSON, to_json(request_body)), Response(head, 0, (Frame(0, data),), 0)
    )


def _stream_interaction(
    request_body: dict[str, Any],
    base: dict[str, Any],
    content: str | None,
    calls: list[dict[str, Any]],
    end: str,
    timings: dict[str, Any],
) -> Interaction:
    """Return a stream with one frame per recorded chunk: the role, the text in the remaining parts, and the end."""
    gaps = [max(0.0, float(gap)) for gap in timings["interChunkDelaysMs"]]
    times = [round(at_ms) for at_ms in accumulate(gaps, initial=float(timings["ttftMs"]))]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if content:
        parts = max(1, min(len(content), len(times) - 3 - len(calls)))
        offsets = [len(content) * number // parts for number in range(parts + 1)]
        deltas += [{"content": content[start:stop]} for start, stop in pairwise(offsets)]
    deltas += [{"tool_calls": [call]} for call in calls]
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": end})
    events = [b"data: " + to_json({**base, "choices": [choice]}) + b"\n\n" for choice in choices] + [
        b"data: [DONE]\n\n"
    ]
    frames = tuple(Frame(times[min(number, len(times) - 1)], event) for number, event in enumerate(events))
    end_ms = max(frames[-1].at_ms, round(float(timings.get("totalDurationMs") or 0)))
    return Interaction(
        build_request("POST", _URL + "chat/completions", _JSON, to_json({**request_body, "stream": True})),
        Response(Head(200, "", _STREAM), frames[0].at_ms, frames, end_ms),
    )
