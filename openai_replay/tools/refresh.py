"""Sends the requests of a cassette to the upstream again, one after the other.

Responses have new ids (`call_…`, `resp_…`, `thread_…`), and later requests refer to them: in those requests, the ids of
the recorded responses are replaced by the new ones (`ids`). Secrets that were redacted are not on the cassette: the
caller gives the key, other redacted headers are left out, and a request with a redacted body cannot be sent again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import urlsplit

from openai_replay.errors import UsageError
from openai_replay.model import End, Interaction, Request, Response
from openai_replay.openai_api import ids, transcript
from openai_replay.proxy.live_response import LiveResponse
from openai_replay.proxy.upstream import Upstream
from openai_replay.redaction.masker import MARK
from openai_replay.redaction.redactor import Redactor
from openai_replay.text.content_encoding import decode_body, drop_false_encoding
from openai_replay.text.http_headers import NOISE, filter_headers

_REDACTED = MARK.decode()
#: Headers whose whole value is the key; `authorization` has it after its scheme.
_KEY_HEADERS = frozenset({"api-key", "x-api-key", "x-goog-api-key", "ocp-apim-subscription-key"})
_KEY = re.compile(r"[\x21-\x7e]{1,4096}")


class RefreshResult(NamedTuple):
    """A request that was sent again: the `number` of its recording, the recording, and the new one (None if it got no
    response).

    `refusal` says why the new one must not replace the recorded one; it is empty if it may.
    """

    number: int
    recorded: Interaction
    current: Interaction | None
    refusal: str = ""


def check_key(key: str) -> str:
    """Return `key` as it can stand in a header. Raises UsageError, which does not show the key."""
    if not _KEY.fullmatch(key := key.strip()):
        problem = "contains characters that no key has" if key else "is not set"
        raise UsageError(
            f"OPENAI_API_KEY {problem}. The key is not on the cassette, so it must come from the environment.",
            "If the upstream needs no key, set OPENAI_API_KEY=none.",
        )
    return key


def cannot_resend(request: Request, origin: str | None) -> str:
    """Return the reason why `request` cannot be sent again (to `origin`, if given), empty if it can."""
    if MARK in request.body or _REDACTED in request.uri:
        part = "body" if MARK in request.body else "URL"
        return f"its {part} contains {_REDACTED} instead of a secret that was redacted"
    if _origin(request.uri) is None:
        return f"{request.uri!r} is not the URL of an API"
    if origin is not None and _origin(request.uri) != origin:
        # The author of a cassette must not be able to get the key sent to them.
        return (
            f"it was recorded from {_origin(request.uri)}, and the key only goes there if you name it with --upstream"
        )
    return ""


async def resend(
    recorded: Sequence[Interaction], upstream: Upstream, key: str, redactor: Redactor, skip: frozenset[int]
) -> AsyncGenerator[RefreshResult, None]:
    """Send the request of each recording again, in order, but for the numbers in `skip`. The responses are redacted.

    The caller stops by closing the iterator.
    """
    new_ids: dict[str, str] = {}
    for number, recording in enumerate(recorded, 1):
        if number in skip:
            continue
        request = ids.rename_ids(recording.request, new_ids)
        response, refusal = await _send(with_credentials(request, upstream.origin, key), upstream)
        if response is None:
            yield RefreshResult(number, recording, None, refusal)
            continue
        redacted = redactor.redact_response(response)
        keeps_noise = any(NOISE.fullmatch(name) for name, _ in recording.response.head.headers)
        redacted = replace(
            redacted, head=replace(redacted.head, headers=filter_headers(redacted.head.headers, keeps_noise))
        )
        refusal = refuses_update(recording.response, redacted)
        if not refusal:
            new_ids |= ids.pair_ids(_decoded_body(recording.response), _decoded_body(response))
        # A recorded request stays as it is. One with new ids is redacted again, since a response put them there.
        stored = request if request is recording.request else redactor.redact_request(request)
        yield RefreshResult(number, recording, Interaction(stored, redacted), refusal)


def refuses_update(recorded: Response, current: Response) -> str:
    """Return the reason why `current` must not replace `recorded`, empty if it may."""
    recorded_status, status = recorded.head.status, current.head.status
    if (recorded_status < 400) != (status < 400):
        preview = transcript.preview(current)
        return f"the status was {recorded_status} and is now {status}{f': {preview}' if preview else ''}"
    if recorded.end is End.COMPLETE and current.end is not End.COMPLETE:
        return f"the response was {current.end} after {len(current.body)} bytes"
    return ""


async def _send(request: Request, upstream: Upstream) -> tuple[Response | None, str]:
    """Return the response to `request`, or None and the reason."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    arriving = LiveResponse(lambda: int((loop.time() - start) * 1000), upstream.max_bytes)
    arriving.detach()
    await upstream.fetch(request, arriving)
    if arriving.error is not None:
        return None, arriving.error.message
    if arriving.response is None:
        return None, "the response is too large to be recorded" if arriving.too_large else "no response arrived"
    return arriving.response, ""


def with_credentials(request: Request, origin: str, key: str) -> Request:
    """Return `request` as it can be sent to `origin`: with the key, without redacted headers."""
    headers: list[tuple[str, str]] = []
    for name, value in request.headers:
        lower = name.lower()
        if lower == "authorization":
            scheme = value.partition(" ")[0]
            headers.append((name, f"{scheme if scheme.lower() in ('bearer', 'basic') else 'Bearer'} {key}"))
        elif lower in _KEY_HEADERS:
            headers.append((name, key))
        elif _REDACTED not in value:
            headers.append((name, value))
    if not any(name.lower() in _KEY_HEADERS | {"authorization"} for name, _ in headers):
        host = urlsplit(request.uri).hostname or ""
        headers.append(("api-key", key) if host.endswith(".azure.com") else ("Authorization", f"Bearer {key}"))
    recorded = _origin(request.uri) or ""
    return Request(
        request.method,
        origin + request.uri[len(recorded) :],
        drop_false_encoding(tuple(headers), request.body),
        request.body,
    )


def _origin(uri: str) -> str | None:
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") and parts.netloc else None


def _decoded_body(response: Response) -> bytes:
    return decode_body(response.head.headers, response.body)[1]
