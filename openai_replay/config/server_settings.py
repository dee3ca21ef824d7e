"""Rows of the registry for the server process and for `lint`; `settings` puts all rows together."""

from __future__ import annotations

from openai_replay.config import parsers
from openai_replay.config.setting import Kind, Scope, Setting

CHOICE, FLAG, INTEGER, PATH, TEXT, TEXTS = Kind.CHOICE, Kind.FLAG, Kind.INTEGER, Kind.PATH, Kind.TEXT, Kind.TEXTS

#: More worker processes than this are a slip: each needs a core.
MAX_WORKERS = 128

SECTIONS = {
    "Server": (
        Setting(
            "host",
            TEXT,
            parsers.text,
            Scope.SERVER | Scope.FILE,
            "Address to listen on.",
            default="127.0.0.1",
            metavar="ADDRESS",
        ),
        Setting(
            "port",
            INTEGER,
            parsers.integer(0, 65535),
            Scope.SERVER | Scope.FILE,
            "Port to listen on. Without it: 8765, or any free port with a COMMAND. 0 takes any free port.",
            metavar="PORT",
        ),
        Setting(
            "ready_file",
            PATH,
            parsers.path,
            Scope.SERVER,
            "Write the base URL to this file as soon as the server accepts requests.",
            metavar="FILE",
        ),
        Setting(
            "workers",
            INTEGER,
            parsers.integer(1, MAX_WORKERS),
            Scope.SERVER | Scope.FILE,
            "Serve the port with this many processes, which share their positions.",
            default=1,
            metavar="COUNT",
        ),
        Setting(
            "state",
            TEXT,
            parsers.text,
            Scope.PLAY | Scope.FILE,
            "Keep the positions in this Redis, for servers on several machines: redis://HOST:PORT/DB?run=NAME.",
            metavar="URL",
        ),
        Setting(
            "max_head",
            TEXT,
            parsers.size,
            Scope.SERVER | Scope.FILE,
            "Largest head of a request.",
            default="64k",
            metavar="SIZE",
        ),
        Setting(
            "max_body",
            TEXT,
            parsers.size,
            Scope.SERVER | Scope.FILE,
            "Largest body of a request.",
            default="512m",
            metavar="SIZE",
        ),
    ),
    "Access": (
        Setting(
            "allow_remote",
            FLAG,
            parsers.flag,
            Scope.SERVER | Scope.FILE,
            "Allow a --host that other machines can reach.",
        ),
        Setting(
            "allow_host",
            TEXTS,
            parsers.texts,
            Scope.SERVER | Scope.FILE,
            "Accept this name in Host headers, besides localhost and addresses. * accepts any name.",
            metavar="NAME",
        ),
        Setting(
            "client_key_env",
            TEXT,
            parsers.variable,
            Scope.SERVER | Scope.FILE,
            "Serve only clients that send the key in this environment variable as their API key.",
            metavar="VARIABLE",
        ),
        Setting(
            "cors", FLAG, parsers.flag, Scope.SERVER | Scope.FILE, "Allow requests from web pages of this machine."
        ),
        Setting(
            "cors_origin",
            TEXTS,
            parsers.texts,
            Scope.SERVER | Scope.FILE,
            "Also allow web pages of this origin. Implies --cors.",
            metavar="ORIGIN",
        ),
    ),
    "Output": (
        Setting(
            "journal",
            PATH,
            parsers.path,
            Scope.SERVER | Scope.FILE | Scope.PYTEST_OPTION,
            "Append one line of JSON per request to this file. `prune` reads it.",
            metavar="FILE",
        ),
        Setting(
            "log_level",
            CHOICE,
            parsers.choice(("debug", "info", "warning"), str),
            Scope.SERVER | Scope.FILE,
            "`debug` shows the redacted heads of requests and responses on stderr.",
            default="warning",
            choices=("debug", "info", "warning"),
        ),
        Setting(
            "quiet", FLAG, parsers.flag, Scope.SERVER | Scope.FILE, "Only report failures.", flags=("--quiet", "-q")
        ),
    ),
    "Rules": (
        Setting(
            "max_age",
            TEXT,
            parsers.seconds,
            Scope.LINT | Scope.FILE,
            "Report recordings older than this, for example 90d. Recordings without a date are skipped.",
            metavar="DURATION",
        ),
        Setting(
            "lint_allow",
            TEXTS,
            parsers.lint_rules,
            Scope.LINT | Scope.FILE,
            "Do not report findings of this rule. In settings files, the key is lint-allow.",
            metavar="RULE",
            flags=("--allow",),
        ),
    ),
}
