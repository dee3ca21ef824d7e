"""Cassettes in an object store, `s3://BUCKET/PREFIX` or another one that fsspec supports: downloaded before serving.

The files go to the user's cache folder and are played from there like other cassettes. A separate process downloads
them and ends before the server starts, so the serving process has neither a connection nor fsspec (promise 6). Objects
whose tag, size and time are unchanged are not downloaded again. Objects that were deleted are deleted from the cache.
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

#: Attributes that identify the version of an object, in the words of several stores.
_MARKS = ("ETag", "etag", "md5Hash", "VersionId", "LastModified", "last_modified", "mtime", "updated", "created")
_KNOWN = "known.json"
_HERE = "cassettes"
_PIP = "pip install 'openai-replay[s3]'"


def fetched(url: str, say: Callable[[str], object] = lambda line: None) -> Path:
    """Download the cassette or the folder at `url`, and return its local path. `say` is called with a progress line.

    Raises UsageError or StartError.
    """
    say(f"fetching {shown(url)}")
    # fsspec has threads, and processes that are forked must not come from one that had any.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(fetch, url, cache_folder()).result()


def shown(url: str) -> str:
    """Return `url` without parts that may be secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def fetch(url: str, cache: Path) -> Path:
    """Download `url` into the folder `cache`, and return the local path. Raises UsageError or StartError."""
    if "::" in url:
        raise UsageError(
            f"Cassettes cannot be played from {url.partition('::')[0]}::.", "Give the URL of the cassettes alone."
        )
    try:
        import fsspec
    except ImportError:
        raise StartError(f"{shown(url)}: the package that reads it is not installed", _PIP) from None
    cache_folder_of_url = cache / "fetched" / hashlib.sha256(url.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    try:
        cache_folder_of_url.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (cache_folder_of_url.parent, cache_folder_of_url):
            folder.chmod(0o700)
        lock = os.open(cache_folder_of_url / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        hint = "Set XDG_CACHE_HOME to a folder that you may write to."
        raise StartError(f"Could not create {cache_folder_of_url}: {error.strerror}", hint) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may download the same
        with tempfile.TemporaryDirectory(dir=cache_folder_of_url, prefix="new-") as new:
            return _Download(url, cache_folder_of_url, Path(new)).run(fsspec)
    except (StartError, UsageError):
        raise
    except ImportError:
        scheme = urlsplit(url).scheme
        hint = _PIP if scheme == "s3" else f"Install the package that fsspec needs for {scheme}://."
        raise StartError(f"{shown(url)}: the package that reads it is not installed", hint) from None
    except Exception as error:  # each store has its own errors, whose texts may contain what was sent
        raise _failure(url, error) from None
    finally:
        os.close(lock)


class _Download:
    def __init__(self, url: str, folder: Path, new: Path) -> None:
        self._url, self._folder, self._new = url, folder, new

    def run(self, fsspec: Any) -> Path:
        try:
            store, root = fsspec.core.url_to_fs(self._url, skip_instance_cache=True, use_listings_cache=False)
        except ValueError:  # no such protocol
            raise UsageError(
                f"{shown(self._url)}: no package reads URLs of this scheme.", "Write for example s3://BUCKET/PREFIX."
            ) from None
        root = root.rstrip("/")
        attributes = store.info(root)
        if attributes["type"] == "file":
            objects = {root.rpartition("/")[2]: (root, attributes)}
        else:
            listing = store.find(root, detail=True)
            objects = {name.removeprefix(root).lstrip("/"): (name, entry) for name, entry in listing.items()}
            objects = {name: entry for name, entry in objects.items() if name.endswith(SUFFIXES)}
            if not objects:
                raise StartError(f"{shown(self._url)}: has no cassettes", "Cassettes end in .yaml or .yml.")
        for name in objects:
            _check(name, self._url)
        local = self._folder / _HERE
        present_marks = self._present_marks()
        marks = {name: _mark(entry) for name, (_, entry) in objects.items()}
        outdated = [
            name
            for name, mark in marks.items()
            if not mark or present_marks.get(name) != mark or not (local / name).is_file()
        ]
        self._get(store, {name: objects[name] for name in outdated})
        (self._folder / _KNOWN).unlink(missing_ok=True)  # while it is outdated
        for path in [path for path in local.rglob("*") if not path.is_dir()]:
            if str(path.relative_to(local)) not in objects:
                path.unlink()
        for name in outdated:
            target = local / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (self._new / name).replace(target)
        (self._new / _KNOWN).write_text(json.dumps(marks), "utf-8")
        (self._new / _KNOWN).replace(self._folder / _KNOWN)
        return local / next(iter(objects)) if attributes["type"] == "file" else local

    def _present_marks(self) -> dict[str, Any]:
        try:
            marks = json.loads((self._folder / _KNOWN).read_text("utf-8"))
        except (OSError, ValueError):
            marks = None
        if not isinstance(marks, dict):
            shutil.rmtree(self._folder / _HERE, ignore_errors=True)
            marks = {}
        (self._folder / _HERE).mkdir(exist_ok=True)
        return marks

    def _get(self, store: Any, objects: dict[str, tuple[str, dict[str, Any]]]) -> None:
        """Download `objects` into the new folder."""
        for name in objects:
            (self._new / name).parent.mkdir(parents=True, exist_ok=True)
        store.get([name for name, _ in objects.values()], [str(self._new / name) for name in objects])
        for name, (_, attributes) in objects.items():
            if attributes.get("size") is not None and (self._new / name).stat().st_size != attributes["size"]:
                raise StartError(f"{shown(self._url)}: {name} changed while it was fetched", "Start again.")


def _check(name: str, url: str) -> None:
    """Refuse object names that lead out of the folder. Raises StartError."""
    if "\\" in name or not name.isprintable() or {"", ".", ".."} & set(name.split("/")):
        raise StartError(
            f"{shown(url)}: the object name {name!r} is invalid, or leads out of its folder.", "Rename the object."
        )


def _mark(attributes: dict[str, Any]) -> str:
    """Return a text that changes with the version of an object; empty if its store has none."""
    parts = {name: str(attributes[name]) for name in _MARKS if attributes.get(name) is not None}
    return json.dumps({**parts, "size": attributes.get("size")}) if parts else ""


def _failure(url: str, error: Exception) -> StartError:
    kind = type(error).__name__
    if isinstance(error, FileNotFoundError):
        return StartError(f"{shown(url)}: the bucket, folder or file does not exist", "Check the URL.")
    if "Credentials" in kind:
        hint = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a profile or the machine's role."
        return StartError(f"{shown(url)}: no credentials were found ({kind})", hint)
    if isinstance(error, PermissionError):
        return StartError(f"{shown(url)}: these credentials may not read it", "Allow listing and reading.")
    if isinstance(error, NotADirectoryError | IsADirectoryError | FileExistsError):
        return StartError(f"{shown(url)}: one name is a folder and a file ({kind})", "Give one of them another name.")
    return StartError(f"Could not read {shown(url)} ({kind})", "Check the URL and the network connection.")
