"""The control API, `/@/...`, for test suites in any language. JSON in, JSON out."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, ValidationError

from openai_replay.config import models
from openai_replay.config.build import build_rules
from openai_replay.errors import BadRequestError, ControlError, MissReason
from openai_replay.journal.exchanges import Outcome
from openai_replay.model import End, Mode
from openai_replay.server.sessions import ServedSession, Sessions

_ROUTES = {
    "/@/health": ("GET",),
    "/@/journal": ("GET",),
    "/@/rewind": ("POST",),
    "/@/sessions": ("POST",),
    "/@/sessions/ID": ("GET", "DELETE"),
}
#: Routes that need the memory of one process, and the alternative for several processes.
_OF_ONE_PROCESS = {
    "/@/journal": "Start with --journal FILE, which all processes of a machine add to.",
    "/@/sessions": "Serve a folder: http://HOST:PORT/@NAME/v1 is NAME.yaml in every process.",
    "/@/sessions/ID": "Read what --journal FILE says of its cassette.",
}


class ExchangeOut(BaseModel):
    """An exchange as `/@/journal` returns it."""

    model_config = ConfigDict(defer_build=True)

    outcome: Outcome
    method: str
    path: str
    status: int
    frames: int
    ms: int
    end: End
    recording: int | None
    error: str
    reason: MissReason | None
    fallback_note: str


async def answer(sessions: Sessions, method: str, target: str, body: bytes) -> Any:
    """Return the JSON value that answers a control request. Raises ReplayError."""
    path = target.partition("?")[0]
    parent, _, last = path.rpartition("/")
    route = "/@/sessions/ID" if parent == "/@/sessions" and last else path
    if route not in _ROUTES:
        raise ControlError(f"The control API has no {path}.", f"Use one of {', '.join(_ROUTES)}.")
    if method not in _ROUTES[route]:
        allowed = " or ".join(_ROUTES[route])
        raise ControlError(f"{path} does not accept {method}.", f"Use {allowed}.", HTTPStatus.METHOD_NOT_ALLOWED)
    if sessions.position_store and route in _OF_ONE_PROCESS:
        reason = "needs the memory of one process, and here several processes play (--workers or --state)."
        raise ControlError(f"{path} {reason}", _OF_ONE_PROCESS[route], HTTPStatus.CONFLICT, "one_process")
    match route:
        case "/@/health":
            default = sessions.default
            recordings = len(default.engine.cassette.recordings) if default else 0
            health = {"status": "ok", "mode": sessions.rules.mode, "recordings": recordings}
            return health if sessions.position_store else {**health, "sessions": len(sessions.all())}
        case "/@/journal":
            return journal(_default(sessions))
        case "/@/rewind":
            await _default(sessions).engine.cassette.rewind()
            return {"status": "ok"}
        case "/@/sessions":
            session = _open(sessions, body)
            return {"id": session.name, "base_url": sessions.origin + session.path}
        case _ if method == "DELETE":
            return outcome(await sessions.close(unquote(last)))
        case _:
            return outcome(sessions.get(unquote(last)))


def journal(session: ServedSession) -> dict[str, Any]:
    """Return every exchange of a session, and the number of exchanges of each outcome."""
    engine = session.engine
    exchanges = [
        ExchangeOut.model_validate(exchange, from_attributes=True).model_dump() for exchange in engine.journal.exchanges
    ]
    counts = {str(result): engine.journal.counts[result] for result in Outcome}
    return {**counts, "unplayed": len(engine.cassette.unplayed()), "exchanges": exchanges}


def outcome(session: ServedSession) -> dict[str, Any]:
    """Return the result of a session: counts, the explanation of each miss, and the recordings that were not played."""
    engine = session.engine
    unplayed = engine.cassette.unplayed()
    return {
        "id": session.name,
        "cassette": engine.cassette.name,
        "mode": engine.rules.mode,
        **{str(result): engine.journal.counts[result] for result in Outcome if result is not Outcome.MISSED},
        "missed": [exchange.error for exchange in engine.journal.exchanges if exchange.outcome is Outcome.MISSED],
        "unplayed": [f"{recording.method} {recording.request_path}" for recording in unplayed],
    }


def _default(sessions: Sessions) -> ServedSession:
    if sessions.default is None:
        raise ControlError("This server has named sessions only.", "Use /@/sessions/ID.")
    return sessions.default


def _open(sessions: Sessions, body: bytes) -> ServedSession:
    try:
        values = models.new_session().model_validate_json(body).model_dump(exclude_none=True)
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(map(str, first["loc"]))
        raise BadRequestError(
            f"Invalid session: {location + ': ' if location else ''}{first['msg']}.",
            'Send for example {"cassette": "chat", "pace": "original"}.',
        ) from None
    mode = Mode(values["mode"]) if "mode" in values else sessions.rules.mode
    path = sessions.cassette_path(values.pop("cassette"), mode)
    return sessions.open((path,), build_rules(values, sessions.rules_for(path)))
