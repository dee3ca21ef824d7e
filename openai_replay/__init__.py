"""Record OpenAI traffic through a proxy, play it back byte for byte, on time, without a network.

with openai_replay.play("cassettes/chat.yaml") as session:
    client = OpenAI(base_url=session.base_url, api_key="none")

Only the names of `__all__` are public.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openai_replay.errors import (
        BadRequestError,
        CassetteError,
        CassetteMissError,
        CassetteWriteError,
        ControlError,
        FileChangedError,
        ImportFormatError,
        IncompleteJournalError,
        LoopError,
        MissReason,
        PatternTimeoutError,
        ReplayError,
        RequestRefusedError,
        StartError,
        StateError,
        UpstreamError,
        UsageError,
    )
    from openai_replay.server.embedded import Session, play, record

__all__ = [
    "BadRequestError",
    "CassetteError",
    "CassetteMissError",
    "CassetteWriteError",
    "ControlError",
    "FileChangedError",
    "ImportFormatError",
    "IncompleteJournalError",
    "LoopError",
    "MissReason",
    "PatternTimeoutError",
    "ReplayError",
    "RequestRefusedError",
    "Session",
    "StartError",
    "StateError",
    "UpstreamError",
    "UsageError",
    "__version__",
    "play",
    "record",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # The command line and the pytest plugin import this package, and must not pay for a server they may not need.
    if name in ("Session", "play", "record"):
        from openai_replay.server import embedded

        return getattr(embedded, name)
    if name in __all__:
        from openai_replay import errors

        return getattr(errors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
