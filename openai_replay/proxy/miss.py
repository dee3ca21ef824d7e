"""The error for a request that matches no recording."""

from __future__ import annotations

from collections.abc import Collection, MutableMapping
from contextlib import suppress

from openai_replay.cassette.cassette import Cassette
from openai_replay.config.rules import Rules
from openai_replay.errors import CassetteMissError, FileChangedError
from openai_replay.matching import explain
from openai_replay.matching.diff import Candidate, Recorded
from openai_replay.matching.suggestions import at_the_command_line
from openai_replay.model import Fallback, Mode, Request
from openai_replay.openai_api import ids
from openai_replay.proxy.fallback import last_message

#: Notes about oddities of the cassette that a miss shows.
_MAX_NOTES = 3


def miss(
    rules: Rules, cassette: Cassette, clean: Request, explained: MutableMapping[bytes, frozenset[int]], note: str = ""
) -> CassetteMissError:
    """Return the error for `clean`, a request without its secrets that matches nothing on `cassette`.

    `explained` remembers for the next miss what was read of the recordings. `note` goes into the message.
    """
    name, path = cassette.name, str(cassette.path)
    candidates = cassette.candidates(clean.method, clean.path)
    key = rules.matcher.key(clean)
    if not any(recording.key == key for recording, _ in candidates):  # a large cassette gives only some candidates
        same_key = [recording for recording in cassette.recordings if recording.key == key]
        with suppress(FileChangedError):
            candidates += [(recording, recording.interaction) for recording in same_key[:1]]
    recorded = [
        Recorded(recording.number, interaction.request, recording.key, cassette.is_played(recording))
        for recording, interaction in candidates
    ]
    responses = (interaction.response for _, interaction in candidates)

    def not_given(names: Collection[str]) -> Collection[str]:
        return ids.find_unissued(names, responses) if cassette.is_loaded else ()

    def fallback(near: Candidate) -> str:
        if rules.mode is not Mode.NONE or near.recorded.played:
            return ""
        message = last_message(rules.matcher, clean)
        is_same = bool(message) and message == last_message(rules.matcher, near.request)
        return Fallback.LAST_USER_MESSAGE if is_same and rules.fallback is Fallback.NONE else ""

    context = explain.MissContext(name, rules.mode, recorded, not_given, explained, fallback)
    advice = rules.advice or at_the_command_line(path if name == path else "<cassette>")
    message, hint, reason = explain.explain(clean, context, advice, rules.matcher, rules.redactor.redact_request)
    notes = [*([note] if note else []), *cassette.mismatches[:_MAX_NOTES]]
    return CassetteMissError(message, "\n".join([hint, *(f"Note:  {text}" for text in notes)]), reason)
