"""What was recorded again takes the place of what it records anew: a re-recording is a small diff."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from openai_replay.cassette import editor, reader, writer
from openai_replay.model import Request
from openai_replay.openai_api import ids


def in_place(text: str, path: Path, known: int, key: Callable[[Request], bytes], described: str = "") -> str:
    """The cassette `text`, whose items behind the first `known` have just been added, with each of these in the place
    of the one it records anew, and the others behind. Texts are moved, not written anew.

    The second turn of a tool loop speaks of an id that the answer to the first has given. Another answer gives another
    id: `ids.aligned` finds the old turn all the same. What is left of a request that was recorded again less often
    goes; other requests stay. Where nothing is left of what there was, the first line says how it is matched now
    (`described`). Raises CassetteError.
    """
    document = reader.load(text, path)
    recorded, anew = document.interactions[:known], document.interactions[known:]
    head, texts, tail = editor.parts(text, path, document)
    places = ids.aligned(recorded, anew, key)
    by_place = {place: known + number for number, place in enumerate(places) if place is not None}
    again = {key(recorded[place].request) for place in by_place}
    items = [
        texts[by_place.get(place, place)]
        for place, one in enumerate(recorded)
        if place in by_place or key(one.request) not in again
    ]
    if len(items) == len(by_place):
        head = writer.declaring(head, described)
    items += [texts[known + number] for number, place in enumerate(places) if place is None]
    new = editor.joined(head, items, tail)
    reader.load(new, path)  # before the file is touched
    return new
