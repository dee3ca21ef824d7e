"""The lock that lets one process at a time record to a cassette."""

from __future__ import annotations

from pathlib import Path

import pytest

from openai_replay.errors import StartError
from openai_replay.pytest_plugin.cassette_lock import exclusive_recording


def test_waiting_too_long_for_another_process_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "shared.yaml"
    with (
        exclusive_recording(path, "test_other.py::test_other"),
        pytest.raises(StartError) as error,
        exclusive_recording(path, "test_one.py::test_one", wait_s=0.1),
    ):
        pass
    assert error.value.message.startswith(
        f"{path}: another process has been recording to it for more than 0.1 s: test_other.py::test_other (process "
    )
    assert error.value.hint == "Give each test its own cassette, or record without the option -n of xdist."


def test_the_lock_is_free_after_the_block(tmp_path: Path) -> None:
    for holder in ("test_one", "test_two"):
        with exclusive_recording(tmp_path / "shared.yaml", holder, wait_s=0):
            pass


def test_a_cassette_is_rewritten_once_per_run(tmp_path: Path) -> None:
    path = tmp_path / "shared.yaml"
    for run, exists in (("first", False), ("first", True), ("second", False)):
        path.write_text("recorded")
        with exclusive_recording(path, "test_one", rewrite_for=run):
            assert path.exists() is exists
