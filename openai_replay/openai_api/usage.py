"""Usage as responses report it: tokens, or seconds of audio. Never estimated."""

from __future__ import annotations

from typing import Any, NamedTuple


class Usage(NamedTuple):
    """Input and output tokens. `cached` tokens are part of the input, `reasoning` tokens part of the output.

    `sound_s` are the seconds of audio that were billed by length.
    """

    tokens_in: int = 0
    tokens_out: int = 0
    cached: int = 0
    reasoning: int = 0
    sound_s: float = 0.0

    def plus(self, addend: Usage) -> Usage:
        """Return the sum of both."""
        return Usage(
            self.tokens_in + addend.tokens_in,
            self.tokens_out + addend.tokens_out,
            self.cached + addend.cached,
            self.reasoning + addend.reasoning,
            self.sound_s + addend.sound_s,
        )


#: Names in chat, completions and embeddings, and in Responses, images and transcriptions.
_NAMES = (("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens"))


def parse_usage(response: Any) -> Usage | None:
    """Return the usage in a response as JSON, or as an assembled stream. None if it reports none.

    An Assistants stream has it in the run.
    """
    value = _dict(response)
    fields = _dict(value.get("usage") or _dict(value.get("run")).get("usage"))
    for tokens_in, tokens_out in _NAMES:
        if tokens_in in fields or tokens_out in fields:
            inner = _dict(fields.get(f"{tokens_in}_details")), _dict(fields.get(f"{tokens_out}_details"))
            return Usage(
                _count(fields.get(tokens_in)),
                _count(fields.get(tokens_out)),
                _count(inner[0].get("cached_tokens")),
                _count(inner[1].get("reasoning_tokens")),
            )
    seconds = fields.get("seconds")
    if isinstance(seconds, (int, float)) and 0 <= seconds < 1e9:
        return Usage(sound_s=float(seconds))
    return None


def _count(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < 1 << 60 else 0


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
