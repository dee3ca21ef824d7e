"""Every error a person can meet, as one tree.

    ReplayError                  message, hint, status, exit_code
    ├── UsageError               a flag or a setting that makes no sense                  exit 2
    ├── StartError               could not start: port in use, unwritable folder          exit 3
    │   └── CassetteError        the file: missing, torn, not a cassette  (FILE:LINE)     exit 3
    │       └── NotWritten       a change that the disk did not take; the file is as before  exit 1
    ├── SourceError              a file of another recorder that cannot be imported       exit 1
    ├── BadRequest               the client sent what is no HTTP request                  400
    ├── Refused                  the client may not ask, or not so much, or not so        403, 401, 408, 413, 431, 501
    ├── Miss                     no recording matches                                     424
    ├── UpstreamError            the upstream could not be reached, or spoke no HTTP      502
    ├── StateError               positions that are kept elsewhere cannot be had          503
    ├── LoopError                the upstream is this proxy itself                        508
    └── ControlError             the control API was asked for what it does not have      404, 403, 405, 409

The same text reaches the terminal (`report.error`), the client (`refusals.error_reply`) and the journal.
"""

from __future__ import annotations

from pathlib import Path

#: Names the code of an error that the proxy itself answers with: such an answer is nothing to record.
ERROR_HEADER = "x-openai-replay-error"


class ReplayError(Exception):
    """Base of all: a `message` (what and where) and a `hint` (what to do instead).

    `status` is the HTTP status a client gets, `exit_code` the one of the process, `code` the one in OpenAI's error
    shape.
    """

    status = 500
    exit_code = 1
    code = "internal_error"
    #: Whether an SDK may try again. Both official SDKs obey `x-should-retry` (openai/_base_client.py, `_should_retry`).
    retry: bool | None = None

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def text(self) -> str:
        """Message and hint as one text of several lines."""
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(ReplayError):
    """An option or setting that makes no sense; the message names it."""

    status = 400
    exit_code = 2
    code = "bad_request"
    retry = False


class StartError(ReplayError):
    """The process could not start serving."""

    exit_code = 3


class CassetteError(StartError):
    """A cassette that cannot be read or written, with the file and, where known, the line (counted from 1)."""

    def __init__(self, path: Path, line: int | None, what: str, hint: str = "") -> None:
        where = f"{path}:{line}" if line else f"{path}"
        super().__init__(f"{where}: {what}", hint)
        self.path = path
        self.line = line


class NotWritten(CassetteError):
    """A cassette that could not be changed: the disk is full, or its place can no longer be written to. It is what it
    was.
    """

    exit_code = 1


class SourceError(ReplayError):
    """What another recorder wrote and cannot be imported: where in the file, and why. The file's name stands before."""


class BadRequest(ReplayError):
    """What the client sent cannot be read as one HTTP request."""

    status = 400
    code = "bad_request"
    retry = False


class Refused(ReplayError):
    """A request of somebody who may not ask, that is larger or slower than the limits, or no plain HTTP."""

    status = 403
    code = "forbidden"
    retry = False

    def __init__(self, message: str, hint: str = "", status: int = 403, code: str = "forbidden") -> None:
        super().__init__(message, hint)
        self.status = status
        self.code = code


class Miss(ReplayError):
    """No recording answers this request.

    424 maps to the SDKs' bare `APIStatusError`, which no `except NotFoundError` in an app swallows.
    """

    status = 424
    code = "cassette_miss"
    retry = False


class UpstreamError(ReplayError):
    """No answer came: the upstream could not be reached, or what it sent is not HTTP. Nothing is recorded.

    SDKs try a 502 again, as they would have tried the failed connection again without us.
    """

    status = 502
    code = "upstream_unreachable"


class StateError(ReplayError):
    """Where positions are kept cannot be asked, or has lost them: nobody knows which recording is next.

    Not to be tried again by an SDK: the position may have been taken, and the answer would be the next one's.
    """

    status = 503
    retry = False

    def __init__(self, message: str, hint: str = "", code: str = "state_unreachable") -> None:
        super().__init__(message, hint)
        self.code = code


class LoopError(ReplayError):
    """A request that this proxy has forwarded already came back to it."""

    status = 508
    code = "request_loop"
    retry = False


class ControlError(ReplayError):
    """A control request (`/@/...`) for something that is not there."""

    code = "not_found"
    retry = False

    def __init__(self, message: str, hint: str = "", status: int = 404, code: str = "not_found") -> None:
        super().__init__(message, hint)
        self.status = status
        self.code = code
