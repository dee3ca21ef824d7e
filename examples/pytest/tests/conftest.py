"""What holds for every test of the project; a marker may say otherwise."""

import pytest


@pytest.fixture(scope="session")
def openai_replay_config() -> dict:
    """Requests that differ here only are the same."""
    return {"ignore": ["/metadata", "/user"]}
