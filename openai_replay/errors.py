"""Every error that users and clients meet, as one tree.

                                                                                        HTTP status  exit code
    ReplayError                      the base of all                                            500          1
    ├── UsageError                   an option or a setting makes no sense                      400          2
    │   └── PatternTimeoutError      a user's regular expression takes too long for a text      500          2
    ├── StartError                   the process could not start: port in use, no such folder   500          3
    │   └── CassetteError            a cassette file is missing, torn or not a cassette         500          3
    │       ├── CassetteWriteError   a cassette could not be changed; the file is as before     500          1
    │       └── FileChangedError     a recording is no longer where the cassette had it         500          3
    ├── ImportFormatError            a file of another recorder cannot be imported              500          1
    ├── IncompleteJournalError       a journal does not prove that a recording is unused        500          1
    ├── BadRequestError              the client sent something that is not an HTTP request      400          1
    ├── RequestRefusedError          the client may not send this request                      403*          1
    ├── CassetteMissError            no recording matches; has a `reason`                       424          1
    ├── UpstreamError                the upstream is unreachable, or does not speak HTTP        502          1
    ├── StateError                   the shared positions are unreachable, lost or full         503          1
    ├── LoopError                    the upstream is this proxy itself                          508          1
    └── ControlError                 the control API does not have what was requested          404*          1

    * or as the instance says: a refused request is 403, 401, 408, 413, 431 or 501, a control request 404, 403, 405
      or 409.

The same text reaches the terminal (`journal.console`), the client (`server.http.errors`) and the journal.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

#: A header with the code of an error that the proxy itself responds with. Such a response is never recorded.
ERROR_HEADER = "x-openai-replay-error"


class ReplayError(Exception):
    """The base of all errors: a `message` (what happened, and where), which gets its full stop here, and a `hint` (what
    to do).

    `status` is the HTTP status that a client gets, `exit_code` that of the process, `code` the code in OpenAI's error
    shape.
    """

    status = 500
    exit_code = 1
    code = "internal_error"
    #: Tells an SDK whether to try again. Both official SDKs obey `x-should-retry` (openai/_base_client.py,
    #: `_should_retry`). None leaves it to them.
    retry: bool | None = None

    def __init__(self, message: str, hint: str = "") -> None:
        is_sentence = "\n" in message or message.endswith((".", "?", "!", ":"))
        self.message = message if is_sentence else f"{message}."
        self.hint = hint
        super().__init__(self.message)

    @property
    def text(self) -> str:
        """Return message and hint as one text of several lines."""
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(ReplayError):
    """An option or setting that makes no sense. The message names it."""

    status = 400
    exit_code = 2
    code = "bad_request"
    retry = False


class PatternTimeoutError(UsageError):
    """A user's regular expression that takes too long for a text. The message names it."""

    status = 500
    code = "pattern_timeout"


class StartError(ReplayError):
    """A process that could not start serving."""

    exit_code = 3


class CassetteError(StartError):
    """A cassette that cannot be read or written: its file and, where known, the line (counted from 1)."""

    def __init__(self, path: Path, line: int | None, problem: str, hint: str = "") -> None:
        position = f"{path}:{line}" if line else f"{path}"
        super().__init__(f"{position}: {problem}", hint)
        self.path = path
        self.line = line


class CassetteWriteError(CassetteError):
    """A cassette that could not be changed: the disk is full, or its folder is read-only. The file is as before."""

    exit_code = 1


class FileChangedError(CassetteError):
    """A recording that is no longer at the position in its file at which it was found: the file has changed."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, None, "has changed since it was read", "Restore it, or start again.")


class ImportFormatError(ReplayError):
    """A file of another recorder that cannot be imported. The message says where in the file, and why."""


class IncompleteJournalError(ReplayError):
    """A journal that does not prove which recordings are unused."""


class BadRequestError(ReplayError):
    """A client that sent something that cannot be read as one HTTP request."""

    status = 400
    code = "bad_request"
    retry = False


class RequestRefusedError(ReplayError):
    """A request that the client may not send, that is too large or too slow, or that is not plain HTTP."""

    status = 403
    code = "forbidden"
    retry = False

    def __init__(self, message: str, hint: str = "", status: int = 403, code: str = "forbidden") -> None:
        super().__init__(message, hint)
        self.status = status
        self.code = code


class MissReason(StrEnum):
    """The reason of a miss, for programs."""

    #: Recordings of this method and path exist, but all of them differ.
    NO_MATCH = "no_match"
    #: The cassette has recordings of this request, and all of them have been played.
    EXHAUSTED = "exhausted"
    #: The cassette has recordings, but none of this method and path.
    UNKNOWN_ENDPOINT = "unknown_endpoint"
    #: The cassette has no recordings.
    EMPTY = "empty"
    #: The base URL leads to no session, or to a cassette that cannot be read.
    NO_SESSION = "no_session"


class CassetteMissError(ReplayError):
    """A request that no recording answers, and the reason.

    424 maps to the SDKs' bare `APIStatusError`, which no `except NotFoundError` in an app swallows.
    """

    status = 424
    code = "cassette_miss"
    retry = False

    def __init__(self, message: str, hint: str, reason: MissReason) -> None:
        super().__init__(message, hint)
        self.reason = reason


class UpstreamError(ReplayError):
    """An upstream that could not be reached, or whose response is not HTTP. Nothing is recorded.

    SDKs retry a 502, as they would have retried the failed connection without a proxy.
    """

    status = 502
    code = "upstream_unreachable"


class StateError(ReplayError):
    """Shared positions that are unreachable or lost, so that the next recording is unknown.

    SDKs must not retry: the position may have been taken, and the retry would get the next recording.
    """

    status = 503
    retry = False

    def __init__(self, message: str, hint: str = "", code: str = "state_unreachable") -> None:
        super().__init__(message, hint)
        self.code = code


class LoopError(ReplayError):
    """A request that this proxy forwarded, and that came back to it."""

    status = 508
    code = "request_loop"
    retry = False


class ControlError(ReplayError):
    """A control request (`/@/...`) for something that does not exist."""

    code = "not_found"
    retry = False

    def __init__(self, message: str, hint: str = "", status: int = 404, code: str = "not_found") -> None:
        super().__init__(message, hint)
        self.status = status
        self.code = code
