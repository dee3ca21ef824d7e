"""Describes a recording: in a line of a list, in full for a reader, or as JSON for a program.

All of it comes from a file that anybody may have written: nothing is shown unescaped (`escape`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from openai_replay.model import End, Headers, Interaction
from openai_replay.openai_api import transcript
from openai_replay.openai_api.requests import parse_request
from openai_replay.openai_api.responses import Kind, Message, Part
from openai_replay.openai_api.usage import Usage, parse_usage
from openai_replay.text import escape, json_codec
from openai_replay.tools import timeline

#: Maximum characters of a value that are shown; base64 is much longer.
_MAX_CHARACTERS = 2000
#: Numbers of a vector that are shown.
_MAX_NUMBERS = 8


class Summary(NamedTuple):
    """A recording in a list. `ttft_ms` is None if the response is not a stream."""

    number: int
    method: str
    path: str
    model: str
    stream: bool
    status: int
    ms: int
    ttft_ms: int | None
    end: End
    preview: str


def summarize(number: int, interaction: Interaction) -> Summary:
    """Return `interaction` as a row of a list."""
    request, response = interaction.request, interaction.response
    answer = transcript.parse_response(response)
    return Summary(
        number,
        request.method,
        request.path,
        parse_request(request).model,
        answer.is_stream,
        response.head.status,
        response.end_ms,
        timeline.first_token_ms(response),
        response.end,
        transcript.summarize(answer.messages),
    )


def format_table(summaries: Sequence[Summary], width: int) -> Iterator[str]:
    """Yield `summaries` in columns, with the preview in the characters that `width` leaves (20 at least)."""
    rows = [
        (
            f"#{summary.number}",
            escape.line(f"{summary.method} {summary.path}"),
            escape.line(summary.model),
            "stream" if summary.stream else "",
            str(summary.status),
            f"{summary.ms} ms",
            f"TTFT {summary.ttft_ms} ms" if summary.ttft_ms is not None else "",
            "" if summary.end is End.COMPLETE else str(summary.end),
        )
        for summary in summaries
    ]
    widths = [max(map(len, column), default=0) for column in zip(*rows, strict=True)]
    for summary, row in zip(summaries, rows, strict=True):
        padded = zip(row, widths, strict=True)
        cells = [
            f"{cell:>{column_width}}" if cell.endswith(" ms") else f"{cell:<{column_width}}"
            for cell, column_width in padded
        ]
        text = "  ".join(cell for cell, column_width in zip(cells, widths, strict=True) if column_width)
        yield f"{text}  {_quote(summary.preview, max(width - len(text) - 4, 20))}" if summary.preview else text.rstrip()


def _quote(text: str, width: int) -> str:
    return escape.line(json.dumps(text if len(text) <= width else f"{text[: width - 1]}…", ensure_ascii=False))


def format_heading(number: int, interaction: Interaction) -> str:
    """Return the line above a recording that is shown."""
    return "  ".join(
        part.strip()
        for part in next(format_table([summarize(number, interaction)._replace(preview="")], 0)).split("  ")
    )


def format_recording(interaction: Interaction) -> Iterator[str]:
    """Yield request and response for a reader, line by line."""
    request, response = interaction.request, interaction.response
    parsed = parse_request(request)
    yield "request"
    if request.query:
        yield f"  ?{escape.line(request.query)}"
    for message in parsed.messages:
        yield from _format_message(message)
    for name, value in parsed.parameters.items():
        yield from _format_field(name, value)
    yield ""
    yield "response"
    answer = transcript.parse_response(response)
    for message in answer.messages:
        has_choices = sum(not _is_error(message) for message in answer.messages) > 1
        yield from _format_message(message, f"choice {message.choice}" if has_choices and not message.role else "")
    if not answer.messages and answer.value is not None:
        yield from _indent(_format_tree(answer.value), "  ")
    elif not answer.messages and answer.body:
        yield from _indent(_encode_body(answer.body).get("text") or f"{len(answer.body)} bytes", "  ")
    if response.end is not End.COMPLETE:
        yield f"  the response ended {response.end}"
    elif answer.is_stream and not answer.ended and answer.events:
        yield "  the stream ended without its last event"
    if (billed := parse_usage(answer.value)) is not None:
        yield f"  usage: {format_usage(billed)}"


def format_usage(billed: Usage) -> str:
    """Return usage as `12 in (4 cached), 30 out (10 reasoning)`."""
    if billed.sound_s and not billed.tokens_in:
        return f"{billed.sound_s:g} s of sound"
    cached = f" ({billed.cached:,} cached)" if billed.cached else ""
    reasoning = f" ({billed.reasoning:,} reasoning)" if billed.reasoning else ""
    return f"{billed.tokens_in:,} in{cached}, {billed.tokens_out:,} out{reasoning}"


def _format_message(message: Message, title: str = "") -> Iterator[str]:
    if title := escape.line(title or message.role):
        yield f"  {title}"
    for part in message.parts:
        yield from _format_part(part)
    if message.finish:
        yield f"    finish: {escape.line(message.finish)}"


def _is_error(message: Message) -> bool:
    return any(part.kind is Kind.ERROR for part in message.parts)


def _format_part(part: Part) -> Iterator[str]:
    if part.kind is Kind.CALL:
        yield f"    call {escape.line(part.name)}  {escape.line(part.id)}".rstrip()
        yield from _indent(_format_arguments(part.text), "      ")
    elif part.kind is Kind.TEXT:
        yield from _indent(part.text, "    ")
    elif "\n" in part.text.strip():
        yield f"    {part.kind}:"
        yield from _indent(part.text, "      ")
    else:
        yield f"    {part.kind}: {escape.line(part.text.strip())}"


def _format_arguments(text: str) -> str:
    """Return the arguments of a call, indented if they are JSON, which they are not in an incomplete stream."""
    try:
        return _dump(json_codec.shallow(text.encode("utf-8", "surrogatepass")))
    except ValueError:
        return text


def _format_field(name: str, value: Any) -> Iterator[str]:
    if name in ("tools", "functions") and isinstance(value, list):
        yield f"  {name}: {escape.line(', '.join(_describe_tool(tool) for tool in value))}"
    elif isinstance(value, (dict, list)) and len(formatted := _format_tree(value)) > 60:
        yield f"  {escape.line(name)}:"
        yield from _indent(formatted, "    ")
    else:
        formatted = json.dumps(_shorten(value), ensure_ascii=False) if not isinstance(value, str) else value
        yield f"  {escape.line(name)}: {escape.line(formatted)}"


def _describe_tool(tool: Any) -> str:
    """Return `weather(city, unit)`, or the type of a tool that the API provides."""
    if not isinstance(tool, dict):
        return str(tool)
    function = tool.get("function")
    inner = function if isinstance(function, dict) else tool
    parameters = inner.get("parameters")
    properties = parameters.get("properties") if isinstance(parameters, dict) else None
    name = inner.get("name") or inner.get("server_label") or tool.get("type")
    return f"{name}({', '.join(properties)})" if isinstance(properties, dict) else str(name)


def _format_tree(value: Any) -> str:
    return _dump(_shorten(value))


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _shorten(value: Any) -> Any:
    """Return `value` with only the start of vectors and base64."""
    if isinstance(value, dict):
        return {name: _shorten(inner) for name, inner in value.items()}
    if isinstance(value, list):
        if len(value) > _MAX_NUMBERS and all(isinstance(item, (int, float)) for item in value):
            return [*value[:_MAX_NUMBERS], f"… {len(value)} numbers"]
        return [_shorten(item) for item in value]
    if isinstance(value, str) and len(value) > _MAX_CHARACTERS:
        return f"{value[:80]}… {len(value)} characters"
    return value


def _indent(text: str, indent: str) -> Iterable[str]:
    return (f"{indent}{line}".rstrip() for line in escape.text(text).split("\n"))


def as_json(number: int, interaction: Interaction) -> dict[str, Any]:
    """Return the whole recording as one JSON value. Bytes are `text` if they are UTF-8, else `base64`."""
    request, response = interaction.request, interaction.response
    head = response.head
    return {
        "number": number,
        "request": {
            "method": request.method,
            "uri": request.uri,
            "headers": _pairs(request.headers),
            "body": _encode_body(request.body),
        },
        "response": {
            "status": head.status,
            "reason": head.reason,
            "headers": _pairs(head.headers),
            "head_ms": response.head_ms,
            "frames": [{"at_ms": frame.at_ms, **_encode_body(frame.data)} for frame in response.frames],
            "end_ms": response.end_ms,
            "end": str(response.end),
        },
    }


def _pairs(headers: Headers) -> list[list[str]]:
    return [[name, value] for name, value in headers]


def _encode_body(data: bytes) -> dict[str, str]:
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}
