"""The control API, `/@/...`, for test suites in any language. JSON in, JSON out."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict

from openai_replay.config.build import build_rules
from openai_replay.config.setting import Scope, unknown_setting, with_label
from openai_replay.config.settings import in_scope
from openai_replay.errors import ControlError, MissReason, UsageError
from openai_replay.journal.exchanges import Outcome
from openai_replay.model import End, Mode
from openai_replay.server.sessions import ServedSession, Sessions
from openai_replay.text import json_codec

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
    "/@/sessions/ID": "Start with --journal FILE, and read the entries of its cassette there.",
}
#: The hint for a body of `POST /@/sessions` that is not an object with a cassette.
_EXAMPLE = 'Send for example {"cassette": "chat", "pace": "original"}.'


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
    cassette, settings = with_label("Invalid session", _parse_session, body)
    mode = Mode(settings["mode"]) if "mode" in settings else sessions.rules.mode
    path = sessions.cassette_path(cassette, mode)
    return sessions.open((path,), build_rules(settings, sessions.rules_for(path)))


def _parse_session(body: bytes) -> tuple[str, dict[str, Any]]:
    """Return the name of the cassette and the settings in `body`. A setting that is null counts as absent.

    Raises UsageError.
    """
    try:
        values = json_codec.shallow(body)
        json.dumps(values, ensure_ascii=False).encode()  # a lone surrogate cannot be in a file name or a cassette
    except ValueError:
        raise UsageError("The body is not JSON.", _EXAMPLE) from None
    if not isinstance(values, dict):
        raise UsageError("The body is not a JSON object.", _EXAMPLE)
    cassette = values.pop("cassette", None)
    if not isinstance(cassette, str):
        raise UsageError("The body has no `cassette`, or its value is not a string.", _EXAMPLE)
    known_settings = in_scope(Scope.SESSION)
    settings = {name: value for name, value in values.items() if value is not None}
    for name, value in settings.items():
        if name not in known_settings:
            raise unknown_setting(name, name, known_settings)
        with_label(name, known_settings[name].parse, value)
    return cassette, settings
