"""The registry of settings: each is declared once, for all places that a user may set it in.

To add a setting, add one row to `SECTIONS` here or in `server_settings`, and use its value. The flag with its help,
the environment variable, the key in openai-replay.toml and pyproject.toml, the field of `POST /@/sessions`, the name in
the pytest marker, and docs/cli.md come from the row:

    Setting("speed", TEXT, parsers.text, Scope.PLAY | Scope.FILE, "Speed of playback.", default="1x", metavar="SPEED")

A setting that becomes a part of `Rules` also names its field in `rule`. Only the typed signatures of
`openai_replay.play` and `record` are written out as well, for editors; a test compares them with the registry.
`--help` reads this module, so it imports little.
"""

from __future__ import annotations

from openai_replay.config import parsers, server_settings
from openai_replay.config.setting import Kind, Scope, Setting
from openai_replay.model import Fallback, Mode, OnExhausted

CHOICE, FLAG, TEXT, TEXTS = Kind.CHOICE, Kind.FLAG, Kind.TEXT, Kind.TEXTS

DEFAULT_UPSTREAM = "https://api.openai.com/v1"

#: The settings by their section in `--help`.
SECTIONS = {
    "Recording": (
        Setting(
            "mode",
            CHOICE,
            parsers.choice(Mode, Mode),
            Scope.RECORD | Scope.FILE | Scope.SESSION | Scope.PYTHON_RECORD | Scope.PYTEST | Scope.PYTEST_OPTION,
            "`new_episodes` plays what is recorded and records the rest. `once` records only if the cassette is new. "
            "`all` records everything and replaces earlier recordings. `off` only forwards.",
            default="new_episodes",
            choices=tuple(map(str, Mode)),
            not_typed=("none",),  # that is `play`
            flags=("--mode", "--record-mode"),
            rule="mode",
        ),
        Setting(
            "keep_headers",
            CHOICE,
            parsers.choice(("default", "all"), lambda name: name == "all"),
            Scope.RECORD | Scope.IMPORT | Scope.FILE,
            "`all` also records noise headers, such as user-agent, x-stainless-* and cf-*.",
            default="default",
            choices=("default", "all"),
            rule="all_headers",
        ),
        Setting(
            "max_response",
            TEXT,
            parsers.size,
            Scope.RECORD | Scope.FILE,
            "Largest response to record. Larger ones still reach the client but are not recorded.",
            default="256m",
            metavar="SIZE",
        ),
    ),
    "Upstream": (
        Setting(
            "upstream",
            TEXT,
            parsers.text,
            Scope.RECORD | Scope.FILE | Scope.PYTHON_RECORD | Scope.PYTEST | Scope.PYTEST_OPTION,
            "Base URL of the API. Requests go to its host, and clients get its path in their base URL.",
            default=DEFAULT_UPSTREAM,
            metavar="URL",
        ),
        Setting(
            "upstream_key_env",
            TEXT,
            parsers.variable,
            Scope.RECORD | Scope.FILE,
            "With --client-key-env, send the API the key in this environment variable instead of the client's key.",
            metavar="VARIABLE",
        ),
        Setting(
            "idle_timeout",
            TEXT,
            parsers.seconds,
            Scope.RECORD | Scope.REFRESH | Scope.FILE,
            "Give up on the upstream after this long without data.",
            default="10m",
            metavar="DURATION",
        ),
        Setting(
            "drain_timeout",
            TEXT,
            parsers.seconds,
            Scope.RECORD | Scope.FILE,
            "After a client leaves, read the rest of its response for at most this long, to record it.",
            default="5m",
            metavar="DURATION",
            rule="drain_timeout_s",
        ),
    ),
    "Playback": (
        Setting(
            "pace",
            TEXT,
            parsers.pace,
            Scope.PLAYBACK | Scope.PYTEST_OPTION,
            "`instant`, `original`, or a speed such as 2x or 0.5x. Add ,max-gap=200ms to shorten pauses.",
            default="instant",
            metavar="PACE",
            rule="pace",
        ),
        Setting(
            "on_exhausted",
            CHOICE,
            parsers.choice(OnExhausted, OnExhausted),
            Scope.PLAYBACK,
            "Response to a request whose recordings have all been played: an error, the last one again, or all of them "
            "again from the first.",
            default="repeat",
            choices=tuple(map(str, OnExhausted)),
            rule="on_exhausted",
        ),
        Setting(
            "fallback",
            CHOICE,
            parsers.choice(Fallback, Fallback),
            Scope.PLAYBACK,
            "Response to a request that matches no recording: the nearest recording with the same last user message, "
            "or the next one in sequence. Each fallback is reported.",
            default="none",
            choices=tuple(map(str, Fallback)),
            rule="fallback",
        ),
        Setting(
            "retry_after",
            TEXT,
            parsers.retry_after,
            Scope.PLAY | Scope.FILE | Scope.PYTHON_PLAY | Scope.PYTEST,
            "Replace the seconds of a recorded retry-after header. SDKs sleep that long.",
            default="keep",
            metavar="keep|SECONDS",
            rule="retry_after_s",
            nullable=True,
        ),
        Setting(
            "strict",
            FLAG,
            parsers.flag,
            Scope.PLAY | Scope.FILE | Scope.PYTEST_OPTION,
            "Also exit with 1 if a recording was not played.",
        ),
    ),
    "Matching": (
        Setting(
            "match_on",
            Kind.TEXT_OR_TEXTS,
            parsers.match_on,
            Scope.MATCHING,
            "Parts of a request that have to be equal.",
            default="method,path,query,body",
            metavar="NAMES",
            rule="matcher.on",
        ),
        Setting(
            "match_header",
            TEXTS,
            parsers.match_header,
            Scope.MATCHING,
            "Also compare this header.",
            metavar="NAME",
            rule="matcher.headers",
        ),
        Setting(
            "normalize",
            TEXTS,
            parsers.normalize,
            Scope.MATCHING,
            "Ignore differences in values that change on each run: uuid, datetime, date, epoch, tmp-path, call-id, "
            "data-url or defaults, separated by commas, or your own NAME=REGEX.",
            metavar="NAMES",
            rule="matcher.normalize",
        ),
        Setting(
            "ignore",
            TEXTS,
            parsers.pointers,
            Scope.MATCHING,
            "Leave the value at this JSON pointer out of matching. * stands for any key or index. For a form field or "
            "an upload, write /NAME.",
            metavar="POINTER",
            rule="matcher.ignore",
        ),
    ),
    "Redaction": (
        Setting(
            "redact_header",
            TEXTS,
            parsers.texts,
            Scope.REDACTING,
            "Also redact this header.",
            metavar="NAME",
            rule="redactor.headers",
        ),
        Setting(
            "redact_pattern",
            TEXTS,
            parsers.redact_pattern,
            Scope.REDACTING,
            "Redact the text that this matches in bodies and headers.",
            metavar="REGEX",
            rule="redactor.patterns",
        ),
        Setting(
            "redact_pointer",
            TEXTS,
            parsers.redact_pointer,
            Scope.REDACTING,
            "Redact the string at this JSON pointer in bodies and events.",
            metavar="POINTER",
            rule="redactor.pointers",
        ),
    ),
    **server_settings.SECTIONS,
}
#: Every setting by its name.
SETTINGS = {setting.name: setting for section in SECTIONS.values() for setting in section}


def in_scope(scope: Scope) -> dict[str, Setting]:
    """Return the settings that may be set in `scope`, by name."""
    return {name: setting for name, setting in SETTINGS.items() if scope & setting.scopes}


def of_rules() -> dict[str, Setting]:
    """Return the settings that `Rules` are made of, by name."""
    return {name: setting for name, setting in SETTINGS.items() if setting.rule}
