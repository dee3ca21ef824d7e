"""The fuzzers' targets without a fuzzer: all seeds, and what Hypothesis makes of them. `make fuzz` is the long way."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import CORPUS, TARGETS, seeds

CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 30), st.binary(max_size=12)), max_size=5)


@pytest.mark.parametrize("path", sorted(CORPUS.rglob("*.*")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_seeds(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_there_are_seeds(target: str) -> None:
    assert len(seeds(target)) >= 3
    assert sum(map(len, seeds(target))) < 100_000


@pytest.mark.parametrize("target", TARGETS)
@given(data=st.data())
def test_anything(target: str, data: st.DataObject) -> None:
    TARGETS[target](data.draw(st.binary(max_size=400)))


@pytest.mark.parametrize("target", TARGETS)
@given(data=st.data())
def test_what_is_nearly_a_seed(target: str, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(seeds(target)))
    for position, length, new in data.draw(CHANGES):
        at = int(position * len(text))
        text = text[:at] + new + text[at + length :]
    TARGETS[target](text)
