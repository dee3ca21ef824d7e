"""What an answer says that it cost: tokens, or seconds of sound. Never estimated."""

from __future__ import annotations

from typing import Any, NamedTuple


class Usage(NamedTuple):
    """Tokens in and out; `cached` ones are among those in, `reasoning` among those out.

    `sound_s`: seconds of sound that were billed by their length.
    """

    tokens_in: int = 0
    tokens_out: int = 0
    cached: int = 0
    reasoning: int = 0
    sound_s: float = 0.0

    def plus(self, other: Usage) -> Usage:
        """The sum of both."""
        return Usage(
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            self.cached + other.cached,
            self.reasoning + other.reasoning,
            self.sound_s + other.sound_s,
        )


#: The names that chat, completions and embeddings give, and those of Responses, images and transcriptions.
_NAMES = (("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens"))


def usage(answer: Any) -> Usage | None:
    """What `answer`, a JSON answer or one put together from a stream, says of it; None where it says nothing.

    A run of Assistants brings it in the run.
    """
    value = _dict(answer)
    said = _dict(value.get("usage") or _dict(value.get("run")).get("usage"))
    for tokens_in, tokens_out in _NAMES:
        if tokens_in in said or tokens_out in said:
            inner = _dict(said.get(f"{tokens_in}_details")), _dict(said.get(f"{tokens_out}_details"))
            return Usage(
                _count(said.get(tokens_in)),
                _count(said.get(tokens_out)),
                _count(inner[0].get("cached_tokens")),
                _count(inner[1].get("reasoning_tokens")),
            )
    seconds = said.get("seconds")
    if isinstance(seconds, (int, float)) and 0 <= seconds < 1e9:
        return Usage(sound_s=float(seconds))
    return None


def _count(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < 1 << 60 else 0


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
