"""Settings have one meaning and one order in all their sources, and errors name the setting and its source."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import openai_replay
from openai_replay.config import files
from openai_replay.config.build import build_rules
from openai_replay.config.rules import Rules
from openai_replay.config.setting import Scope
from openai_replay.config.settings import in_scope
from openai_replay.errors import UsageError
from openai_replay.model import Fallback, Mode, OnExhausted
from tests.support.proxy import CHAT, KEY, ask, cassette, command, invoke, item
from tests.support.upstream import running_upstream


def test_every_setting_of_the_rules_changes_them() -> None:
    result = build_rules(
        {
            "mode": "once",
            "pace": "2x",
            "on_exhausted": "cycle",
            "fallback": "sequence",
            "retry_after": "1.5",
            "keep_headers": "all",
            "drain_timeout": "2m",
            "match_on": ["path", "body"],
            "match_header": ["X-B", "x-a"],
            "normalize": ["uuid,date"],
            "ignore": ["/a/*"],
            "redact_header": ["X-Secret"],
            "redact_pattern": ["customer-[0-9]+"],
            "redact_pointer": ["/user"],
        }
    )
    assert (result.mode, result.pace.speed, result.on_exhausted) == (Mode.ONCE, 2.0, OnExhausted.CYCLE)
    assert (result.fallback, result.retry_after_s, result.all_headers) == (Fallback.SEQUENCE, 1.5, True)
    assert result.drain_timeout_s == 120
    assert (result.matcher.on, result.matcher.headers, result.matcher.ignore) == (
        ("path", "body"),
        ("x-a", "x-b"),
        (("a", "*"),),
    )
    assert [str(entry) for entry in result.matcher.normalize] == ["uuid", "date"]
    assert "x-secret" in result.redactor.headers
    assert [pattern.text for pattern in result.redactor.patterns] == ["customer-[0-9]+"]
    assert ("user",) in result.redactor.pointers


def test_settings_without_a_value_stay_as_they_are() -> None:
    base = build_rules({"ignore": ["/a"], "redact_header": ["x-secret"], "retry_after": 0})
    assert build_rules({}, base) == build_rules({"pace": None, "ignore": None}, base) == base
    assert build_rules({"match_on": "body"}, base).matcher.ignore == (("a",),)
    assert build_rules({"retry_after": None}, base).retry_after_s is None
    assert build_rules({}) == Rules()


@pytest.mark.parametrize(
    ("name", "value", "says", "hint"),
    [
        ("modes", "none", "MODES: unknown setting", "Did you mean 'mode'?"),
        ("quux", 1, "QUUX: unknown setting", "The settings are mode,"),
        ("mode", "rewind", "MODE: 'rewind' is not a choice", "The choices are none, once"),
        ("pace", 2, "PACE: 2 is not a string", "quotes"),
        ("retry_after", True, "RETRY_AFTER: True is neither", "for example 0"),
        ("retry_after", "1e9", "RETRY_AFTER: '1e9' is neither", "for example 0"),
        ("drain_timeout", "5", "DRAIN_TIMEOUT: '5' is not a duration", "200ms"),
        ("keep_headers", "some", "KEEP_HEADERS: 'some' is not a choice", "default, all"),
        ("fallback", "first", "FALLBACK: 'first' is not a choice", "none, last-user-message, sequence"),
        ("match_on", "body,uri", "MATCH_ON: 'uri' is not a part of a request", "method, path"),
        ("match_on", 5, "MATCH_ON: 5 is not a list of strings", '["/metadata"]'),
        ("match_header", ["a b"], "MATCH_HEADER: 'a b' is not the name", "x-tenant"),
        ("normalize", ["uid"], "NORMALIZE: 'uid' is not a normalizer", "uuid"),
        ("normalize", ["a=b**"], "NORMALIZE: 'b**' is not a regular expression: multiple repeat", "re syntax"),
        ("ignore", "/a", "IGNORE: '/a' is not a list of strings", "for example"),
        ("ignore", [5], "IGNORE: 5 is not a string", "quotes"),
        ("ignore", ["/a~b"], "IGNORE: '/a~b' is not a JSON pointer: '~' at position 2", "~1"),
        ("redact_pattern", ["a["], "REDACT_PATTERN: 'a[' is not a regular expression: unterminated", "re syntax"),
        ("redact_pointer", ["a"], "REDACT_POINTER: 'a' is not a JSON pointer", "/messages"),
    ],
)
def test_a_wrong_value_is_named(name: str, value: Any, says: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        build_rules({name: value}, label=str.upper)
    assert error.value.message.startswith(says)
    assert hint in error.value.hint


# ------------------------------------------------------------------------------------------------ files


def test_the_nearer_file_wins(tmp_path: Path) -> None:
    cassettes = tmp_path / "cassettes" / "deep"
    cassettes.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[tool.openai-replay]\nignore = ["/a", "/b"]\nnormalize = ["uuid"]\n')
    (tmp_path / "cassettes" / "openai-replay.toml").write_text('ignore = ["/c"]\nmatch-on = ["body", "path"]\n')
    actual = files.load(cassettes / "new.yaml", tmp_path)
    assert {name: (entry.value, entry.path.name) for name, entry in actual.items()} == {
        "ignore": (["/c"], "openai-replay.toml"),
        "match_on": (["body", "path"], "openai-replay.toml"),
        "normalize": (["uuid"], "pyproject.toml"),
    }
    assert files.load(tmp_path / "cassettes", tmp_path) == actual
    (cassettes / "openai-replay.toml").write_text("")
    assert files.load(cassettes, tmp_path)["ignore"].value == ["/a", "/b"]
    assert files.load(tmp_path / "x.yaml", cassettes)["ignore"].value == ["/a", "/b"]


def test_a_settings_file_in_a_shared_folder_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "tmp" / "mine"
    folder.mkdir(parents=True)
    (tmp_path / "openai-replay.toml").write_text('upstream = "https://mine.example/v1"')
    for name, text in (("openai-replay.toml", "upstream"), ("pyproject.toml", "[tool.openai-replay]\nupstream")):
        (tmp_path / "tmp" / name).write_text(f'{text} = "https://other.example/v1"')
    assert files.load(folder, folder)["upstream"].value == "https://other.example/v1"
    (tmp_path / "tmp").chmod(0o1777)
    assert files.load(folder, folder)["upstream"].value == "https://mine.example/v1"


@pytest.mark.parametrize(
    ("file", "text", "says", "hint"),
    [
        ("openai-replay.toml", "ignores = []", "{}: ignores: unknown setting", "Did you mean 'ignore'?"),
        ("openai-replay.toml", "qq = 1", "{}: qq: unknown setting", "match-on"),
        ("openai-replay.toml", 'ignore = "/a"', "{}: ignore: '/a' is not a list of strings", '["/metadata"]'),
        ("openai-replay.toml", 'ignore = ["a"]', "{}: ignore: 'a' is not a JSON pointer", "/messages"),
        ("openai-replay.toml", 'match-header = ["a b"]', "{}: match-header: 'a b' is not the name", "x-tenant"),
        ("openai-replay.toml", "port = 70000", "{}: port: 70000 is not a number from 0 to 65535", "for example"),
        ("openai-replay.toml", 'port = "80"', "{}: port: '80' is not a number from 0 to 65535", "Remove the quotes."),
        ("openai-replay.toml", "workers = true", "{}: workers: True is not a number from 1 to 128", "for example 1"),
        ("openai-replay.toml", 'strict = "yes"', "{}: strict: 'yes' is neither true nor false", "without quotes"),
        ("openai-replay.toml", "journal = 3", "{}: journal: 3 is not a string", "quotes"),
        ("openai-replay.toml", "a = [", "Could not read {}: ", "Correct the file"),
        ("openai-replay.toml", 'idle-timeout = "5"', "{}: idle-timeout: '5' is not a duration", "90d"),
        ("openai-replay.toml", 'max-age = "old"', "{}: max-age: 'old' is not a duration", "90d"),
        ("openai-replay.toml", 'max-body = "5q"', "{}: max-body: '5q' is not a size", "64k"),
        ("openai-replay.toml", 'lint-allow = ["erorr"]', "{}: lint-allow: 'erorr' is not a rule", "error"),
        (
            "openai-replay.toml",
            'client-key-env = "a-key"',
            "{}: client-key-env: this is not the name of an environment",
            "key itself",
        ),
        (
            "pyproject.toml",
            "[tool]\nopenai-replay = 3",
            "{}: [tool.openai-replay] is 3, not a table",
            "ignore",
        ),
        ("openai-replay.toml", "[tool.openai-replay]", "{}: tool: unknown setting", "match-on"),
        (
            "pyproject.toml",
            '[tool.openai-replay]\nfallback = "first"',
            "{}: [tool.openai-replay] fallback: 'first' is not a choice",
            "last-user-message",
        ),
    ],
)
def test_a_wrong_file_is_named_with_its_key(tmp_path: Path, file: str, text: str, says: str, hint: str) -> None:
    path = tmp_path / file
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        files.load(tmp_path / "chat.yaml", tmp_path)
    assert error.value.message.startswith(says.format(path))
    assert hint in error.value.hint


def test_a_pyproject_without_our_table_has_no_settings(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("tool = 3")
    assert files.from_pyproject(tmp_path) == {}


# ------------------------------------------------------------------------------------------------ the command line


def config(*arguments: str | Path) -> dict[str, Any]:
    result = invoke("config", *arguments, "--json")
    assert result.code == 0, result.stderr
    actual: dict[str, Any] = json.loads(result.stdout)
    return actual


def test_config_shows_each_value_and_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cassettes").mkdir()
    (tmp_path / "pyproject.toml").write_text(
        '[tool.openai-replay]\npace = "2x"\nmatch-on = ["body"]\nidle-timeout="1m"'
    )
    (tmp_path / "cassettes" / "openai-replay.toml").write_text('normalize = ["uuid"]\npace = "3x"\n')
    monkeypatch.setenv("OPENAI_REPLAY_PACE", "4x")
    monkeypatch.setenv("OPENAI_REPLAY_UPSTREAM", "https://me:secret@example.com/v1")
    text = config("cassettes/new.yaml", "--ignore", "/a", "--ignore", "/b")
    assert text["ignore"] == {"value": ["/a", "/b"], "from": "--ignore"}
    assert text["pace"] == {"value": "4x", "from": "OPENAI_REPLAY_PACE"}
    assert text["normalize"] == {"value": ["uuid"], "from": str(tmp_path / "cassettes" / "openai-replay.toml")}
    assert text["match-on"] == {"value": "body", "from": str(tmp_path / "pyproject.toml")}
    assert text["upstream"]["value"] == "https://REDACTED@example.com/v1"
    assert text["on-exhausted"] == {"value": "repeat", "from": "default"}
    monkeypatch.delenv("OPENAI_REPLAY_PACE")
    assert config("cassettes")["pace"]["value"] == "3x"
    assert config()["pace"]["value"] == "2x"
    table = invoke("config", "cassettes")
    assert "normalize " in table.stdout
    assert '["uuid"]' in table.stdout
    assert str(tmp_path / "pyproject.toml") in table.stdout
    assert invoke("config", "--normalize", "uid").code == 2


def test_config_shows_the_settings_of_lint_in_a_fixed_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[tool.openai-replay]\nlint-allow = ["error"]\nmax-age = "90d"\n')
    text = config("--pace", "2x")
    assert text["lint-allow"] == {"value": ["error"], "from": str(tmp_path / "pyproject.toml")}
    assert text["max-age"]["value"] == "90d"
    assert list(text) == list(config())
    assert {setting.key for setting in in_scope(Scope.FILE).values()} == text.keys()


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (["--ignore", "/a~"], {}, "Error: --ignore: '/a~' is not a JSON pointer: '~' at position 2"),
        (["--normalize", "x=["], {}, "Error: --normalize: '[' is not a regular expression: unterminated"),
        (["--redact-pattern", "(a"], {}, "Error: --redact-pattern: '(a' is not a regular expression: missing )"),
        (["--match-on", "uri"], {}, "Error: --match-on: 'uri' is not a part of a request"),
        (["--match-header", "host"], {}, "Error: --match-header: The header 'host' belongs"),
        (["--drain-timeout", "5"], {}, "Error: --drain-timeout: '5' is not a duration"),
        (["--idle-timeout", "5"], {}, "Error: --idle-timeout: '5' is not a duration"),
        (["--max-response", "5q"], {}, "Error: --max-response: '5q' is not a size"),
        ([], {"OPENAI_REPLAY_IGNORE": "x"}, "Error: OPENAI_REPLAY_IGNORE: 'x' is not a JSON pointer"),
        ([], {"OPENAI_REPLAY_MAX_BODY": "5q"}, "Error: OPENAI_REPLAY_MAX_BODY: '5q' is not a size"),
    ],
)
def test_bad_options_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], environment: dict[str, str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    result = invoke("record", tmp_path / "chat.yaml", *arguments)
    assert result.code == 2
    assert result.stderr.startswith(says)
    assert not (tmp_path / "chat.yaml").exists()


def test_an_error_names_the_source_of_a_value_that_was_not_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[tool.openai-replay]\nmode = "none"\n')
    result = invoke("record", "chat.yaml")
    assert result.code == 2
    file = tmp_path / "pyproject.toml"
    assert f"{file}: mode: 'none' is not one of 'once', 'new_episodes', 'all', 'off'.\n" in result.stderr
    monkeypatch.setenv("OPENAI_REPLAY_PORT", "x")
    # The tests call the function `main`, so that is the name of the program.
    port_error = "'x' is not a number from 0 to 65535.\nRun `main play --help` for the usage.\n"
    assert invoke("play", "chat.yaml").stderr == f"Error: OPENAI_REPLAY_PORT: {port_error}"
    assert invoke("play", "chat.yaml", "--port", "x").stderr == f"Error: --port: {port_error}"
    monkeypatch.setenv("OPENAI_REPLAY_STRICT", "maybe")
    assert "Error: OPENAI_REPLAY_STRICT: 'maybe' is neither true nor false.\n" in invoke("play", "chat.yaml").stderr


@pytest.mark.parametrize("option", ["--allow", "--rule", "--max-age"])
def test_errors_of_lint_name_its_options(folder: Path, option: str) -> None:
    result = invoke("lint", folder, option, "quux")
    assert result.code == 2
    assert result.stderr.startswith(f"Error: {option}: ")


# ------------------------------------------------------------------------------------------------ folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write two cassettes for "ORD-1". The settings file of one's folder makes all orders equal."""
    (tmp_path / "cassettes" / "loose").mkdir(parents=True)
    for name in ("strict", "loose/any"):
        cassette(tmp_path / "cassettes" / f"{name}.yaml", item("{}", prompt="ORD-1"))
    (tmp_path / "cassettes" / "loose" / "openai-replay.toml").write_text("normalize = ['order=ORD-[0-9]+']\n")
    return tmp_path / "cassettes"


