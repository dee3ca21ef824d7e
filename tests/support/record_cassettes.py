"""Records `cassettes/` anew with this program: `make cassettes`.

The upstream is the tests' simulated API, no live one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.fake_openai import FakeOpenAI, event
from tests.support.upstream import Chunk, Received, Step, running_upstream, sse

CASSETTES = Path(__file__).parents[2] / "cassettes"
#: Fixed, so that recording anew changes no URL.
PORT = 8799

QUESTION = "Why would anybody record an API? Two sentences."
ANSWER = (
    "Because a test that asks a live model costs money, needs a key and never says the same thing twice. "
    "A recording answers at once — byte for byte, on time, even on a train 🚆."
)

CHAT = f"""
from openai import OpenAI
stream = OpenAI().chat.completions.create(
    model="gpt-4o-mini", messages=[{{"role": "user", "content": {QUESTION!r}}}], stream=True)
print("".join(chunk.choices[0].delta.content or "" for chunk in stream))
"""
RESPONSES = """
from openai import OpenAI
for event in OpenAI().responses.create(model="gpt-5-mini", input="Greet the world in one word.", stream=True):
    print(event.type)
"""
TOOLS = """
from openai import OpenAI
weather = {"type": "function", "function": {"name": "weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}
client, messages = OpenAI(), [{"role": "user", "content": "What is the weather in Oslo?"}]
answer = client.chat.completions.create(model="gpt-4o-mini", messages=messages, tools=[weather]).choices[0].message
messages += [answer, {"role": "tool", "tool_call_id": answer.tool_calls[0].id, "content": "-3 °C, snow"}]
print(client.chat.completions.create(model="gpt-4o-mini", messages=messages).choices[0].message.content)
"""
RETRY = """
from openai import OpenAI
client = OpenAI(max_retries=1)
print(client.chat.completions.create(model="error-429", messages=[{"role": "user", "content": "Once more?"}]))
"""
RECORDINGS = {"chat-stream": CHAT, "responses-stream": RESPONSES, "tool-call": TOOLS, "retry-after-429": RETRY}


class Api(FakeOpenAI):
    """The simulated API, but that it answers QUESTION with ANSWER at the pace of a real model: 310 ms, then 40 ms a
    token.
    """

    def __call__(self, request: Received) -> list[Step]:
        if QUESTION.encode() in request.body:
            return sse(*(Chunk(chunk) for chunk in _chunks()), interval=0.04, ttft=0.31)
        return super().__call__(request)


def _chunks() -> list[bytes]:
    words = ANSWER.replace(" ", "\0 ").split("\0")
    deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}, *({"content": word} for word in words), {}]
    return [
        *(
            event(
                {
                    "id": "chatcmpl-Cd2mVYnQ0J7kXz1u",
                    "object": "chat.completion.chunk",
                    "created": 1763000000,
                    "model": "gpt-4o-mini-2024-07-18",
                    "choices": [{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}],
                }
            )
            for delta in deltas
        ),
        b"data: [DONE]\n\n",
    ]


def main() -> None:
    """Record every cassette that `cassettes/` holds."""
    environment = {**os.environ, "OPENAI_API_KEY": "sk-test"}
    for name, program in RECORDINGS.items():
        cassette = CASSETTES / f"{name}.yaml"
        cassette.unlink(missing_ok=True)
        with running_upstream(Api(), port=PORT) as upstream:
            command = [sys.executable, "-m", "openai_replay", "record", str(cassette), "--upstream", upstream.url]
            subprocess.run([*command, "--", sys.executable, "-c", program], env=environment, check=True)
        if "429" in name:  # an error on purpose
            cassette.write_text(cassette.read_text("utf-8").replace("# 1  ", "# lint: allow error\n# 1  ", 1), "utf-8")


if __name__ == "__main__":
    main()
