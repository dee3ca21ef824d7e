"""Writes a shell script that sends each request again with curl. The key comes from the environment; the script has
none.

`OPENAI_BASE_ORIGIN` sends the requests to another host, for example to a cassette that is played.
"""

from __future__ import annotations

import base64
import re
import shlex

from openai_replay.model import Headers, Interaction
from openai_replay.redaction.masker import MARK
from openai_replay.text.http_headers import HOP_BY_HOP, NOISE
from openai_replay.tools.exporters.result import ExportResult

_SCRIPT_HEAD = """\
#!/bin/sh
# Sends the recorded requests to the API with the key in OPENAI_API_KEY.
# Set OPENAI_BASE_ORIGIN, for example to http://127.0.0.1:8765, to send them to another server.
set -eu
"""
#: The headers that carry the key, as curl options.
_KEYS = {
    "authorization": "Authorization: Bearer $OPENAI_API_KEY",
    "api-key": "api-key: $OPENAI_API_KEY",
    "x-api-key": "x-api-key: $OPENAI_API_KEY",
}


def write(interactions: list[Interaction]) -> ExportResult:
    """Return one script."""
    result = ExportResult()
    parts = [_SCRIPT_HEAD]
    for number, interaction in enumerate(interactions, 1):
        parts.append(f"\n# {number}\n{_format_call(interaction)}")
        if MARK in interaction.request.body or MARK.decode() in interaction.request.uri:
            result.notes.append(f"Recording {number} has redacted secrets. The script sends {MARK.decode()} instead.")
    result.files[".sh"] = "".join(parts).encode("utf-8", "surrogateescape")
    return result


#: An origin that is safe between double quotes of a shell.
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.:_\[\]-]+")
#: Maximum bytes of a body in the command line; Linux takes no argument over 128 KiB.
_MAX_INLINE_BYTES = 100_000


def _format_call(interaction: Interaction) -> str:
    request = interaction.request
    words = [
        "curl --silent --show-error --no-buffer --globoff --path-as-is",
        "--head" if request.method == "HEAD" else f"--request {shlex.quote(request.method)}",
        f"--url {_quote_url(request.uri)}",
        *_header_options(request.headers, bool(request.body)),
    ]
    try:
        text = request.body.decode() if len(request.body) <= _MAX_INLINE_BYTES else "\0"
    except UnicodeDecodeError:
        text = "\0"
    if "\0" not in text:
        words += [f"--data-raw {shlex.quote(text)}"] if text else []
        return " \\\n  ".join(words) + "\n"
    lines = base64.encodebytes(request.body).decode()
    call = " \\\n  ".join([*words, "--data-binary @-"])
    return f"base64 -d <<'END' | {call}\n{lines}END\n"


def _quote_url(uri: str) -> str:
    if (origin := _ORIGIN.match(uri)) is None or uri[origin.end() : origin.end() + 1] not in ("", "/", "?"):
        return shlex.quote(uri)
    target = uri[origin.end() :]
    return f'"${{OPENAI_BASE_ORIGIN:-{origin[0]}}}"{shlex.quote(target) if target else ""}'


def _header_options(headers: Headers, has_body: bool) -> list[str]:
    words: list[str] = []
    for name, value in headers:
        lower = name.lower()
        if lower in _KEYS:
            words.append(f'--header "{_KEYS[lower]}"')
        elif lower not in HOP_BY_HOP and not NOISE.fullmatch(name) and MARK.decode() not in value:
            raw = value.encode("latin-1", "replace").decode("utf-8", "surrogateescape")  # the bytes that were sent
            text = f"{name}: {raw}" if value else f"{name};"  # the spelling that makes curl send an empty header
            words.append(f"--header {shlex.quote(text)}")
    if has_body and not any(name.lower() == "content-type" for name, _ in headers):
        words.append("--header 'Content-Type:'")  # otherwise curl declares a form
    return words
