"""An agent whose every request has a date, ids and a temporary folder in it: recorded once, played on another day."""

from __future__ import annotations

import datetime
import importlib.util
import random
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import openai
import pytest

import openai_replay
from openai_replay.config import files
from tests.support.record_examples import AGENT, QUESTION
from tests.support.upstream import running_upstream

NORMALIZE = ["uuid,date,epoch,tmp-path", "order=ORD-[0-9]+"]


@pytest.fixture(scope="module")
def agent() -> ModuleType:
    spec = importlib.util.spec_from_file_location("agent", AGENT / "agent.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Day:
    """A day on which the agent is started, with a chance of its own."""

    def __init__(self, agent: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        self._agent = agent
        self._patch = monkeypatch

    def work(self, tape: openai_replay.Session, day: str, question: str = QUESTION) -> str:
        moment = datetime.datetime.fromisoformat(day)

        class Date(datetime.date):
            @classmethod
            def today(cls) -> Any:
                return moment.date()

        random.seed(day)
        self._patch.setattr(self._agent, "date", Date)
        self._patch.setattr(time, "time", moment.timestamp)
        self._patch.setenv("OPENAI_BASE_URL", tape.base_url)
        self._patch.setenv("OPENAI_API_KEY", "sk-test")
        text: str = self._agent.work(question)
        self._patch.setattr(time, "time", _time)
        return text


_time = time.time


@pytest.fixture
def day(agent: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Day:
    return Day(agent, monkeypatch)


@pytest.fixture
def tape(day: Day, tmp_path: Path) -> tuple[Path, str]:
    """A cassette of two turns, recorded in November, and what the agent said."""
    path = tmp_path / "agent.yaml"
    with running_upstream() as upstream, openai_replay.record(path, upstream.url, normalize=NORMALIZE) as tape:
        text = day.work(tape, "2026-11-21T10:00:00")
        assert [str(exchange.outcome) for exchange in tape.journal] == ["recorded", "recorded"]
    return path, text


def test_another_day(day: Day, tape: tuple[Path, str]) -> None:
    path, text = tape
    assert path.read_text("utf-8").startswith(
        '# openai-replay matching: {"normalize": ["uuid", "date", "epoch", "tmp-path", "order=ORD-[0-9]+"]}\n'
    )
    with openai_replay.play(path, normalize=NORMALIZE) as playing:
        assert day.work(playing, "2027-01-03T00:00:01") == text
        assert playing.unplayed == []


@pytest.mark.parametrize("left_out", ["uuid", "date", "epoch", "tmp-path", "order=ORD-[0-9]+"])
def test_each_of_them_is_needed(day: Day, tape: tuple[Path, str], left_out: str) -> None:
    names = [*NORMALIZE[0].split(","), NORMALIZE[1]]
    names.remove(left_out)
    with openai_replay.play(tape[0], normalize=names) as playing:
        with pytest.raises(openai.APIStatusError) as error:
            day.work(playing, "2027-01-03T00:00:01")
        assert error.value.status_code == 424
        assert 'matching: {"normalize": ["uuid", "date", "epoch"' in playing.misses[0]


def test_another_question_is_another_request(day: Day, tape: tuple[Path, str]) -> None:
    with openai_replay.play(tape[0], normalize=NORMALIZE) as playing, pytest.raises(openai.APIStatusError):
        day.work(playing, "2027-01-03T00:00:01", "Write a report about lakes")


def test_the_shipped_cassette_is_played_today(day: Day) -> None:
    with openai_replay.play(AGENT / "cassettes" / "agent.yaml") as playing:
        assert "report.txt" in day.work(playing, "2028-02-29T12:00:00")
        assert playing.unplayed == []


def test_the_example_says_the_same_in_its_file() -> None:
    actual = files.from_folder(AGENT)
    assert actual["normalize"].value == NORMALIZE
