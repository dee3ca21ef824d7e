"""Cassettes in an object store, `s3://BUCKET/PREFIX` or another that fsspec reaches: fetched before anything is served.

What is fetched lies in the user's cache folder, and is played from there like any other cassette. It is done by a
process of its own, which has ended when the server begins: neither a connection nor fsspec is in the one that serves
(law 6). An object that is what it was (its tag, size and time) is not fetched again; one that is gone, goes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from openai_replay.cassette.index import cache_folder
from openai_replay.cassette.recordings import SUFFIXES
from openai_replay.errors import StartError, UsageError

#: What an object is known by, in the words of several stores.
_MARKS = ("ETag", "etag", "md5Hash", "VersionId", "LastModified", "last_modified", "mtime", "updated", "created")
_KNOWN = "known.json"
_HERE = "cassettes"
_PIP = "pip install 'openai-replay[s3]'"


def fetched(url: str, say: Callable[[str], object] = lambda line: None) -> Path:
    """The cassette, or the folder of them, that `url` names, now on this machine. `say` is told of it.

    Raises UsageError or StartError.
    """
    say(f"fetching {shown(url)}")
    # fsspec has threads, and processes that are forked must not come from one that had any.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as other:
        return other.submit(fetch, url, cache_folder()).result()


def shown(url: str) -> str:
    """`url` without what may be a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def fetch(url: str, cache: Path) -> Path:
    """Bring what lies at `url` into the folder `cache`. Raises UsageError or StartError."""
    if "::" in url:
        raise UsageError(f"{url.partition('::')[0]}:: is no place to play from", "Give the URL of the cassettes alone.")
    try:
        import fsspec
    except ImportError:
        raise StartError(f"{shown(url)}: what reads it is not installed", _PIP) from None
    place = cache / "fetched" / hashlib.sha256(url.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (place.parent, place):
            folder.chmod(0o700)
        lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        hint = "Set XDG_CACHE_HOME to a folder that can be written to."
        raise StartError(f"{place}: cannot be made: {error.strerror}", hint) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another one may fetch the same
        with tempfile.TemporaryDirectory(dir=place, prefix="new-") as new:
            return _Fetching(url, place, Path(new)).run(fsspec)
    except (StartError, UsageError):
        raise
    except ImportError:
        scheme = urlsplit(url).scheme
        hint = _PIP if scheme == "s3" else f"Install the package by which fsspec reads {scheme}://."
        raise StartError(f"{shown(url)}: what reads it is not installed", hint) from None
    except Exception as error:  # every store has its own; their texts may hold what was sent
        raise _failure(url, error) from None
    finally:
        os.close(lock)


class _Fetching:
    def __init__(self, url: str, place: Path, new: Path) -> None:
        self._url, self._place, self._new = url, place, new

    def run(self, fsspec: Any) -> Path:
        try:
            store, root = fsspec.core.url_to_fs(self._url, skip_instance_cache=True, use_listings_cache=False)
        except ValueError:  # no such protocol
            raise UsageError(f"{shown(self._url)}: nothing is known that reads such a URL") from None
        root = root.rstrip("/")
        about = store.info(root)
        if about["type"] == "file":
            objects = {root.rpartition("/")[2]: (root, about)}
        else:
            found = store.find(root, detail=True)
            objects = {name.removeprefix(root).lstrip("/"): (name, one) for name, one in found.items()}
            objects = {name: one for name, one in objects.items() if name.endswith(SUFFIXES)}
            if not objects:
                raise StartError(f"{shown(self._url)}: there is no cassette", "Cassettes end in .yaml or .yml.")
        for name in objects:
            _check(name, self._url)
        here = self._place / _HERE
        known = self._known()
        marks = {name: _mark(one) for name, (_, one) in objects.items()}
        wanted = [
            name for name, mark in marks.items() if not mark or known.get(name) != mark or not (here / name).is_file()
        ]
        self._get(store, {name: objects[name] for name in wanted})
        (self._place / _KNOWN).unlink(missing_ok=True)  # while it is not true
        for path in [path for path in here.rglob("*") if not path.is_dir()]:
            if str(path.relative_to(here)) not in objects:
                path.unlink()
        for name in wanted:
            target = here / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (self._new / name).replace(target)
        (self._new / _KNOWN).write_text(json.dumps(marks), "utf-8")
        (self._new / _KNOWN).replace(self._place / _KNOWN)
        return here / next(iter(objects)) if about["type"] == "file" else here

    def _known(self) -> dict[str, Any]:
        try:
            known = json.loads((self._place / _KNOWN).read_text("utf-8"))
        except (OSError, ValueError):
            known = None
        if not isinstance(known, dict):
            shutil.rmtree(self._place / _HERE, ignore_errors=True)
            known = {}
        (self._place / _HERE).mkdir(exist_ok=True)
        return known

    def _get(self, store: Any, objects: dict[str, tuple[str, dict[str, Any]]]) -> None:
        """Fetch `objects` beside what is there."""
        for name in objects:
            (self._new / name).parent.mkdir(parents=True, exist_ok=True)
        store.get([name for name, _ in objects.values()], [str(self._new / name) for name in objects])
        for name, (_, about) in objects.items():
            if about.get("size") is not None and (self._new / name).stat().st_size != about["size"]:
                raise StartError(f"{shown(self._url)}: {name} changed while it was fetched", "Start again.")


def _check(name: str, url: str) -> None:
    """Names are a stranger's. Raises StartError."""
    if "\\" in name or not name.isprintable() or {"", ".", ".."} & set(name.split("/")):
        raise StartError(
            f"{shown(url)}: an object's name leads out of its folder, or is none: {name!r}", "Give it another name."
        )


def _mark(about: dict[str, Any]) -> str:
    """By what an object is known to be what it was; empty where nothing tells."""
    told = {name: str(about[name]) for name in _MARKS if about.get(name) is not None}
    return json.dumps({**told, "size": about.get("size")}) if told else ""


def _failure(url: str, error: Exception) -> StartError:
    kind = type(error).__name__
    if isinstance(error, FileNotFoundError):
        return StartError(f"{shown(url)}: there is no such bucket, folder or file", "Is the URL right?")
    if "Credentials" in kind:
        hint = "s3 takes AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or the machine's role."
        return StartError(f"{shown(url)}: there are no credentials to read it with ({kind})", hint)
    if isinstance(error, PermissionError):
        return StartError(f"{shown(url)}: these credentials may not read it", "Listing and reading have to be allowed.")
    if isinstance(error, NotADirectoryError | IsADirectoryError | FileExistsError):
        return StartError(f"{shown(url)}: one name is a folder and a file ({kind})", "Give one of them another name.")
    return StartError(f"{shown(url)}: cannot be reached, or read ({kind})", "Is the store there, and the network?")