async def test_a_session_of_a_served_folder_takes_the_settings_of_its_own_folder(folder: Path) -> None:
    async with command("play", folder) as process:
        statuses = [
            (await ask(process.origin, "POST", f"/@{name}{CHAT}", text)).status
            for name, text in (("strict", "ORD-1"), ("strict", "ORD-2"), ("loose%2Fany", "ORD-2"))
        ]
        assert statuses == [200, 424, 200]

        async def opened(**settings: Any) -> tuple[int, str]:
            heard = await ask(process.origin, "POST", "/@/sessions", settings)
            if heard.status != 200:
                return heard.status, heard.json["error"]["message"]
            return (await ask(process.origin, "POST", f"/@{heard.json['id']}{CHAT}", "ORD-3")).status, ""

        assert await opened(cassette="loose/any") == (200, "")
        assert await opened(cassette="loose/any", normalize=[]) == (424, "")
        assert await opened(cassette="strict") == (424, "")
        assert await opened(cassette="strict", match_on="method,path") == (200, "")
        assert await opened(cassette="strict", match_on=["path"], match_header=["x-none"]) == (200, "")
        code, says = await opened(cassette="strict", normalize=["uid"])
        assert code == 400
        assert says.startswith("Invalid session: normalize: 'uid' is not a normalizer")
    async with command("play", folder, "--normalize", "uuid") as process:  # a flag goes before every file
        assert (await ask(process.origin, "POST", f"/@loose%2Fany{CHAT}", "ORD-2")).status == 424


