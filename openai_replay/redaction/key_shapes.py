"""The table of API keys: one row per kind, which its maker's own prefix distinguishes from random text.

`strict` is what recording redacts: a text that is masked by mistake damages a recording, so lengths are fixed or
bounded. `loose` is what `lint` reports, where a false alarm costs less than a missed key. It matches everything that
`strict` matches. If a maker has published no format, the lengths are those of known keys, with room to grow.
"""

from __future__ import annotations

from typing import NamedTuple


class KeyShape(NamedTuple):
    """A kind of key. `strict` and `loose` are patterns of the text after `prefix`; None if the row is not for that use.

    More specific rows come first: of two that match at the same position, the first one names the kind.
    """

    kind: str
    prefix: str
    strict: str | None
    loose: str | None


def _same(kind: str, prefix: str, pattern: str) -> KeyShape:
    return KeyShape(kind, prefix, pattern, pattern)


_WORD = r"[A-Za-z0-9_-]"

KEY_SHAPES = (
    # The strict pattern of the OpenAI key covers these. Base64url media is longer.
    KeyShape("Anthropic key", "sk-ant-", None, _WORD + "{20,200}"),
    KeyShape("OpenRouter key", "sk-or-", None, r"v1-[0-9a-f]{40,80}"),
    KeyShape("Langfuse key", "sk-lf-", None, r"[0-9a-f-]{36}"),
    KeyShape("OpenAI admin key", "sk-admin-", None, _WORD + "{20,200}"),
    KeyShape("OpenAI key", "sk-", _WORD + "{20,200}", r"(?:proj-|svcacct-|None-)?[A-Za-z0-9_-]{20,200}"),
    _same("OpenAI session key", "sess-", _WORD + "{20,200}"),
    _same("OpenAI client secret", "ek_", _WORD + "{20,200}"),
    _same("Google key", "AIza", _WORD + "{35}"),
    KeyShape("Google OAuth token", "ya29.", None, _WORD + "{20,2000}"),
    _same("AWS access key", "AKIA", r"[A-Z2-7]{16}"),
    _same("AWS access key", "ASIA", r"[A-Z2-7]{16}"),
    *(_same("GitHub token", f"gh{letter}_", r"[A-Za-z0-9]{36,255}") for letter in "pousr"),
    KeyShape("GitHub token", "github_pat_", r"[A-Za-z0-9]{22}_[A-Za-z0-9]{59}", r"[A-Za-z0-9_]{40,255}"),
    KeyShape("GitLab token", "glpat-", _WORD + "{20,64}", _WORD + "{20,100}"),
    *(
        KeyShape("Slack token", f"xox{letter}-", r"[0-9]{8,14}-[A-Za-z0-9-]{16,230}", r"[A-Za-z0-9-]{20,250}")
        for letter in "abeprs"
    ),
    KeyShape("Slack token", "xoxo-", None, r"[A-Za-z0-9-]{20,250}"),
    KeyShape(
        "Slack token", "xapp-", r"[0-9]-[A-Z0-9]{8,14}-[0-9]{8,14}-[a-f0-9]{40,80}", r"[0-9]-[A-Za-z0-9-]{20,250}"
    ),
    KeyShape("Hugging Face token", "hf_", r"[A-Za-z0-9]{34,40}", r"[A-Za-z0-9]{30,100}"),
    KeyShape("Groq key", "gsk_", r"[A-Za-z0-9]{48,64}", r"[A-Za-z0-9]{40,100}"),
    KeyShape("Replicate token", "r8_", r"[A-Za-z0-9]{37,40}", r"[A-Za-z0-9]{30,100}"),
    *(KeyShape("Stripe key", f"{letter}k_live_", r"[A-Za-z0-9]{24,128}", r"[A-Za-z0-9]{16,250}") for letter in "sr"),
    KeyShape("xAI key", "xai-", r"[A-Za-z0-9]{64,128}", r"[A-Za-z0-9]{40,200}"),
    KeyShape("Perplexity key", "pplx-", r"[A-Za-z0-9]{48,64}", r"[A-Za-z0-9]{40,100}"),
    KeyShape("NVIDIA key", "nvapi-", _WORD + "{60,80}", _WORD + "{40,100}"),
    KeyShape("Tavily key", "tvly-", r"(?:dev-|prod-)?[A-Za-z0-9]{32,64}", r"(?:dev-|prod-)?[A-Za-z0-9]{20,100}"),
    _same("LangSmith key", "lsv2_", r"(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}"),
    _same("Databricks token", "dapi", r"[0-9a-f]{32}(?:-[0-9])?"),
    _same("npm token", "npm_", r"[A-Za-z0-9]{36}"),
    KeyShape("PyPI token", "pypi-AgE", _WORD + "{80,250}", _WORD + "{50,250}"),
    _same("SendGrid key", "SG.", r"[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    KeyShape("JSON web token", "eyJ", None, r"[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
)
