"""Planted secrets: forty kinds in thirteen places, through the real record path, and what of them can be read after.

What is searched is the cassette's bytes, the journal, and all that was said on stderr. docs/redaction.md shows the
table; `python -m tests.e2e.test_secrets` measures it anew and writes it there.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import random
import re
import string
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

import pytest

from openai_replay.config.rules import Rules
from openai_replay.journal.log import to_stderr as logs_of
from openai_replay.model import Mode
from openai_replay.redaction import key_patterns
from openai_replay.redaction.key_shapes import KEY_SHAPES
from openai_replay.server import control_api
from openai_replay.server.serve import ServerConfig, serving
from tests.support.proxy import ask, interactions
from tests.support.upstream import Chunk, End, Received, Send, Step, Upstream, head, plain

CORPUS = Path(os.environ.get("OPENAI_REPLAY_CORPUS") or Path(__file__).parents[3] / "shared" / "corpus")
PAGE = Path(__file__).parents[2] / "docs" / "redaction.md"
START, STOP = "<!-- the table of tests/e2e/test_secrets.py -->\n", "<!-- its end -->\n"

# ------------------------------------------------------------------------------------------------ forty kinds

_WORD = string.ascii_letters + string.digits
_HEX = "0123456789abcdef"


def _chance(kind: str, alphabet: str, length: int) -> str:
    """The same for a kind on every run, and no key of anybody."""
    dice = random.Random(kind)
    return "".join(dice.choice(alphabet) for _ in range(length))


class Kind(NamedTuple):
    """A kind of secret: its text, what of it must not be read, and whether the rules name it."""

    name: str
    text: str
    secret: str
    is_named: bool


def _kind(name: str, prefix: str, alphabet: str = "", length: int = 0, suffix: str = "", is_named: bool = True) -> Kind:
    secret = _chance(name, alphabet, length)
    return Kind(name, prefix + secret + suffix, secret, is_named)


KINDS = [
    _kind("OpenAI key, old", "sk-", _WORD, 48),
    _kind("OpenAI project key", "sk-proj-", _WORD + "_-", 130, "A"),
    _kind("OpenAI service account key", "sk-svcacct-", _WORD + "_-", 130, "A"),
    _kind("OpenAI admin key", "sk-admin-", _WORD + "_-", 130, "A"),
    _kind("OpenAI session key", "sess-", _WORD, 40),
    _kind("OpenAI client secret", "ek_", _HEX, 32),
    _kind("OpenAI WebSocket subprotocol", "openai-insecure-api-key.", _WORD, 40),
    _kind("Anthropic key", "sk-ant-api03-", _WORD + "_-", 90, "AA"),
    _kind("OpenRouter key", "sk-or-v1-", _HEX, 64),
    _kind("Langfuse key", "sk-lf-", _HEX, 36),
    _kind("Google API key", "AIza", _WORD, 35),
    _kind("AWS access key id", "AKIA", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16),
    _kind("AWS temporary access key id", "ASIA", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16),
    _kind("GitHub personal token", "ghp_", _WORD, 36),
    _kind("GitHub OAuth token", "gho_", _WORD, 36),
    _kind("GitHub app token", "ghs_", _WORD, 36),
    _kind("GitHub fine-grained token", "github_pat_" + _chance("pat", _WORD, 22) + "_", _WORD, 59),
    _kind("GitLab token", "glpat-", _WORD, 20),
    _kind("Slack bot token", "xoxb-1234567890-1234567890-", _WORD, 24),
    _kind("Slack app token", "xapp-1-A0000000000-1234567890-", _HEX, 64),
    _kind("Hugging Face token", "hf_", _WORD, 34),
    _kind("Groq key", "gsk_", _WORD, 52),
    _kind("Replicate token", "r8_", _WORD, 37),
    _kind("xAI key", "xai-", _WORD, 80),
    _kind("Perplexity key", "pplx-", _WORD, 48),
    _kind("NVIDIA key", "nvapi-", _WORD, 64),
    _kind("Stripe live key", "sk_live_", _WORD, 24),
    _kind("npm token", "npm_", _WORD, 36),
    _kind("PyPI token", "pypi-AgE", _WORD, 150),
    _kind("SendGrid key", "SG." + _chance("sg", _WORD, 22) + ".", _WORD, 43),
    _kind("LangSmith key", "lsv2_pt_" + _chance("ls", _HEX, 32) + "_", _HEX, 10),
    _kind("Tavily key", "tvly-dev-", _WORD, 32),
    _kind("Databricks token", "dapi", _HEX, 32),
    _kind("`Bearer` token", "Bearer ", _WORD, 40),
    _kind("JSON web token", "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.", _WORD, 43, is_named=False),
    _kind("AWS secret access key", "", _WORD + "/+", 40, is_named=False),
    _kind("Azure key (32 hex digits)", "", _HEX, 32, is_named=False),
    _kind("UUID for a key", "", _HEX, 8, "-0000-4000-8000-000000000000", is_named=False),
    _kind("password assignment", "password=", _WORD, 16, is_named=False),
    _kind("password in a URL", "postgres://user:", _WORD, 16, "@db.example/x", is_named=False),
    _kind("PEM private key", "-----BEGIN PRIVATE KEY-----\n", _WORD, 64, "\n-----END PRIVATE KEY-----", is_named=False),
]

# ------------------------------------------------------------------------------------------------ thirteen places


class Sent(NamedTuple):
    """A request with a secret in it, or one whose answer has it."""

    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    query: str = ""
    answer: tuple[Step, ...] = tuple(plain(b"{}"))


def _line(text: str) -> str:
    return text.replace("\n", " ")


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _event(text: str) -> bytes:
    return b'data: {"choices": [{"index": 0, "delta": {"content": %b}}]}\n\n' % _json(text)


def _stream(*chunks: bytes) -> Sent:
    headers = [("content-type", "text/event-stream"), ("transfer-encoding", "chunked")]
    return Sent(answer=(Send(head(200, "OK", headers)), *(Chunk(chunk) for chunk in chunks), End()))


def _over_frames(text: str) -> Sent:
    event = _event(f"It is {text} so far.")
    middle = event.index(_json(text)[1:-1]) + len(text) // 2
    return _stream(event[:middle], event[middle:])


def _over_events(text: str) -> Sent:
    sentence = f"It is {text} so far."
    return _stream(*(_event(sentence[at : at + 5]) for at in range(0, len(sentence), 5)))


def _part(disposition: str, content: str) -> Sent:
    lines = ["--x", f"Content-Disposition: form-data; {disposition}", "", content, "--x--", ""]
    return Sent("\r\n".join(lines).encode(), (("Content-Type", "multipart/form-data; boundary=x"),))


_TYPE = ("Content-Type", "application/json")
PLACES: dict[str, Callable[[str], Sent]] = {
    "request header": lambda text: Sent(headers=(_TYPE, ("X-Custom", _line(text)))),
    "URL query": lambda text: Sent(query=f"?q={quote(text, safe='')}"),
    "JSON string": lambda text: Sent(_json({"messages": [{"content": f"Use {text} now."}]})),
    "JSON in a string": lambda text: Sent(_json({"arguments": json.dumps({"deep": json.dumps({"is": text})})})),
    "form field": lambda text: _part('name="a"', f"Use {text} now."),
    "file name": lambda text: _part(f'name="a"; filename="{_line(text)}"', "content"),
    "answer header": lambda text: Sent(answer=tuple(plain(b"{}", headers=[("x-echo", _line(text))]))),
    "error message": lambda text: Sent(
        answer=tuple(plain(_json({"error": {"message": f"Incorrect API key provided: {text}. Bye."}}), status=401))
    ),
    "event": lambda text: _stream(_event(f"It is {text} so far.")),
    "split over reads": _over_frames,
    "split over events": _over_events,
    "subprotocol": lambda text: Sent(headers=(_TYPE, ("Sec-WebSocket-Protocol", f"realtime, {_line(text)}, v1"))),
    "base64": lambda text: Sent(_json({"data": base64.b64encode(text.encode()).decode()})),
}


def _shows(secret: str, location: str, kind: Kind, output: str) -> bool:
    """Return True if `secret` is readable in the remaining text, also in encoded form."""
    if location == "base64":
        return base64.b64encode(kind.text.encode()).decode() in output
    return any(form in output for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1]))


async def _measure(folder: Path) -> dict[tuple[str, str], bool]:
    """For each kind and place: whether nothing of it can be read in what is left behind."""
    sent = {f"/v1/{row}/{column}": PLACES[path](kind.text)
            for row, kind in enumerate(KINDS) for column, path in enumerate(PLACES)}  # fmt: skip

    def answer(request: Received) -> list[Step]:
        # The sender gets it as it is: what is written is what changes.
        return list(sent[request.path].answer)

    tape, stderr = folder / "tape.yaml", io.StringIO()
    async with Upstream(answer) as up:
        with redirect_stderr(stderr), logs_of("debug"):
            rules = Rules(mode=Mode.NEW_EPISODES)
            async with serving(ServerConfig(rules, (tape,), up.url, port=0)) as (origin, sessions):
                origin = origin.removesuffix("/v1")
                for path, sent_message in sent.items():
                    heard = await ask(
                        origin, "POST", path + sent_message.query, sent_message.body, sent_message.headers
                    )
                    assert b"".join(step.data for step in sent_message.answer if isinstance(step, Send)).endswith(
                        heard.body
                    ) or (
                        heard.body
                        == b"".join(b"".join(step) for step in sent_message.answer if isinstance(step, Chunk))
                    ), "the client gets the real thing"
                assert sessions.default is not None
                journal = json.dumps(control_api.journal(sessions.default), ensure_ascii=False)
    text = tape.read_text("utf-8")
    items = dict(re.findall(r"(?ms)^# \d+  POST (/v1/\d+/\d+)  (.*?)(?=^# \d+  POST |\Z)", text))
    played = {interaction.request.path: interaction for interaction in interactions(tape)}
    logs = journal + stderr.getvalue()
    covered = {}
    for row, kind in enumerate(KINDS):
        for column, location in enumerate(PLACES):
            path = f"/v1/{row}/{column}"
            took = played[path]
            output = (
                items[path]
                + unquote(items[path])
                + "".join(f"{name}: {value}\n" for name, value in took.request.headers)
            )
            output += took.response.body.decode() + took.request.body.decode()
            output += "".join(re.findall(r'"content": "(.*?)"}', took.response.body.decode()))  # as a client joins it
            own_lines = "\n".join(line for line in logs.splitlines() if f" {path} " in f" {line} ")
            covered[kind.name, location] = not (
                _shows(kind.secret, location, kind, output) or _shows(kind.secret, location, kind, own_lines)
            )
    for kind in KINDS:
        if kind.is_named:
            assert kind.secret not in logs, f"{kind.name} is in a log"
    return covered


def table(covered: dict[tuple[str, str], bool]) -> str:
    """The table as docs/redaction.md shows it."""
    lines = ["| kind | " + " | ".join(PLACES) + " |", "|---|" + ":-:|" * len(PLACES)]
    for kind in KINDS:
        marks = ("✓" if covered[kind.name, location] else "–" for location in PLACES)
        lines.append(f"| {kind.name} | {' | '.join(marks)} |")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def covered(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], bool]:
    """Measured once."""
    return asyncio.run(_measure(tmp_path_factory.mktemp("secrets")))


def test_there_are_forty_kinds_in_twelve_places() -> None:
    assert len({kind.text for kind in KINDS}) == len(KINDS) >= 40
    assert len(PLACES) >= 12


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.is_named], ids=lambda kind: kind.name)
def test_what_the_rules_name_is_nowhere(covered: dict[tuple[str, str], bool], kind: Kind) -> None:
    assert [location for location in PLACES if not covered[kind.name, location]] == ["base64"]


def test_the_measure_finds_what_is_not_covered(covered: dict[tuple[str, str], bool]) -> None:
    """Or it would find nothing anywhere."""
    for kind in KINDS:
        if not kind.is_named:
            assert not all(covered[kind.name, location] for location in PLACES), kind.name
    assert not covered["password assignment", "JSON string"]
    assert not covered["Azure key (32 hex digits)", "split over events"]


def test_the_table_in_the_docs_is_what_is_measured(covered: dict[tuple[str, str], bool]) -> None:
    published = PAGE.read_text("utf-8").partition(START)[2].partition(STOP)[0]
    assert published == table(covered), "run: python -m tests.e2e.test_secrets"


def test_every_shape_has_a_kind_that_is_planted() -> None:
    signs: dict[str, list[str]] = {}
    for shape in KEY_SHAPES:
        if shape.strict:
            signs.setdefault(shape.kind, []).append(shape.prefix)
    for kind, its in signs.items():
        assert any(sign in planted.text for planted in KINDS if planted.is_named for sign in its), kind


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus of recorded traffic: set OPENAI_REPLAY_CORPUS to its folder")
def test_no_shape_of_another_maker_hits_recorded_traffic() -> None:
    """The corpus has keys of OpenAI's shape only. A hit of another shape would be a mistake, or news."""
    prefixes = [shape.prefix for shape in KEY_SHAPES if shape.strict and shape.prefix not in ("sk-", "ek_", "sess-")]
    for path in sorted(CORPUS.rglob("*")):
        data = path.read_bytes() if path.is_file() else b""
        for start, end in key_patterns.find_keys(data):
            assert not data.startswith(tuple(prefix.encode() for prefix in prefixes), start), (path, data[start:end])


def main() -> None:
    """Measure, and write the table into the docs."""
    os.environ.pop("OPENAI_REPLAY_MODE", None)
    with tempfile.TemporaryDirectory() as folder:
        measured = table(asyncio.run(_measure(Path(folder))))
    text = PAGE.read_text("utf-8")
    before, _, tail = text.partition(START)
    PAGE.write_text(before + START + measured + STOP + tail.partition(STOP)[2], "utf-8")


if __name__ == "__main__":
    main()
