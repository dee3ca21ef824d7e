"""How others learn where we are: the ready file, and the environment of the command that runs inside."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from openai_replay.errors import StartError
from openai_replay.model import LOOPBACK


def write_ready_file(path: Path, base_url: str) -> None:
    """Say in the file at `path` where we are. Raises StartError."""
    try:
        # A name that nobody can guess, and no file that is there: in /tmp somebody else might have put a link.
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        with temporary.open("x", encoding="utf-8") as file:
            file.write(base_url + "\n")
        temporary.replace(path)
    except OSError as error:
        raise StartError(f"{path}: cannot be written: {error.strerror}", "Give --ready-file another place.") from None


def cannot_run(command: Sequence[str], error: OSError) -> StartError:
    """What a user is told of `error`."""
    return StartError(f"cannot run {command[0]!r}: {error.strerror}", "Write the command after -- as in a shell.")


def environment(present: Mapping[str, str], base_url: str, records: bool, key: str = "") -> dict[str, str]:
    """What a client needs: the base URL, no proxy for loopback, and the `key` that is required; where there is none and
    nothing `records`, one for SDKs that insist.

    `present` is the environment so far.
    """
    own = {"OPENAI_BASE_URL": base_url}
    for name in ("NO_PROXY", "no_proxy"):
        # A tool that looks at one spelling first must not lose what the other says.
        others = present.get(name) or present.get(name.swapcase()) or ""
        hosts = [host.strip() for host in others.split(",") if host.strip()]
        own[name] = "*" if "*" in hosts else ",".join(dict.fromkeys([*hosts, *LOOPBACK]))
    if key or not records:
        own["OPENAI_API_KEY"] = key or present.get("OPENAI_API_KEY") or "sk-openai-replay"
    return own
