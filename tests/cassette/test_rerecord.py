"""Recorded again: what takes the place of what, and what a cassette says of how it is matched."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

import openai_replay
from openai_replay.cassette import reader, writer
from openai_replay.cassette.cassette import Cassette
from openai_replay.config.rules import Rules
from openai_replay.errors import CassetteError
from openai_replay.model import Frame, Head, Interaction, Request, Response
from tests.support.proxy import interactions
from tests.support.upstream import running_upstream

TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


def loop(client: OpenAI, city: str) -> str:
    """A tool loop of two turns; the second speaks of the id that the first has given."""
    messages: list[Any] = [{"role": "user", "content": f"What is the weather in {city}"}]
    first = client.chat.completions.create(model="gpt-4o-mini", messages=messages, tools=TOOLS).choices[0].message
    assert first.tool_calls
    call = first.tool_calls[0]
    messages += [first.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    second = client.chat.completions.create(model="gpt-4o-mini", messages=messages, tools=TOOLS)
    return call.id + (second.choices[0].message.content or "")


def run_of_thread(client: OpenAI) -> list[str]:
    """A thread, a run of it, and two looks at the run: the paths speak of ids."""
    with client.beta.threads.create_and_run(assistant_id="asst_mine", stream=True) as stream:
        ids = [event.data.id for event in stream if event.event in ("thread.created", "thread.run.created")]
    thread, run = ids
    looks = [client.beta.threads.runs.retrieve(run, thread_id=thread).status for _ in range(2)]
    return [thread, run, *looks]


def recorded(path: Path, mode: str, before: int, work: Callable[[OpenAI], Any]) -> Any:
    """Record `work` from a fresh server that has answered `before` requests: they decide which ids it gives."""
    with running_upstream() as upstream, openai_replay.record(path, upstream.url, mode=mode) as tape:
        with OpenAI(base_url=upstream.url, api_key="sk-test") as second:
            for _ in range(before):
                second.models.list()
        with OpenAI(base_url=tape.base_url, api_key="sk-test") as client:
            return work(client)


def played(path: Path, work: Callable[[OpenAI], Any], **settings: Any) -> Any:
    with (
        openai_replay.play(path, **settings) as tape,
        OpenAI(base_url=tape.base_url, api_key="sk-test", max_retries=0) as client,
    ):
        text = work(client)
        assert tape.unplayed == []
        return text


@pytest.mark.filterwarnings("ignore:The Assistants API is deprecated:DeprecationWarning")
def test_a_flow_recorded_again_is_as_long_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "flow.yaml"

    def both(client: OpenAI) -> Any:
        return [loop(client, "Paris"), run_of_thread(client), loop(client, "Rome")]

    first = recorded(path, "once", 0, both)
    lines = len(path.read_text("utf-8").splitlines())
    assert played(path, both) == first
    second = recorded(path, "all", 5, both)
    assert second != first
    assert len(interactions(path)) == 7
    assert len(path.read_text("utf-8").splitlines()) == lines
    assert played(path, both) == second


def test_samples_are_told_apart_by_their_ids(tmp_path: Path) -> None:
    path = tmp_path / "samples.yaml"

    def twice(client: OpenAI) -> Any:
        return [loop(client, "Paris"), loop(client, "Paris")]

    first = recorded(path, "once", 0, twice)
    assert first[0] != first[1]
    assert played(path, twice) == first


def test_samples_in_parallel_keep_their_own_second_turns(tmp_path: Path) -> None:
    path = tmp_path / "samples.yaml"

    def four(client: OpenAI) -> Any:
        with ThreadPoolExecutor(4) as pool:
            return sorted(pool.map(lambda _: loop(client, "Paris"), range(4)))

    first = recorded(path, "once", 0, four)
    assert len(set(first)) == 4
    assert played(path, four) == first


# ------------------------------------------------------------------------------------------------ by hand

CHAT = "https://api.openai.com/v1/chat/completions"


def item(requests: Any, answer: Any) -> Interaction:
    request = Request("POST", CHAT, (("content-type", "application/json"),), json.dumps(requests).encode())
    body = json.dumps(answer).encode()
    return Interaction(request, Response(Head(200, "OK"), 1, (Frame(1, body),), 2))


def rerecorded(path: Path, old: list[Interaction], new: list[Interaction], described: str = "") -> str:
    for interaction in old:
        Cassette.for_record(path, Rules().key).append(interaction)
    tape = Cassette.for_record(path, Rules().key, described)
    for interaction in new:
        tape.append(interaction)
    tape.replace_recorded()
    text = path.read_text("utf-8")
    description = [json.loads(interaction.response.body) for interaction in reader.load(text, path).interactions]
    return json.dumps(description)


def test_fewer_more_and_others(tmp_path: Path) -> None:
    old = [item("a", 1), item("b", 2), item("a", 3), item("c", 4)]
    new = [item("a", 11), item("d", 14), item("c", 15), item("c", 16)]
    assert rerecorded(tmp_path / "tape.yaml", old, new) == "[11, 2, 15, 14, 16]"


def test_the_first_line_is_of_the_last_recording_where_all_is_recorded_anew(tmp_path: Path) -> None:
    path = tmp_path / "tape.yaml"
    rerecorded(path, [item("a", 1), item("b", 1)], [item("a", 2)], "on path")
    assert writer.matching_comment(path.read_text("utf-8")) == ""
    rerecorded(path, [], [item("b", 2), item("a", 3)], "on path")
    assert writer.matching_comment(path.read_text("utf-8")) == "on path"
    rerecorded(path, [], [item("b", 2), item("a", 3)])
    assert path.read_text("utf-8").startswith(writer.HEADER)


# ------------------------------------------------------------------------------------------------ rule 13


def test_the_first_line_says_how_requests_are_matched(tmp_path: Path) -> None:
    """docs/cassette-format.md, rule 13."""
    path = tmp_path / "tape.yaml"
    rules = openai_replay.record(path, normalize=["uuid,date"], ignore=["/metadata/run"]).rules
    description = '{"normalize": ["uuid", "date"], "ignore": ["/metadata/run"]}'
    tape = Cassette.for_record(path, rules.key, rules.matching_summary)
    tape.append(item("a", 1))
    tape.append(item("b", 2))
    text = path.read_text("utf-8")
    assert text.startswith(f"# openai-replay matching: {description}\nversion: 1\ninteractions:\n# 1  POST")
    assert len(interactions(path)) == 2
    for described, warnings in ((description, 0), (description.replace("uuid,date", "uuid, date"), 0), ("", 1)):
        second_run = Cassette.for_play([path], rules.key, described)
        assert len(second_run.warnings) == len(second_run.mismatches) == warnings
        asyncio.run(second_run.rewind())
        assert len(second_run.warnings) == warnings
    on_path = '{"match_on": ["path"]}'
    second = Cassette.for_record(path, rules.key, on_path)
    second.append(item("c", 3))
    assert path.read_text("utf-8").startswith(text)
    assert second.warnings == [f"{path} was recorded with another matching: {description}. This run uses {on_path}."]


def test_the_default_writes_no_line(tmp_path: Path) -> None:
    """docs/cassette-format.md, rule 13."""
    path = tmp_path / "tape.yaml"
    Cassette.for_record(path, Rules().key, Rules().matching_summary).append(item("a", 1))
    assert path.read_text("utf-8").startswith("version: 1\ninteractions:\n# 1  ")
    assert Cassette.for_play([path], Rules().key, '{"match_on": ["path"]}').warnings == []


def test_a_secret_in_a_setting_is_not_written(tmp_path: Path) -> None:
    secret = "sk-" + "aB3dE6gH" * 6
    rules = openai_replay.record(tmp_path / "x.yaml", normalize=[f"key={secret}"]).rules
    assert rules.matching_summary == '{"normalize": ["key=REDACTED"]}'


def test_a_miss_says_that_the_matching_is_another(tmp_path: Path) -> None:
    path = tmp_path / "tape.yaml"
    recorded(path, "once", 0, lambda client: client.models.list())
    text = path.read_text("utf-8")
    path.write_text(writer.with_matching_comment(text, '{"match_on": ["path"], "normalize": ["date"]}'), "utf-8")
    with (
        openai_replay.play(path) as tape,
        OpenAI(base_url=tape.base_url, api_key="sk-test", max_retries=0) as client,
        pytest.raises(
            Exception,
            match=re.escape('matching: {"match_on": ["path"], "normalize": ["date"]}. This run uses the default'),
        ),
    ):
        client.models.retrieve("gpt-4o")


def test_a_line_in_front_of_what_is_no_cassette_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tape.yaml"
    path.write_text('# openai-replay matching: {"match_on": ["path"]}\na: [', "utf-8")
    with pytest.raises(CassetteError):
        Cassette.for_play([path], Rules().key)
