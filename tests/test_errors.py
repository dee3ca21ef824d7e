"""One tree of errors, as its docstring draws it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from openai_replay import errors
from openai_replay.errors import CassetteError, ControlError, Refused, ReplayError, StateError

DRAWN = re.findall(r"── (\w+) .*?  (?:exit (\d)|(\d{3})(?:, \d{3})*)$", errors.__doc__ or "", re.MULTILINE)


def test_every_error_is_drawn() -> None:
    made = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, ReplayError)}
    assert made == {name for name, _, _ in DRAWN} | {"ReplayError"}


@pytest.mark.parametrize(("name", "exit_code", "status"), DRAWN, ids=[name for name, _, _ in DRAWN])
def test_codes_are_those_that_are_drawn(name: str, exit_code: str, status: str) -> None:
    kind = getattr(errors, name)
    assert str(
        kind.exit_code if exit_code else ControlError("x").status if name == "ControlError" else kind.status
    ) == (exit_code or status)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ReplayError("what"), "what"),
        (ReplayError("what", "do this"), "what\ndo this"),
        (CassetteError(Path("a/b.yaml"), 7, "is torn", "Mend it."), "a/b.yaml:7: is torn\nMend it."),
        (CassetteError(Path("b.yaml"), None, "is empty"), "b.yaml: is empty"),
        (ControlError("no such thing", status=405), "no such thing"),
    ],
)
def test_text(error: ReplayError, text: str) -> None:
    assert error.text == text
    assert str(error) == error.message == text.splitlines()[0]


def test_who_is_refused_hears_why() -> None:
    assert (Refused("no").status, Refused("no").code) == (403, "forbidden")
    refused = Refused("The head is too large.", "Raise --max-head.", status=431, code="head_too_large")
    assert (refused.status, refused.code, refused.retry) == (431, "head_too_large", False)
    assert refused.text == "The head is too large.\nRaise --max-head."


def test_a_place_that_cannot_be_asked_is_not_asked_again() -> None:
    assert StateError("No answer.").code == "state_unreachable"
    lost = StateError("It is empty.", "Start it again.", code="state_lost")
    assert (lost.status, lost.code, lost.retry, lost.hint) == (503, "state_lost", False, "Start it again.")
