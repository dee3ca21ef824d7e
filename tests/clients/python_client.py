"""Contract client: the official Python SDK, sync or async, through fixed scenarios in a fixed order.

    OPENAI_BASE_URL=http://127.0.0.1:PORT/v1 OPENAI_API_KEY=sk-test python python_client.py sync|async

Prints one JSON document, {scenario: what the client saw}, without times: the output of a run against the simulated
upstream, of one through a recording proxy and of one through a replay can be compared for equality.
Works with openai 2 and 3. The scenarios are written once, for the async client; `got`, `each` and `opened` let the sync
client pass for one.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import sys
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import groupby
from typing import Any

import openai

warnings.simplefilter("ignore", DeprecationWarning)  # Assistants

SCENARIOS: list[Callable[[Any], Awaitable[Any]]] = []

ASKED: Any = [{"role": "user", "content": "Greet the world. Où est-ce? 🌍"}]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}, "unit": {"type": "string"}}}
CHAT_TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": WEATHER}}
RESPONSES_TOOL: Any = {"type": "function", "name": "weather", "parameters": WEATHER, "strict": False}
AUDIO = b"\xff\xf3\xe4\xc4" + bytes(range(256)) * 16
BINARY = b"\r\n--not-a-boundary\r\n\x00\x01\xfe\xff" * 500


def scenario(function: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    SCENARIOS.append(function)
    return function


# One text for both clients: none of these suspends when the client is the sync one.


async def got(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def each(items: Any) -> AsyncGenerator[Any, None]:
    if hasattr(items, "__aiter__"):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


@asynccontextmanager
async def opened(manager: Any) -> AsyncIterator[Any]:
    if hasattr(manager, "__aenter__"):
        async with manager as value:
            yield value
    else:
        with manager as value:
            yield value


def run_sync(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never suspends, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise RuntimeError("a scenario suspended under the sync client")


# What the client saw.


def sha(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def everything(values: list[Any]) -> str:
    """A digest over all fields of all objects, known to the SDK or not."""
    return hashlib.sha256(json.dumps([value.to_dict() for value in values], sort_keys=True).encode()).hexdigest()


def failure(error: BaseException) -> dict[str, Any]:
    names = ("status_code", "code", "type", "param", "request_id", "message")
    classes = {"class": type(error).__name__, "cause": type(error.__cause__).__name__}
    return {**classes, **{name: getattr(error, name, None) for name in names}}


async def failing(call: Callable[[], Any]) -> Any:
    """The error that `call` raises; what it returned if it raises none, for the comparison to show."""
    try:
        return {"unexpected": repr(await got(call()))}
    except openai.OpenAIError as error:
        return failure(error)


async def seen(stream: Any, text_of: Callable[[Any], Any], kind_of: Callable[[Any], str]) -> dict[str, Any]:
    """Read a stream to its end, good or bad. `kinds` are in order, each with how often it came in a row."""
    items: list[Any] = []
    error = None
    try:
        async for item in each(await got(stream)):
            items.append(item)
    except Exception as problem:
        # openai 2 lets the HTTP library's own errors out of a stream.
        error = failure(problem)
    texts = [text for item in items if (text := text_of(item)) is not None]
    kinds = [[kind, len(list(group))] for kind, group in groupby(kind_of(item) for item in items)]
    return {"count": len(items), "kinds": kinds, "texts": texts, "all": everything(items), "error": error}


def chat_text(chunk: Any) -> Any:
    return [[choice.index, choice.delta.content, choice.finish_reason] for choice in chunk.choices]


def response_text(event: Any) -> Any:
    return getattr(event, "delta", None)


def assistant_text(event: Any) -> Any:
    return event.data.delta.content[0].text.value if event.event == "thread.message.delta" else None


async def chat_stream_of(client: Any, model: str, **options: Any) -> dict[str, Any]:
    stream = client.chat.completions.create(model=model, messages=ASKED, stream=True, **options)
    return await seen(stream, chat_text, lambda chunk: str(chunk.id))


# The scenarios, in the order they run.


@scenario
async def models(client: Any) -> Any:
    return [model.id async for model in each((await got(client.models.list())).data)]


@scenario
async def chat(client: Any) -> Any:
    answer = await got(client.chat.completions.create(model="gpt-4o-mini", messages=ASKED))
    choice = answer.choices[0]
    return [answer.id, answer._request_id, choice.message.content, choice.finish_reason, everything([answer])]


@scenario
async def chat_stream(client: Any) -> Any:
    return await chat_stream_of(client, "gpt-4o-mini", stream_options={"include_usage": True})


@scenario
async def chat_tool(client: Any) -> Any:
    answer = await got(client.chat.completions.create(model="gpt-4o-mini", messages=ASKED, tools=[CHAT_TOOL]))
    return [answer.id, answer.choices[0].message.to_dict()]


@scenario
async def chat_tool_stream(client: Any) -> Any:
    calls: list[Any] = []

    def note(chunk: Any) -> Any:
        calls.extend(call.to_dict() for choice in chunk.choices for call in choice.delta.tool_calls or [])

    stream = client.chat.completions.create(model="gpt-4o-mini", messages=ASKED, tools=[CHAT_TOOL], stream=True)
    result = await seen(stream, note, lambda chunk: str(chunk.choices[0].finish_reason))
    arguments = "".join(call["function"]["arguments"] for call in calls)
    return {**result, "calls": calls, "arguments": json.loads(arguments)}


@scenario
async def chat_n2(client: Any) -> Any:
    answer = await got(client.chat.completions.create(model="gpt-4o-mini", messages=ASKED, n=2))
    streamed = await chat_stream_of(client, "gpt-4o-mini", n=2)
    return [answer.id, [[choice.index, choice.message.content] for choice in answer.choices], streamed]


@scenario
async def responses(client: Any) -> Any:
    answer = await got(client.responses.create(model="gpt-5", input="Say hello."))
    return [answer.id, answer.output_text, everything([answer])]


@scenario
async def responses_stream(client: Any) -> Any:
    stream = client.responses.create(model="gpt-5", input="Say hello.", stream=True)
    return await seen(stream, response_text, lambda event: str(event.type))


@scenario
async def responses_tool(client: Any) -> Any:
    answer = await got(client.responses.create(model="gpt-5", input="Weather in Oslo", tools=[RESPONSES_TOOL]))
    return [answer.id, answer.output[0].to_dict()]


@scenario
async def responses_tool_stream(client: Any) -> Any:
    stream = client.responses.create(model="gpt-5", input="Weather in Oslo", tools=[RESPONSES_TOOL], stream=True)
    return await seen(stream, response_text, lambda event: str(event.type))


@scenario
async def assistants_run_stream(client: Any) -> Any:
    messages: Any = [{"role": "user", "content": "Hello, assistant"}]
    run = client.beta.threads.runs.create(
        thread_id="thread_1", assistant_id="asst_1", additional_messages=messages, stream=True
    )
    first = await seen(run, assistant_text, lambda event: str(event.event))
    run = client.beta.threads.create_and_run(assistant_id="asst_1", thread={"messages": messages}, stream=True)
    return [first, await seen(run, assistant_text, lambda event: str(event.event))]


@scenario
async def assistants_run_polled(client: Any) -> Any:
    """The same request three times, three different answers."""
    run = await got(client.beta.threads.runs.create(thread_id="thread_1", assistant_id="asst_1"))
    polls = [await got(client.beta.threads.runs.retrieve(run.id, thread_id="thread_1")) for _ in range(3)]
    return [run.id, run.status, *(poll.status for poll in polls)]


@scenario
async def completions(client: Any) -> Any:
    answer = await got(client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Once upon"))
    stream = client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Once upon", stream=True)
    streamed = await seen(stream, lambda chunk: chunk.choices[0].text, lambda chunk: str(chunk.id))
    return [answer.id, answer.choices[0].text, streamed]


@scenario
async def embeddings(client: Any) -> Any:
    texts = ["first", "second"]
    packed = await got(client.embeddings.create(model="text-embedding-3-small", input=texts))  # base64 on the wire
    create = client.embeddings.create
    plain = await got(create(model="text-embedding-3-small", input=texts, encoding_format="float", dimensions=64))
    return [[len(item.embedding), item.embedding[:3]] for item in [*packed.data, *plain.data]] + [
        everything([packed, plain])
    ]


@scenario
async def moderations(client: Any) -> Any:
    answer = await got(client.moderations.create(model="omni-moderation-latest", input="Be nice."))
    return [answer.id, everything([answer])]


@scenario
async def speech(client: Any) -> Any:
    create = client.audio.speech.with_streaming_response.create
    async with opened(create(model="tts-1", voice="alloy", input="Hello there")) as response:
        audio = b"".join([piece async for piece in each(response.iter_bytes())])
        return [response.headers["content-type"], sha(audio)]


@scenario
async def transcription(client: Any) -> Any:
    file = ("hällo.mp3", AUDIO, "audio/mpeg")
    answer = await got(client.audio.transcriptions.create(model="whisper-1", file=file))
    stream = client.audio.transcriptions.create(model="gpt-4o-mini-transcribe", file=file, stream=True)
    return [answer.text, await seen(stream, response_text, lambda event: str(event.type))]


@scenario
async def image(client: Any) -> Any:
    answer = await got(client.images.generate(model="gpt-image-1", prompt="An isolated stop sign."))
    return [sha(item.b64_json.encode()) for item in answer.data]


@scenario
async def files(client: Any) -> Any:
    created = await got(client.files.create(file=("data.bin", BINARY, "application/octet-stream"), purpose="user_data"))
    listed = await got(client.files.list())
    file = await got(client.files.retrieve(created.id))
    content = await got(client.files.content(created.id))
    deleted = await got(client.files.delete(created.id))
    error = await failing(lambda: client.files.retrieve(created.id))
    empty = await got(client.files.list())
    return [
        created.to_dict(),
        [file.id for file in listed.data],
        file.to_dict(),
        sha(content.content),
        deleted.to_dict(),
        error,
        [file.id for file in empty.data],
    ]


@scenario
async def error_401(client: Any) -> Any:
    return await failing(lambda: client.chat.completions.create(model="error-401", messages=ASKED))


@scenario
async def error_429_retried(client: Any) -> Any:
    patient = client.with_options(max_retries=1)
    answer = await got(patient.chat.completions.create(model="error-429", messages=ASKED))
    return [answer.id, answer.choices[0].message.content]


@scenario
async def error_500(client: Any) -> Any:
    return await failing(lambda: client.chat.completions.create(model="error-500", messages=ASKED))


@scenario
async def error_503_stream(client: Any) -> Any:
    return await failing(lambda: client.chat.completions.create(model="error-503", messages=ASKED, stream=True))


@scenario
async def error_empty(client: Any) -> Any:
    return await failing(lambda: client.chat.completions.create(model="error-empty", messages=ASKED))


@scenario
async def not_found(client: Any) -> Any:
    return await failing(lambda: client.models.retrieve("no-such-model"))


@scenario
async def stream_error(client: Any) -> Any:
    stream = client.responses.create(model="stream-error", input="Say hello.", stream=True)
    events = await seen(stream, response_text, lambda event: str(event.type))
    return [await chat_stream_of(client, "stream-error"), events]


@scenario
async def stream_cut(client: Any) -> Any:
    return await chat_stream_of(client, "stream-cut")


@scenario
async def stream_reset(client: Any) -> Any:
    return await chat_stream_of(client, "stream-reset")


@scenario
async def utf8(client: Any) -> Any:
    stream = client.responses.create(model="utf8", input="Say hello.", stream=True)
    events = await seen(stream, response_text, lambda event: str(event.type))
    return [await chat_stream_of(client, "utf8"), events]


@scenario
async def keepalive(client: Any) -> Any:
    stream = client.responses.create(model="keepalive", input="Say hello.", stream=True)
    events = await seen(stream, response_text, lambda event: str(event.type))
    return [await chat_stream_of(client, "keepalive"), events]


@scenario
async def slow(client: Any) -> Any:
    return await chat_stream_of(client, "slow")


@scenario
async def same_twice(client: Any) -> Any:
    """The same request, two answers: a proxy must neither fold nor swap them."""
    messages: Any = [{"role": "user", "content": "Twice, please."}]
    answers = [await got(client.chat.completions.create(model="gpt-4o-mini", messages=messages)) for _ in range(2)]
    return [[answer.id, answer._request_id, answer.choices[0].message.content] for answer in answers]


@scenario
async def cancelled(client: Any) -> Any:
    """Last, so that an upstream that is still busy with it cannot disturb another scenario."""
    stream = await got(client.chat.completions.create(model="long", messages=ASKED, stream=True))
    texts = []
    items = each(stream)
    async for chunk in items:
        texts.append(chunk.choices[0].delta.content)
        if len(texts) == 5:
            break
    await items.aclose()
    await got(stream.close())
    return texts


async def run(client: Any) -> dict[str, Any]:
    results = {}
    for function in SCENARIOS:
        print(function.__name__, file=sys.stderr, flush=True)
        results[function.__name__] = await function(client)
    await got(client.close())
    return results


def main() -> None:
    """Run all scenarios and print the document."""
    if sys.argv[1:] == ["sync"]:
        results = run_sync(run(openai.OpenAI(max_retries=0, timeout=30)))
    elif sys.argv[1:] == ["async"]:

        async def with_async_client() -> dict[str, Any]:
            return await run(openai.AsyncOpenAI(max_retries=0, timeout=30))

        results = asyncio.run(with_async_client())
    else:
        sys.exit("usage: python_client.py sync|async")
    print(json.dumps(results, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
