"""Contract client: `llm` by Simon Willison, its library and its command, with a user folder of its own."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

FOLDER = tempfile.TemporaryDirectory(prefix="openai-replay-llm-")
os.environ["LLM_USER_PATH"] = FOLDER.name
# Models that llm does not know, as its documentation has them. They are told no `api_base`: OPENAI_BASE_URL is theirs.
MODELS = "".join(
    f"- model_id: {name}\n  model_name: {name}\n  supports_tools: true\n  supports_schema: true\n"
    for name in ("error-400", "error-401", "error-429", "stream-error", "stream-cut")
)
(Path(FOLDER.name) / "extra-openai-models.yaml").write_text(MODELS, "utf-8")

import llm  # noqa: E402 - it looks for its folder when it is imported
from pydantic import BaseModel  # noqa: E402

from tests.contract.programs.scenarios import (  # noqa: E402
    ASK_WEATHER,
    GREET,
    failing,
    failure,
    run_all,
    scenario,
    weather,
)


class Report(BaseModel):
    city: str
    degrees: int


def streamed(response: Any) -> Any:
    texts: list[str] = []
    try:
        texts.extend(response)
    except Exception as problem:
        return [texts, failure(problem)]
    usage = response.usage()
    return [texts, [usage.input, usage.output]]


async def command(*arguments: str) -> Any:
    """`llm ARGUMENTS`: its exit code and what it wrote."""
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "llm", *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
    )
    stdout, stderr = await child.communicate()
    return [child.returncode, stdout.decode(), stderr.decode()]


@scenario
def stream() -> Any:
    return streamed(llm.get_model("gpt-4o-mini").prompt(GREET))


@scenario
def not_streamed() -> Any:
    return llm.get_model("gpt-4o-mini").prompt(GREET, stream=False).text()


@scenario
async def stream_async() -> Any:
    return [text async for text in llm.get_async_model("gpt-4o-mini").prompt(GREET)]


@scenario
def tool_loop() -> Any:
    chain = llm.get_model("gpt-4o-mini").chain(ASK_WEATHER, tools=[weather])
    responses = list(chain.responses())
    calls = [[[call.name, call.arguments] for call in response.tool_calls()] for response in responses]
    return [calls, [response.text() for response in responses]]


@scenario
def schema() -> Any:
    return llm.get_model("gpt-4o-mini").prompt(ASK_WEATHER, schema=Report).text()


@scenario
def conversation() -> Any:
    talk = llm.get_model("gpt-4o-mini").conversation()
    return [talk.prompt(text).text() for text in (GREET, "And once more.")]


@scenario
def embedding() -> Any:
    return llm.get_embedding_model("3-small").embed("first")[:4]


@scenario
async def command_streams() -> Any:
    return await command("-m", "gpt-4o-mini", "--no-log", GREET)


@scenario
async def command_calls_a_tool() -> Any:
    tool = "def weather(city: str) -> str:\n    return f'-3 °C and snow in {city}'"
    return await command("-m", "gpt-4o-mini", "--no-log", "--functions", tool, ASK_WEATHER)


@scenario
async def command_fails() -> Any:
    return await command("-m", "error-401", "--no-log", GREET)


@scenario
async def error_400() -> Any:
    return await failing(lambda: llm.get_model("error-400").prompt(GREET).text())


@scenario
async def error_401() -> Any:
    return await failing(lambda: llm.get_model("error-401").prompt(GREET).text())


@scenario
def error_429_retried() -> Any:
    return streamed(llm.get_model("error-429").prompt(GREET))


@scenario
def stream_error() -> Any:
    return streamed(llm.get_model("stream-error").prompt(GREET))


@scenario
def stream_cut() -> Any:
    return streamed(llm.get_model("stream-cut").prompt(GREET))


if __name__ == "__main__":
    run_all()
