"""Who may talk to the server, and how much: what the options say."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from openai_replay.errors import UsageError

if TYPE_CHECKING:
    from openai_replay.server.access import Access
    from openai_replay.server.http.limits import Limits


def access(options: dict[str, Any]) -> Access:
    """Who may ask. Raises UsageError."""
    from openai_replay.server.access import Access

    key, upstream_key = _key("--client-key-env", options), _key("--upstream-key-env", options)
    if upstream_key and not key:
        raise UsageError(
            "--upstream-key-env without --client-key-env lets everybody spend with that key",
            "Add --client-key-env VARIABLE.",
        )
    if key and options.get("upstream") and not upstream_key:
        raise UsageError(
            "with --client-key-env clients send that key, and the API wants its own",
            "Add --upstream-key-env OPENAI_API_KEY, or the name of the variable where the API's key is.",
        )
    return Access(
        hosts=tuple(name.lower() for name in options["allow_host"]),
        origins=options["cors_origin"] if options["cors"] or options["cors_origin"] else None,
        key=key,
        upstream_key=upstream_key,
    )


def _key(name: str, options: dict[str, Any]) -> str:
    """The key in the environment variable that the option `name` names; empty if it is not given."""
    from openai_replay.config import files
    from openai_replay.config import settings as building

    variable: str | None = options.get(name.removeprefix("--").replace("-", "_"))
    if variable is None:
        return ""
    key = os.environ.get(building.labelled(name, files.variable, variable), "").strip()
    if not key or not key.isprintable():
        raise UsageError(f"{name}: there is no key in the environment variable of that name", files.KEYS_ARE_NOT_SHOWN)
    return key


def limits(options: dict[str, Any], label: Callable[[str], str]) -> Limits:
    """How much a client or an upstream may send; `label` is what its user calls an option. Raises UsageError."""
    from openai_replay.config.settings import labelled
    from openai_replay.server.http.limits import Limits
    from openai_replay.text.units import parse_size

    def size(name: str) -> int:
        return labelled(label(name), parse_size, options[name])

    return Limits(
        head=size("max_head"),
        body=size("max_body"),
        response=size("max_response") if "max_response" in options else Limits().response,
    )
