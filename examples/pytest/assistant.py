"""An app on top of the API. Like many apps, it swallows errors: its customers get an excuse."""

import asyncio
import sys

from openai import AsyncOpenAI, OpenAI, OpenAIError

PROMPT = "You answer the customers of a bicycle shop in one sentence."
EXCUSE = "Sorry, nobody is here right now."


def _request(question: str) -> dict:
    messages = [{"role": "system", "content": PROMPT}, {"role": "user", "content": question}]
    return {"model": "gpt-4o-mini", "messages": messages, "stream": True}


def reply(question: str) -> str:
    """Answer a customer."""
    try:
        with OpenAI() as client:
            stream = client.chat.completions.create(**_request(question))
            return "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    except OpenAIError:
        return EXCUSE


async def reply_to_all(questions: list[str]) -> list[str]:
    """Answer several customers at once."""

    async def ask(client: AsyncOpenAI, question: str) -> str:
        try:
            stream = await client.chat.completions.create(**_request(question))
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        except OpenAIError:
            return EXCUSE

    async with AsyncOpenAI() as client:
        return await asyncio.gather(*(ask(client, question) for question in questions))


if __name__ == "__main__":
    print(reply(" ".join(sys.argv[1:])))
