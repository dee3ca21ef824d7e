"""Untrusted input: cassettes from anyone, names in URLs, folders that other users can write to.

None of them may hang the process, fill its memory, leave their folder, or make of one answer two.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import Signals
from unittest.mock import patch

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from openai_replay.cassette import file_store, reader, schema, writer
from openai_replay.cassette.cassette import Cassette
from openai_replay.cassette.recordings import cassette_files
from openai_replay.config.rules import Rules
from openai_replay.errors import CassetteError, StartError, UsageError
from openai_replay.model import Mode, Request
from openai_replay.playback import pace
from openai_replay.pytest_plugin.cassette_lock import exclusive_recording
from openai_replay.server.serve import ServerConfig, serving
from openai_replay.text import yaml_limits
from tests.support.proxy import CHAT, Connection, Ended, ask, cassette, command, invoke, item, playing, run
from tests.support.upstream import Hold, Send, Upstream, head, plain

TAPE = Path("tape.yaml")
LOADERS = [yaml.CSafeLoader, yaml.SafeLoader]

ITEM = """\
- request:
    method: {method}
    uri: https://h/v1/x
  response:
    status: {{code: {code}, message: {reason}}}
    headers: {headers}
    body: {{string: {body}}}
    wire: {{head: {head}, {length}frames: "{frames}", end: {end}}}
