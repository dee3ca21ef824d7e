"""A load of many streams at once, from a process of its own: `python -m tests.support.load ORIGIN COUNT SECONDS`.

Each of COUNT clients asks for the stream of `tests.test_load` again and again for so many seconds, and compares what it
gets byte for byte. One line of JSON on stdout says what they saw.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter

from tests.support.proxy import CHAT, Connection, Ended, Over

FRAMES = 40


def events(prompt: str) -> list[bytes]:
    """Return the stream for this request."""
    return [
        *(f"data: {prompt} {number} {'x' * (number % 50)}\n\n".encode() for number in range(FRAMES)),
        b"data: [DONE]\n\n",
    ]


async def main(origin: str, count: int, seconds: float, unlike: bool) -> None:
    """Run the load. `unlike`: every request is another one, to be recorded; else all are the same."""
    until = time.monotonic() + seconds
    outcomes: Counter[str] = Counter()

    async def one(name: int) -> None:
        await asyncio.sleep(name / count * min(2.0, seconds / 4))  # they do not all begin at one instant
        number = 0
        while time.monotonic() < until:
            number += 1
            prompt = f"{name}-{number}" if unlike else "same"
            try:
                async with Connection(origin) as client:
                    heard = await client.ask("POST", CHAT, prompt)
            except (Over, OSError, TimeoutError) as error:
                outcomes[f"{type(error).__name__}"] += 1
                continue
            is_whole = heard.cuts == events(prompt) and heard.ended is Ended.COMPLETE
            outcomes["whole" if is_whole else f"{heard.status} {heard.ended} {len(heard.cuts)} frames"] += 1

    await asyncio.gather(*(one(name) for name in range(count)))
    print(json.dumps(outcomes))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4] == "unlike"))