@pytest.mark.parametrize("command", ["redact", "import", "explain"])
def test_errors_of_other_commands_name_their_options(folder: Path, command: str) -> None:
    options: dict[str, list[str | Path]] = {"import": ["-o", folder / "new.yaml"], "explain": ["-"]}
    result = invoke(command, folder / "strict.yaml", *options.get(command, []), "--redact-pattern", "(a+")
    assert result.code == 2
    assert "Error: --redact-pattern: '(a+' is not a regular expression" in result.stderr


async def test_play_in_python_reads_the_settings_file_beside_its_cassette(folder: Path) -> None:
    async def status(cassette_path: openai_replay.Session, text: str) -> int:
        async with cassette_path:
            path = urlsplit(cassette_path.base_url).path
            return (await ask(cassette_path.base_url, "POST", f"{path}/chat/completions", text)).status

    assert await status(openai_replay.play(folder / "loose" / "any.yaml"), "ORD-2") == 200
    assert await status(openai_replay.play(folder / "loose" / "any.yaml", normalize=["uuid"]), "ORD-2") == 424
    assert await status(openai_replay.play(folder / "strict.yaml", match_on="method,path"), "ORD-2") == 200


def test_a_matched_header_is_recorded_even_if_it_is_noise(tmp_path: Path) -> None:
    path = tmp_path / "chat.yaml"

    def answered(cassette_path: openai_replay.Session, agent: str) -> int:
        with cassette_path:
            request = urllib.request.Request(
                f"{cassette_path.base_url}/models", headers={"User-Agent": agent, "Authorization": f"Bearer {KEY}"}
            )
            try:
                with urllib.request.urlopen(request) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                return error.code

    with running_upstream() as upstream:
        assert answered(openai_replay.record(path, upstream.url, match_header=["User-Agent"]), "one") == 200
    assert answered(openai_replay.play(path, match_header=["user-agent"]), "one") == 200
    assert answered(openai_replay.play(path, match_header=["user-agent"]), "two") == 424
    assert answered(openai_replay.play(path), "two") == 200
