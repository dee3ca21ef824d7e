"""The simulated OpenAI API: realistic answers for `tests.support.upstream`, with the headers and framing of real ones.

Deterministic: content is derived from the request; ids, dates and cookies from a counter of requests. So the same
request sent twice gets two answers, and the same sequence of requests sent to a fresh server gets the same bytes.

Models with a special behaviour, on every endpoint that takes a model:
    error-400, -401, -500, -503       that status; error-empty: a 500 without a body
    error-429                         429 with `retry-after: 1`, but every second request with the same body succeeds
and where the answer is a stream:
    stream-error                      an error event after three events
    stream-cut, stream-reset          FIN or RST in the middle of an event
    slow                              300 ms to the head, 20 words 20 ms apart
    long                              200 words 5 ms apart
    utf8                              chunks cut inside characters, several in a segment, and `: ping` comments
    keepalive                         a keepalive event (Responses, Assistants) or comment (chat, completions)

Tools are called one after the other, in the order they were offered, each with arguments that its JSON schema allows.
Once all have answered, the model speaks: words, or JSON where a JSON schema for the answer was given.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import struct
from collections.abc import Callable, Sequence
from email.utils import formatdate
from itertools import pairwise
from typing import Any, NamedTuple

from tests.support.upstream import Chunk, Close, End, Received, Reset, Send, Sleep, Step, head

Json = dict[str, Any]

UTF8_TEXT = "Zażółć gęślą jaźń — 日本語のテキスト 🌍 👩‍👩‍👧 naïve façade. שלום عالم. Δοκιμή ✓ done."
FIRST_SECOND = 1_750_000_000  # `created` of a server's first answer, plus one; later ones count on from there

# How a JSON answer is framed; the other paths send a content-length.
CHUNKED = {"/v1/chat/completions", "/v1/embeddings", "/v1/images/generations"}
GZIPPED = {"/v1/models", "/v1/moderations"}  # chunked and compressed, if the client accepts it

PACE = {"slow": (0.3, 0.02), "long": (0.02, 0.005)}  # seconds to the head, seconds between events
USUAL_PACE = (0.02, 0.003)

ERRORS: dict[str, tuple[int, str, str, str, str | None]] = {  # status, reason, message, type, code
    "error-400": (400, "Bad Request", "Invalid 'temperature': too high.", "invalid_request_error", "invalid_value"),
    "error-401": (401, "Unauthorized", "Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    "error-429": (429, "Too Many Requests", "Rate limit reached for requests.", "requests", "rate_limit_exceeded"),
    "error-500": (500, "Internal Server Error", "The server had an error.", "server_error", None),
    "error-503": (503, "Service Unavailable", "The engine is overloaded.", "server_error", "service_unavailable"),
}


class Upload(NamedTuple):
    """A file part of a form."""

    filename: str
    content: bytes


class Call(NamedTuple):
    """A request, its number on this server (from 1), and its parameters from JSON or form fields."""

    request: Received
    number: int
    params: Json
    uploads: dict[str, Upload]

    @property
    def model(self) -> str:
        return str(self.params.get("model", ""))

    @property
    def stream(self) -> bool:
        return self.params.get("stream") in (True, "true", "True")

    @property
    def created(self) -> int:
        return FIRST_SECOND + self.number

    def id(self, prefix: str) -> str:
        return prefix + hashlib.sha256(f"{prefix}{self.number}".encode()).hexdigest()[:24]

    def headers(self, content_type: str, *extra: tuple[str, str]) -> list[tuple[str, str]]:
        """The headers that real answers carry; rate limits only where a model was called."""
        limits = [
            ("x-ratelimit-limit-requests", "10000"),
            ("x-ratelimit-limit-tokens", "2000000"),
            ("x-ratelimit-remaining-requests", "0" if self.model == "error-429" else "9999"),
            ("x-ratelimit-remaining-tokens", "1999950"),
            ("x-ratelimit-reset-requests", "6ms"),
            ("x-ratelimit-reset-tokens", "0s"),
        ]
        cookie = "path=/; domain=.api.openai.com; HttpOnly; Secure; SameSite=None"
        return [
            ("Date", formatdate(self.created, usegmt=True)),
            ("Content-Type", content_type),
            ("Connection", "keep-alive"),
            ("access-control-expose-headers", "X-Request-ID"),
            ("openai-organization", "simulated-organization"),
            ("openai-processing-ms", str(100 + self.number)),
            ("openai-project", "proj_simulated"),
            ("openai-version", "2020-10-01"),
            ("x-envoy-upstream-service-time", str(103 + self.number)),
            *(limits if self.model else []),
            ("x-request-id", self.id("req_")),
            ("x-openai-proxy-wasm", "v0.1"),
            ("cf-cache-status", "DYNAMIC"),
            ("set-cookie", f"__cf_bm={self.id('simulated-')}; {cookie}"),
            ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
            ("x-content-type-options", "nosniff"),
            ("access-control-expose-headers", "CF-Ray"),
            ("set-cookie", f"_cfuvid={self.id('simulated-uv-')}; {cookie}"),
            ("server", "cloudflare"),
            ("cf-ray", self.id("")[:16] + "-SIM"),
            ("alt-svc", 'h3=":443"; ma=86400'),
            *extra,
        ]


def compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def event(value: object, name: str = "", eol: str = "\n") -> bytes:
    """One server-sent event; strings are sent as they are, other values as JSON."""
    data = value if isinstance(value, str) else compact(value)
    return ((f"event: {name}{eol}" if name else "") + f"data: {data}{eol}{eol}").encode()


def noise(seed: str, size: int) -> bytes:
    """`size` bytes that look random."""
    return hashlib.shake_256(seed.encode()).digest(size)


def tokens(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)


# Answers ------------------------------------------------------------------------------------------------------------


def json_answer(call: Call, value: Json, status: int = 200, reason: str = "OK", *extra: tuple[str, str]) -> list[Step]:
    body = json.dumps(value, ensure_ascii=False, indent=2).encode()  # OpenAI indents its plain answers
    path = call.request.path
    if path in GZIPPED and "gzip" in (call.request.header("accept-encoding") or ""):
        body, extra = gzip.compress(body, mtime=0), (*extra, ("content-encoding", "gzip"))
    elif path not in CHUNKED:
        headers = call.headers("application/json", *extra, ("content-length", str(len(body))))
        return [Send(head(status, reason, headers)), Send(body)]
    return chunked_answer(call, "application/json", body, status, reason, *extra)


def chunked_answer(
    call: Call, content_type: str, body: bytes, status: int = 200, reason: str = "OK", *extra: tuple[str, str]
) -> list[Step]:
    headers = call.headers(content_type, *extra, ("transfer-encoding", "chunked"))
    pieces = [body[at : at + 4096] for at in range(0, len(body), 4096)]
    return [Sleep(0.02), Send(head(status, reason, headers)), *map(Chunk, pieces), End()]


def error_answer(
    call: Call, status: int, reason: str, message: str, kind: str, code: str | None, param: str | None = None
) -> list[Step]:
    extra: list[tuple[str, str]] = []
    if status == 401:
        extra.append(("www-authenticate", 'Bearer realm="OpenAI API"'))
    if status == 429:
        extra.append(("retry-after", "1"))
    value = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return json_answer(call, value, status, reason, *extra)


def stream_answer(call: Call, events: Sequence[bytes], *, with_names: bool = False) -> list[Step]:
    """The events as a stream, bent as the model says. `named`: the endpoint writes `event:` lines."""
    ttft, interval = PACE.get(call.model, USUAL_PACE)
    frames = [Chunk(item) for item in events]
    ending: Step = End()
    middle = len(events) // 2
    match call.model:
        case "stream-error":
            error = {"type": "server_error", "code": None, "message": "The server had an error.", "param": None}
            failure = {"type": "error", "sequence_number": 3, "error": error} if with_names else {"error": error}
            frames[3:] = [Chunk(event(failure, "error" if with_names else ""))]
        case "stream-cut" | "stream-reset":
            frames[middle:] = [Chunk(events[middle][: len(events[middle]) // 2])]
            ending = Close() if call.model == "stream-cut" else Reset()
        case "keepalive":
            alive = (
                event({"type": "keepalive", "sequence_number": middle}, "keepalive")
                if with_names
                else b": keepalive\n\n"
            )
            frames.insert(middle, Chunk(alive))
        case "utf8":
            frames = cut_badly(b": ping\n\n".join(events))
    headers = call.headers("text/event-stream; charset=utf-8", ("transfer-encoding", "chunked"))
    steps: list[Step] = [Sleep(ttft), Send(head(200, "OK", headers))]
    for frame in frames:
        steps += [frame, Sleep(interval)]
    return [*steps[:-1], ending]


def cut_badly(body: bytes) -> list[Chunk]:
    """Cut after the first byte of every longer UTF-8 character and every 61 bytes; three chunks to a segment."""
    inside = {at for at, byte in enumerate(body) if 0x80 <= byte < 0xC0 <= body[at - 1]}
    cuts = [0, *sorted(inside | set(range(61, len(body), 61))), len(body)]
    pieces = [body[start:end] for start, end in pairwise(cuts)]
    return [Chunk(*pieces[at : at + 3]) for at in range(0, len(pieces), 3)]


# What the model says ------------------------------------------------------------------------------------------------


def text_of(content: object) -> str:
    """The text of a prompt in any of its shapes: string, content parts, list of messages or of strings."""
    if isinstance(content, list):
        return text_of(content[-1]) if content else ""
    if isinstance(content, dict):
        return text_of(content.get("content", content.get("text", content.get("output", ""))))
    return str(content)


def reply(call: Call, prompt: str) -> str:
    if call.model in ("slow", "long"):
        return " ".join(f"word{number}" for number in range(20 if call.model == "slow" else 200))
    if call.model == "utf8":
        return UTF8_TEXT
    return f"You said “{prompt}”. Héllo 🌍!\nThis answer is simulated, and comes in several tokens."


def conforming(schema: Json, word: str, root: Json | None = None) -> Any:
    """A value that a JSON schema allows, made of `word`: all properties, one item, the first of several choices."""
    root = schema if root is None else root
    if "$ref" in schema:
        return conforming(root["$defs"][schema["$ref"].rpartition("/")[2]], word, root)
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return conforming(choices[0], word, root)
    if "enum" in schema or "const" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    match schema.get("type"):
        case "object":
            return {name: conforming(value, word, root) for name, value in schema.get("properties", {}).items()}
        case "array":
            return [conforming(schema.get("items", {}), word, root)]
        case "integer":
            return len(word)
        case "number":
            return len(word) + 0.5
        case "boolean":
            return True
        case _:
            return word


def as_json(schema: Json, prompt: str) -> str:
    """JSON that `schema` allows, about the last word of the prompt."""
    words = re.findall(r"\w+", prompt)
    return json.dumps(conforming({"type": "object", **schema}, words[-1] if words else "nothing"), ensure_ascii=False)


def next_tool(tools: list[Json], choice: Any, spoken: Sequence[Json]) -> Json | None:
    """The tool to be called now, or None to speak. `spoken`: the conversation, the oldest first.

    `tools` and a `choice` of one are {"name"} with more beside it, in Chat Completions inside {"function"}.
    """
    offered: list[Json] = [tool.get("function", tool) for tool in tools if tool.get("type") == "function"]
    if not offered or choice == "none":
        return None
    if isinstance(choice, dict) and "name" in (chosen := choice.get("function", choice)):
        return next((tool for tool in offered if tool["name"] == chosen["name"]), None)
    since = max((at for at, item in enumerate(spoken) if item.get("role") == "user"), default=0)
    answers = [
        item for item in spoken[since:] if item.get("role") == "tool" or item.get("type") == "function_call_output"
    ]
    if len(answers) < len(offered):
        return offered[len(answers)]
    return offered[-1] if choice == "required" else None


def counted(prompt: str, answer: str, names: tuple[str, str] = ("prompt_tokens", "completion_tokens")) -> Json:
    used = (len(tokens(prompt)), len(tokens(answer)))
    return {names[0]: used[0], names[1]: used[1], "total_tokens": sum(used)}


class FakeOpenAI:
    """The API, with the state of one server: counter, files, runs that were polled, bodies that were rate limited."""

    def __init__(self) -> None:
        self._number = 0
        self._files: dict[str, tuple[Json, bytes]] = {}
        self._polls: dict[str, int] = {}
        self._limited: set[bytes] = set()

    def __call__(self, request: Received) -> list[Step]:
        self._number += 1
        steps = self._answer(Call(request, self._number, *parameters(request)))
        if request.method == "HEAD":
            return next([step] for step in steps if isinstance(step, Send))
        return steps

    def _answer(self, call: Call) -> list[Step]:
        request = call.request
        if not (request.header("authorization") or "").startswith("Bearer "):
            message = "You didn't provide an API key. Provide it in an Authorization header using Bearer auth."
            return error_answer(call, 401, "Unauthorized", message, "invalid_request_error", None)
        if call.model == "error-empty":
            return [Send(head(500, "Internal Server Error", call.headers("text/plain", ("content-length", "0"))))]
        if call.model == "error-429" and request.body in self._limited:
            self._limited.remove(request.body)
        elif call.model in ERRORS:
            self._limited.add(request.body)
            return error_answer(call, *ERRORS[call.model])
        for method, pattern, handler in ROUTES:
            if request.method.replace("HEAD", "GET") == method and (match := re.fullmatch(pattern, request.path)):
                return handler(self, call, *match.groups())
        message = f"Invalid URL ({request.method} {request.path})"
        return error_answer(call, 404, "Not Found", message, "invalid_request_error", None)

    # Text -----------------------------------------------------------------------------------------------------------

    def chat(self, call: Call) -> list[Step]:
        messages: list[Json] = call.params.get("messages", [])
        prompt = text_of(messages[-1:])
        common = {"id": call.id("chatcmpl-"), "created": call.created, "model": call.model}
        after = {"service_tier": "default", "system_fingerprint": "fp_simulated"}
        tools: list[Json] = call.params.get("tools") or []
        tool = next_tool(tools, call.params.get("tool_choice"), messages)
        shape = (call.params.get("response_format") or {}).get("json_schema")
        if tool:
            text = as_json(tool.get("parameters") or {}, prompt)
        else:
            text = as_json(shape["schema"], prompt) if shape else reply(call, prompt)
        called = [{"id": call.id("call_"), "type": "function"}] if tool else []
        finish = "tool_calls" if tool else "stop"
        choices = range(call.params.get("n") or 1)
        usage = counted(prompt, text * len(choices))

        if not call.stream:
            message: Json = {"role": "assistant", "content": None if tool else text, "refusal": None, "annotations": []}
            if tool:
                message["tool_calls"] = [{**called[0], "function": {"name": tool["name"], "arguments": text}}]
            answers = [{"index": index, "message": message, "finish_reason": finish} for index in choices]
            return json_answer(
                call, {**common, "object": "chat.completion", "choices": answers, "usage": usage, **after}
            )

        with_usage = (call.params.get("stream_options") or {}).get("include_usage")

        def chunk(index: int, delta: Json, finish: str | None = None) -> bytes:
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
            last = {"usage": None} if with_usage else {}
            return event({**common, "object": "chat.completion.chunk", **after, "choices": [choice], **last})

        role: Json = {"role": "assistant", "content": "", "refusal": None}
        deltas: list[Json] = [{"content": token} for token in tokens(text)]
        if tool:
            opening = {"index": 0, **called[0], "function": {"name": tool["name"], "arguments": ""}}
            role.update(content=None, tool_calls=[opening])
            parts = re.findall(r"\w+|\W+", text)
            deltas = [{"tool_calls": [{"index": 0, "function": {"arguments": part}}]} for part in parts]
        events = [chunk(index, delta) for delta in [role, *deltas] for index in choices]
        events += [chunk(index, {}, finish) for index in choices]
        if with_usage:
            events.append(event({**common, "object": "chat.completion.chunk", **after, "choices": [], "usage": usage}))
        return stream_answer(call, [*events, event("[DONE]")])

    def completions(self, call: Call) -> list[Step]:
        prompt = text_of(call.params.get("prompt", ""))
        text = reply(call, prompt)
        common = {"id": call.id("cmpl-"), "object": "text_completion", "created": call.created, "model": call.model}

        def choice(text: str, finish: str | None) -> Json:
            return {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}

        if not call.stream:
            return json_answer(call, {**common, "choices": [choice(text, "stop")], "usage": counted(prompt, text)})
        pieces = [*((token, None) for token in tokens(text)), ("", "stop")]
        events = [event({**common, "choices": [choice(*piece)]}) for piece in pieces]
        return stream_answer(call, [*events, event("[DONE]")])

    def responses(self, call: Call) -> list[Step]:
        input_value = call.params.get("input", "")
        prompt = text_of(input_value)
        spoken = input_value if isinstance(input_value, list) else []
        tool = next_tool(call.params.get("tools") or [], call.params.get("tool_choice"), spoken)
        shape = (call.params.get("text") or {}).get("format") or {}
        if tool:
            text = as_json(tool.get("parameters") or {}, prompt)
            item: Json = {
                "id": call.id("fc_"),
                "type": "function_call",
                "call_id": call.id("call_"),
                "name": tool["name"],
            }
            started, finished = {**item, "arguments": ""}, {**item, "arguments": text}
        else:
            text = as_json(shape["schema"], prompt) if "schema" in shape else reply(call, prompt)
            item = {"id": call.id("msg_"), "type": "message", "role": "assistant"}
            part = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
            started, finished = {**item, "content": []}, {**item, "content": [part]}
        started, finished = {**started, "status": "in_progress"}, {**finished, "status": "completed"}

        def response(status: str, output: list[Json]) -> Json:
            names = ("input_tokens", "output_tokens")
            usage = counted(prompt, text, names) if output else None
            settings: Json = {
                "error": None,
                "incomplete_details": None,
                "instructions": None,
                "metadata": {},
                "usage": usage,
            }
            options = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": call.params.get("tools") or []}
            fields = {"id": call.id("resp_"), "object": "response", "created_at": call.created, "status": status}
            return {
                **fields,
                "model": call.model,
                "output": output,
                **settings,
                **options,
                "temperature": 1.0,
                "top_p": 1.0,
            }

        if not call.stream:
            return json_answer(call, response("completed", [finished]))
        at = {"item_id": item["id"], "output_index": 0}
        values: list[Json] = [
            {"type": "response.created", "response": response("in_progress", [])},
            {"type": "response.in_progress", "response": response("in_progress", [])},
            {"type": "response.output_item.added", "output_index": 0, "item": started},
        ]
        if tool:
            kind = "response.function_call_arguments"
            values += [{"type": f"{kind}.delta", **at, "delta": part} for part in re.findall(r"\w+|\W+", text)]
            values += [{"type": f"{kind}.done", **at, "name": tool["name"], "arguments": text}]
        else:
            at["content_index"] = 0
            values += [{"type": "response.content_part.added", **at, "part": {**part, "text": ""}}]
            kind = "response.output_text"
            values += [{"type": f"{kind}.delta", **at, "delta": token, "logprobs": []} for token in tokens(text)]
            values += [{"type": f"{kind}.done", **at, "text": text, "logprobs": []}]
            values += [{"type": "response.content_part.done", **at, "part": part}]
        values += [
            {"type": "response.output_item.done", "output_index": 0, "item": finished},
            {"type": "response.completed", "response": response("completed", [finished])},
        ]
        numbered = [{**value, "sequence_number": number} for number, value in enumerate(values)]
        return stream_answer(call, [event(value, value["type"]) for value in numbered], with_names=True)

    # Assistants -----------------------------------------------------------------------------------------------------

    def run(self, call: Call, thread: str = "") -> list[Step]:
        thread = thread or call.id("thread_")
        messages = (call.params.get("thread") or {}).get("messages", call.params.get("additional_messages"))
        text = reply(call, text_of(messages or ""))
        run, step, message = call.id("run_"), call.id("step_"), call.id("msg_")
        ids = {"created_at": call.created, "thread_id": thread, "assistant_id": call.params.get("assistant_id")}
        of_run = self._run(run, ids, "queued")
        if not call.stream:
            return json_answer(call, of_run)
        creation = {"type": "message_creation", "message_creation": {"message_id": message}}
        of_step = {"id": step, "object": "thread.run.step", **ids, "run_id": run, "type": "message_creation"}
        of_step |= {"step_details": creation, "usage": None}
        of_message = {"id": message, "object": "thread.message", **ids, "run_id": run, "role": "assistant"}
        of_message |= {"content": [], "attachments": [], "metadata": {}}
        parts = [{"index": 0, "type": "text", "text": {"value": token, "annotations": []}} for token in tokens(text)]
        delta = {"id": message, "object": "thread.message.delta"}
        finished = {"type": "text", "text": {"value": text, "annotations": []}}
        events: list[tuple[str, Json]] = [
            ("thread.run.created", of_run),
            ("thread.run.queued", of_run),
            ("thread.run.in_progress", {**of_run, "status": "in_progress"}),
            ("thread.run.step.created", {**of_step, "status": "in_progress"}),
            ("thread.run.step.in_progress", {**of_step, "status": "in_progress"}),
            ("thread.message.created", {**of_message, "status": "in_progress"}),
            ("thread.message.in_progress", {**of_message, "status": "in_progress"}),
            *(("thread.message.delta", {**delta, "delta": {"content": [part]}}) for part in parts),
            ("thread.message.completed", {**of_message, "status": "completed", "content": [finished]}),
            ("thread.run.step.completed", {**of_step, "status": "completed", "usage": counted("", text)}),
            ("thread.run.completed", {**of_run, "status": "completed", "usage": counted("", text)}),
        ]
        if not call.request.path.startswith(f"/v1/threads/{thread}/"):
            events.insert(0, ("thread.created", {"id": thread, "object": "thread", "created_at": call.created}))
        written = [event(value, name) for name, value in events]
        return stream_answer(call, [*written, event("[DONE]", "done")], with_names=True)

    def poll_run(self, call: Call, thread: str, run: str) -> list[Step]:
        """The same request, another answer: queued, in progress, then completed."""
        polls = self._polls[run] = self._polls.get(run, 0) + 1
        ids = {"created_at": FIRST_SECOND, "thread_id": thread, "assistant_id": "asst_simulated"}
        return json_answer(call, self._run(run, ids, ("queued", "in_progress", "completed")[min(polls, 3) - 1]))

    @staticmethod
    def _run(run: str, ids: Json, status: str) -> Json:
        empty: Json = dict.fromkeys(("started_at", "expires_at", "failed_at", "completed_at", "last_error", "usage"))
        settings: Json = {"instructions": None, "tools": [], "metadata": {}, "model": "gpt-4o", "required_action": None}
        return {"id": run, "object": "thread.run", **ids, "status": status, **empty, **settings}

    # Vectors, sound, pictures ---------------------------------------------------------------------------------------

    def embeddings(self, call: Call) -> list[Step]:
        texts = call.params.get("input", "")
        inputs = texts if isinstance(texts, list) and texts and not isinstance(texts[0], int) else [texts]
        size = call.params.get("dimensions") or 1536
        data: list[Json] = []
        for index, text in enumerate(inputs):
            numbers = [n / 32768 for n in struct.unpack(f"<{size}h", noise(str(text), 2 * size))]  # exact as float32
            packed = base64.b64encode(struct.pack(f"<{size}f", *numbers)).decode()
            as_base64 = call.params.get("encoding_format") == "base64"
            data.append({"object": "embedding", "index": index, "embedding": packed if as_base64 else numbers})
        used = sum(len(tokens(str(text))) for text in inputs)
        usage = {"prompt_tokens": used, "total_tokens": used}
        return json_answer(call, {"object": "list", "data": data, "model": call.model, "usage": usage})

    def speech(self, call: Call) -> list[Step]:
        mp3 = b"".join(b"\xff\xf3\xe4\xc4" + noise(f"{call.params.get('input')}{at}", 380) for at in range(160))
        if call.params.get("stream_format") != "sse":
            return chunked_answer(call, "audio/mpeg", mp3)
        pieces = [base64.b64encode(mp3[at : at + 8192]).decode() for at in range(0, len(mp3), 8192)]
        values: list[Json] = [{"type": "speech.audio.delta", "audio": piece} for piece in pieces]
        values.append(
            {"type": "speech.audio.done", "usage": {"input_tokens": 8, "output_tokens": 90, "total_tokens": 98}}
        )
        return stream_answer(call, [event(value, eol="\r\n") for value in values])

    def transcriptions(self, call: Call) -> list[Step]:
        file = call.uploads.get("file", Upload("nothing", b""))
        text = f"A simulated transcript of {file.filename}, {len(file.content)} bytes, {digest(file.content)}."
        if not call.stream:
            return json_answer(call, {"text": text, "usage": {"type": "duration", "seconds": 2}})
        values: list[Json] = [{"type": "transcript.text.delta", "delta": token} for token in tokens(text)]
        used = {"type": "tokens", **counted("", text, ("input_tokens", "output_tokens"))}
        values.append({"type": "transcript.text.done", "text": text, "usage": used})
        return stream_answer(call, [event(value, eol="\r\n") for value in [*values, "[DONE]"]])

    def images(self, call: Call) -> list[Step]:
        png = b"\x89PNG\r\n\x1a\n" + noise(str(call.params.get("prompt")), 24_000)
        data = [{"b64_json": base64.b64encode(png).decode()} for _ in range(call.params.get("n") or 1)]
        parameters = {"background": "opaque", "output_format": "png", "quality": "low", "size": "1024x1024"}
        usage = {"input_tokens": 9, "output_tokens": 272, "total_tokens": 281}
        return json_answer(call, {"created": call.created, **parameters, "data": data, "usage": usage})

    # Files and the rest ---------------------------------------------------------------------------------------------

    def upload(self, call: Call) -> list[Step]:
        name, content = call.uploads.get("file", Upload("nothing", b""))
        fields = {"object": "file", "id": call.id("file-"), "purpose": call.params.get("purpose"), "filename": name}
        file: Json = {
            **fields,
            "bytes": len(content),
            "created_at": call.created,
            "expires_at": None,
            "status": "processed",
        }
        self._files[call.id("file-")] = (file, content)
        return json_answer(call, file)

    def list_files(self, call: Call) -> list[Step]:
        data = [file for file, _ in reversed(self._files.values())]
        ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
        return json_answer(call, {"object": "list", "data": data, **ends, "has_more": False})

    def file(self, call: Call, name: str, content: str | None = None) -> list[Step]:
        if name not in self._files:
            message = f"No such File object: {name}"
            return error_answer(call, 404, "Not Found", message, "invalid_request_error", None, "id")
        if call.request.method == "DELETE":
            del self._files[name]
            return json_answer(call, {"object": "file", "deleted": True, "id": name})
        file, data = self._files[name]
        return chunked_answer(call, "application/octet-stream", data) if content else json_answer(call, file)

    def models(self, call: Call) -> list[Step]:
        names = ["gpt-4o", "gpt-4o-mini", "gpt-5", "text-embedding-3-small", "tts-1", "whisper-1"]
        data = [{"id": name, "object": "model", "created": FIRST_SECOND, "owned_by": "system"} for name in names]
        return json_answer(call, {"object": "list", "data": data})

    def moderations(self, call: Call) -> list[Step]:
        values = call.params.get("input", "")
        names = ("harassment", "hate", "illicit", "self-harm", "sexual", "violence")
        results: list[Json] = []
        for text in values if isinstance(values, list) else [values]:
            scores = {name: byte / 256 for name, byte in zip(names, noise(str(text), len(names)), strict=True)}
            categories = {name: score > 0.9 for name, score in scores.items()}
            flagged = any(categories.values())
            results.append({"flagged": flagged, "categories": categories, "category_scores": scores})
        return json_answer(call, {"id": call.id("modr-"), "model": call.model, "results": results})


ROUTES: list[tuple[str, str, Callable[..., list[Step]]]] = [
    ("POST", "/v1/chat/completions", FakeOpenAI.chat),
    ("POST", "/v1/completions", FakeOpenAI.completions),
    ("POST", "/v1/responses", FakeOpenAI.responses),
    ("POST", "/v1/threads/runs", FakeOpenAI.run),
    ("POST", "/v1/threads/([^/]+)/runs", FakeOpenAI.run),
    ("GET", "/v1/threads/([^/]+)/runs/([^/]+)", FakeOpenAI.poll_run),
    ("POST", "/v1/embeddings", FakeOpenAI.embeddings),
    ("POST", "/v1/audio/speech", FakeOpenAI.speech),
    ("POST", "/v1/audio/transcriptions", FakeOpenAI.transcriptions),
    ("POST", "/v1/images/generations", FakeOpenAI.images),
    ("POST", "/v1/files", FakeOpenAI.upload),
    ("GET", "/v1/files", FakeOpenAI.list_files),
    ("GET", "/v1/files/([^/]+)", FakeOpenAI.file),
    ("DELETE", "/v1/files/([^/]+)", FakeOpenAI.file),
    ("GET", "/v1/files/([^/]+)/(content)", FakeOpenAI.file),
    ("GET", "/v1/models", FakeOpenAI.models),
    ("POST", "/v1/moderations", FakeOpenAI.moderations),
]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


def parameters(request: Received) -> tuple[Json, dict[str, Upload]]:
    """The fields of a JSON body or a form, and a form's files."""
    content_type = request.header("content-type") or ""
    if content_type.startswith("application/json") and request.body:
        value = request.json()
        return (value if isinstance(value, dict) else {}), {}
    fields: Json = {}
    uploads: dict[str, Upload] = {}
    if match := re.search(r'multipart/form-data;.*boundary="?([^";]+)', content_type):
        for part in request.body.split(b"--" + match[1].encode())[1:-1]:
            top, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
            names = dict(re.findall(r'\b(name|filename)="?([^";\r\n]*)', top.decode()))
            content = content.removesuffix(b"\r\n")
            if "filename" in names:
                uploads[names["name"]] = Upload(names["filename"], content)
            else:
                fields[names.get("name", "")] = content.decode()
    return fields, uploads
