"""Errors as responses in OpenAI's shape, and the refusals of requests that go no further."""

from __future__ import annotations

import json
from http import HTTPStatus

from openai_replay.errors import ERROR_HEADER, BadRequestError, CassetteMissError, ReplayError, RequestRefusedError
from openai_replay.model import Head, Headers
from openai_replay.server.http.limits import Limits
from openai_replay.text.units import format_size

JSON = ("Content-Type", "application/json")


def refusal(status: HTTPStatus, code: str, message: str, hint: str = "") -> RequestRefusedError:
    """Return the error for a request that is refused, after which its connection is closed.

    `code` is that in OpenAI's error shape.
    """
    return RequestRefusedError(message, hint, status, code)


def head_too_large(limits: Limits) -> RequestRefusedError:
    """Return the refusal of a request whose head, or one line of it, is too large (RFC 6585 5)."""
    return refusal(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "request_too_large",
        f"The head of this request is larger than {format_size(limits.head)}, or has more than 128 headers.",
        "Start with a larger --max-head.",
    )


def body_too_large(limits: Limits) -> RequestRefusedError:
    """Return the refusal of a request whose body is too large (RFC 9110 15.5.14)."""
    return refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "request_too_large",
        f"The body of this request is larger than {format_size(limits.body)}.",
        "Start with a larger --max-body.",
    )


def websocket_not_supported() -> RequestRefusedError:
    """Return the refusal of a WebSocket handshake.

    Forwarded as the plain GET that it would become, it would record an error that the API never meant.
    """
    return refusal(
        HTTPStatus.NOT_IMPLEMENTED,
        "websocket_not_supported",
        "WebSockets are not supported.",
        "Use the HTTP transport of the Responses API; the Realtime API has none.",
    )


def not_a_path(target: str) -> BadRequestError:
    """Return the error for a request that takes this server for a forward proxy (RFC 9112 3.2.2)."""
    return BadRequestError(
        f"The request target {target!r} is not a path. This is a reverse proxy, and cannot be the HTTP_PROXY.",
        "Set the client's base URL (OPENAI_BASE_URL) instead.",
    )


def error_response(error: ReplayError) -> tuple[Head, bytes]:
    """Return head and body of the response that tells the client of `error`, in OpenAI's shape."""
    fields = {"type": "openai_replay", "code": error.code, "param": None, "message": error.text}
    if isinstance(error, CassetteMissError):
        fields["reason"] = error.reason
    body = json.dumps({"error": fields}, ensure_ascii=False).encode("utf-8", "backslashreplace")
    headers: Headers = (JSON, (ERROR_HEADER, error.code))
    if error.retry is not None:
        headers += (("x-should-retry", str(error.retry).lower()),)
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers += (("WWW-Authenticate", "Bearer"),)
    status = HTTPStatus(error.status)
    return Head(status, status.phrase, headers, len(body)), body
