"""What is played for a request that nothing on the tape matches, where somebody has asked for that. Never a default:
what the client gets is the answer to another question, and every time it is said which.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from openai_replay.cassette.cassette import Cassette
from openai_replay.cassette.recordings import Recording
from openai_replay.config.rules import Rules
from openai_replay.matching import diff, explain
from openai_replay.matching.diff import Recorded
from openai_replay.matching.matcher import Matcher
from openai_replay.model import Fallback, OnExhausted, Request

#: Characters of a message that are shown.
_SHOWN = 60


class Choice(NamedTuple):
    """What is played, if anything, and what to say of it: where it differs, or what was looked for in vain."""

    recording: Recording | None
    note: str


def choose(request: Request, cassette: Cassette, rules: Rules) -> Choice:
    """What the rule finds for `request`, which holds no secret; among recordings of its method and path.

    `last-user-message`: the nearest whose last user message is the same, unplayed ones first; played ones only where an
    exhausted recording may be played again. `sequence`: the first that is unplayed. Raises FileChangedError.
    """
    matcher, clean = rules.matcher, rules.redactor.request
    target = matcher.target(request)
    there = [one for one in cassette.recordings if matcher.target(_asked(one)) == target]
    left = [one for one in there if not cassette.is_played(one)]
    wanted = ""
    if rules.fallback is Fallback.LAST_USER_MESSAGE:
        wanted = last_message(matcher, request)
        left, there = (_saying(wanted, some, matcher, clean) for some in (left, there))
        if not left and rules.on_exhausted is not OnExhausted.ERROR:
            left = there
    else:
        left = left[:1]
    if not left:
        of = f" with the last user message {_cut(wanted)!r}" if wanted else ""
        number = f"; all {len(there)} of these have been played" if there else ""
        where = f"{request.method} {request.path}"
        return Choice(None, f"fallback {rules.fallback} found no recording of {where}{of}{number}")
    recorded = [Recorded(one.number, one.interaction.request, one.key, cassette.is_played(one)) for one in left]
    near = diff.nearest(request, recorded, matcher, clean, {}, 1)[0]
    chosen = next(one for one in left if one.number == near.recorded.number)
    lines = explain.differences(near, request)
    return Choice(
        chosen, "\n  ".join([f"fallback {rules.fallback}: #{chosen.number} is played; it differs at", *lines])
    )


def _asked(recording: Recording) -> Request:
    """What is known of its request without reading it."""
    return Request(recording.method, f"http://tape{recording.target}")


def _saying(
    wanted: str, recordings: list[Recording], matcher: Matcher, clean: Callable[[Request], Request]
) -> list[Recording]:
    if not wanted:
        return []
    return [one for one in recordings if last_message(matcher, clean(one.interaction.request)) == wanted]


def last_message(matcher: Matcher, request: Request) -> str:
    """The text of the last message of the user as it is compared, in a request of chat, Responses, Assistants or legacy
    completions; empty if there is none.
    """
    body = matcher.meaning(request).body
    if not isinstance(body, dict):
        return ""
    if body.get("role") == "user":  # a message that is added to a thread
        return _text(body.get("content"))
    thread = body.get("thread")
    lists = (body.get("messages"), body.get("input"), thread.get("messages") if isinstance(thread, dict) else None)
    for said in (*lists, body.get("additional_messages"), body.get("prompt")):
        if isinstance(said, list):
            users = [one for one in said if isinstance(one, dict) and one.get("role") == "user"]
            if users:
                return _text(users[-1].get("content"))
            if said and all(isinstance(one, str) for one in said):
                return "\n".join(said)
        elif isinstance(said, str):
            return said
    return ""


def _text(content: Any) -> str:
    """A text, or the texts of a list of parts."""
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
