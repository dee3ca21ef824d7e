"""How requests are treated: what is decided about them, and the settings of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from openai_replay.matching.matcher import Matcher
from openai_replay.model import Fallback, Head, Headers, Mode, OnExhausted, Request
from openai_replay.playback import pace as pacing
from openai_replay.redaction.redactor import Redactor

if TYPE_CHECKING:
    from openai_replay.matching.suggestions import Advice


class Action(Enum):
    """What happens to a request."""

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
    """The settings of a tape: how it is recorded, matched and played."""

    mode: Mode = Mode.NONE
    redactor: Redactor = field(default_factory=Redactor)
    matcher: Matcher = field(default_factory=Matcher)
    pace: pacing.Pace = pacing.INSTANT
    on_exhausted: OnExhausted = OnExhausted.REPEAT
    fallback: Fallback = Fallback.NONE
    all_headers: bool = False
    retry_after_s: float | None = None  # what a played `retry-after` says instead; None keeps it
    advice: Advice | None = None  # what the explanation of a miss says to do; None: at the command line
    drain_timeout_s: float = 300.0  # how long an answer is read on for the tape when its client has left

    def key(self, request: Request) -> bytes:
        """The key of `request`, secrets and ignored parts left out."""
        return self.matcher.key(self.redactor.request(request))

    @property
    def has_user_patterns(self) -> bool:
        """Return True if reading a request runs regular expressions that users wrote, which may be slow."""
        return bool(self.redactor.patterns) or any(step.pattern for step in self.matcher.normalize)

    @property
    def matching_summary(self) -> str:
        """What decides the key, in a line without secrets; empty for the default."""
        return self.redactor.text(self.matcher.described)

    @property
    def key_fingerprint(self) -> str:
        """A text of all that decides a key: where it is the same, so are the keys."""
        redactor, matcher = self.redactor, self.matcher
        patterns = [pattern.text for pattern in redactor.patterns]
        own = [str(one) for one in matcher.normalize]
        parts = (sorted(redactor.headers), patterns, redactor.pointers, matcher.ignore, sorted(matcher.on))
        return repr((*parts, sorted(matcher.headers), own))

    def exhaustion_policy(self, was_on_disk: bool) -> OnExhausted:
        """What an identical request gets when its recordings are used up.

        Where it can be recorded it is a new episode: only what only plays may repeat itself.
        """
        plays_only = ACTIONS[self.mode][1 if was_on_disk else 2] is Action.REFUSE
        return self.on_exhausted if plays_only else OnExhausted.ERROR

    def rewrite_retry_after(self, head: Head) -> Head:
        """`head` as it is played: SDKs sleep for real on a `retry-after`, up to two minutes.

        (openai/_base_client.py, `_calculate_retry_timeout`)
        """
        seconds = self.retry_after_s
        if seconds is None:
            return head
        new = {"retry-after": f"{seconds:g}", "retry-after-ms": f"{seconds * 1000:g}"}
        headers: Headers = tuple((name, new.get(name.lower(), value)) for name, value in head.headers)
        return replace(head, headers=headers)
