"""Hypothesis: the same few examples on every run; `HYPOTHESIS_PROFILE=fuzz` looks for new ones."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile(
    "default", max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=_SLOW
)
settings.register_profile("fuzz", max_examples=3000, deadline=None, print_blob=True, suppress_health_check=_SLOW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


# pytest words and colours its report by these: tests that read the report of a pytest of their own read the plain one.
_REPORTING = {"CI", "BUILD_NUMBER", "GITHUB_ACTIONS", "PYTEST_ADDOPTS", "PYTEST_THEME", "PY_COLORS", "FORCE_COLOR",
              "NO_COLOR", "COLUMNS", "LINES"}  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def _nothing_from_outside() -> Iterator[None]:
    """What steers the program or its clients from the environment of whoever runs the tests is not there."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("OPENAI_") or name.lower().endswith("_proxy") or name in _REPORTING:
                patch.delenv(name)
        yield
