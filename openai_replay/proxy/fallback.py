"""Fallbacks: another recording for a request that matches none, if the user wants that.

A fallback is never a default: the client gets the response to another request. So each one is reported, with the
recording that was played and the differences.
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

#: Characters of a message that a note shows.
_SHOWN_CHARACTERS = 60


class Choice(NamedTuple):
    """The recording to play, if any, and a note: its differences, or the search that found nothing."""

    recording: Recording | None
    note: str


def choose(request: Request, cassette: Cassette, rules: Rules) -> Choice:
    """Choose a recording for `request`, which holds no secret, among those of its method and path.

    `last-user-message` chooses the nearest recording with the same last user message. Unplayed recordings come first;
    played ones count only if an exhausted recording may be played again. `sequence` chooses the first unplayed one.
    Raises FileChangedError.
    """
    matcher, clean = rules.matcher, rules.redactor.redact_request
    target = matcher.target(request)
    same_target = [recording for recording in cassette.recordings if matcher.target(_outline(recording)) == target]
    candidates = [recording for recording in same_target if not cassette.is_played(recording)]
    message = ""
    if rules.fallback is Fallback.LAST_USER_MESSAGE:
        message = last_message(matcher, request)
        candidates = _with_message(message, candidates, matcher, clean)
        same_target = _with_message(message, same_target, matcher, clean)
        if not candidates and rules.on_exhausted is not OnExhausted.ERROR:
            candidates = same_target
    else:
        candidates = candidates[:1]
    if not candidates:
        condition = f" with the last user message {_shorten(message)!r}" if message else ""
        count = f"; all {len(same_target)} of these have been played" if same_target else ""
        target_text = f"{request.method} {request.path}"
        return Choice(None, f"fallback {rules.fallback} found no recording of {target_text}{condition}{count}")
    recorded = [
        Recorded(recording.number, recording.interaction.request, recording.key, cassette.is_played(recording))
        for recording in candidates
    ]
    near = diff.nearest(request, recorded, matcher, clean, {}, 1)[0]
    chosen = next(recording for recording in candidates if recording.number == near.recorded.number)
    lines = explain.differences(near, request)
    headline = f"fallback {rules.fallback}: #{chosen.number} is played. It differs in:"
    return Choice(chosen, "\n  ".join([headline, *lines]))


def _outline(recording: Recording) -> Request:
    """Return the parts of the recorded request that are known without reading it."""
    return Request(recording.method, f"http://cassette{recording.request_path}")


def _with_message(
    message: str, recordings: list[Recording], matcher: Matcher, clean: Callable[[Request], Request]
) -> list[Recording]:
    if not message:
        return []
    return [
        recording for recording in recordings if last_message(matcher, clean(recording.interaction.request)) == message
    ]


def last_message(matcher: Matcher, request: Request) -> str:
    """Return the text of the last user message as it is compared, or an empty text.

    It is found in requests of chat, Responses, Assistants and legacy completions.
    """
    body = matcher.comparable(request).body
    if not isinstance(body, dict):
        return ""
    if body.get("role") == "user":  # a message that is added to a thread
        return _text(body.get("content"))
    thread = body.get("thread")
    lists = (body.get("messages"), body.get("input"), thread.get("messages") if isinstance(thread, dict) else None)
    for messages in (*lists, body.get("additional_messages"), body.get("prompt")):
        if isinstance(messages, list):
            of_user = [message for message in messages if isinstance(message, dict) and message.get("role") == "user"]
            if of_user:
                return _text(of_user[-1].get("content"))
            if messages and all(isinstance(message, str) for message in messages):
                return "\n".join(messages)
        elif isinstance(messages, str):
            return messages
    return ""


def _text(content: Any) -> str:
    """Return a text, or the joined texts of a list of parts."""
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
