"""The ready file, and the environment of the command that runs inside."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from openai_replay.errors import StartError
from openai_replay.model import LOOPBACK


def write_ready_file(path: Path, base_url: str) -> None:
    """Write `base_url` to the file at `path`. Raises StartError."""
    try:
        # A random name, and never an existing file: in /tmp another user could have put a link there.
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        with temporary.open("x", encoding="utf-8") as file:
            file.write(base_url + "\n")
        temporary.replace(path)
    except OSError as error:
        raise StartError(f"Could not write {path}: {error.strerror}.", "Choose another --ready-file.") from None


def cannot_run(command: Sequence[str], error: OSError) -> StartError:
    """Return the error to show for `error`."""
    hint = "Write the command after -- as in a shell."
    return StartError(f"Could not run {command[0]!r}: {error.strerror}.", hint)


def environment(present: Mapping[str, str], base_url: str, records: bool, key: str = "") -> dict[str, str]:
    """Return the variables that a client needs: the base URL, no proxy for loopback, and an API key.

    The API key is the required `key`. If none is required and nothing `records`, it is a placeholder, because SDKs
    insist on a key. `present` is the environment so far.
    """
    variables = {"OPENAI_BASE_URL": base_url}
    for name in ("NO_PROXY", "no_proxy"):
        # A tool that reads one spelling first must not lose the hosts of the other.
        listed = present.get(name) or present.get(name.swapcase()) or ""
        hosts = [host.strip() for host in listed.split(",") if host.strip()]
        variables[name] = "*" if "*" in hosts else ",".join(dict.fromkeys([*hosts, *LOOPBACK]))
    if key or not records:
        variables["OPENAI_API_KEY"] = key or present.get("OPENAI_API_KEY") or "sk-openai-replay"
    return variables
