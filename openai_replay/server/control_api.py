"""The control API, `/@/...`: what a test suite in any language asks the server. JSON in, JSON out."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, ValidationError

from openai_replay.config import settings
from openai_replay.errors import BadRequestError, ControlError, MissReason
from openai_replay.journal.exchanges import Outcome
from openai_replay.model import End, Fallback, Mode, OnExhausted
from openai_replay.server.sessions import ServedSession, Sessions

_ROUTES = {
    "/@/health": ("GET",),
    "/@/journal": ("GET",),
    "/@/rewind": ("POST",),
    "/@/sessions": ("POST",),
    "/@/sessions/ID": ("GET", "DELETE"),
}
#: What only the process knows that is asked, and what to do where there are several.
_OF_ONE_PROCESS = {
    "/@/journal": "Start with --journal FILE, which all processes of a machine add to.",
    "/@/sessions": "Serve a folder: http://HOST:PORT/@NAME/v1 is NAME.yaml in every process.",
    "/@/sessions/ID": "Read what --journal FILE says of its cassette.",
}


class NewSession(BaseModel):
    """What `POST /@/sessions` takes. What is not given is as the server was started."""

    model_config = ConfigDict(extra="forbid", defer_build=True)  # built when somebody asks

    cassette: str
    mode: Mode | None = None
    pace: str | None = None
    on_exhausted: OnExhausted | None = None
    fallback: Fallback | None = None
    match_on: str | list[str] | None = None
    match_header: list[str] | None = None
    normalize: list[str] | None = None
    ignore: list[str] | None = None


class ExchangeOut(BaseModel):
    """An exchange as `/@/journal` gives it."""

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
    note: str


async def answer(sessions: Sessions, method: str, target: str, body: bytes) -> Any:
    """The JSON value that answers a control request. Raises ReplayError."""
    path = target.partition("?")[0]
    parent, _, last = path.rpartition("/")
    route = "/@/sessions/ID" if parent == "/@/sessions" and last else path
    if route not in _ROUTES:
        raise ControlError(f"There is no {path}.", f"There are {', '.join(_ROUTES)}.")
    if method not in _ROUTES[route]:
        allowed = " or ".join(_ROUTES[route])
        raise ControlError(f"{path} is not for {method}.", f"Use {allowed}.", HTTPStatus.METHOD_NOT_ALLOWED)
    if sessions.keeper and route in _OF_ONE_PROCESS:
        said = "is what one process knows, and here several play one tape (--workers or --state)."
        raise ControlError(f"{path} {said}", _OF_ONE_PROCESS[route], HTTPStatus.CONFLICT, "one_process")
    match route:
        case "/@/health":
            own = sessions.own
            recordings = len(own.engine.cassette.recordings) if own else 0
            health = {"status": "ok", "mode": sessions.rules.mode, "recordings": recordings}
            return health if sessions.keeper else {**health, "sessions": len(sessions.all())}
        case "/@/journal":
            return journal(_own(sessions))
        case "/@/rewind":
            await _own(sessions).engine.cassette.rewind()
            return {"status": "ok"}
        case "/@/sessions":
            session = _open(sessions, body)
            return {"id": session.name, "base_url": sessions.origin + session.path}
        case _ if method == "DELETE":
            return outcome(await sessions.close(unquote(last)))
        case _:
            return outcome(sessions.opened(unquote(last)))


def journal(session: ServedSession) -> dict[str, Any]:
    """Every exchange of a session, and how many there were of each outcome."""
    engine = session.engine
    exchanges = [ExchangeOut.model_validate(one, from_attributes=True).model_dump() for one in engine.journal.exchanges]
    counts = {str(one): engine.journal.counts[one] for one in Outcome}
    return {**counts, "unplayed": len(engine.cassette.unplayed()), "exchanges": exchanges}


def outcome(session: ServedSession) -> dict[str, Any]:
    """How a session went: what was played and recorded, the explanation of every miss, and what nobody asked for."""
    engine = session.engine
    left = engine.cassette.unplayed()
    return {
        "id": session.name,
        "cassette": engine.cassette.name,
        "mode": engine.rules.mode,
        **{str(one): engine.journal.counts[one] for one in Outcome if one is not Outcome.MISSED},
        "missed": [one.error for one in engine.journal.exchanges if one.outcome is Outcome.MISSED],
        "unplayed": [f"{one.method} {one.target}" for one in left],
    }


def _own(sessions: Sessions) -> ServedSession:
    if sessions.own is None:
        raise ControlError("This server has sessions only.", "Ask /@/sessions/ID.")
    return sessions.own


def _open(sessions: Sessions, body: bytes) -> ServedSession:
    try:
        asked = NewSession.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BadRequestError(
            f"This is no session: {place + ': ' if place else ''}{first['msg']}",
            'Send for example {"cassette": "chat", "pace": "original"}.',
        ) from None
    path = sessions.file(asked.cassette, asked.mode or sessions.rules.mode)
    said = asked.model_dump(exclude={"cassette"}, exclude_none=True)
    return sessions.open((path,), settings.rules(said, sessions.rules_at(path)))
