"""An agent whose requests differ on every run: the prompt has a date, IDs and a temporary folder."""

import json
import random
import sys
import tempfile
import time
import uuid
from datetime import date
from pathlib import Path

from openai import OpenAI

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "write_report",
            "description": "Write a report about a topic, and give back where it is.",
            "parameters": {"type": "object", "properties": {"topic": {"type": "string"}}, "required": ["topic"]},
        },
    }
]


def write_report(folder: str, topic: str) -> dict:
    """Write the report and return its path, an order number and the time."""
    path = Path(folder) / "report.txt"
    path.write_text(f"All there is to know about {topic}.\n")
    return {"path": str(path), "order": f"ORD-{random.randrange(10**6)}", "at": time.time()}


def work(question: str) -> str:
    """Answer a question. The model may call the tool any number of times."""
    with OpenAI() as client, tempfile.TemporaryDirectory() as folder:
        run = str(uuid.UUID(int=random.getrandbits(128), version=4))
        prompt = f"Today is {date.today():%B %d, %Y}. This is run {run}. Work in {folder}."
        messages = [{"role": "system", "content": prompt}, {"role": "user", "content": question}]
        while True:
            response = client.chat.completions.create(
                model="gpt-4o-mini", messages=messages, tools=TOOLS, metadata={"run": run}
            )
            message = response.choices[0].message
            if not message.tool_calls:
                return message.content or ""
            messages.append(message.model_dump(exclude_none=True))
            for call in message.tool_calls:
                report = write_report(folder, **json.loads(call.function.arguments))
                messages.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps(report)})


if __name__ == "__main__":
    print(work(" ".join(sys.argv[1:])))
