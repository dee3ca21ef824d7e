"""Selects recordings: `chat.yaml` and `cassettes/` mean all in them, `chat.yaml#3` the third of the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from openai_replay.cassette.recordings import cassette_files, read_document
from openai_replay.errors import UsageError
from openai_replay.model import Interaction

_NUMBERED = re.compile(r"(.+)#(\d{1,9})")


class Selection(NamedTuple):
    """A selected recording, its file, and its number in that file, from 1."""

    path: Path
    number: int
    interaction: Interaction


def select(references: Iterable[str], warn: Callable[[str], object]) -> Iterator[Selection]:
    """Yield the recordings that `references` mean, file by file. Call `warn` with each oddity of a file.

    Raises CassetteError, and UsageError if a file has no recording of that number.
    """
    for reference in references:
        path, number = split_reference(reference)
        if number is not None and path.is_dir():
            raise UsageError(
                f"{reference}: {path} is a folder, and numbers count in a file", f"Write {path}/NAME.yaml#1"
            )
        for file in cassette_files(path):
            interactions = read_document(file, warn)[1].interactions
            if number is None:
                yield from (Selection(file, index, interaction) for index, interaction in enumerate(interactions, 1))
            elif 1 <= number <= len(interactions):
                yield Selection(file, number, interactions[number - 1])
            else:
                count = len(interactions)
                numbers = f"#1 to #{count}" if count > 1 else "only #1" if count else "no recordings"
                raise UsageError(
                    f"{reference}: {path} has no recording #{number}. It has {numbers}.",
                    f"Run openai-replay list {path} to see them.",
                )


def split_reference(reference: str) -> tuple[Path, int | None]:
    """Return file and number of `FILE#N`. If a file of that whole name exists, it is meant, and the number is None."""
    match = _NUMBERED.fullmatch(reference)
    if match is None or Path(reference).exists():
        return Path(reference), None
    return Path(match[1]), int(match[2])
