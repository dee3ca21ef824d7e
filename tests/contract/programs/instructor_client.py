"""Contract client: Instructor. Answers as objects of a response_model, whole, partial and one by one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import instructor
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel, field_validator

from tests.contract.programs.scenarios import ASK_WEATHER, failing, failure, run_all, scenario


class Report(BaseModel):
    city: str
    degrees: int
    notes: list[str]


class Fussy(Report):
    @field_validator("city")
    @classmethod
    def is_in_capitals(cls, value: str) -> str:
        if value != value.upper():
            raise ValueError("write the city in capitals")
        return value


def asked(model: str = "gpt-4o-mini", response_model: Any = Report, **options: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": ASK_WEATHER}]
    return {"model": model, "messages": messages, "response_model": response_model, **options}


def client(mode: Any = instructor.Mode.TOOLS, **options: Any) -> Any:
    return instructor.from_openai(AsyncOpenAI(**options), mode=mode)


async def partial(model: str = "gpt-4o-mini") -> Any:
    states: list[Any] = []
    try:
        async for report in client().create_partial(**asked(model)):
            states.append(report.model_dump())
    except Exception as problem:
        return [states, failure(problem)]
    return states


@scenario
async def stream_partial() -> Any:
    return await partial()


@scenario
async def stream_iterable() -> Any:
    return [report.model_dump() async for report in client().create_iterable(**asked())]


@scenario
async def tool_call() -> Any:
    report, completion = await client().create_with_completion(**asked())
    return [report.model_dump(), completion.id, completion.usage.total_tokens]


@scenario
def tool_call_sync() -> Any:
    return instructor.from_openai(OpenAI()).create(**asked()).model_dump()


@scenario
async def json_schema() -> Any:
    return (await client(instructor.Mode.JSON_SCHEMA).create(**asked())).model_dump()


@scenario
async def many() -> Any:
    return [report.model_dump() async for report in await client().create(**asked(response_model=Iterable[Report]))]


@scenario
async def asks_again_when_the_answer_is_not_valid() -> Any:
    return await failing(lambda: client().create(**asked(response_model=Fussy, max_retries=2)))


@scenario
async def error_400() -> Any:
    return await failing(lambda: client().create(**asked("error-400", max_retries=1)))


@scenario
async def error_401() -> Any:
    return await failing(lambda: client().create(**asked("error-401", max_retries=1)))


@scenario
async def error_429_retried() -> Any:
    return (await client().create(**asked("error-429"))).model_dump()


@scenario
async def stream_error() -> Any:
    return await partial("stream-error")


@scenario
async def stream_cut() -> Any:
    return await partial("stream-cut")


if __name__ == "__main__":
    run_all()
