"""Options that decide who may talk to the server, and how large a message may be, become values of the server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from openai_replay.cli.options import label, parsed
from openai_replay.config.parsers import NAME_A_VARIABLE
from openai_replay.errors import UsageError

if TYPE_CHECKING:
    from openai_replay.server.access import Access
    from openai_replay.server.http.limits import Limits


def access(ctx: click.Context, options: dict[str, Any]) -> Access:
    """Return the clients, hosts and origins that are let in. Raise UsageError."""
    from openai_replay.server.access import Access

    key, upstream_key = _key(ctx, "client_key_env", options), _key(ctx, "upstream_key_env", options)
    if upstream_key and not key:
        raise UsageError(
            "--upstream-key-env without --client-key-env would let every client spend with that key.",
            "Add --client-key-env VARIABLE.",
        )
    if key and options.get("upstream") and not upstream_key:
        raise UsageError(
            "With --client-key-env, clients send a key that the API does not know.",
            "Add --upstream-key-env OPENAI_API_KEY, or the name of the variable that holds the API's key.",
        )
    return Access(
        hosts=tuple(name.lower() for name in options["allow_host"]),
        origins=options["cors_origin"] if options["cors"] or options["cors_origin"] else None,
        key=key,
        upstream_key=upstream_key,
    )


def _key(ctx: click.Context, name: str, options: dict[str, Any]) -> str:
    """Return the key in the environment variable that the option `name` names, or nothing without the option."""
    if options.get(name) is None:
        return ""
    key = os.environ.get(parsed(ctx, name, options[name]), "").strip()
    if not key or not key.isprintable():
        raise UsageError(f"{label(ctx, name)}: this environment variable does not hold a key.", NAME_A_VARIABLE)
    return key


def limits(ctx: click.Context, options: dict[str, Any]) -> Limits:
    """Return the bytes that a client or an upstream may send in one message. Raise UsageError."""
    from openai_replay.server.http.limits import Limits

    return Limits(
        head=parsed(ctx, "max_head", options["max_head"]),
        body=parsed(ctx, "max_body", options["max_body"]),
        response=parsed(ctx, "max_response", options["max_response"])
        if "max_response" in options
        else Limits().response,
    )
