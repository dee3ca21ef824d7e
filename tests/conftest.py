"""Hypothesis tries the same examples on every run: some in `make test`, more in `make test-all` (profile `full`).

`HYPOTHESIS_PROFILE=fuzz` looks for new ones.
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]

for _profile, _examples in (("default", 20), ("full", 200)):
    settings.register_profile(
        _profile,
        max_examples=_examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=_SLOW,
    )
settings.register_profile("fuzz", max_examples=3000, deadline=None, print_blob=True, suppress_health_check=_SLOW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


# pytest words and colours its report by these variables, and tests read the plain report of an inner pytest.
_REPORTING = {"CI", "BUILD_NUMBER", "GITHUB_ACTIONS", "PYTEST_ADDOPTS", "PYTEST_THEME", "PY_COLORS", "FORCE_COLOR",
              "NO_COLOR", "COLUMNS", "LINES"}  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def _plain_environment() -> Iterator[None]:
    """Remove variables that would steer the program or its clients from outside."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("OPENAI_") or name.lower().endswith("_proxy") or name in _REPORTING:
                patch.delenv(name)
        yield
