"""Which recordings are meant: `chat.yaml` and `cassettes/` all in them, `chat.yaml#3` the third of the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from openai_replay.cassette import file_store, reader
from openai_replay.cassette.recordings import files
from openai_replay.errors import UsageError
from openai_replay.model import Interaction

_NUMBERED = re.compile(r"(.+)#(\d{1,9})")


class Chosen(NamedTuple):
    """A recording that was chosen, and its number in its file, from 1."""

    path: Path
    number: int
    interaction: Interaction


def chosen(places: Iterable[str], warn: Callable[[str], object]) -> Iterator[Chosen]:
    """The recordings at `places`, a file after the other. `warn` is told what is odd about a file.

    Raises CassetteError, and UsageError where there is no such number.
    """
    for place in places:
        path, number = parted(place)
        if number is not None and path.is_dir():
            raise UsageError(f"{place}: {path} is a folder, and numbers count in a file", f"Write {path}/NAME.yaml#1")
        for file in files(path):
            found = read(file, warn)
            if number is None:
                yield from (Chosen(file, count, one) for count, one in enumerate(found, 1))
            elif 1 <= number <= len(found):
                yield Chosen(file, number, found[number - 1])
            else:
                there = f"#1 to #{len(found)}" if len(found) > 1 else "only #1" if found else "none"
                raise UsageError(
                    f"{place}: there is no interaction #{number} in {path}: it has {there}",
                    f"openai-replay list {path} shows them.",
                )


def parted(place: str) -> tuple[Path, int | None]:
    """File and number of `FILE#N`. A file that is there is meant as it is, whatever its name ends in."""
    match = _NUMBERED.fullmatch(place)
    if match is None or Path(place).exists():
        return Path(place), None
    return Path(match[1]), int(match[2])


def read(path: Path, warn: Callable[[str], object]) -> list[Interaction]:
    """What is on the cassette at `path`. Raises CassetteError."""
    text, torn_at = file_store.read_text(path)
    if torn_at is not None:
        warn(f"{path}: a recorder was killed while it added the last recording: that one is left out")
    if not text.strip():
        return []
    document = reader.load(text, path)
    for one in document.edited:
        warn(f"{path}:{one.line}: {one.what} (openai-replay lint --fix mends the file)")
    return document.interactions
