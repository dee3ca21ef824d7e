"""Who may talk to the server, and how much: what the options say."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from openai_replay.errors import UsageError

if TYPE_CHECKING:
    from openai_replay.access import Access
    from openai_replay.limits import Limits


def access(options: dict[str, Any]) -> Access:
    """Who may ask. Raises UsageError."""
    from openai_replay.access import Access

    key, upstream_key = _key("--require-key", options), _key("--upstream-key", options)
    if upstream_key and not key:
        raise UsageError(
            "--upstream-key without --require-key lets everybody spend with that key", "Add --require-key VARIABLE."
        )
    if key and options.get("upstream") and not upstream_key:
        raise UsageError(
            "with --require-key clients send that key, and the API wants its own",
            "Add --upstream-key OPENAI_API_KEY, or the name of the variable where the API's key is.",
        )
    return Access(
        hosts=tuple(name.lower() for name in options["allow_host"]),
        origins=options["cors_origin"] if options["cors"] or options["cors_origin"] else None,
        key=key,
        upstream_key=upstream_key,
    )


def _key(name: str, options: dict[str, Any]) -> str:
    """The key in the environment variable that the option `name` names; empty if it is not given."""
    variable: str | None = options.get(name.removeprefix("--").replace("-", "_"))
    if variable is None:
        return ""
    hint = "A key itself on a command line could be read by everybody on this machine."
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", variable):
        raise UsageError(f"{name} takes the name of an environment variable", hint)  # it may be the key: not shown
    key = os.environ.get(variable, "").strip()
    if not key or not key.isprintable():
        raise UsageError(f"{name}: there is no key in the environment variable of that name", hint)
    return key


def limits(options: dict[str, Any]) -> Limits:
    """How much a client or an upstream may send. Raises UsageError."""
    from openai_replay.limits import Limits, parse_size

    return Limits(
        head=parse_size(options["max_head"]),
        body=parse_size(options["max_body"]),
        recorded=parse_size(options.get("max_recorded", "256m")),
    )
