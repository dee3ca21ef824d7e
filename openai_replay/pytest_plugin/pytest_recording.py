"""pytest-recording blocks the network, but for allowed hosts: this machine is one of them for tests with a session."""

from __future__ import annotations

import pytest

from openai_replay.pytest_plugin.options import NAME, settings

#: Regular expressions, as pytest-recording takes them.
_LOOPBACK = (r"127\.0\.0\.1$", "localhost$", "::1$")


class AllowedHosts:
    """A fixture of pytest-recording, which lets tests with a session reach the server on this machine."""

    @pytest.fixture
    def allowed_hosts(self, request: pytest.FixtureRequest, allowed_hosts: list[str] | None) -> list[str] | None:
        """Return the allowed hosts and this machine, or any host if the test records, as in pytest-recording."""
        if NAME not in request.fixturenames and request.node.get_closest_marker(NAME) is None:
            return allowed_hosts
        folder = request.path.parent / request.getfixturevalue("openai_replay_cassette_dir")
        values = settings(request.node, request.getfixturevalue("openai_replay_config"), folder)
        return [*(allowed_hosts or ()), *(_LOOPBACK if values["mode"] == "none" else (".*",))]
