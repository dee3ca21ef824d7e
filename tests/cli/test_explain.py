"""`openai-replay explain`, and the text of a miss, which is the same everywhere."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import openai_replay
from openai_replay.cli.root import main
from openai_replay.pytest_plugin import options
from tests.support.proxy import CHAT, cassette, command, invoke, item


def asked(value: Any) -> str:
    return item('{"id": "resp_1", "said": 0}').replace("'\"hello\"'", f"'{json.dumps(value)}'")


def chat(text: str, **options: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **options}


@pytest.fixture
def cassette_path(tmp_path: Path) -> Path:
    return cassette(tmp_path / "chat.yaml", asked(chat("Say hello")), asked(chat("Bye")), asked(chat("Say hello")))


def request(folder: Path, value: Any) -> Path:
    path = folder / "request.json"
    path.write_text(json.dumps(value), "utf-8")
    return path


def test_explain_names_the_matching_recording(cassette_path: Path, tmp_path: Path) -> None:
    assert invoke("explain", cassette_path, request(tmp_path, chat("Bye"))) == (0, "matches #2\n", "")
    assert invoke("explain", cassette_path, request(tmp_path, chat("Say hello"))) == (0, "matches #1, #3\n", "")
    second = cassette(tmp_path / "other.yaml", asked(chat("More")))
    assert invoke("explain", cassette_path, second, request(tmp_path, chat("More"))) == (0, "matches #4\n", "")


def test_explain_shows_the_differences_of_a_miss(cassette_path: Path, tmp_path: Path) -> None:
    assert invoke("explain", cassette_path, request(tmp_path, chat("Say hi", n=1))) == (
        1,
        f"No recording matches POST /v1/chat/completions in {cassette_path} (mode none).\n"
        "The closest recording is #1. It differs in:\n"
        "  messages[0].content: recorded 'Say hello'  now 'Say hi'\n"
        "  n: recorded absent  now 1  (a default that is given or left out)\n"
        "The next closest is #2. It differs in messages[0].content, n\n"
        f"To record it, run:  openai-replay record {cassette_path} -- <your command>\n"
        "To accept it, set:  --normalize defaults --ignore /messages/0/content\n",
        "",
    )


def test_a_suggested_setting_makes_the_request_match(cassette_path: Path, tmp_path: Path) -> None:
    options = ["--normalize", "defaults", "--ignore", "/messages/0/content"]
    assert invoke("explain", *options, cassette_path, request(tmp_path, chat("Say hi", n=1))) == (
        0,
        "matches #1, #2, #3\n",
        "",
    )


def test_explain_reads_settings_files(cassette_path: Path, tmp_path: Path) -> None:
    (tmp_path / "openai-replay.toml").write_text('ignore = ["/user"]\n', "utf-8")
    assert invoke("explain", cassette_path, request(tmp_path, chat("Bye", user="a"))).stdout == "matches #2\n"


def test_explain_reads_a_request_from_stdin(cassette_path: Path) -> None:
    def run(*options: str) -> tuple[int, str]:
        ran = CliRunner().invoke(main, ["explain", *options, str(cassette_path), "-"], input=json.dumps(chat("Bye")))
        return ran.exit_code, ran.stdout

    assert run("--path", CHAT) == (0, "matches #2\n")
    code, output = run("--path", "/chat/completions")
    assert code == 1
    assert "\nIt has POST /v1/chat/completions: the path differs only by /v1. Is the base URL right?\n" in output
    code, output = run("--match-header", "x-tenant", "--header", "x-tenant: a")
    assert code == 1
    assert "\n  headers: recorded ''  now 'x-tenant: a'\n" in output
    assert "\nIt has no recording of that method and path, only" in run("--method", "PUT")[1]


def test_explain_shows_no_secrets(cassette_path: Path, tmp_path: Path) -> None:
    key = "sk-" + "aB3dE6gH" * 6
    ran = invoke("explain", cassette_path, request(tmp_path, chat(f"My key is {key}")))
    assert ran.code == 1
    assert key not in ran.stdout
    assert "now 'My key is REDACTED'" in ran.stdout


def test_unreadable_requests_are_usage_errors(cassette_path: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"a": 1,\n "b"}', "utf-8")
    ran = invoke("explain", cassette_path, tmp_path / "bad.json")
    assert ran.code == 2
    assert f"Error: {tmp_path / 'bad.json'}:2:5: The text is not JSON: expecting ':' delimiter.\n" in ran.stderr
    assert invoke("explain", cassette_path, tmp_path / "none.json").code == 2
    assert invoke("explain", tmp_path / "none.yaml", request(tmp_path, chat("x"))).code == 3


PAGE = Path(__file__).parents[2] / "docs" / "understanding-a-miss.md"
EXAMPLES = re.findall(
    r"```json\n(.*?)```\n\n```json\n(.*?)```\n\n```text\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL
)


@pytest.mark.parametrize("number", range(3))
def test_the_examples_of_the_docs_are_real_output(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded, current, text = EXAMPLES[number]
    monkeypatch.chdir(tmp_path)
    path = "/v1/responses" if "input" in recorded else CHAT
    complete = item("{}", path=path).replace("'\"hello\"'", f"'{json.dumps(json.loads(recorded))}'")
    cassette(Path("cassette.yaml"), complete)
    Path("now.json").write_text(current, "utf-8")
    assert invoke("explain", "cassette.yaml", "now.json") == (1, text, "")
    assert len(EXAMPLES) == 3


def ask(cassette_path: openai_replay.Session, value: Any) -> int:
    posted = urllib.request.Request(
        f"{cassette_path.base_url}/chat/completions", json.dumps(value).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(posted) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_miss_suggests_a_fallback_with_the_same_user_message(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "user", "content": "Bye"}]
    cassette_path = cassette(tmp_path / "chat.yaml", asked({"messages": turns}))
    current = {"messages": [turns[0], {"role": "assistant", "content": "Hello"}, turns[1]]}
    assert invoke("explain", cassette_path, request(tmp_path, current)).stdout.endswith(
        f"\nTo record it, run:  openai-replay record {cassette_path} -- <your command>\n"
        f"To play #1 instead, set:  --fallback last-user-message\n"
    )
    with openai_replay.play(cassette_path) as playing:
        assert ask(playing, current) == 424
        assert playing.misses[0].endswith('\nTo play #1 instead, set:  fallback="last-user-message"')
    with openai_replay.play(cassette_path, fallback="last-user-message") as playing:
        assert ask(playing, current) == 200
        assert ask(playing, current) == 424  # it has been played
        assert "Play #1 for it" not in playing.misses[0]
    second = {"messages": [*current["messages"], {"role": "user", "content": "More"}]}
    assert "Play #1 for it" not in invoke("explain", cassette_path, request(tmp_path, second)).stdout


def test_suggestions_in_python_are_arguments(tmp_path: Path) -> None:
    cassette_path = cassette(tmp_path / "chat.yaml", asked(chat("Today is 2026-11-20", user="a")))
    current = chat("Today is 2026-11-21", user="b")
    with openai_replay.play(cassette_path) as playing:
        assert ask(playing, current) == 424
        assert playing.misses[0].endswith('\nTo accept it, set:  normalize=["date"], ignore=["/user"]')
    with openai_replay.play(cassette_path, normalize=["date"], ignore=["/user"]) as playing:
        assert ask(playing, current) == 200


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"normalize": ["uuid"], "ignore": ["/a"]}, '@pytest.mark.openai_replay(normalize=["uuid"], ignore=["/a"])'),
        ({"match_on": "method,path,body"}, '@pytest.mark.openai_replay(match_on="method,path,body")'),
        ({"fallback": "last-user-message"}, '@pytest.mark.openai_replay(fallback="last-user-message")'),
    ],
)
def test_suggestions_in_pytest_are_a_marker(
    settings: dict[str, Any], text: str, request: pytest.FixtureRequest
) -> None:
    assert options.advice(request.node).accept(settings) == text
    assert settings.keys() <= {*options.MARKER_SETTINGS}


async def test_a_miss_has_the_same_text_everywhere(cassette_path: Path, tmp_path: Path) -> None:
    value = {"model": "gpt-4o", "messages": [{"role": "tool", "tool_call_id": "call_9", "content": "Say hi\x1b[2J"}]}
    async with command("play", cassette_path.name, cwd=tmp_path) as process:
        missed = await process.ask("POST", CHAT, value)
        text = missed.json["error"]["message"]
        journal = (await process.ask("GET", "/@/journal")).json
        await process.says("\n  " + text.replace("\n", "\n  "))
    offline = invoke("explain", cassette_path, request(tmp_path, value))
    assert text.splitlines()[-3:-1] == [
        "messages[0].tool_call_id: call_9 was issued by no recording in this cassette",
        "To record it, run:  openai-replay record chat.yaml -- <your command>",
    ]
    assert [exchange["error"] for exchange in journal["exchanges"]] == [text]
    assert offline.stdout == text.replace("chat.yaml", str(cassette_path)) + "\n"