"""
USUAL = {
    "method": "GET",
    "code": "200",
    "reason": "OK",
    "headers": "{}",
    "body": "hello",
    "head": "1",
    "length": "",
    "frames": "2+5",
    "end": "3 complete",
}


def text(before: str = "", **fields: str) -> str:
    """A cassette with one item, of which `fields` are as they are said here."""
    return before + writer.HEADER + ITEM.format(**{**USUAL, **fields})


@pytest.fixture(params=LOADERS, ids=["libyaml", "pure Python"])
def load(request: pytest.FixtureRequest) -> Iterator[Callable[[str], reader.Document]]:
    with patch.object(reader, "_Loader", reader._texts(request.param)):
        yield lambda text: reader.load(text, TAPE)


Load = Callable[[str], reader.Document]

# ------------------------------------------------------------------------------------------------ small that gets large


def laughs(levels: int, leaf: str, level: str) -> str:
    """`levels` anchors, each nine times the one before."""
    return f"a0: &a0 {leaf}\n" + "".join(
        f"a{entry}: &a{entry} {level.format(', '.join([f'*a{entry - 1}'] * 9))}\n" for entry in range(1, levels)
    )


BOMBS = {
    "lists": text(laughs(9, "[x]", "[{}]")),
    "lists of forty levels": text(laughs(40, "[x]", "[{}]")),
    "merge keys": text(laughs(12, "{{x: y}}".format(), "{{<<: [{}]}}")),
    "an answer in many items": text(body="&b " + "x" * 50_000) + ITEM.format(**{**USUAL, "body": "*b"}) * 800,
    "an item many times": text().replace("- request", "- &i\n  request") + "- *i\n" * 100_000,
    "a header in many": text(
        "l: &l [" + "x, " * 2000 + "x]\n", headers="{" + ", ".join(f"h{n}: *l" for n in range(2000)) + "}"
    ),
    "vcrpy's tuples": text(laughs(9, "!!python/tuple [x]", "!!python/tuple [{}]")),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_aliases_that_make_something_very_large_are_refused(load: Load, bomb: str) -> None:
    with pytest.raises(CassetteError, match="its aliases make something very large of it") as refused:
        load(BOMBS[bomb])
    assert refused.value.hint == "Write it out without aliases (*name)."


@pytest.mark.parametrize(
    "around", ["x: &x [*x]\n", "x: &x {a: *x}\n", "x: &x {a: [1, {b: *x}]}\n", "x: &x\n- *x\n", "x: &x\n- y: *x\n"]
)
def test_what_holds_itself_is_refused(load: Load, around: str) -> None:
    with pytest.raises(CassetteError, match=r"tape.yaml:\d: holds an alias of itself"):
        load(around + text())


def test_the_aliases_of_real_cassettes_are_read(load: Load) -> None:
    """PyYAML writes one where two requests share a body, and people write merge keys."""
    body = '"' + "x" * 100_000 + '"'
    shared = (
        text(body=f"&b {body}", frames="2+100000") + ITEM.format(**{**USUAL, "body": "*b", "frames": "2+100000"}) * 5
    )
    document = load("common: &c {a: b}\nmore: {<<: *c}\n" + shared)
    assert [len(interaction.response.body) for interaction in document.interactions] == [100_000] * 6
    assert load(text(headers="{a: [R&D, &x y, *x]}")).interactions[0].response.head.headers == (
        ("a", "R&D"), ("a", "y"), ("a", "y")
    )  # fmt: skip


ODD = [*"&*a \n\t-:,?!|>#'\"[]{}\u2028\ufeff", "a: ", "- ", "&x ", "*x "]


@given(st.lists(st.sampled_from(ODD), max_size=16).map("".join))
@example("[&a b,*a]")
@example("{? a:&x b,c:*x }")
@example("[?&x b,?*x ]")
@example("\ufeff- &x 'a'\n- *x")
def test_no_alias_is_overlooked(text: str) -> None:
    try:
        actual = any(isinstance(entry, yaml.AliasEvent) for entry in yaml.parse(text))
        yaml.compose(text)
    except yaml.YAMLError:
        return
    assert yaml_limits.may_hold_alias(text) or not actual


def test_html_and_markdown_are_no_aliases() -> None:
    assert not yaml_limits.may_hold_alias("R&D *D, **amp** &amp; *gt* &lt;b>")


def test_of_two_values_of_a_key_the_last_counts_as_for_any_yaml_tool(load: Load) -> None:
    interaction = load(text(headers="{a: [b], a: [c]}")).interactions[0]
    assert interaction.response.head.headers == (("a", "c"),)


LONG = "9" * 1_000_000


@pytest.mark.parametrize(
    "fields",
    [
        {"code": LONG},
        {"code": f"!!int {LONG}"},
        {"code": "!!int " + "1:" * 500_000 + "1"},  # base 60: a second for ten thousand digits
        {"code": f"!!float {LONG}"},
        {"head": LONG},
        {"length": f"length: {LONG}, "},
        {"frames": f"{LONG}+5"},
        {"frames": f"2+{LONG}"},
        {"end": f"{LONG} complete"},
        {"end": "9" * 13 + " complete"},
        {"body": f"!{'x' * 100_000} y"},
        {"body": f"!!binary {'é' * 100_000}"},
        {"body": "!!binary YQ"},
        {"method": f"[{LONG}]"},
        {"before": f"version: {LONG}\n"},
    ],
    ids=lambda fields: f"{next(iter(fields))} {next(iter(fields.values()))[:12].strip()}",
)
def test_long_values_are_refused_in_a_short_line(load: Load, fields: dict[str, str]) -> None:
    with pytest.raises(CassetteError) as refused:
        load(text(**fields).replace("version: 1\n", "" if "before" in fields else "version: 1\n"))
    assert "\n" not in refused.value.message
    assert len(refused.value.message) < 300


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"head": "-1"}, "response.wire.head: "),
        ({"head": "86400001"}, "response.wire.head: "),
        ({"head": "1.5"}, "response.wire.head: "),
        ({"frames": "-2+5"}, "'-2+5' is not a frame"),
        ({"frames": "2+-5"}, "'2+-5' is not a frame"),
        ({"frames": "2++5"}, "'2++5' is not a frame"),
        ({"frames": "2+5e9"}, "'2+5e9' is not a frame"),
        ({"frames": "٢+٥"}, "'٢+٥' is not a frame"),
        ({"frames": "86400001+5"}, "86400001 ms is more than a day"),
        ({"end": "86400001 complete"}, "86400001 ms is more than a day"),
        ({"end": "-3 complete"}, "'-3 complete' is not an end"),
        ({"length": "length: -1, "}, "response.wire.length: "),
        ({"length": "length: 1000000000000000, "}, "response.wire.length: "),
        ({"code": "99"}, "response.status.code: "),
        ({"code": "100"}, "100 is not a final status"),
        ({"code": "199"}, "199 is not a final status"),
        ({"code": "1000"}, "response.status.code: "),
        ({"code": "-200"}, "response.status.code: "),
        ({"code": "2e2"}, "response.status.code: "),
    ],
    ids=str,
)
def test_a_time_or_a_size_or_a_status_that_no_answer_has(load: Load, fields: dict[str, str], expected: str) -> None:
    with pytest.raises(CassetteError) as refused:
        load(text(**fields))
    assert expected in refused.value.message
    assert refused.value.line is not None


FRAMES = [
    "12+3",
    "0+0",
    "9999999+1",
    "86400000+1",
    "86400001+1",
    "1+999999999999",
    "1+1000000000000",
    "1+2+3",
    "1+",
    "٢+٥",
]


@given(st.lists(st.sampled_from(FRAMES), max_size=4), st.sampled_from([" ", "  ", "\t", ",", ""]))
def test_frames_are_read_one_by_one_or_all_at_once(words: list[str], between: str) -> None:
    text = between.join(words)
    there_are = [re.fullmatch(r"([0-9]{1,12})\+[0-9]{1,12}", word) for word in text.split()]
    wire = {"head": "0", "frames": text, "end": "0 complete"}
    item = {"request": {"method": "GET", "uri": "a"}, "response": {"status": {"code": "200"}, "wire": wire}}
    try:
        schema.read(item)
    except schema.SchemaError:
        assert not all(entry and int(entry[1]) <= 86_400_000 for entry in there_are)
    else:
        assert all(entry and int(entry[1]) <= 86_400_000 for entry in there_are)


def test_an_answer_of_a_day_is_as_long_as_it_gets(load: Load) -> None:
    day = 86_400_000
    (interaction,) = load(text(head=str(day), frames=f"{day}+5", end=f"{day} complete")).interactions
    assert pace.schedule(interaction.response, pace.ORIGINAL)[-1].at_ms == day


def test_half_a_character_is_refused() -> None:
    with (
        patch.object(reader, "_Loader", reader._texts(yaml.SafeLoader)),
        pytest.raises(CassetteError, match=r"tape.yaml:9: interaction 1: response.body.string: half of a character"),
    ):
        reader.load(text(body='"\\ud800"'), TAPE)


def test_a_lone_surrogate_in_the_text_itself_is_refused(load: Load) -> None:
    with pytest.raises(CassetteError):
        load(text(body="\ud800"))


def test_a_list_of_items_that_stands_elsewhere(load: Load) -> None:
    twice = "interactions:\n  response: {a: b}\n" + text()
    assert len(load(twice).interactions) == 1
    assert reader.item_starts(twice, TAPE) == [twice.index("- request")]
    merged = "<<: {interactions: [{request: {method: GET, uri: /}, response: {status: {code: 200}}}]}\n"
    assert len(load(merged).interactions) == 1
    with pytest.raises(CassetteError, match="`interactions` is not at top level"):
        reader.item_starts(merged, TAPE)


# ------------------------------------------------------------------------------------------------ one answer stays one

SPLIT = "\\r\\nContent-Length: 0\\r\\n\\r\\nHTTP/1.1 200 OK\\r\\nX-Evil: 1\\r\\n\\r\\n"
NEXT = "HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\nevil"


@pytest.mark.parametrize(
    "fields",
    [
        {"reason": f'"OK{SPLIT}"'},
        {"reason": '"O\\0K\\r"'},
        {"reason": '"Ċ ☃ \\u010A\\u010D"'},
        {"headers": f'{{x: ["a{SPLIT}"]}}'},
        {"headers": '{x: ["a\\nX-Evil: 1"]}'},
        {"headers": '{x: ["a\\0b\\rc"]}'},
        {"headers": f'{{"x: 1{SPLIT}y": [z]}}'},
        {"headers": '{"x\\r\\nX-Evil": [z]}'},
        {"headers": '{"content-length: 2, x": [z]}'},
        {"headers": '{"content-length ": ["2"]}'},
        {"headers": '{"transfer-encoding\\t": [chunked]}'},
        {"headers": '{"": [z], " ": [z], "\\0": [z], "é": [z], "a b": [z]}'},
        {"headers": '{Content-Length: ["2"], TRANSFER-ENCODING: [chunked], Connection: [close], Trailer: [x]}'},
        {"headers": '{content-length: ["2", "3"], transfer-encoding: ["chunked, identity"]}'},
        {"headers": '{"\\u212Aeep-Alive": [timeout=1]}'},
        {"length": "length: 2, "},
        {"length": "length: 2000, "},
        {"length": "length: 0, "},
        {"code": "999", "reason": '""'},
        {"code": "204", "length": "length: 5, "},
        {"code": "304", "length": "length: 5, "},
    ],
    ids=str,
)
async def test_no_field_of_a_cassette_makes_two_answers_of_one(tmp_path: Path, fields: dict[str, str]) -> None:
    tape = tmp_path / "tape.yaml"
    tape.write_text(text(**fields), "utf-8")
    async with playing(tape) as player, Connection(player.origin) as client:
        for _ in range(2):  # the second finds the connection in order
            heard = await client.ask("GET", "/v1/x")
            assert heard.ended is Ended.COMPLETE
            assert heard.body == (b"" if fields.get("code") in ("204", "304") else b"hello")
            assert heard.header("x-evil") is None
            assert client.unread == b""
            names = [name.lower() for name, _ in heard.headers]
            assert names.count("content-length") + names.count("transfer-encoding") == (heard.framing != "none") or (
                fields.get("code") == "304"
            )
            assert all("\0" not in name + value for name, value in heard.headers)
        assert player.outcomes == ["played", "played"]


@pytest.mark.parametrize("end", ["truncated", "reset"])
async def test_what_follows_a_length_that_is_too_short_is_no_answer_of_its_own(tmp_path: Path, end: str) -> None:
    tape = tmp_path / "tape.yaml"
    body = f'"ok{NEXT}"'
    size = 2 + len(NEXT.replace("\\r\\n", "\r\n"))
    tape.write_text(text(body=body, length="length: 2, ", frames=f"1+2 2+{size - 2}", end=f"3 {end}"), "utf-8")
    async with playing(tape) as player, Connection(player.origin) as client:
        heard = await client.ask("GET", "/v1/x")
        assert int(heard.header("content-length") or 0) >= size
        assert len(heard.body) == size


@pytest.mark.parametrize(("method", "length"), [("GET", "0"), ("HEAD", "5000")])
async def test_an_answer_without_a_body_promises_none(tmp_path: Path, method: str, length: str) -> None:
    """A client would wait for it. Of HEAD it says how long the body would be."""
    tape = tmp_path / "tape.yaml"
    tape.write_text(text(method=method, body='""', frames="", length="length: 5000, "), "utf-8")
    async with playing(tape) as player:
        heard = await player.ask(method, "/v1/x")
        assert (heard.header("content-length"), heard.body, heard.ended) == (length, b"", Ended.COMPLETE)


async def test_frames_of_nothing_are_no_end(tmp_path: Path) -> None:
    tape = tmp_path / "tape.yaml"
    tape.write_text(text(frames="0+0 " * 50_000 + "1+5" + " 2+0" * 50_000), "utf-8")
    async with playing(tape) as player:
        heard = await player.ask("GET", "/v1/x")
        assert (heard.body, heard.ended) == (b"hello", Ended.COMPLETE)


# ------------------------------------------------------------------------------------------------ no file at all


def special(path: Path, kind: str) -> Path:
    """Something at `path` that is no cassette."""
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "device":
            return Path("/dev/zero")
        case "folder":
            (path / "x.yaml").mkdir(parents=True)
            return path / "x.yaml"
        case "loop":
            path.symlink_to(path.name)
        case "pipe behind a link":
            os.mkfifo(path.with_name("pipe"))
            path.symlink_to("pipe")
        case "sparse":
            with path.open("wb") as file:
                file.truncate(1 << 40)
        case "UTF-16":
            path.write_bytes(text().encode("utf-16"))
        case "UTF-16 without a mark":
            path.write_bytes(text().encode("utf-16-be"))
        case "not UTF-8":
            path.write_bytes(text(body="\xff").encode("latin-1"))
        case "NUL":
            path.write_bytes(text().encode() + b"\0\nmore")
    return path


KINDS = {
    "pipe": "it is not a regular file",
    "pipe behind a link": "it is not a regular file",
    "device": "it is not a regular file",
    "loop": "Too many levels of symbolic links",
    "sparse": "it has 1,099,511,627,776 bytes, and one file may have 1,073,741,824",
    "UTF-16": "is not UTF-8 text",
    "UTF-16 without a mark": "is not YAML",
    "not UTF-8": "is not UTF-8 text",
    "NUL": "is not YAML",
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_of_text_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = special(tmp_path / "tape.yaml", kind)
    before = os.lstat(path)
    for verb in ["play", "lint", "record"]:
        arguments = [verb, str(path), *(() if verb == "lint" else ("--port", "0"))]
        # What could wait does so in a process that can be ended.
        result = asyncio.run(run(*arguments)) if "pipe" in kind else invoke(*arguments)
        assert result.code == (1 if verb == "lint" else 3), result
        assert KINDS[kind] in result.stdout + result.stderr
    assert (os.lstat(path).st_mode, os.lstat(path).st_size) == (before.st_mode, before.st_size), "and left alone"


def test_a_nul_that_no_recorder_left_takes_nothing_away(tmp_path: Path) -> None:
    """Only a gap that reaches to the end of its page is one of ours (docs/cassette-format.md, rule 10)."""
    tape = tmp_path / "tape.yaml"
    for end in (b"\0", b"\0\0\nmore\n", b"\0" * 5000 + b"x"):
        tape.write_bytes((before := text().encode()) + end)
        if end == b"\0" * 5000 + b"x" or end == b"\0":  # as a killed recorder leaves it
            Cassette.for_record(tape, Rules().key)
            assert tape.read_bytes() == before
        else:
            with pytest.raises(CassetteError, match="is not YAML"):
                Cassette.for_record(tape, Rules().key)
            assert tape.read_bytes() == before + end


def test_the_limit_of_a_file_can_be_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tape = cassette(tmp_path / "tape.yaml", item("{}"))
    monkeypatch.setenv(file_store.LARGEST, "100")
    for reading in (file_store.read_text, lambda path: Cassette.for_record(path, Rules().key)):
        with pytest.raises(StartError, match="bytes, and one file may have 100") as refused:
            reading(tape)
        assert "Split it" in refused.value.hint
    monkeypatch.setenv(file_store.LARGEST, "100000")
    assert file_store.read_text(tape)[0]
    monkeypatch.setenv(file_store.LARGEST, "1 GB")
    with pytest.raises(UsageError, match="is not a number of bytes"):
        file_store.read_text(tape)


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    """Somebody else cuts it, without our lock: it loads what was whole, or is refused with one clear error."""
    tape = tmp_path / "tape.yaml"
    complete = writer.HEADER + ITEM.format(**USUAL) * 200
    stop = threading.Event()
    refused: list[str] = []

    def cut() -> None:
        while not stop.is_set():
            tape.write_text(complete)
            os.truncate(tape, len(complete) // 2)

    tape.write_text(complete)
    thread = threading.Thread(target=cut)
    thread.start()
    try:
        for _ in range(30):
            try:
                Cassette.for_play([tape], Rules().key)
            except CassetteError as error:
                refused.append(error.message)
    finally:
        stop.set()
        thread.join()
    assert all(message.startswith(str(tape)) for message in refused)


# ------------------------------------------------------------------------------------------------ out of the folder


def test_a_link_in_a_folder_must_not_lead_out_of_it(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    cassette(folder / "a.yaml", item("{}"))
    (folder / "b.yaml").symlink_to("a.yaml")  # stays inside
    secret = cassette(outside / "secret.yaml", item("{}"))
    (folder / "more").symlink_to(outside)  # is not gone into
    assert [path.name for path in cassette_files(folder)] == ["a.yaml", "b.yaml"]
    (folder / "c.yaml").symlink_to(secret)
    secret.write_text(secret.read_text() + ITEM.format(**{**USUAL, "body": "edited"}))
    before = secret.read_bytes()
    assert invoke("lint", "--fix", folder).code == 0
    assert "edited" not in invoke("lint", "--fix", folder).stdout
    tape = Cassette.for_play([folder], Rules().key)
    assert len(tape.recordings) == 2
    assert tape.warnings == [
        f"{folder}/c.yaml: this link leads out of its folder and is left out. Name the file itself."
    ]
    assert secret.read_bytes() == before
    (tmp_path / "link").symlink_to(folder / "a.yaml")  # what the user names is the user's
    assert cassette_files(tmp_path / "link") == [tmp_path / "link"]


ENCODED = [
    "%2e%2e%2fsecret", "..%2fsecret", "%2e%2e%5csecret", "..%5csecret", "..%252fsecret", "%c0%ae%c0%ae%2fsecret",
    "%2fetc%2fpasswd", "a%00b", "a%0ab", "%ff%fe", "x" * 5000, "%2e", "%2e%2e", "more%2f..%2f..%2fsecret", "link",
    "secret.yaml%00", "~%2fsecret",
]  # fmt: skip


def every(folder: Path) -> list[Path]:
    """All that is in `folder`, at any depth."""
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize("name", ENCODED, ids=lambda name: name[:24])
@pytest.mark.parametrize("records", [False, True], ids=["play", "record"])
async def test_names_in_urls_stay_in_the_folder(tmp_path: Path, name: str, records: bool) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    cassette(folder / "chat.yaml", item('{"said": "inside"}'))
    cassette(tmp_path / "secret.yaml", item('{"said": "secret"}'))
    (folder / "link.yaml").symlink_to("../secret.yaml")
    before = {path: path.read_bytes() for path in every(tmp_path) if path.is_file()}
    async with Upstream() as up:
        up.script("POST", CHAT, plain(b'{"said": "new"}'))
        rules = Rules(Mode.NEW_EPISODES if records else Mode.NONE)
        expected = ServerConfig(rules, (), up.url if records else None, port=0, folder=folder, quiet=True)
        async with serving(expected) as (origin, _):
            heard = await ask(origin, "POST", f"/@{name}{CHAT}", "hello")
            assert heard.status == 424 or (records and heard.json == {"said": "new"})
    assert {path: path.read_bytes() for path in before} == before
    new = [path for path in every(tmp_path) if path not in before and path.is_file()]
    assert all(path.resolve().is_relative_to(folder.resolve()) for path in new), new


# ------------------------------------------------------------------------------------------------ files of our own


def mode(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


async def test_the_mode_of_a_cassette_is_that_of_any_source_file(tmp_path: Path) -> None:
    tape = tmp_path / "tape.yaml"
    async with Upstream() as up:
        up.script("POST", CHAT, plain(b"{}"))
        wrapped = ("bash", "-c", 'umask 027; exec python3 -m openai_replay "$@"', "bash")
        python = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        async with command("record", tape, "--upstream", up.url, program=wrapped, env=python) as process:
            await process.ask("POST", CHAT, {})
            assert await process.stop() == 0
    assert mode(tape) == "0o640"


def test_what_is_rewritten_is_nobody_elses_until_it_is_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = cassette(tmp_path / "tape.yaml", item("{}"))
    tape.chmod(0o664)
    observed: list[str] = []

    def sync(fd: int) -> None:
        observed.append(oct(stat.S_IMODE(os.fstat(fd).st_mode)))

    monkeypatch.setattr(os, "fsync", sync)
    file_store.rewrite(tape, lambda text: text + "# more\n")
    assert observed == ["0o600"], "what is redacted may have held the secret before"
    assert mode(tape) == "0o664"
    assert os.listdir(tmp_path) == ["tape.yaml"]


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the cassette locks."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"openai-replay-{os.getuid()}"


def test_locks_lie_in_a_folder_of_ones_own(tmp_path: Path, locks: Path) -> None:
    with exclusive_recording(tmp_path / "tape.yaml", "me"):
        assert mode(locks) == "0o700"
        (lock,) = locks.iterdir()
        assert mode(lock) == "0o600"
    with exclusive_recording(tmp_path / "tape.yaml", "me"):
        pass


@pytest.mark.parametrize("planted", ["a link", "a file", "open to others", "of another user", "a link for a lock"])
def test_locks_that_somebody_else_laid_out_are_refused(
    tmp_path: Path, locks: Path, planted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape, victim = tmp_path / "tape.yaml", tmp_path / "victim"
    victim.write_text("precious")
    match planted:
        case "a link":
            (tmp_path / "elsewhere").mkdir(mode=0o700)
            locks.symlink_to(tmp_path / "elsewhere")
        case "a file":
            locks.write_text("")
        case "open to others":
            locks.mkdir()
            locks.chmod(0o777)
        case "of another user":
            locks.mkdir(mode=0o700)
            if os.getuid():
                real = os.getuid()
                locks = locks.rename(tmp_path / f"openai-replay-{real + 1}")
                monkeypatch.setattr(os, "getuid", lambda: real + 1)
            else:
                os.chown(locks, 65534, -1)
        case "a link for a lock":
            with exclusive_recording(tape, "me"):
                (lock,) = locks.iterdir()
            lock.unlink()
            lock.symlink_to(victim)
    with pytest.raises(StartError, match="openai-replay-") as refused, exclusive_recording(tape, "me"):
        pass
    assert "TMPDIR" in refused.value.hint
    assert victim.read_text() == "precious"


async def test_the_ready_file_is_not_written_through_a_link(tmp_path: Path) -> None:
    """Its name may lie in /tmp, where anybody can plant one; the file is put in the place of the link."""
    tape = cassette(tmp_path / "tape.yaml", item("{}"))
    victim, ready = tmp_path / "victim", tmp_path / "ready"
    victim.write_text("precious")
    ready.symlink_to(victim)
    async with command("play", tape, "--ready-file", ready, ready=False) as process:
        async with asyncio.timeout(20):
            while ready.is_symlink():
                await asyncio.sleep(0.01)
        heard = await ask(ready.read_text().strip().removesuffix("/v1"), "GET", "/@/health")
        assert heard.status == 200
        await process.stop()
    assert victim.read_text() == "precious"
    assert [path.name for path in every(tmp_path)] == ["tape.yaml", "victim"]


def test_a_request_of_a_cassette_may_say_anything() -> None:
    """It is compared, never sent."""
    request = Request("GET\r\nX: y", "http://h/\r\n", (("a\r\n", "b\0"),), b"\0")
    assert Rules().key(request)


def files_with(secret: bytes, folder: Path) -> list[Path]:
    """Every file in `folder`, at any depth, that holds `secret`."""
    return [path for path in every(folder) if path.is_file() and secret in path.read_bytes()]


async def test_no_file_of_ours_ever_holds_what_is_not_redacted(tmp_path: Path) -> None:
    """Large bodies both ways; looked at while the answer is under way, after `kill -9`, and after a good end."""
    secret = ("sk-" + "FAKE0123456789abcdefghij").encode()
    large = b'{"key": "' + secret + b'", "more": "' + b"x" * 3_000_000 + b'"}'
    for name in ("tmp", "work"):
        (tmp_path / name).mkdir()
    held = asyncio.Event()
    start = head(200, "OK", [("content-type", "application/json"), ("content-length", str(len(large)))])
    async with Upstream() as up:
        up.script("POST", "/v1/slow", [Send(start + large[:-9]), Hold(held), Send(large[-9:])])
        up.script("POST", "/v1/whole", plain(large))
        for kills in (True, False):
            tape = tmp_path / "cassettes" / f"{kills}.yaml"
            env = {"TMPDIR": str(tmp_path / "tmp")}
            async with command("record", tape, "--upstream", up.url, env=env, cwd=tmp_path / "work") as process:
                assert (await process.ask("POST", "/v1/whole", large)).body == large
                async with Connection(process.origin) as client:
                    client.send("POST", "/v1/slow", large)
                    await client.head()
                    assert files_with(secret, tmp_path) == []
                    if kills:
                        process.signal(Signals.SIGKILL)
                        await process.ended()
                    else:
                        held.set()
                        assert (await client.rest()).body == large
                        assert await process.stop() == 0
                assert secret.decode() not in process.stderr
            assert files_with(secret, tmp_path) == []
            assert b"REDACTED" in tape.read_bytes()
