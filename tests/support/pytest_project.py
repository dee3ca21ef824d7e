"""A project whose tests use the pytest plugin: its files, its cassettes, and pytest runs in processes of their own."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest
from openai import OpenAI

import openai_replay
from tests.support.upstream import Upstream

INI = """
[pytest]
asyncio_mode = strict
asyncio_default_fixture_loop_scope = function
filterwarnings = error
addopts = -p no:hypothesispytest -p no:pytest_cov --strict-markers
"""
#: A module of the project, which sends requests by the SDK.
ASK = """
import sys
import urllib.request, os
from openai import AsyncOpenAI, OpenAI

def messages(text):
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}

def ask(text, model="gpt-4o-mini", **client):
    with OpenAI(**client) as openai:
        return openai.chat.completions.create(**{**messages(text), "model": model}).choices[0].message.content

def swallow(text):
    try:
        ask(text)
    except Exception:
        pass

async def stream(text):
    async with AsyncOpenAI() as openai:
        chunks = await openai.chat.completions.create(**messages(text), stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

if __name__ == "__main__":
    print(ask(sys.argv[1]))
"""

#: The same without an SDK, for tests that do not depend on one. It starts a second faster.
RAW = """
import json, os, urllib.error, urllib.request

def post(text, model="gpt-4o-mini", base_url=None, **fields):
    body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    request = urllib.request.Request(
        (base_url or os.environ["OPENAI_BASE_URL"]) + "/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": "Bearer sk-test"},
    )
    try:
        with urllib.request.urlopen(request) as response:
            return response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return str(error.code)
"""

#: A test that sends one request.
ONE = "from raw import post\ndef test_one(openai_replay):\n    post('hi')\n"


class PytestRun:
    """The result of a pytest run."""

    def __init__(self, result: pytest.RunResult) -> None:
        self.code = int(result.ret)
        self.out = result.stdout.str()
        self.err = result.stderr.str()
        self.seconds = result.duration

    @property
    def outcomes(self) -> dict[str, str]:
        """Return the last outcome of each test by its name with class and parameters: passed, failed, error, ..."""
        actual = re.findall(r"^(PASSED|FAILED|ERROR|XFAIL|SKIPPED) (?:\S+?)::(.+?)(?: - .*)?$", self.out, re.MULTILINE)
        return {name: outcome.lower() for outcome, name in actual}

    @property
    def summary(self) -> str:
        """Return the line of the plugin."""
        return "".join(re.findall(r"^openai-replay: \d+ played.*$", self.out, re.MULTILINE))

    def report_of(self, test: str) -> str:
        """Return the section of the report about a test."""
        parts = re.split(r"^_{3,} (.+?) _{3,}$", self.out, flags=re.MULTILINE)
        texts = [text for title, text in zip(parts[1::2], parts[2::2], strict=True) if title.endswith(test)]
        return re.split(r"^={3,}", "".join(texts), flags=re.MULTILINE)[0]


class Project:
    """A project with tests, which run in a process of their own."""

    def __init__(self, pytester: pytest.Pytester, upstream: Upstream) -> None:
        self._pytester = pytester
        self._upstream = upstream
        self.path = pytester.path
        self.write("pytest.ini", INI)
        self.write("ask.py", ASK)
        self.write("raw.py", RAW)

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), "utf-8")

    def run(self, *arguments: str) -> PytestRun:
        """Run `pytest ARGUMENTS`."""
        return PytestRun(self._pytester.runpytest_subprocess("-rA", *arguments, timeout=60))

    def record(self, mode: str = "new_episodes", *arguments: str) -> PytestRun:
        return self.run(f"--openai-replay={mode}", f"--openai-replay-upstream={self._upstream.url}", *arguments)

    def record_cassette(self, name: str, *texts: str, model: str = "gpt-4o-mini") -> Path:
        """Record a request for each of `texts` to a cassette, without pytest."""
        path = self.path / name
        with openai_replay.record(path, self._upstream.url) as session:
            client = OpenAI(base_url=session.base_url, api_key="sk-test")
            for text in texts:
                client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])
            client.close()
        return path

    @property
    def cassettes(self) -> set[str]:
        """Return the paths of the cassettes in the project."""
        return {str(path.relative_to(self.path)) for path in self.path.rglob("*.yaml")}


def recorded_prompts(cassette: Path) -> list[str]:
    """Return the prompts of the recordings of a cassette."""
    return re.findall(r'"content": "(.*)"\n +}\n +\],?$', cassette.read_text("utf-8"), re.MULTILINE)
