"""Cassettes in an object store: fetched once, kept as long as they are what they were, and played like any other."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from openai_replay.cassette import remote
from openai_replay.errors import StartError, UsageError
from tests.support.proxy import CHAT, command, environment, invoke, item, run

TAPE = "version: 1\ninteractions:\n" + item('{"said": 0}')
OTHER = TAPE.replace('"said": 0', '"said": 1')
SECRET = "not-a-real-secret"


class Bucket:
    """A bucket of fsspec's own store in memory, and what is fetched from it."""

    def __init__(self) -> None:
        self.store = fsspec.filesystem("memory")
        self.name = uuid.uuid4().hex
        self.url = f"memory://{self.name}"

    def put(self, name: str, text: str = TAPE) -> None:
        self.store.pipe(f"/{self.name}/{name}", text.encode())


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def got(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all that is fetched."""
    names: list[str] = []
    store = type(fsspec.filesystem("memory"))
    real = store.get_file

    def get_file(self: object, rpath: str, lpath: str, **options: object) -> None:
        names.append(rpath.rpartition("/")[2])
        real(self, rpath, lpath, **options)

    monkeypatch.setattr(store, "get_file", get_file)
    return names


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.yaml")}


def test_only_what_has_changed_is_fetched_and_what_is_gone_goes(bucket: Bucket, got: list[str], tmp_path: Path) -> None:
    for name in ("a.yaml", "sub/b.yaml", "gone.yaml"):
        bucket.put(name)
    bucket.put("readme.md")
    folder = remote.fetch(bucket.url, tmp_path)
    assert tree(folder) == {"a.yaml": TAPE, "sub/b.yaml": TAPE, "gone.yaml": TAPE}
    assert stat.S_IMODE(folder.parent.stat().st_mode) == stat.S_IMODE(folder.parent.parent.stat().st_mode) == 0o700
    got.clear()
    assert remote.fetch(bucket.url, tmp_path) == folder
    assert got == []
    bucket.put("a.yaml", OTHER)
    bucket.store.rm(f"/{bucket.name}/gone.yaml")
    remote.fetch(bucket.url, tmp_path)
    assert got == ["a.yaml"]
    assert tree(folder) == {"a.yaml": OTHER, "sub/b.yaml": TAPE}
    (folder / "sub" / "b.yaml").unlink()
    (folder.parent / "known.json").write_text("{nonsense")
    remote.fetch(bucket.url, tmp_path)
    assert tree(folder) == {"a.yaml": OTHER, "sub/b.yaml": TAPE}, "what is damaged is made anew"
    assert [entry.name for entry in folder.parent.iterdir() if entry.name.startswith("new-")] == []


def test_one_object(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("a.yaml")
    bucket.put("b.yaml", OTHER)
    path = remote.fetch(f"{bucket.url}/b.yaml", tmp_path)
    assert (path.name, path.read_text()) == ("b.yaml", OTHER)
    assert not (path.parent / "a.yaml").exists()


@pytest.mark.parametrize("name", ["../../out.yaml", "a/../../../out.yaml", "a\\out.yaml", "a\n.yaml", "a//b.yaml"])
def test_no_name_leads_out_of_the_cache(
    bucket: Bucket, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.yaml")
    listed = {f"/{bucket.name}/{name}": {"type": "file", "size": len(TAPE), "created": 1}}
    monkeypatch.setattr(type(bucket.store), "find", lambda self, root, detail: listed)
    with pytest.raises(StartError, match="is invalid, or leads out of its folder"):
        remote.fetch(bucket.url, tmp_path)
    assert list(tmp_path.rglob("out.yaml")) == []


def test_what_cannot_be_fetched(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartError, match="the bucket, folder or file does not exist"):
        remote.fetch(bucket.url, tmp_path)
    bucket.put("readme.md")
    with pytest.raises(StartError, match="has no cassettes"):
        remote.fetch(bucket.url, tmp_path)
    with pytest.raises(UsageError, match="no package reads URLs of this scheme"):
        remote.fetch("nonsense://bucket", tmp_path)
    with pytest.raises(UsageError, match="simplecache::"):
        remote.fetch("simplecache::memory://bucket", tmp_path)

    def fails(self: object, root: str, **options: object) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(type(bucket.store), "info", fails)
    with pytest.raises(StartError) as failed:
        remote.fetch(f"memory://key:{SECRET}@{bucket.name}/?token={SECRET}", tmp_path)
    assert failed.value.message == f"Could not read memory://{bucket.name}/ (RuntimeError)."
    assert SECRET not in failed.value.text


def test_where_it_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(StartError) as missing:
        remote.fetch("s3://bucket/prefix", tmp_path)
    assert missing.value.hint == "pip install 'openai-replay[s3]'"


def test_record_takes_no_url(tmp_path: Path) -> None:
    result = invoke("record", "s3://bucket/tape.yaml")
    assert result.code == 2
    assert "can only be played" in result.stderr


async def test_play_from_a_url(tmp_path: Path) -> None:
    folder, cache = tmp_path / "bucket", {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    folder.mkdir()
    (folder / "a.yaml").write_text(TAPE)
    async with command("play", f"file://{folder}", "--workers", "2", env=cache) as process:
        assert f"fetching file://{folder}" in process.stderr
        assert (await process.ask("POST", f"/@a{CHAT}", "hello")).json == {"said": 0}
        assert await process.stop() == 0
    result = await run("play", f"file://{folder}/none.yaml", env=cache)
    assert result.code == 3
    assert "the bucket, folder or file does not exist" in result.stderr


# ------------------------------------------------------------------------------------------------ a real API of S3

#: Environments with s3fs, and with a server of its API: `make scale-test` makes them.
S3 = Path(__file__).parents[2] / ".cache" / "s3"
served = pytest.mark.skipif(not (S3 / ".installed").exists(), reason="no S3 here: make scale-test")


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Return the environment variables for a client of the test's own bucket server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (tmp_path / "moto.log").open("wb") as log:
        server = subprocess.Popen(
            [S3 / "server" / "bin" / "moto_server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
        )
    try:
        until = time.monotonic() + 60
        while True:
            assert server.poll() is None, (tmp_path / "moto.log").read_text()
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.05)
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "not-a-key",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        }
    finally:
        server.kill()
        server.wait()


def with_boto(env: dict[str, str], program: str) -> None:
    program = "import boto3; s3 = boto3.client('s3')\n" + program
    subprocess.run([S3 / "server" / "bin" / "python", "-c", program], env=environment(env), check=True)


@served
async def test_a_real_s3(s3: dict[str, str], tmp_path: Path) -> None:
    own_lines = (str(S3 / "client" / "bin" / "openai-replay"),)
    put = "s3.put_object(Bucket='tapes', Key={!r}, Body={!r}.encode())\n"
    with_boto(
        s3, "s3.create_bucket(Bucket='tapes')\n" + put.format("chat/a.yaml", TAPE) + put.format("chat/b.yaml", TAPE)
    )
    async with command("play", "s3://tapes/chat", "--strict", program=own_lines, env=s3) as process:
        assert (await process.ask("POST", f"/@a{CHAT}", "hello")).json == {"said": 0}
        assert await process.stop() == 0, process.stderr
    with_boto(s3, put.format("chat/a.yaml", OTHER) + "s3.delete_object(Bucket='tapes', Key='chat/b.yaml')\n")
    async with command("play", "s3://tapes/chat", "--workers", "2", program=own_lines, env=s3) as process:
        assert (await process.ask("POST", f"/@a{CHAT}", "hello")).json == {"said": 1}
        assert (await process.ask("POST", f"/@b{CHAT}", "hello")).status == 424
        assert await process.stop() == 1
    async with command("play", "s3://tapes/chat/a.yaml", program=own_lines, env=s3) as process:
        assert (await process.ask("POST", CHAT, "hello")).json == {"said": 1}
    for url, env, reason in (
        ("s3://no-such-bucket/chat", s3, "the bucket, folder or file does not exist"),
        ("s3://tapes/none", s3, "the bucket, folder or file does not exist"),
        ("s3://tapes/chat", {**s3, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no credentials were found"),
        ("s3://tapes/chat", {**s3, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "Could not read s3:"),
    ):
        result = await run("play", url, program=own_lines, env=env)
        assert (result.code, result.stdout) == (3, ""), result.stderr
        assert reason in result.stderr
        assert SECRET not in result.stderr
