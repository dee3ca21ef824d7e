"""Big tapes: read a piece at a time, remembered, and read again where somebody has changed them."""

from __future__ import annotations

import gc
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openai_replay.cassette import index, recordings, scanner, writer
from openai_replay.cassette import reader as format
from openai_replay.cassette.cassette import Cassette
from openai_replay.cassette.index import Index
from openai_replay.cassette.recordings import ReadOptions
from openai_replay.cassette.scanner import FileVersion, Item, scan
from openai_replay.config.rules import Rules
from openai_replay.errors import CassetteError, FileChangedError
from openai_replay.journal.exchanges import Journal, Outcome
from openai_replay.model import End, Frame, Head, Headers, Interaction, OnExhausted, Request, Response
from openai_replay.playback.pace import parse_pace
from openai_replay.playback.scheduler import Scheduler
from openai_replay.proxy.player import Player
from openai_replay.proxy.request_cache import RequestKey
from tests.support.proxy import CHAT, PATIENCE_S, Proxy, ask, command, playing

CASSETTES = sorted((Path(__file__).parents[2] / "cassettes").glob("*.yaml"))
KEY = Rules().key
JSON: Headers = (("Content-Type", "application/json"),)
VCRPY = """interactions:
- request: {method: GET, uri: 'http://a/v1/models', body: null, headers: {}}
  response: {status: {code: 200, message: OK}, headers: {}, body: {string: one}}
# between
- request: {method: GET, uri: 'http://a/v1/files', body: null, headers: {}}
  response: {status: {code: 200, message: OK}, headers: {}, body: {string: two}}
version: 1
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "openai-replay"


#: Sizes that make every cassette large, read some items at a time, of which few are cached.
LARGE = ReadOptions(large_bytes=0, cached_bytes=3000, check_interval_s=0.0, scan_sizes=scanner.ScanSizes(piece=2000))
SMALL = ReadOptions(check_interval_s=0.0)


def many(path: Path, *texts: str) -> Path:
    """A cassette that answers each text with itself."""
    items = [
        Interaction(
            Request("POST", f"https://api.openai.com{CHAT}", JSON, json.dumps(text).encode()),
            Response(Head(200, "OK", JSON, len(text.encode())), 1, (Frame(2, text.encode()),), 3),
        )
        for text in texts
    ]
    pieces = (piece for number, first in enumerate(items, 1) for piece in writer.write_interaction(first, number))
    path.write_text(writer.HEADER + "".join(pieces), "utf-8")
    return path


def scanned(path: Path, piece: int = 4 << 20) -> scanner.Scanned | None:
    """Return the items of `path`, scanned in pieces of so many bytes."""
    [(_, actual)] = scan([path], KEY, sizes=scanner.ScanSizes(piece))
    return actual


def same(path: Path, piece: int = 4 << 20) -> None:
    """A scanned cassette has the same recordings as a cassette that is read completely."""
    text = path.read_bytes().decode("utf-8-sig")
    document = format.load(text, path)
    actual = scanned(path, piece)
    assert actual is not None
    assert [scanner.read(path, interaction) for interaction in actual.items] == document.interactions
    assert [interaction.key for interaction in actual.items] == [
        KEY(interaction.request) for interaction in document.interactions
    ]
    requests = [interaction.request for interaction in document.interactions]
    assert [(interaction.method, interaction.path) for interaction in actual.items] == [
        (interaction.method, interaction.path) for interaction in requests
    ]
    assert [interaction.number for interaction in actual.edited] == [
        interaction.number for interaction in document.edited
    ]
    if "\u2028" not in text:  # YAML counts it as the end of a line, editors do not
        assert [interaction.line for interaction in actual.edited] == [
            interaction.line for interaction in document.edited
        ]


# ------------------------------------------------------------------------------------------------ scanning


@pytest.mark.parametrize("path", CASSETTES, ids=lambda path: path.stem)
def test_what_is_scanned_is_what_is_read_whole(path: Path) -> None:
    same(path)


@pytest.mark.parametrize("piece", [1, 1000, 1 << 20])
@pytest.mark.parametrize("head", ["", "# by hand\n", "\ufeff"])
def test_it_is_read_in_pieces(tmp_path: Path, piece: int, head: str) -> None:
    path = many(tmp_path / "a.yaml", "one", "zwö", "- request: three\n- request:", "# 4\nversion: 1\n", "five")
    path.write_text(head + path.read_text("utf-8").replace("one", "One", 1) + "# the end\n", "utf-8")
    same(path, piece)


def test_an_edited_item_is_named_with_its_line_in_the_file(tmp_path: Path) -> None:
    path = many(tmp_path / "a.yaml", "one", "two", "three")
    path.write_text(
        path.read_text("utf-8").replace("string: |-\n        three", "string: |-\n        threeeee"), "utf-8"
    )
    same(path, piece=1)
    actual = scanned(path)
    assert actual is not None
    assert [entry.number for entry in actual.edited] == [3]


@st.composite
def mended(draw: st.DrawFn) -> str:
    """A cassette in which somebody has taken out, moved, repeated and put in lines and parts of them."""
    lines = draw(st.sampled_from(EDITED)).split("\n")
    for _ in range(draw(st.integers(1, 2))):
        at, second = (draw(st.integers(0, len(lines) - 1)) for _ in "ab")
        part = draw(st.sampled_from(PARTS))
        match draw(st.integers(0, 5)):
            case 0 if len(lines) > 1:
                del lines[at]
            case 1:
                lines.insert(at, part)
            case 2:
                lines[at], lines[second] = lines[second], lines[at]
            case 3:
                lines[at:at] = lines[second : second + draw(st.integers(1, 20))]
            case 4:
                lines[at] = lines[at][1:]
            case _:
                cut = draw(st.integers(0, len(lines[at])))
                lines[at] = lines[at][:cut] + part + lines[at][cut:]
    return "\n".join(lines)


PARTS = [
    *("'", '"', ":", " ", "- ", "---", "...", "-", "# c", " #", "version: 1", "interactions: []", "x: 1", "&a ", "*a"),
    *("|", "{", "}", "\n- ", "\t", "\ufeff", "\0", "\r", "# c\u2028- x: y", "- request: {method: GET, uri: 'a"),
    "- request: {method: GET, uri: 'a'}\n  response: {status: {code: 200}}",
]
EDITED = [VCRPY, *(path.read_text("utf-8") for path in CASSETTES if path.stat().st_size < 20_000)]
TORN = writer.HEADER + "# 1  GET /\n- request: {method: GET, uri: 'a'}\n  response: {status: {code: 200}}\n"


@given(mended(), st.sampled_from([1, 300, 1 << 20]))
@example(TORN, 1)
@example(TORN.replace("\n", "\n# \u2028- x: y\n", 1), 1)
@example(VCRPY + "# \u2028interactions: []\n", 1)
def test_whatever_is_scanned_is_what_is_read_whole(
    tmp_path_factory: pytest.TempPathFactory, text: str, piece: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "mended.yaml"
    path.write_bytes(text.encode())
    if scanned(path, piece) is not None:
        same(path, piece)


def test_cassettes_of_vcrpy(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(VCRPY, "utf-8")
    same(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: "a cassette?\n",
        lambda text: text.replace("interactions:\n", "interactions: []\n", 1).partition("#")[0],
        lambda text: text.replace("- request:", "- reqvest:", 1),
        lambda text: text + "\0" * 100,
        lambda text: text[:-20],
        lambda text: text + "- {}\n",
        lambda text: text.replace("one", "\udce4", 1),
        lambda text: text.replace("\n- ", "\n - ").replace("\n  ", "\n   "),
        lambda text: text + "version: 2\n",
        lambda text: text + "version: 1\ninteractions: []\n",
        lambda text: text + "}\n",
        lambda text: text.replace("method: POST", "method: &how POST", 1).replace("method: POST", "method: *how"),
    ],
)
def test_what_looks_like_nothing_known_is_left_to_be_read_whole(tmp_path: Path, change: Callable[[str], str]) -> None:
    path = many(tmp_path / "a.yaml", "one", "two")
    path.write_bytes(change(path.read_text("utf-8")).encode("utf-8", "surrogateescape"))
    assert scanned(path) is None


LINES = ["- a", "- ", "-", "-a", " - b", "", "# c", "x", "version: 1", "\r", "\0", "é", "version: 1\r"]


@given(st.lists(st.sampled_from(LINES), max_size=8), st.integers(1, 5), st.booleans())
@example(["- a", "-"], 1, False)
@example(["# c", "- a"], 1, False)
@example(["- a", "\r", "version: 1", "# c"], 2, True)
def test_a_file_is_looked_at_in_blocks(lines: list[str], block: int, ended: bool) -> None:
    """However long a line is: a file of one may be larger than memory."""
    text = writer.HEADER + "\n".join(lines) + "\n" * ended
    [first] = re.findall(r"\A(?:.*\n){2}(?:#.*\n)*", text)
    starts, behind = list[int](), ""
    for at, line in lined(text):
        if behind or (at >= len(first) and line[:1] not in ("", " ", "\n", "#", "\r", "-")):
            behind += line
        elif line.startswith("- "):
            starts.append(len(text[:at].encode()))
        elif line.startswith("-"):
            behind += line
    usual = starts[:1] == [len(first)] and "\0" not in text
    usual = usual and re.fullmatch(r"(version: 1\r?\n?)?((#.*)?\n)*", behind) is not None
    pieces = scanner.split(Path("a.yaml"), io.BytesIO(text.encode()), scanner.ScanSizes(piece=1, block=block))
    assert (pieces is not None) == usual
    if pieces is not None:
        assert [piece.starts for piece in pieces] == [[start] for start in starts]
        assert pieces[-1].end == len(text.encode()) - len(behind.encode())


def lined(text: str) -> Iterator[tuple[int, str]]:
    """The lines of `text`, and where they start."""
    at = 0
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        yield at, line
        at += len(line)


def test_what_is_not_there_and_what_has_changed(tmp_path: Path) -> None:
    assert scanned(tmp_path / "none.yaml") is None
    path = many(tmp_path / "a.yaml", "one", "two")
    actual = scanned(path)
    assert actual is not None
    path.write_text(path.read_text("utf-8").replace("one", "eno"), "utf-8")
    with pytest.raises(FileChangedError):
        scanner.read(path, actual.items[0])
    assert scanner.read(path, actual.items[1]).response.body == b"two"
    path.unlink()
    with pytest.raises(FileChangedError):
        scanner.read(path, actual.items[1])


def test_a_file_that_goes_while_it_is_read_is_left_to_be_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, split = many(tmp_path / "a.yaml", "one"), scanner.split

    def gone(path: Path, *arguments: Any) -> list[scanner.Piece] | None:
        pieces = split(path, *arguments)
        path.unlink()
        return pieces

    monkeypatch.setattr(scanner, "split", gone)
    assert scanned(path) is None


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    assert scanned(tmp_path / "a.yaml") is None


def test_several_processes_find_the_same(tmp_path: Path) -> None:
    paths = [many(tmp_path / f"{name}.yaml", *(f"{name} {number}" for number in range(9))) for name in "abc"]
    single, read = list(scan(paths, KEY)), list[int]()
    assert list(scan(paths, KEY, 2, read.append, scanner.ScanSizes(piece=2000, parallel_from=0))) == single
    assert len(read) > 3
    texts = [path.read_bytes() for path in paths]
    assert sum(read) == sum(len(text) - text.index(b"- request:") for text in texts)


def killed(piece: scanner.Piece, key: object) -> None:
    os._exit(9)


def test_a_process_that_is_killed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner, "_read_piece", killed)
    with pytest.raises(CassetteError, match=r"a\.yaml: could not read it: a reading process was killed"):
        list(scan([many(tmp_path / "a.yaml", "one")], KEY, 2, sizes=scanner.ScanSizes(parallel_from=0)))


# ------------------------------------------------------------------------------------------------ the index

ITEMS = [Item(0, 9, b"12345678", b"k" * 16, "GET", "/v1/models")]


def known(*paths: Path, rules: str = "") -> list[tuple[Path, FileVersion, list[Item]]]:
    with Index(paths, rules) as path:
        return list(path.entries())


def keep(path: Path, rules: str = "", name: str = "a.yaml") -> tuple[Path, FileVersion, list[Item]]:
    actual = Path(name), FileVersion(1, 2, 3), ITEMS
    with Index([path], rules) as entry:
        entry.keep([actual], [])
    return actual


def test_what_is_kept_is_known_to_the_same_tape_by_the_same_rules_only(tmp_path: Path) -> None:
    actual = keep(tmp_path, "rules")
    assert known(tmp_path, rules="rules") == [actual]
    assert known(tmp_path, rules="others") == known(tmp_path / "b", rules="rules") == []
    with Index([tmp_path], "rules") as entry:
        newer = [(actual[0], FileVersion(2, 2, 2), ITEMS * 2), (Path("b.yaml"), FileVersion(1, 1, 1), [])]
        entry.keep(newer, [])
        assert list(entry.entries()) == newer
        entry.keep([], [Path("a.yaml")])
        assert list(entry.entries()) == newer[1:]


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"not a database",
        "ALTER TABLE files DROP COLUMN items",
        "UPDATE files SET items = items || x'00'",
        "UPDATE files SET items = NULL",
        "UPDATE files SET targets = '[]'",
        "UPDATE files SET targets = '{'",
        "UPDATE files SET targets = '[1]'",
        "UPDATE files SET targets = NULL",
    ],
)
def test_a_damaged_index_is_made_anew(tmp_path: Path, cache: Path, damage: bytes | str) -> None:
    keep(tmp_path)
    [file] = cache.glob("*.sqlite")
    if isinstance(damage, str):
        with sqlite3.connect(file) as database:
            database.execute(damage)
    else:
        file.write_bytes(damage)
    assert known(tmp_path) == []
    assert known(tmp_path) == []
    actual = keep(tmp_path)
    assert known(tmp_path) == [actual]


def test_without_a_cache_folder_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    keep(tmp_path)
    assert known(tmp_path) == []


def test_others_cannot_look_into_it_and_old_ones_go(tmp_path: Path, cache: Path) -> None:
    for number in range(index._MAX_INDEXES + 3):
        keep(tmp_path / str(number))
    assert len(list(cache.glob("*.sqlite"))) == index._MAX_INDEXES
    assert cache.stat().st_mode & 0o777 == 0o700
    assert known(tmp_path / "0") == []
    assert known(tmp_path / str(index._MAX_INDEXES + 2)) != []


def test_what_cannot_be_kept_ends_nothing(tmp_path: Path) -> None:
    with Index([tmp_path], "") as entry:
        entry.keep([(Path("a.yaml"), FileVersion(1, 2, 1 << 63), ITEMS)], [])  # an inode of 64 bits
    assert known(tmp_path) == []


def test_what_another_process_writes_is_not_thrown_away(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    actual, connect = keep(tmp_path), sqlite3.connect
    [file] = cache.glob("*.sqlite")
    with connect(file) as second:
        monkeypatch.setattr(sqlite3, "connect", lambda path, timeout: connect(path, timeout=0))
        second.execute("BEGIN EXCLUSIVE")
        assert known(tmp_path) == []
    second.close()
    assert known(tmp_path) == [actual]


def test_nothing_is_laid_out_for_who_wants_nothing_kept(tmp_path: Path, cache: Path) -> None:
    with Index([tmp_path], None) as entry:
        entry.keep([(Path("a.yaml"), FileVersion(1, 2, 3), ITEMS)], [])
        assert list(entry.entries()) == []
    assert not cache.exists()


def test_who_has_no_home_has_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)  # nobody in the list of users
    monkeypatch.chdir(tmp_path)
    keep(tmp_path)
    assert known(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------ recordings

REMEMBERED = LARGE._replace(key_fingerprint="rules")


def spoken(tape: Cassette) -> list[tuple[int, str, str, bytes]]:
    return [
        (interaction.number, interaction.method, interaction.request_path, interaction.interaction.response.body)
        for interaction in tape.recordings
    ]


def test_a_big_tape_is_what_it_would_be_as_a_small_one(tmp_path: Path) -> None:
    for name in "ab":
        many(tmp_path / f"{name}.yaml", *(f"{name} {number}" for number in range(9)), "last")
    (tmp_path / "c.yml").write_text(VCRPY.replace("- request", "  - request").replace("  response", "    response"))
    tapes = [Cassette.for_play([tmp_path], KEY, "", REMEMBERED) for _ in range(2)]
    small = Cassette.for_play([tmp_path], KEY)
    assert len(small.recordings) == 22
    for tape in tapes:
        assert (tape.name, tape.path) == (small.name, small.path)
        assert spoken(tape) == spoken(small)
        held = [recording.item for recording in tape.recordings if recording.loaded and recording.item]
        assert sum(item.end - item.start for item in held) <= LARGE.cached_bytes


def test_what_is_remembered_is_not_read_again_but_where_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [many(tmp_path / f"{name}.yaml", name) for name in "ab"]
    read = list[list[Path]]()

    def noted(paths: list[Path], *options: object) -> Iterator[tuple[Path, scanner.Scanned | None]]:
        read.append(list(paths))
        yield from scan(paths, *options)  # type: ignore[arg-type]

    monkeypatch.setattr(scanner, "scan", noted)
    progress = list[tuple[int, int]]()
    size = sum(path.stat().st_size for path in paths)
    for _ in range(2):
        Cassette.for_play([tmp_path], KEY, "", REMEMBERED._replace(progress=lambda *result: progress.append(result)))
    many(paths[1], "b", "bb")
    tape = Cassette.for_play([tmp_path], KEY, "", REMEMBERED)
    assert [interaction.interaction.response.body for interaction in tape.recordings] == [b"a", b"b", b"bb"]
    paths[0].unlink()
    Cassette.for_play([tmp_path], KEY, "", REMEMBERED)
    assert read == [paths, [], [paths[1]], []]
    assert progress[-1] == (size, size)


def test_what_is_held_is_bounded_however_often_a_tape_is_read_again(tmp_path: Path) -> None:
    path = many(tmp_path / "a.yaml", *(f"{number}" * 500 for number in range(9)))
    tape, present = Cassette.for_play([path], KEY, "", LARGE), list[recordings.Recording]()
    for _ in range(3):
        present += tape.recordings
        for recording in tape.recordings:
            recording.load()
        tape.reload()
    held = [first.item for first in present if first.loaded and first.item]
    assert sum(item.end - item.start for item in held) <= LARGE.cached_bytes


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_not_collected_while_a_tape_is_read_for_the_first_time(tmp_path: Path, enabled: bool) -> None:
    path, during = many(tmp_path / "a.yaml", "one"), list[bool]()

    def key(request: Request) -> bytes:
        during.append(gc.isenabled())
        return KEY(request)

    if not enabled:
        gc.disable()
    try:
        Cassette.for_play([path], key).reload()
        assert during == [False, enabled]
        assert gc.isenabled() == enabled
    finally:
        gc.enable()


def test_an_edited_item_is_said_every_time(tmp_path: Path) -> None:
    path = many(tmp_path / "a.yaml", "one", "two")
    path.write_text(path.read_text("utf-8").replace("string: |-\n        two", "string: |-\n        twoooo"), "utf-8")
    for _ in range(2):
        tape = Cassette.for_play([path], KEY, "", REMEMBERED)
        assert len(tape.warnings) == 1
        assert "interaction 2: the frames sum up to 3 bytes, the body has 6" in tape.warnings[0]
        assert tape.recordings[1].interaction.response.body == b"twoooo"


def test_another_matching_is_said_every_time(tmp_path: Path) -> None:
    path = many(tmp_path / "a.yaml", "one")
    path.write_text(writer.with_matching_comment(path.read_text("utf-8"), "ignore /user"), "utf-8")
    for _ in range(2):
        tape = Cassette.for_play([path], KEY, "", REMEMBERED)
        assert tape.mismatches == tape.warnings != []
        assert Cassette.for_play([path], KEY, "ignore /user", REMEMBERED).mismatches == []


def test_what_is_wrong_with_a_big_one_is_said_as_of_a_small_one(tmp_path: Path) -> None:
    path = many(tmp_path / "a.yaml", "one", "two")
    path.write_text(path.read_text("utf-8").replace("end: ", "and: "), "utf-8")
    with pytest.raises(CassetteError, match=r"a\.yaml:\d+: "):
        Cassette.for_play([path], KEY, "", LARGE)


async def heard(proxy: Proxy, text: str) -> str:
    answer = await proxy.ask("POST", CHAT, json.dumps(text).encode(), JSON)
    return answer.body.decode() if answer.status == 200 else str(answer.status)


async def test_a_big_tape_is_played(tmp_path: Path) -> None:
    path = many(tmp_path / "a.yaml", *(f"{number}" * 500 for number in range(9)))
    async with playing(path, read_options=LARGE) as proxy:
        for text in [f"{number}" * 500 for number in (8, 3, 0, 3, 7, 1)]:
            assert await heard(proxy, text) == text
        assert await heard(proxy, "else") == "424"
        recorded = proxy.engine.cassette.recordings
        assert 1 <= sum(entry.loaded is not None for entry in recorded) <= 2
        assert all(entry.loaded is not None for entry in recorded if entry.prepared is not None)


@pytest.mark.parametrize("read_options", [SMALL, LARGE], ids=["small", "large"])
async def test_a_cassette_that_changes_while_it_is_played(tmp_path: Path, read_options: ReadOptions) -> None:
    """The next request is answered from the current file, and played recordings stay played."""
    path = many(tmp_path / "a.yaml", "one", "two", "two")
    async with playing(tmp_path, read_options=read_options, on_exhausted=OnExhausted.ERROR) as proxy:
        tape = proxy.engine.cassette
        assert [await heard(proxy, text) for text in ("one", "two", "new")] == ["one", "two", "424"]
        many(path, "one", "two", "two", "new")
        assert [await heard(proxy, text) for text in ("new", "two", "two", "one")] == ["new", "two", "424", "424"]
        assert tape.unplayed() == []
        many(tmp_path / "b.yaml", "other")
        assert await heard(proxy, "other") == "other"
        assert tape.warnings == []
        path.write_text("not a cassette\n", "utf-8")
        assert [await heard(proxy, text) for text in ("else", "else")] == ["424", "424"]
        assert [entry.partition(": ")[2] for entry in tape.warnings] == [
            "is not a cassette: it has no `interactions`. The recordings that were read before are still played."
        ]
        many(path, "again")
        assert await heard(proxy, "again") == "again"


class Nobody:
    """A client that takes everything."""

    def start(self, head: Head) -> Hashable:
        return head

    def encode(self, head: Head | None, frames: Sequence[bytes], end: End | None) -> bytes:
        return b"".join(frames)

    def write(self, data: bytes) -> bool:
        return True

    async def drain(self) -> None: ...

    async def close(self, end: End) -> None: ...

    def notify_disconnect(self, callback: Callable[[], None]) -> None: ...

    async def send(self, *, head: Head | None = None, frames: Sequence[bytes] = (), end: End | None = None) -> None: ...


async def test_what_is_being_played_is_not_read_again(tmp_path: Path) -> None:
    """While it goes out, its place on the shelf may be needed, and its file may change."""
    path = many(tmp_path / "a.yaml", "one")
    tape, journal, clock = Cassette.for_play([path], KEY, "", LARGE), Journal(), Scheduler()
    [recording] = tape.recordings

    class Client(Nobody):
        def write(self, data: bytes) -> bool:
            recording.loaded = recording.prepared = None
            many(path, "eno")
            return True

    requests = RequestKey(recording.key, "POST", CHAT)
    await Player(Rules(pace=parse_pace("original")), journal, clock).play(
        requests, recording, Client(), time.monotonic()
    )
    clock.close()
    assert [(exchange.outcome, exchange.recording) for exchange in journal.exchanges] == [(Outcome.PLAYED, 1)]


async def test_a_big_cassette_that_changes_unnoticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = many(tmp_path / "a.yaml", "one", "two")
    monkeypatch.setattr(FileVersion, "of", classmethod(lambda cls, path: FileVersion(1, 1, 1)))
    async with playing(path, read_options=LARGE) as proxy:
        many(path, "1st", "one", "two")
        assert [await heard(proxy, text) for text in ("one", "two", "1st")] == ["one", "two", "1st"]


def test_who_reads_for_a_process_that_is_killed_ends_with_it() -> None:
    code = (
        "import multiprocessing, os, time\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from openai_replay.cassette.scanner import _start_worker\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('spawn')\n"
        "    with ProcessPoolExecutor(1, mp_context=context, initializer=_start_worker) as pool:\n"
        "        print(pool.submit(os.getpid).result(), flush=True)\n"
        "        time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        reader = int(process.stdout.readline())
        process.kill()
    until = time.monotonic() + PATIENCE_S
    status = Path(f"/proc/{reader}/stat")
    while status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z":  # nobody may wait for it
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
async def test_several_processes_read_for_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As users start it: a tape past the sizes of a big one, twice; the second time it is remembered."""
    text = "x" * 100_000
    for name in "ab":
        many(tmp_path / f"{name}.yaml", *(f"{name} {number} {text}" for number in range(170)))
    for _ in range(2):
        async with command("play", tmp_path) as process:
            answer = await ask(process.origin, "POST", CHAT, json.dumps(f"b 99 {text}").encode(), JSON)
            assert answer.body.decode() == f"b 99 {text}"
            assert await process.stop() == 0
