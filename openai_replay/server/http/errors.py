"""Errors as answers, in OpenAI's shape; and those of requests that go no further."""

from __future__ import annotations

import json
from http import HTTPStatus

from aiohttp.http import HttpProcessingError
from aiohttp.http_exceptions import LineTooLong

from openai_replay.errors import ERROR_HEADER, BadRequestError, CassetteMissError, ReplayError, RequestRefusedError
from openai_replay.model import Head, Headers
from openai_replay.server.http.limits import Limits
from openai_replay.text.units import format_size

JSON = ("Content-Type", "application/json")


def not_a_request(error: HttpProcessingError, limits: Limits) -> ReplayError:
    """What a client is told whose request could not be read."""
    if isinstance(error, LineTooLong) or "Too many headers" in error.message:
        return head_too_large(limits)
    return BadRequestError(
        f"This is not a request that can be read: {told(error)}",
        "A second User-Agent, Host, Content-Type or Content-Length header is refused, too: send each once.",
    )


def told(error: HttpProcessingError) -> str:
    """What the parser says of it, in a line."""
    return " ".join(error.message.split())


def head_too_large(limits: Limits) -> RequestRefusedError:
    """The request line and the headers, or one of them, are more than the limit (RFC 6585 5)."""
    return RequestRefusedError(
        f"The head of this request is larger than {format_size(limits.head)}, or has more than 128 headers.",
        "Start with a larger --max-head.",
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "request_too_large",
    )


def body_too_large(limits: Limits) -> RequestRefusedError:
    """The body is more than the limit (RFC 9110 15.5.14)."""
    return RequestRefusedError(
        f"The body of this request is larger than {format_size(limits.body)}.",
        "Start with a larger --max-body.",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "request_too_large",
    )


def error_reply(error: ReplayError) -> tuple[Head, bytes]:
    """Head and body of `error` in OpenAI's shape."""
    fields = {"type": "openai_replay", "code": error.code, "param": None, "message": error.text}
    if isinstance(error, CassetteMissError):
        fields["reason"] = error.reason
    body = json.dumps({"error": fields}, ensure_ascii=False).encode("utf-8", "backslashreplace")
    more: Headers = () if error.retry is None else (("x-should-retry", str(error.retry).lower()),)
    if error.status == HTTPStatus.UNAUTHORIZED:
        more += (("WWW-Authenticate", "Bearer"),)
    status = HTTPStatus(error.status)
    return Head(status, status.phrase, (JSON, (ERROR_HEADER, error.code), *more), len(body)), body
