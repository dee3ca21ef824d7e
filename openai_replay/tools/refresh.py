"""The upstream asked again what a cassette has recorded, one request after the other.

Answers give new ids (`call_…`, `resp_…`, `thread_…`), and later requests speak of them: in those, what the recorded
answers gave is replaced by what the new ones give (`ids`). Secrets that were taken out when it was recorded are not on
the tape: the key comes from the caller, other redacted headers are left out, and a request with a redacted body cannot
be asked again.
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
from openai_replay.proxy.live_response import Arriving
from openai_replay.proxy.upstream import Upstream
from openai_replay.redaction.masker import MARK
from openai_replay.redaction.redactor import Redactor
from openai_replay.text.http_headers import NOISE, decoded, kept, true_encoding

_REDACTED = MARK.decode()
#: Headers that carry the key itself; `authorization` has it behind its scheme.
_KEY_HEADERS = frozenset({"api-key", "x-api-key", "x-goog-api-key", "ocp-apim-subscription-key"})
_KEY = re.compile(r"[\x21-\x7e]{1,4096}")


class RefreshResult(NamedTuple):
    """A recording that was asked again: its `number`, what is on the tape, and what came now, None where nothing did.

    `why` says why it is not to be put in the place of what is on the tape; empty where it may.
    """

    number: int
    recorded: Interaction
    current: Interaction | None
    refusal: str = ""


def check_key(key: str) -> str:
    """`key` as it can stand in a header. Raises UsageError, which does not show it."""
    if not _KEY.fullmatch(key := key.strip()):
        what = "holds characters that no key has" if key else "is not set"
        raise UsageError(
            f"OPENAI_API_KEY {what}: the key is not on the tape, so it has to come from the environment",
            "For an upstream that wants none, set OPENAI_API_KEY=none",
        )
    return key


def cannot_resend(request: Request, origin: str | None) -> str:
    """Why `request` cannot be asked again; empty where it can. Where `origin` is given, only there."""
    if MARK in request.body or _REDACTED in request.uri:
        where = "body" if MARK in request.body else "URL"
        return f"its {where} holds {_REDACTED}, in the place of a secret that was taken out when it was recorded"
    if _origin(request.uri) is None:
        return f"{request.uri!r} is no URL of an API"
    if origin is not None and _origin(request.uri) != origin:
        # Who writes a cassette must not be able to have the key sent to them.
        return f"it was recorded from {_origin(request.uri)}, and the key goes there only if --upstream names it"
    return ""


async def resend(
    recorded: Sequence[Interaction], upstream: Upstream, key: str, redactor: Redactor, skip: frozenset[int]
) -> AsyncGenerator[RefreshResult, None]:
    """Ask for every one of `recorded` again, in order, but for the numbers in `skip`; answers are redacted.

    The caller stops by closing the iterator.
    """
    renamed: dict[str, str] = {}
    for number, one in enumerate(recorded, 1):
        if number in skip:
            continue
        request = ids.renamed(one.request, renamed)
        response, why = await _send(with_credentials(request, upstream.origin, key), upstream)
        if response is None:
            yield RefreshResult(number, one, None, why)
            continue
        clean = redactor.response(response)
        everything = any(NOISE.fullmatch(name) for name, _ in one.response.head.headers)
        clean = replace(clean, head=replace(clean.head, headers=kept(clean.head.headers, everything)))
        why = refuses_update(one.response, clean)
        if not why:
            renamed |= ids.paired(_decoded_body(one.response), _decoded_body(response))
        # What is on the tape already stays as it is; what an answer has put into it is new there.
        stored = request if request is one.request else redactor.request(request)
        yield RefreshResult(number, one, Interaction(stored, clean), why)


def refuses_update(recorded: Response, current: Response) -> str:
    """Why `now` is not to be put in the place of `recorded`; empty where it may."""
    was, status = recorded.head.status, current.head.status
    if (was < 400) != (status < 400):
        said = transcript.said(current)
        return f"its status was {was}, and now is {status}{f': {said}' if said else ''}"
    if recorded.end is End.COMPLETE and current.end is not End.COMPLETE:
        return f"the answer was {current.end} after {len(current.body)} bytes"
    return ""


async def _send(request: Request, upstream: Upstream) -> tuple[Response | None, str]:
    loop = asyncio.get_running_loop()
    start = loop.time()
    arriving = Arriving(lambda: int((loop.time() - start) * 1000), upstream.most)
    arriving.leave()
    await upstream.fetch(request, arriving)
    if arriving.error is not None:
        return None, arriving.error.message
    if arriving.response is None:
        return None, "the answer is too large to be kept" if arriving.too_large else "no answer came"
    return arriving.response, ""


def with_credentials(request: Request, origin: str, key: str) -> Request:
    """`request` as it can be sent to `origin`: with the key, without what is redacted."""
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
        request.method, origin + request.uri[len(recorded) :], true_encoding(tuple(headers), request.body), request.body
    )


def _origin(uri: str) -> str | None:
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") and parts.netloc else None


def _decoded_body(response: Response) -> bytes:
    return decoded(response.head.headers, response.body)[1]
