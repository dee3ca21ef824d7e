"""Fixtures of the tests of the pytest plugin."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.pytest_project import Project
from tests.support.upstream import Upstream, running_upstream


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """Run the simulated API for the tests of a module."""
    with running_upstream() as server:
        yield server


@pytest.fixture
def project(pytester: pytest.Pytester, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Return an empty project, which no variable of this machine reaches."""
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "NO_PROXY", "no_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    return Project(pytester, upstream)
