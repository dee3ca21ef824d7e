"""`list`, `show`, `stats` and `diff`: the contents of cassettes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from openai_replay.cassette import writer
from openai_replay.model import Frame, Head, Interaction, Request, Response
from openai_replay.tools import timeline
from tests.support.proxy import OPENAI_REPLAY, cassette, environment, interactions, invoke, item

CASSETTES = Path(__file__).parents[2] / "cassettes"
CHAT = CASSETTES / "chat-stream.yaml"
TOOL = CASSETTES / "tool-call.yaml"


@pytest.fixture
def cassette_path(tmp_path: Path) -> Path:
    return cassette(tmp_path / "chat.yaml", item("first"), item("second"))


def test_list_shows_files_and_folders() -> None:
    result = invoke("list", TOOL)
    assert result.code == 0
    first, second = result.stdout.splitlines()
    assert first.startswith("#1  POST /v1/chat/completions  gpt-4o-mini  200  ")
    assert first.endswith('"weather{\\"city\\": \\"Oslo\\"}"')
    assert second.startswith("#2  POST")
    folder = invoke("list", CASSETTES).stdout
    paths = sorted(CASSETTES.glob("*.yaml"))
    assert [line for line in folder.splitlines() if line and not line.startswith("#")] == [str(path) for path in paths]
    assert folder.count("TTFT") == 2
    assert invoke("list", CHAT, TOOL).stdout.split("\n\n")[1].splitlines() == [str(TOOL), first, second]


def test_list_writes_json() -> None:
    listed = json.loads(invoke("list", "--json", CASSETTES).stdout)
    assert len(listed) == 6
    assert listed[0] == {
        "cassette": str(CHAT),
        "number": 1,
        "method": "POST",
        "path": "/v1/chat/completions",
        "model": "gpt-4o-mini",
        "stream": True,
        "status": 200,
        "ms": interactions(CHAT)[0].response.end_ms,
        "ttft_ms": timeline.first_token_ms(interactions(CHAT)[0].response),
        "end": "complete",
        "preview": listed[0]["preview"],
    }
    assert listed[0]["preview"].startswith("Because a test that asks a live model costs money")


def test_show_writes_one_recording() -> None:
    result = invoke("show", f"{TOOL}#1")
    assert result.code == 0
    assert "    call weather  call_" in result.stdout
    assert '      {\n        "city": "Oslo"\n      }\n' in result.stdout
    assert "#2" not in result.stdout
    assert invoke("show", TOOL).stdout.startswith(result.stdout + "\n#2  POST")
    assert invoke("show", CASSETTES).stdout.count("\nrequest\n") == 6


def test_show_draws_the_timing() -> None:
    result = invoke("show", CHAT, "--timing")
    assert "TTFT    " in result.stdout
    assert "█" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize("options", [["--timing"], [], ["--json"]])
def test_show_writes_ascii_to_an_ascii_terminal(options: list[str]) -> None:
    result = subprocess.run(
        [*OPENAI_REPLAY, "show", str(CHAT), *options],
        env=environment({"PYTHONIOENCODING": "ascii", "COLUMNS": "60"}), capture_output=True, check=True,
    )  # fmt: skip
    assert result.stdout.isascii()
    assert not result.stderr
    if options == ["--timing"]:
        assert max(map(len, result.stdout.decode().splitlines()[7:])) <= 60


def test_show_writes_json(cassette_path: Path) -> None:
    (value,) = json.loads(invoke("show", "--json", CHAT).stdout)
    entry = json.loads(invoke("show", "--json", f"{CHAT}#1").stdout)
    assert entry == value
    response = interactions(CHAT)[0].response
    assert entry["response"]["frames"] == [
        {"at_ms": frame.at_ms, "text": frame.data.decode()} for frame in response.frames
    ]
    assert json.loads(entry["request"]["body"]["text"])["stream"] is True
    assert [first["number"] for first in json.loads(invoke("show", "--json", cassette_path).stdout)] == [1, 2]


def test_show_writes_the_bytes_of_a_body(tmp_path: Path, cassette_path: Path) -> None:
    body = bytes(range(256))
    request, head = Request("GET", "https://api.openai.com/v1/x"), Head(200, "OK")
    binary = tmp_path / "binary.yaml"
    entry = Interaction(request, Response(head, 0, (Frame(0, body),), 0))
    binary.write_text(writer.HEADER + "".join(writer.write_interaction(entry, 1)), "utf-8")
    for path in (binary, f"{binary}#1"):
        result = subprocess.run([*OPENAI_REPLAY, "show", str(path), "--raw"], env=environment(), capture_output=True)
        assert (result.returncode, result.stdout, result.stderr) == (0, body, b"")
    combined = invoke("show", "--raw", cassette_path)
    assert (combined.code, combined.stdout) == (2, "")
    assert f"{cassette_path} has 2" in combined.stderr
    assert f"openai-replay show --raw '{cassette_path}#1'" in combined.stderr
    assert invoke("show", "--raw", f"{cassette_path}#2").stdout == "second"


@pytest.mark.parametrize("number", [0, 3, 999])
def test_a_missing_number_is_a_usage_error(cassette_path: Path, number: int) -> None:
    for command in ("list", "show", "stats"):
        result = invoke(command, f"{cassette_path}#{number}")
        assert result.code == 2
        assert f"{cassette_path} has no recording #{number}. It has #1 to #2." in result.stderr
        assert result.stdout.strip() == ""
    assert "a folder, and numbers count in a file" in invoke("list", f"{cassette_path.parent}#1").stderr


def test_a_file_name_may_have_a_number_sign(tmp_path: Path, cassette_path: Path) -> None:
    odd = tmp_path / "chat.yaml#2"
    odd.write_bytes(cassette(tmp_path / "a#b.yaml", item("odd")).read_bytes())
    assert '"odd"' not in invoke("show", f"{cassette_path}#1").stdout
    assert "odd" in invoke("show", odd).stdout
    assert "odd" in invoke("show", f"{odd}#1").stdout
    assert "odd" in invoke("show", tmp_path / "a#b.yaml").stdout
    assert invoke("show", f"{odd}#2").code == 2


@pytest.mark.parametrize("command", ["list", "show", "stats"])
def test_a_file_that_is_not_a_cassette_is_an_error(tmp_path: Path, command: str) -> None:
    missing = invoke(command, tmp_path / "none.yaml")
    assert (missing.code, missing.stdout) == (3, "")
    assert f"{tmp_path / 'none.yaml'}: does not exist" in missing.stderr
    for text, expected in (("a: 1\n", "is not a cassette"), ("a: [", "is not YAML")):
        (tmp_path / "odd.yaml").write_text(text)
        result = invoke(command, tmp_path / "odd.yaml")
        assert (result.code, expected in result.stderr) == (3, True)
    assert invoke(command, "-").code == 3


def test_a_torn_recording_is_left_out_with_a_warning(cassette_path: Path) -> None:
    with cassette_path.open("ab") as file:
        file.write(b"\0" * 8192 + b"method: POST\n")
    result = invoke("list", cassette_path)
    assert (result.code, len(result.stdout.splitlines())) == (0, 2)
    assert "a recorder was killed" in result.stderr
    (cassette_path.parent / "empty.yaml").write_text("")
    assert (
        invoke("list", cassette_path.parent / "empty.yaml").code,
        invoke("stats", cassette_path.parent / "empty.yaml").code,
    ) == (0, 0)


def test_an_edited_response_is_a_warning(tmp_path: Path) -> None:
    edited = tmp_path / "edited.yaml"
    edited.write_text(CHAT.read_text("utf-8").replace("Because", "Since"), "utf-8")
    assert "the frames sum up to" in invoke("show", edited).stderr


def test_a_closed_pipe_ends_the_command_quietly(tmp_path: Path) -> None:
    cassette_path = cassette(tmp_path / "chat.yaml", *[item("x" * 2000)] * 300)
    for arguments in (["show", "--json"], ["show"], ["list"], ["list", "--json"]):
        script = '"$@" | head -c 10 >/dev/null'
        result = subprocess.run(
            ["bash", "-c", script, "bash", *OPENAI_REPLAY, *arguments, str(cassette_path)],
            env=environment(),
            capture_output=True,
        )
        assert (result.stdout, result.stderr) == (b"", b"")


def test_a_full_disk_is_an_error_of_one_line(cassette_path: Path) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        result = subprocess.run(
            [*OPENAI_REPLAY, "list", str(cassette_path)],
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (result.returncode, result.stderr) == (1, "Error: Could not write the output: No space left on device.\n")


def test_stats_counts_by_model() -> None:
    result = invoke("stats", CASSETTES, "--price", "gpt-4o-mini=1000000/2000000")
    assert result.code == 0
    assert "without usage: 2 of 6" in result.stdout
    value = json.loads(invoke("stats", "--json", CASSETTES, "--price", "gpt-4o-mini=1000000/2000000").stdout)
    assert value["total"]["interactions"] == 6
    assert value["total"]["streams"] == 2
    assert value["total"]["errors"] == 1
    mini = value["models"]["gpt-4o-mini"]
    assert mini["cost"] == value["total"]["cost"] == mini["tokens_in"] + 2 * mini["tokens_out"]
    assert "cost" not in value["models"]["error-429"]
    assert invoke("stats", TOOL, "--price", "free").code == 2


def test_diff_compares_two_cassettes(tmp_path: Path) -> None:
    common = invoke("diff", TOOL, TOOL)
    assert (common.code, common.stdout) == (0, "2 the same, 0 differ\n")
    second = tmp_path / "other.yaml"
    text = TOOL.read_text("utf-8")
    second.write_text(text.replace("call_74196fe", "call_84196fe").replace("2025 15:06", "2025 15:07"), "utf-8")
    assert invoke("diff", TOOL, second).stdout == "2 the same, 0 differ\n"
    assert "call_84196fe" in invoke("diff", TOOL, second, "--all").stdout
    second.write_text(text.replace("Oslo", "Rome"), "utf-8")
    result = invoke("diff", TOOL, second)
    assert result.code == 1
    assert "#1 and #1  POST /v1/chat/completions  gpt-4o-mini  200  " in result.stdout
    assert (
        "    request  messages[0].content: 'What is the weather in Oslo?', now 'What is the weather in Rome?'\n"
        in result.stdout
    )
    assert (
        "    response choices[0].message.tool_calls[0].function.arguments.city: 'Oslo', now 'Rome'\n" in result.stdout
    )
    assert result.stdout.endswith("0 the same, 2 differ\n")


def test_diff_shows_recordings_of_only_one_cassette(cassette_path: Path, tmp_path: Path) -> None:
    second = cassette(tmp_path / "other.yaml", item("first"), item("odd", prompt="else"), item("x", path="/v1/models"))
    result = invoke("diff", cassette_path, second, "--timing")
    assert result.code == 1
    assert "timing   end: 0 ms, now 0 ms" in result.stdout
    assert f"#3  POST /v1/models  200  0 ms  only in {second}\n" in result.stdout
    assert result.stdout.endswith("1 the same, 1 differ, 1 only in the second\n")
    assert invoke("diff", second, cassette_path).stdout.endswith("1 the same, 1 differ, 1 only in the first\n")
    assert invoke("diff", f"{cassette_path}#1", f"{second}#1").code == 0
    assert "body: 'first', now 'odd'" in invoke("diff", f"{cassette_path}#1", f"{second}#2").stdout
    assert invoke("diff", cassette_path, tmp_path / "none.yaml").code == 3
    assert invoke("diff", f"{cassette_path}#9", cassette_path).code == 2
