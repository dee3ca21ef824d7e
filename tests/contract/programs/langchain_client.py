"""Contract client: LangChain's ChatOpenAI, over Chat Completions and over Responses."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from tests.contract.programs import scenarios
from tests.contract.programs.scenarios import ASK_WEATHER, GREET, failing, failure, run_all, scenario


class Report(BaseModel):
    """A weather report."""

    city: str
    degrees: int
    notes: list[str]


weather = tool(scenarios.weather)


def chat(model: str = "gpt-4o-mini", **options: Any) -> Any:
    return ChatOpenAI(model=model, **options)


def told(message: Any) -> Any:
    """A message without the ids that LangChain makes up."""
    return [message.content, message.tool_calls, message.usage_metadata, message.response_metadata]


async def streamed(runnable: Any, prompt: Any) -> Any:
    chunks: list[Any] = []
    error = None
    try:
        async for chunk in runnable.astream(prompt):
            chunks.append(chunk)
    except Exception as problem:
        error = failure(problem)
    total = None
    for chunk in chunks:
        total = chunk if total is None else total + chunk
    return [[chunk.content for chunk in chunks], total and told(total), error], total


async def tool_loop_of(model: Any) -> Any:
    """Ask, run the tools that are asked for, tell their answers, and listen again; each time as a stream."""
    bound = model.bind_tools([weather])
    messages: list[Any] = [HumanMessage(ASK_WEATHER)]
    results = []
    for _ in range(3):
        told_so_far, answer = await streamed(bound, messages)
        results.append(told_so_far)
        if not answer.tool_calls:
            break
        messages.append(answer)
        for call in answer.tool_calls:
            messages.append(ToolMessage(await weather.ainvoke(call["args"]), tool_call_id=call["id"]))
    return results


@scenario
async def stream() -> Any:
    return (await streamed(chat(), GREET))[0]


@scenario
async def stream_with_usage() -> Any:
    return (await streamed(chat(stream_usage=True), GREET))[0]


@scenario
def invoke() -> Any:
    return told(chat().invoke(GREET))


@scenario
async def tool_loop() -> Any:
    return await tool_loop_of(chat())


@scenario
async def structured_output() -> Any:
    return (await chat().with_structured_output(Report).ainvoke(ASK_WEATHER)).model_dump()


@scenario
async def structured_output_by_tool() -> Any:
    model = chat().with_structured_output(Report, method="function_calling")
    return (await model.ainvoke(ASK_WEATHER)).model_dump()


@scenario
async def responses_stream() -> Any:
    return (await streamed(chat("gpt-5", use_responses_api=True), GREET))[0]


@scenario
async def responses_tool_loop() -> Any:
    return await tool_loop_of(chat("gpt-5", use_responses_api=True))


@scenario
async def embeddings() -> Any:
    """Of texts, not of tokens: to count those, tiktoken loads a file from the network."""
    vectors = OpenAIEmbeddings(model="text-embedding-3-small", dimensions=8, check_embedding_ctx_length=False)
    return await vectors.aembed_documents(["first", "second"])


@scenario
async def batch() -> Any:
    return [told(message) for message in await chat().abatch([GREET, "Twice."], {"max_concurrency": 1})]


@scenario
async def error_400() -> Any:
    return await failing(lambda: chat("error-400").ainvoke(GREET))


@scenario
async def error_401() -> Any:
    return await failing(lambda: chat("error-401").ainvoke(GREET))


@scenario
async def error_429_retried() -> Any:
    return told(await chat("error-429", max_retries=1).ainvoke(GREET))


@scenario
async def stream_error() -> Any:
    return (await streamed(chat("stream-error"), GREET))[0]


@scenario
async def stream_cut() -> Any:
    return (await streamed(chat("stream-cut"), GREET))[0]


if __name__ == "__main__":
    run_all()
