"""Settings for every test of the project. A marker can override them."""

import pytest


@pytest.fixture(scope="session")
def openai_replay_config() -> dict:
    """Return the settings: requests that differ only in these fields match."""
    return {"ignore": ["/metadata", "/user"]}
