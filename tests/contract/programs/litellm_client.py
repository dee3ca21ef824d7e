"""Contract client: LiteLLM's completion and acompletion with `openai/...` models, and its Responses."""

from __future__ import annotations

import json
from typing import Any

import litellm

from tests.contract.programs.scenarios import ASK_WEATHER, GREET, failing, failure, run_all, scenario, weather

litellm.suppress_debug_info = True  # it would be printed among what was seen

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def asked(text: str = GREET, model: str = "gpt-4o-mini", **options: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": f"openai/{model}", "messages": messages, "max_retries": 0, **options}


async def streamed(**options: Any) -> Any:
    chunks: list[Any] = []
    error = None
    try:
        async for chunk in await litellm.acompletion(**{**asked(), **options}, stream=True):
            chunks.append(chunk)
    except Exception as problem:
        error = failure(problem)
    response = litellm.stream_chunk_builder(chunks) if chunks else None
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    calls = response and [call.model_dump() for call in response.choices[0].message.tool_calls or []]
    return [texts, response and response.choices[0].finish_reason, calls, error]


@scenario
async def stream() -> Any:
    return await streamed()


@scenario
async def stream_with_usage() -> Any:
    return await streamed(stream_options={"include_usage": True})


@scenario
def completion_sync() -> Any:
    answer = litellm.completion(**asked())
    return [answer.id, answer.choices[0].message.content, answer.usage.total_tokens]


@scenario
def stream_sync() -> Any:
    return [chunk.choices[0].delta.content for chunk in litellm.completion(**asked(), stream=True)]


@scenario
async def tool_loop() -> Any:
    messages: list[Any] = [{"role": "user", "content": ASK_WEATHER}]
    results = []
    for _ in range(3):
        answer = await litellm.acompletion(**{**asked(), "messages": messages}, tools=[WEATHER])
        message = answer.choices[0].message
        results.append([answer.id, message.content, [call.model_dump() for call in message.tool_calls or []]])
        if not message.tool_calls:
            break
        messages.append(message.model_dump())
        for call in message.tool_calls:
            output = weather(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": output})
    return results


@scenario
async def tool_stream() -> Any:
    return await streamed(tools=[WEATHER], messages=[{"role": "user", "content": ASK_WEATHER}])


@scenario
async def responses() -> Any:
    answer = await litellm.aresponses(model="openai/gpt-5", input=GREET)
    return [answer.output[0].content[0].text, answer.usage.total_tokens]


@scenario
async def responses_stream() -> Any:
    events = await litellm.aresponses(model="openai/gpt-5", input=GREET, stream=True)
    return [[str(event.type), getattr(event, "delta", None)] async for event in events]


@scenario
async def embeddings() -> Any:
    answer = await litellm.aembedding(model="openai/text-embedding-3-small", input=["first"], dimensions=8)
    return [answer.data[0]["embedding"], answer.usage.total_tokens]


@scenario
async def error_400() -> Any:
    return await failing(lambda: litellm.acompletion(**asked(model="error-400")))


@scenario
async def error_401() -> Any:
    return await failing(lambda: litellm.acompletion(**asked(model="error-401")))


@scenario
async def error_429_retried() -> Any:
    answer = await litellm.acompletion(**asked(model="error-429", max_retries=1))
    return [answer.id, answer.choices[0].message.content]


@scenario
async def stream_error() -> Any:
    return await streamed(model="openai/stream-error")


@scenario
async def stream_cut() -> Any:
    return await streamed(model="openai/stream-cut")


if __name__ == "__main__":
    run_all()
