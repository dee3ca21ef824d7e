"""Contract client: the OpenAI Agents SDK. A Runner runs agents with function tools, over Responses and over Chat
Completions.
"""

from __future__ import annotations

from typing import Any

from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool
from openai import AsyncOpenAI
from pydantic import BaseModel

from tests.contract.programs import scenarios
from tests.contract.programs.scenarios import ASK_WEATHER, GREET, failing, failure, run_all, scenario


class Report(BaseModel):
    city: str
    degrees: int
    notes: list[str]


weather = function_tool(scenarios.weather)


def greeter(model: Any = "gpt-5") -> Any:
    return Agent(name="Greeter", instructions="Be kind.", model=model)


def reporter(model: Any = "gpt-5", **options: Any) -> Any:
    return Agent(name="Reporter", instructions="Ask the tool.", model=model, tools=[weather], **options)


def chat_model() -> Any:
    return OpenAIChatCompletionsModel(model="gpt-4o-mini", openai_client=AsyncOpenAI())


def told(result: Any) -> Any:
    """Return the result of a run: its items, the final output, the IDs of the responses, the tokens."""
    items = [[item.type, item.to_input_item()] for item in result.new_items]
    usage = result.context_wrapper.usage
    ids = [response.response_id for response in result.raw_responses]
    return [items, str(result.final_output), ids, [usage.requests, usage.input_tokens, usage.output_tokens]]


async def streamed(agent: Any, prompt: str) -> Any:
    result = Runner.run_streamed(agent, prompt)
    kinds, texts, error = [], [], None
    try:
        async for event in result.stream_events():
            if event.type == "raw_response_event":
                kinds.append(event.data.type)
                texts.append(getattr(event.data, "delta", None))
            else:
                kinds.append(event.name if event.type == "run_item_stream_event" else event.type)
    except Exception as problem:
        error = failure(problem)
    return [kinds, texts, error or told(result)]


@scenario
async def stream() -> Any:
    return await streamed(greeter(), GREET)


@scenario
async def tool_loop() -> Any:
    return told(await Runner.run(reporter(), ASK_WEATHER))


@scenario
async def tool_loop_streamed() -> Any:
    return await streamed(reporter(), ASK_WEATHER)


@scenario
async def tool_loop_with_structured_output() -> Any:
    return told(await Runner.run(reporter(output_type=Report), ASK_WEATHER))


@scenario
async def handoff() -> Any:
    triage = Agent(name="Triage", instructions="Hand over.", model="gpt-5", handoffs=[greeter()])
    return told(await Runner.run(triage, GREET))


@scenario
async def chat_stream() -> Any:
    return await streamed(greeter(chat_model()), GREET)


@scenario
async def chat_tool_loop_streamed() -> Any:
    return await streamed(reporter(chat_model()), ASK_WEATHER)


@scenario
async def error_400() -> Any:
    return await failing(lambda: Runner.run(greeter("error-400"), GREET))


@scenario
async def error_401() -> Any:
    return await failing(lambda: Runner.run(greeter("error-401"), GREET))


@scenario
async def error_429_retried() -> Any:
    return told(await Runner.run(greeter("error-429"), GREET))


@scenario
async def stream_error() -> Any:
    return await streamed(greeter("stream-error"), GREET)


@scenario
async def stream_cut() -> Any:
    return await streamed(greeter("stream-cut"), GREET)


if __name__ == "__main__":
    run_all()
