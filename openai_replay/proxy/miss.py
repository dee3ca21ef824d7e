"""A request that nothing on the tape matches: the error that its client gets."""

from __future__ import annotations

from collections.abc import Collection, MutableMapping
from contextlib import suppress

from openai_replay.cassette.cassette import Cassette
from openai_replay.config.rules import Rules
from openai_replay.errors import CassetteMissError, FileChangedError
from openai_replay.matching import explain
from openai_replay.matching.diff import Near, Recorded
from openai_replay.matching.suggestions import at_the_command_line
from openai_replay.model import Fallback, Mode, Request
from openai_replay.openai_api import ids
from openai_replay.proxy.fallback import last_message


def miss(
    rules: Rules, cassette: Cassette, clean: Request, seen: MutableMapping[bytes, frozenset[int]], note: str = ""
) -> CassetteMissError:
    """Why `clean`, a request without its secrets, matches nothing on `cassette`.

    What of the tape is read to find out is kept in `seen` for the next miss. `note` is to be said as well.
    """
    name, path = cassette.name, str(cassette.path)
    near = cassette.candidates(clean.method, clean.path)
    key = rules.matcher.key(clean)
    if not any(one.key == key for one, _ in near):  # of a big tape that is one among many
        with suppress(FileChangedError):
            near += [(one, one.interaction) for one in [one for one in cassette.recordings if one.key == key][:1]]
    recorded = [
        Recorded(one.number, interaction.request, one.key, cassette.is_played(one)) for one, interaction in near
    ]
    answers = (interaction.response for _, interaction in near)

    def not_given(names: Collection[str]) -> Collection[str]:
        return ids.not_given(names, answers) if cassette.is_held else ()

    def fallback(near: Near) -> str:
        if rules.mode is not Mode.NONE or near.recorded.played:
            return ""
        said = last_message(rules.matcher, clean)
        same = bool(said) and said == last_message(rules.matcher, near.request)
        return Fallback.LAST_USER_MESSAGE if same and rules.fallback is Fallback.NONE else ""

    tape = explain.Tape(name, rules.mode, recorded, not_given, seen, fallback)
    advice = rules.advice or at_the_command_line(path if name == path else "<cassette>")
    message, hint, reason = explain.explain(clean, tape, advice, rules.matcher, rules.redactor.request)
    notes = [*([note] if note else []), *cassette.mismatches[:3]]
    return CassetteMissError(message, "\n".join([hint, *(f"Note:  {one}" for one in notes)]), reason)
