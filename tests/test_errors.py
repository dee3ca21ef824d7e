"""The errors form one tree, as the docstring of the module draws it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import openai_replay
from openai_replay import errors
from openai_replay.errors import (
    CassetteError,
    CassetteMissError,
    ControlError,
    FileChangedError,
    MissReason,
    ReplayError,
    RequestRefusedError,
    StateError,
)

ROWS = re.findall(r"^    ([│ ]*)(?:[├└]── )?(\w+Error) .*? (\d{3})\*? +(\d)$", errors.__doc__ or "", re.MULTILINE)
CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, ReplayError)]


def test_every_error_is_drawn_and_its_name_ends_in_error() -> None:
    names = [row[1] for row in ROWS]
    assert sorted(names) == sorted(kind.__name__ for kind in CLASSES)
    assert all(name.endswith("Error") for name in names)


def test_the_tree_is_that_of_the_classes() -> None:
    ancestors: list[str] = []
    for indent, name, _, _ in ROWS:
        depth = 0 if name == "ReplayError" else len(indent) // 4 + 1
        del ancestors[depth:]
        assert getattr(errors, name).__base__.__name__ == (ancestors[-1] if ancestors else "Exception")
        ancestors.append(name)


@pytest.mark.parametrize(("name", "status", "exit_code"), [row[1:] for row in ROWS], ids=[row[1] for row in ROWS])
def test_statuses_and_exit_codes_are_as_drawn(name: str, status: str, exit_code: str) -> None:
    kind = getattr(errors, name)
    default_status = kind("message").status if kind is ControlError else kind.status
    assert (default_status, kind.exit_code) == (int(status), int(exit_code))


@pytest.mark.parametrize("name", [row[1] for row in ROWS] + ["MissReason"])
def test_errors_are_exported(name: str) -> None:
    assert name in openai_replay.__all__
    assert getattr(openai_replay, name) is getattr(errors, name)


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'NoSuchError'"):
        openai_replay.NoSuchError  # noqa: B018


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ReplayError("It failed."), "It failed."),
        (ReplayError("It failed.", "Do this."), "It failed.\nDo this."),
        (CassetteError(Path("a/b.yaml"), 7, "is torn", "Mend it."), "a/b.yaml:7: is torn.\nMend it."),
        (CassetteError(Path("b.yaml"), None, "is empty"), "b.yaml: is empty."),
        (FileChangedError(Path("b.yaml")), "b.yaml: has changed since it was read.\nRestore it, or start again."),
        (ControlError("No such session.", status=405), "No such session."),
    ],
)
def test_the_text_of_an_error_is_message_and_hint(error: ReplayError, text: str) -> None:
    assert error.text == text
    assert str(error) == error.message == text.splitlines()[0]


def test_a_refused_request_has_its_own_status_and_code() -> None:
    assert (RequestRefusedError("No.").status, RequestRefusedError("No.").code) == (403, "forbidden")
    refused = RequestRefusedError("The head is too large.", "Raise --max-head.", status=431, code="head_too_large")
    assert (refused.status, refused.code, refused.retry) == (431, "head_too_large", False)
    assert refused.text == "The head is too large.\nRaise --max-head."


def test_a_miss_has_a_reason() -> None:
    miss = CassetteMissError("No recording matches.", "Record it.", MissReason.EMPTY)
    assert (miss.reason, miss.status, miss.code, miss.retry) == ("empty", 424, "cassette_miss", False)


def test_lost_positions_are_not_retried() -> None:
    assert StateError("No answer.").code == "state_unreachable"
    lost = StateError("It is empty.", "Start it again.", code="state_lost")
    assert (lost.status, lost.code, lost.retry, lost.hint) == (503, "state_lost", False, "Start it again.")
