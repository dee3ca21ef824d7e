"""The locked versions are those that the project declares: `make lock` renews them."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support import versions

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
DEPENDENCIES = PROJECT["dependencies"]
#: What `pip install --editable --no-build-isolation` takes: hatchling asks for the other while it builds.
BUILD = ["hatchling", "editables"]
LOCKED = {
    "dev.txt": [*DEPENDENCIES, *EXTRAS["dev"], *EXTRAS["speed"], *BUILD],
    "demo.txt": [*DEPENDENCIES, "openai>=3,<4"],
    "openai2.txt": ["openai>=2,<3"],
    "fuzz.txt": [*DEPENDENCIES, "atheris>=3", *BUILD],
    "s3-client.txt": [*DEPENDENCIES, *EXTRAS["s3"], *BUILD],
    "s3-server.txt": ["moto[server]>=5"],
}


def pins(name: str) -> dict[str, str]:
    """Return the version of each package in a lock file of `requirements/`."""
    return dict(versions.PINNED.findall((ROOT / "requirements" / name).read_text("utf-8")))


@pytest.mark.parametrize("name", LOCKED)
def test_a_lock_file_satisfies_what_the_project_declares(name: str) -> None:
    locked = pins(name)
    for text in LOCKED[name]:
        requirement = Requirement(text)
        package = requirement.name.lower().replace("_", "-")
        assert package in locked, f"{package} is not in requirements/{name}. Run `make lock`."
        assert locked[package] in requirement.specifier, f"{text}: locked is {locked[package]}. Run `make lock`."


@pytest.mark.parametrize("name", LOCKED)
def test_a_lock_file_has_hashes_and_names_no_registry(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text("utf-8")
    assert len(re.findall(r"(?m)^\S+==", text)) == len(re.findall(r"(?m)^\S+==.*\\\n    --hash=sha256:", text))
    assert "://" not in text
    assert "index" not in text


def test_every_lock_file_is_known() -> None:
    assert {path.name for path in (ROOT / "requirements").glob("*.txt")} == set(LOCKED)


def test_newer_versions_are_told() -> None:
    installed = version("pytest")
    assert versions.differences(f"pytest=={installed}\nno-such-package==1.0") == []
    assert versions.differences("pytest==1.0") == [f"pytest {installed} is newer than the locked 1.0."]
