"""Rules of a session: the table of actions, and the parsed settings of recording, matching and playing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from openai_replay.matching.matcher import Matcher
from openai_replay.model import Fallback, Head, Headers, Mode, OnExhausted, Request
from openai_replay.playback import pace as pacing
from openai_replay.redaction.redactor import Redactor

if TYPE_CHECKING:
    from openai_replay.matching.suggestions import Wording


class Action(Enum):
    """The treatment of a request."""

    PLAY = auto()
    RECORD = auto()
    FORWARD = auto()
    REFUSE = auto()


#                     match found   no match, cassette   no match, new
#                                   was on disk          cassette
ACTIONS = {
    Mode.NONE: (Action.PLAY, Action.REFUSE, Action.REFUSE),
    Mode.ONCE: (Action.PLAY, Action.REFUSE, Action.RECORD),
    Mode.NEW_EPISODES: (Action.PLAY, Action.RECORD, Action.RECORD),
    Mode.ALL: (Action.RECORD, Action.RECORD, Action.RECORD),
    Mode.OFF: (Action.FORWARD, Action.FORWARD, Action.FORWARD),
}


@dataclass(frozen=True, slots=True)
class Rules:
    """The parsed settings of a session: recording, redaction, matching and playback."""

    mode: Mode = Mode.NONE
    redactor: Redactor = field(default_factory=Redactor)
    matcher: Matcher = field(default_factory=Matcher)
    pace: pacing.Pace = pacing.INSTANT
    on_exhausted: OnExhausted = OnExhausted.REPEAT
    fallback: Fallback = Fallback.NONE
    all_headers: bool = False
    retry_after_s: float | None = None  # replaces that of a played `retry-after`; None keeps it
    advice: Wording | None = None  # suggestions after a miss; None: those of the command line
    drain_timeout_s: float = 300.0  # reads the rest of a response after its client has left

    def key(self, request: Request) -> bytes:
        """Return the key of `request`, without secrets and ignored parts."""
        return self.matcher.key(self.redactor.redact_request(request))

    @property
    def has_user_patterns(self) -> bool:
        """Return True if reading a request runs regular expressions that users wrote, which may be slow."""
        return bool(self.redactor.patterns) or any(step.pattern for step in self.matcher.normalize)

    @property
    def matching_summary(self) -> str:
        """Return the settings of the matching as one line without secrets; empty for the default."""
        return self.redactor.redact_text(self.matcher.description)

    @property
    def key_fingerprint(self) -> str:
        """Return all settings that decide keys as one text. Rules with equal texts make equal keys."""
        redactor, matcher = self.redactor, self.matcher
        patterns = [pattern.text for pattern in redactor.patterns]
        normalizers = [str(normalizer) for normalizer in matcher.normalize]
        parts = (sorted(redactor.headers), patterns, redactor.pointers, matcher.ignore, sorted(matcher.on))
        return repr((*parts, sorted(matcher.headers), normalizers))

    def exhaustion_policy(self, was_on_disk: bool) -> OnExhausted:
        """Return the policy for a request whose recordings have all been played.

        If the mode can record the request again, it is a new episode: recordings repeat only in modes that only play.
        """
        plays_only = ACTIONS[self.mode][1 if was_on_disk else 2] is Action.REFUSE
        return self.on_exhausted if plays_only else OnExhausted.ERROR

    def rewrite_retry_after(self, head: Head) -> Head:
        """Return `head` with the `retry-after` of these rules: SDKs really sleep that long, up to two minutes.

        (openai/_base_client.py, `_calculate_retry_timeout`)
        """
        seconds = self.retry_after_s
        if seconds is None:
            return head
        replacements = {"retry-after": f"{seconds:g}", "retry-after-ms": f"{seconds * 1000:g}"}
        headers: Headers = tuple((name, replacements.get(name.lower(), value)) for name, value in head.headers)
        return replace(head, headers=headers)
