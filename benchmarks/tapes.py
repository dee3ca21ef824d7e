"""Tapes to measure with, made by the program's own writer."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

from openai_replay.cassette import writer
from openai_replay.model import Frame, Head, Headers, Interaction, Request, Response

_JSON: Headers = (("Content-Type", "application/json"),)
_HEADERS: Headers = (
    ("openai-version", "2020-10-01"),
    ("openai-processing-ms", "312"),
    ("x-request-id", "req_8f1c2d"),
    ("x-ratelimit-limit-requests", "10000"),
    ("x-ratelimit-remaining-requests", "9999"),
)
_SSE: Headers = (("Content-Type", "text/event-stream; charset=utf-8"), *_HEADERS)
_WORDS = [f"{first}{last}" for first in "bcdfghjklm" for last in ("ane", "ore", "ist", "ule", "ight", "ombs", "ales")]


def asked(number: int, words: int = 12) -> bytes:
    """The body of request `number`."""
    chance = random.Random(number)
    text = f"Question {number}: {' '.join(chance.choices(_WORDS, k=words))}"
    messages = [{"role": "system", "content": "Answer in one word."}, {"role": "user", "content": text}]
    return json.dumps({"model": "gpt-4o-mini", "messages": messages}).encode()


def plain(number: int) -> Interaction:
    """A JSON answer of 889 bytes, as the reference servers give it."""
    body = b'{"id":"chatcmpl-%08d","object":"chat.completion","choices":[{"message":{"content":"' % number
    body += b"a" * (886 - len(body)) + b'"}}]}'
    head = Head(200, "OK", (*_JSON, *_HEADERS), len(body))
    return _interaction(asked(number), Response(head, 300, (Frame(310, body),), 310))


def streamed(number: int, frames: int = 100, every_ms: int = 20, words: int = 12) -> Interaction:
    """A stream of frames of about 300 bytes."""
    data = [
        b'data: {"id":"chatcmpl-%08d","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (number, b"tok " * 55)
        for _ in range(frames)
    ]
    cut = tuple(Frame(every_ms * at, one) for at, one in enumerate(data))
    return _interaction(asked(number, words), Response(Head(200, "OK", _SSE), 0, cut, cut[-1].at_ms))


def _interaction(body: bytes, response: Response) -> Interaction:
    return Interaction(Request("POST", "https://api.openai.com/v1/chat/completions", _JSON, body), response)


def write(path: Path, interactions: Iterator[Interaction]) -> Path:
    """A cassette of `interactions`."""
    with path.open("w", encoding="utf-8") as file:
        file.write(writer.HEADER)
        for number, one in enumerate(interactions, 1):
            file.writelines(writer.write_interaction(one, number))
    return path


def library(folder: Path, files: int, each: int) -> Path:
    """A folder of cassettes, about 10 kB a recording: a prompt of 250 words, a stream of 22 frames."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in range(files):
        numbers = range(file * each, (file + 1) * each)
        write(folder / f"{file:05d}.yaml", (streamed(number, 22, 20, 250) for number in numbers))
    return folder
