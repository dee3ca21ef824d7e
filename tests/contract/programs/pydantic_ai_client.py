"""Contract client: Pydantic AI. An Agent with a tool and structured output, over Chat Completions and Responses."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent

from tests.contract.programs.scenarios import ASK_WEATHER, GREET, failing, failure, run_all, scenario, weather


class Report(BaseModel):
    """A weather report."""

    city: str
    degrees: int
    notes: list[str]


def agent(model: str = "openai-chat:gpt-4o-mini", **options: Any) -> Any:
    return Agent(model, instructions="Be kind.", **options)


def reporter(model: str = "openai-chat:gpt-4o-mini", **options: Any) -> Any:
    return agent(model, tools=[weather], **options)


def told(result: Any) -> Any:
    """Return the result of a run: the parts of its messages, its output, the tokens."""
    parts = [
        [part.part_kind, str(part.content) if hasattr(part, "content") else part.args]
        for message in result.all_messages()
        for part in message.parts
    ]
    usage = result.usage
    return [parts, str(result.output), [usage.requests, usage.input_tokens, usage.output_tokens]]


async def streamed(runner: Any, prompt: str) -> Any:
    texts: list[str] = []
    try:
        async with runner.run_stream(prompt) as result:
            async for text in result.stream_text(delta=True, debounce_by=None):
                texts.append(text)  # one by one: what came before an error counts, too
    except Exception as problem:
        return [texts, failure(problem)]
    return texts


@scenario
async def stream() -> Any:
    return await streamed(agent(), GREET)


@scenario
async def tool_loop() -> Any:
    return told(await reporter().run(ASK_WEATHER))


@scenario
async def tool_loop_streamed() -> Any:
    return await streamed(reporter(), ASK_WEATHER)


@scenario
async def tool_loop_with_structured_output() -> Any:
    return told(await reporter(output_type=Report).run(ASK_WEATHER))


@scenario
async def tool_loop_by_events() -> Any:
    results = []
    async with reporter().iter(ASK_WEATHER) as run:
        async for node in run:
            results.append(type(node).__name__)
    return [results, told(run.result)]


@scenario
async def responses_stream() -> Any:
    return await streamed(agent("openai-responses:gpt-5"), GREET)


@scenario
async def responses_tool_loop_with_structured_output() -> Any:
    return told(await reporter("openai-responses:gpt-5", output_type=Report).run(ASK_WEATHER))


@scenario
async def error_400() -> Any:
    return await failing(lambda: agent("openai-chat:error-400").run(GREET))


@scenario
async def error_401() -> Any:
    return await failing(lambda: agent("openai-chat:error-401").run(GREET))


@scenario
async def error_429_retried() -> Any:
    return told(await agent("openai-chat:error-429").run(GREET))


@scenario
async def stream_error() -> Any:
    return await streamed(agent("openai-chat:stream-error"), GREET)


@scenario
async def stream_cut() -> Any:
    return await streamed(agent("openai-chat:stream-cut"), GREET)


if __name__ == "__main__":
    run_all()
