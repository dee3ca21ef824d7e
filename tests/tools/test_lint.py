"""Each rule of `lint` finds its problem in the right line, and nothing else."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from openai_replay.config.lint_rule import Rule
from openai_replay.errors import CassetteError
from openai_replay.model import End, Frame, Head, Interaction, Request, Response
from openai_replay.tools import lint
from openai_replay.tools.lint_rules import Finding, recorded_at_s
from tests.cassette.test_reader import CHAT, JSON, SSE, STREAMED, TAPE, edited_text, item, plain, written
from tests.redaction.test_secret_scanner import SECRETS, dice
from tests.support.proxy import invoke

ROOT = Path(__file__).parents[2]
KEY = f"sk-proj-{dice(64)}"
CORPUS = Path(os.environ.get("OPENAI_REPLAY_CORPUS") or ROOT.parent / "shared" / "corpus")


def findings(text: str, **options: float) -> list[tuple[int, str]]:
    """Return line and rule of each finding."""
    return [(finding.line, str(finding.rule)) for finding in lint.find_problems(text, TAPE, **options)]  # type: ignore[arg-type]


def line_of(text: str, words: str) -> int:
    """Return the line, from 1, that contains `words`."""
    return text.count("\n", 0, text.index(words)) + 1


# ------------------------------------------------------------------------------------------------ each rule


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(written(STREAMED, item(b'{"id":"chatcmpl-C9x2"}')), id="ours"),
        pytest.param(plain(), id="vcrpy's"),
        pytest.param("interactions: []\n", id="empty list"),
    ],
)
def test_a_clean_cassette_has_no_findings(text: str) -> None:
    assert findings(text) == []


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        pytest.param("", 1, "is empty", id="empty"),
        pytest.param("a: 1\n", 1, "is not a cassette: it has no `interactions`", id="other YAML"),
        pytest.param("a: 1\nb: [\n", 3, "is not YAML", id="no YAML"),
        pytest.param("interactions: []\nversion: 7\n", 2, "has version 7", id="a newer version"),
        pytest.param(plain() + "metadata: {}\n", 12, "Unknown key 'metadata' at the top level", id="a key at the top"),
        pytest.param(
            plain().replace("    uri:", "    wire: 1\n    uri:"), 6, "Unknown key 'wire' in a request", id="our key"
        ),
        pytest.param(written(STREAMED).replace("end: 380 complete", "end: soon"), 38, "interaction 1: ", id="no end"),
    ],
)
def test_schema(text: str, line: int, message: str) -> None:
    [finding] = lint.find_problems(text, TAPE)
    assert finding.rule is Rule.SCHEMA
    assert message in finding.message
    assert str(TAPE) not in finding.message
    assert finding.line == line


def test_torn() -> None:
    torn = written(item(b"one"), item(b"two")).removesuffix("\n")
    torn = torn[: torn.rindex("    wire:")]
    [finding] = lint.find_problems(torn, TAPE)
    assert finding.rule is Rule.TORN
    assert finding.line == line_of(torn, "# 2") + 1
    assert findings(written(item(b"one")), is_torn=True)[0][1] == "torn"


def test_frames() -> None:
    text = edited_text(STREAMED, "Héllo", "Hi")
    assert findings(text) == [(line_of(text, "frames:"), "frames")]
    assert findings(lint.fix_frames(text, TAPE)) == []


@pytest.mark.parametrize("kind", ["request", "answer", "header", "uri"])
@pytest.mark.parametrize("secret", [secret for _, secret in SECRETS[::6]])
def test_a_secret_is_found_anywhere_in_a_recording(kind: str, secret: str) -> None:
    body = json.dumps({"a": 1, "text": f"it is\n{secret if kind == 'request' else ''}", "b": 2}).encode()
    request = Request("POST", f"{CHAT}?k={secret}" if kind == "uri" else CHAT, JSON, body)
    headers = (*JSON, ("x-odd", secret)) if kind == "header" else JSON
    answer = b'{"a":\n"%s"}\r\n' % (secret.encode() if kind == "answer" else b"")
    text = written(item(b"first"), item(answer, request=request, headers=headers))
    [finding] = [finding for finding in lint.find_problems(text, TAPE) if finding.rule is Rule.SECRET]
    assert finding.line == line_of(text, secret)
    assert secret[12:] not in finding.message


@pytest.mark.parametrize(
    "style", ["|", ">", "'", '"', ""], ids=["literal", "folded", "single-quoted", "double-quoted", "plain"]
)
@pytest.mark.parametrize("width", [40, 80, 10_000])
def test_a_secret_is_found_in_each_style_of_a_scalar(style: str, width: int) -> None:
    words = " ".join(["some words and"] * 30)
    value = f"{words} {KEY} {words}"
    raw: dict[str, object] = {"request": {"method": "GET", "uri": CHAT, "headers": {}, "body": None}}
    answer = {"status": {"code": 200, "message": "OK"}, "headers": {}, "body": {"string": value}}
    items = {"version": 1, "interactions": [{**raw, "response": answer}]}
    text = yaml.dump(items, default_style=style or None, width=width)
    [(line, rule)] = findings(text)
    assert rule == "secret"
    # A writer may break the key in two: the line it begins in counts.
    assert KEY[:4] in text.splitlines()[line - 1]


def test_a_secret_split_over_events_is_found() -> None:
    pieces = [KEY[:9], KEY[9:30], KEY[30:]]
    body = b"".join(
        b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n' % piece.encode() for piece in pieces
    )
    text = written(item(body, headers=SSE))
    begins = line_of(text, f"data: {body.decode().splitlines()[0][6:]}")
    assert findings(text) == [(3, "secret"), (begins, "secret")]  # the comment says what the model said


def test_a_secret_is_known_by_its_field() -> None:
    body = {"model": "m", "tools": [{"type": "mcp", "headers": {"x-k": dice(20)}}, {"authorization": "REDACTED"}]}
    text = written(item(b"{}", request=Request("POST", CHAT, JSON, json.dumps(body).encode())))
    assert findings(text) == [(line_of(text, dice(20)), "secret")]


@pytest.mark.parametrize(
    ("name", "value", "is_one"),
    [
        ("Authorization", f"Bearer {dice(20)}", True),
        ("authorization", "Bearer REDACTED", False),
        ("authorization", "Bearer <OPENAI_ACCESS_TOKEN>", False),
        ("authorization", "Bearer test-key-1234567", False),
        ("api-key", dice(32, "0123456789abcdef"), True),
        ("api-key", "DUMMY", False),
        ("x-portkey-api-key", dice(28), True),
        ("cookie", f"session={dice(40)}", True),
        ("set-cookie", f"__cf_bm={dice(40)}; path=/", False),
        ("openai-organization", dice(20), False),
        ("x-request-id", f"req_{dice(32)}", False),
        ("authorization", f"AWS4-HMAC-SHA256 Credential=x/y, Signature={dice(64)}", False),
    ],
)
def test_a_secret_in_a_header_is_found(name: str, value: str, is_one: bool) -> None:
    text = written(item(b"{}", request=Request("POST", CHAT, ((name, value),), b"")))
    assert findings(text) == ([(line_of(text, value.split("=")[-1]), "secret")] if is_one else [])


def test_a_secret_in_a_comment_is_found() -> None:
    text = written(item(b"{}")).replace("# 1  ", f"# made with {KEY}\n# 1  ")
    assert findings(text) == [(3, "secret")]


def test_a_secret_in_a_compressed_body_or_another_file_is_found() -> None:
    headers = (*JSON, ("content-encoding", "gzip"))
    text = written(item(gzip.compress(json.dumps({"a": KEY}).encode()), headers=headers))
    assert (line_of(text, "!!binary"), "secret") in findings(text)
    assert findings(f"a: 1\nb: {KEY}\n") == [(1, "schema"), (2, "secret")]


def test_a_masked_secret_is_not_a_finding(tmp_path: Path) -> None:
    masked = b'{"key":"REDACTED%s"}' % (b"*" * 50)
    assert findings(written(item(masked, request=Request("POST", CHAT, JSON, b'{"key":"REDACTED"}')))) == []


def test_unreviewable() -> None:
    headers = (*JSON, ("content-encoding", "gzip"))
    text = written(item(gzip.compress(b"{}"), headers=headers))
    assert findings(text) == [(line_of(text, "!!binary"), "unreviewable")]
    text = written(item(b"\xff\xfe{}"))
    assert findings(text) == [(line_of(text, "!!binary"), "unreviewable")]
    text = written(item(b'{"text": "%s"}' % (b"some\twords " * 2000)))
    assert findings(text) == [(line_of(text, "some"), "unreviewable")]


@pytest.mark.parametrize(
    "interaction",
    [
        item(b"\x89PNG\r\n\xff" * 3000, headers=(("content-type", "image/png"),)),
        item(b"\x00\xff" * 3000, headers=(("content-type", "audio/mpeg"),)),
        item(json.dumps({"b64_json": base64.b64encode(os.urandom(30_000)).decode(), "a": "\t"}).encode()),
        item(json.dumps({"text": "some words " * 5000}).encode()),
    ],
    ids=["image", "audio", "image in JSON", "verbatim JSON"],
)
def test_media_and_verbatim_text_are_fine(interaction: Interaction) -> None:
    assert findings(written(interaction)) == []


def answered(status: int, body: bytes = b"{}", end: End = End.COMPLETE, headers: object = JSON) -> Interaction:
    head = Head(status, "So", headers)  # type: ignore[arg-type]
    return Interaction(Request("POST", CHAT, JSON, b"{}"), Response(head, 1, (Frame(2, body),), 3, end))


@pytest.mark.parametrize(
    ("interaction", "words"),
    [
        (answered(429), "status:"),
        (answered(500), "status:"),
        (answered(401), "status:"),
        (answered(200, end=End.TRUNCATED), "end:"),
        (answered(200, end=End.RESET), "end:"),
        (answered(200, b'{"id":1,\n"error": {"message": "no"}}'), '"error"'),
        (answered(200, b'data: {}\n\ndata: {"error": {"message": "no"}}\n\n', headers=SSE), '"error"'),
        (answered(200, b'event: error\ndata: {"message": "no"}\n\n', headers=SSE), "event: error"),
        (answered(200, b'data: {"type": "response.failed"}\n\n', headers=SSE), "response.failed"),
    ],
)
def test_error(interaction: Interaction, words: str) -> None:
    text = written(item(b"fine"), interaction)
    position = text.index(words, text.index("# 2  ") + 100 if words.startswith('"') else text.index("- request", 300))
    assert findings(text) == [(text.count("\n", 0, position) + 1, "error")]


@pytest.mark.parametrize(
    "interaction",
    [
        answered(200, b'{"error": null, "status": "completed"}'),
        answered(404),
        answered(400, b'{"error": {"message": "no"}}'),
        answered(200, b'data: {"error": null}\n\ndata: [DONE]\n\n', headers=SSE),
        answered(200, b'data: {"delta": "the \\"error\\" of my ways"}\n\n', headers=SSE),
    ],
)
def test_no_error(interaction: Interaction) -> None:
    assert findings(written(interaction)) == []


def test_large() -> None:
    assert findings(written(item(b"some words\n" * 100_000))) == [(1, "large")]
    assert findings(written(item(b"some words\n" * 40_000))) == []


DAY = 86_400.0
MADE = 1_763_000_000


@pytest.mark.parametrize(
    "interaction",
    [
        item(b"{}", headers=(*JSON, ("Date", "Thu, 13 Nov 2025 02:13:20 GMT"))),
        item(b'{"created": %d}' % MADE),
        item(b'{"created_at": %d.5}' % MADE),
        item(b'data: {"created": %d}\n\ndata: [DONE]\n\n' % MADE, headers=SSE),
        item(b'data: {"type":"response.created","response":{"created_at": %d}}\n\n' % MADE, headers=SSE),
    ],
)
def test_stale(interaction: Interaction) -> None:
    text = written(interaction)
    line = line_of(text, "- request")
    assert findings(text, now_s=MADE + 10 * DAY, max_age_s=9 * DAY) == [(line, "stale")]
    assert findings(text, now_s=MADE + 10 * DAY, max_age_s=11 * DAY) == []
    assert findings(text, now_s=MADE + 10 * DAY) == []


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"created": "x"}', b'{"created": -1}', b"\xff", b""])
def test_a_recording_without_a_date_is_not_stale(body: bytes) -> None:
    assert recorded_at_s(item(body).response) is None
    assert recorded_at_s(item(body, headers=(*SSE, ("Date", "yesterday"))).response) is None
    assert findings(written(item(body or b" ")), now_s=MADE, max_age_s=1.0) in ([], [(18, "unreviewable")])


# ------------------------------------------------------------------------------------------------ allowed


def test_a_comment_allows_findings_of_its_recording() -> None:
    text = written(answered(429), answered(500), item(b"{}"))
    assert len(findings(text)) == 2
    allowed = text.replace("# 2  ", "# why: we retry\n# lint: allow error, secret\n# 2  ")
    assert findings(allowed) == [(line_of(allowed, "status: {code: 429"), "error")]
    assert len(findings(allowed.replace("allow error", "allow large"))) == 2
    assert findings("# lint: allow error\n" + text) == []
    assert len(findings(text.replace("# 1  ", "# lint: allow error\n# 1  "))) == 1


def test_a_comment_allows_findings_in_a_file_that_is_not_a_cassette() -> None:
    assert findings("# lint: allow schema\na: 1\n") == []


# ------------------------------------------------------------------------------------------------ the command


def write_cassette(folder: Path, *interactions: Interaction, name: str = "tape.yaml") -> Path:
    path = folder / name
    path.write_text(written(*interactions), "utf-8")
    return path


def test_lint_prints_one_line_per_finding(tmp_path: Path) -> None:
    good, bad = write_cassette(tmp_path, item(b"{}")), write_cassette(tmp_path, answered(429), name="other.yaml")
    line = line_of(bad.read_text(), "status:")
    assert invoke("lint", good) == (0, "", "")
    assert invoke("lint", tmp_path) == (1, f"{bad}:{line}: error: The response is an error: 429 So.\n", "")
    assert invoke("lint", tmp_path, "--allow", "error").code == 0
    assert invoke("lint", tmp_path, "--rule", "secret").code == 0
    assert invoke("lint", tmp_path, "--rule", "secret", "--rule", "error").code == 1
    refused = invoke("lint", tmp_path, "--allow", "errors")
    assert refused.code == 2
    assert "'errors' is not a rule" in refused.stderr
    missing = invoke("lint", tmp_path / "none.yaml", bad)
    assert missing.code == 1
    assert missing.stdout.startswith(f"{tmp_path / 'none.yaml'}:1: schema: does not exist.\n{bad}:{line}: ")


def test_fix_corrects_frames_and_leaves_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "tape.yaml"
    path.write_text(edited_text(STREAMED, "Héllo", "Hi") + "# the end\n", "utf-8")
    before = invoke("lint", path)
    assert before.code == 1
    assert invoke("lint", "--allow", "frames", path).code == 0
    fixed = invoke("lint", "--fix", path)
    assert (fixed.code, fixed.stdout) == (0, before.stdout.replace("\n", " Fixed.\n"))
    assert invoke("lint", path) == (0, "", "")
    assert path.read_text("utf-8").endswith("# the end\n")


def test_max_age_and_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_cassette(tmp_path, item(b'{"created": %d}' % MADE))
    assert ": stale: Recorded " in invoke("lint", path, "--max-age", "2d").stdout
    assert invoke("lint", path, "--max-age", "90000d").code == 0
    assert invoke("lint", path, "--max-age", "old").code == 2
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[tool.openai-replay]\nmax-age = "2d"\n')
    assert invoke("lint", path).code == 1
    (tmp_path / "pyproject.toml").write_text('[tool.openai-replay]\nmax-age = "2d"\nlint-allow = ["stale"]\n')
    assert invoke("lint", path).code == 0


def test_annotations_for_github(tmp_path: Path) -> None:
    folder = tmp_path / "a,b: 50%"
    folder.mkdir()
    bad = write_cassette(folder, Interaction(item(b"").request, Response(Head(500, "100% bad: so, no"), 1, (), 2)))
    line = line_of(bad.read_text(), "status:")
    path = str(folder).replace("%", "%25").replace(",", "%2C").replace(":", "%3A") + "/tape.yaml"
    result = invoke("lint", "--format", "github", bad)
    assert result.stdout == (
        f"::error file={path},line={line},title=openai-replay error::"
        "The response is an error: 500 100%25 bad: so, no.\n"
    )
    edited = tmp_path / "edited.yaml"
    edited.write_text(edited_text(STREAMED, "Héllo", "Hi"), "utf-8")
    assert invoke("lint", "--fix", "--format", "github", edited).stdout.startswith("::notice file=")


def test_a_finding_about_an_unreadable_file_has_no_path() -> None:
    assert lint.describe_unreadable(TAPE, CassetteError(TAPE, 3, "is odd")) == Finding(3, Rule.SCHEMA, "is odd.")
    assert lint.describe_unreadable(TAPE, CassetteError(TAPE, None, "is odd")) == Finding(1, Rule.SCHEMA, "is odd.")


def test_the_pre_commit_hook_runs_as_pre_commit_would_run_it(tmp_path: Path) -> None:
    [hook] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    assert hook["language"] == "python"
    names = ["cassettes/a.yaml", "tests/cassettes/test_chat/b.yml", "cassettes.yaml", "cassettes/a.py", "src/x.yaml"]
    assert [name for name in names if re.search(hook["files"], name)] == names[:2]
    entry = shlex.split(hook["entry"])
    program = [str(Path(sys.executable).parent / entry[0]), *entry[1:], *hook.get("args", [])]
    (tmp_path / "cassettes").mkdir()
    good, bad = (
        write_cassette(tmp_path / "cassettes", item(b"{}")),
        write_cassette(tmp_path / "cassettes", answered(429), name="b.yaml"),
    )
    for files, code in (([good], 0), ([good, bad], 1)):
        relative = [str(file.relative_to(tmp_path)) for file in files]
        assert subprocess.run([*program, *relative], cwd=tmp_path, capture_output=True).returncode == code


# ------------------------------------------------------------------------------------------------ real cassettes


def test_our_own_cassettes_have_no_findings() -> None:
    cassettes = [ROOT / "cassettes", *sorted((ROOT / "examples").rglob("cassettes"))]
    assert len([file for folder in cassettes for file in folder.rglob("*.yaml")]) >= 9
    assert invoke("lint", *cassettes) == (0, "", "")


@pytest.mark.slow
@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no corpus at {CORPUS}: set OPENAI_REPLAY_CORPUS to its folder")
def test_cassettes_of_other_projects_have_no_false_secrets() -> None:
    """They were published on purpose, and looked through: there is no secret in the ones vcrpy wrote."""
    files = [file for file in CORPUS.rglob("*") if file.suffix in (".yaml", ".yml", "") and file.is_file()]
    texts = {file: file.read_text("utf-8", "replace") for file in files}
    cassettes = {file: text for file, text in texts.items() if re.search(r"^interactions:", text, re.MULTILINE)}
    assert len(cassettes) > 500
    findings = [(file, finding) for file, text in cassettes.items() for finding in lint.find_problems(text, file)]
    assert [(str(file), finding) for file, finding in findings if finding.rule is Rule.SECRET] == []


def test_a_secret_planted_anywhere_is_found() -> None:
    """The negative of the test above: its silence means something."""
    for file in sorted((ROOT / "cassettes").glob("*.yaml")):
        lines = file.read_text("utf-8").splitlines(keepends=True)
        for number, line in enumerate(lines):
            if '"content": "' in line:
                planted = [*lines[:number], line.replace('"content": "', f'"content": "{KEY} '), *lines[number + 1 :]]
                assert (number + 1, "secret") in findings("".join(planted))
