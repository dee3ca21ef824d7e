"""Names of the rules of `lint`. Settings files name them, so they stand below `tools`."""

from __future__ import annotations

from enum import StrEnum


class Rule(StrEnum):
    """A rule of `lint`."""

    SCHEMA = "schema"
    TORN = "torn"
    FRAMES = "frames"
    SECRET = "secret"
    UNREVIEWABLE = "unreviewable"
    ERROR = "error"
    LARGE = "large"
    STALE = "stale"
