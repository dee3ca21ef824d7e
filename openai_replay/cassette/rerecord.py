"""Re-recording: new recordings replace the old ones of the same requests, so that the diff is small."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from openai_replay.cassette import editor, reader, writer
from openai_replay.model import Request
from openai_replay.openai_api import ids


def replace_recorded(
    text: str, path: Path, old_count: int, key: Callable[[Request], bytes], described: str = ""
) -> str:
    """Return the cassette `text` with its items after the first `old_count` in the positions of those they re-record.

    New requests stay at the end. Texts are moved as they are. The second turn of a tool loop contains an ID from the
    response to the first one, and another response has another ID: `ids.aligned` finds the old turn all the same. If a
    request was re-recorded fewer times than before, its remaining old recordings are removed. Other requests stay. If
    no old recording is left, the first line gets the current matching (`described`). Raises CassetteError.
    """
    document = reader.load(text, path)
    recorded, added = document.interactions[:old_count], document.interactions[old_count:]
    head, texts, tail = editor.parts(text, path, document)
    old_indexes = ids.pair_interactions(recorded, added, key)
    new_index_of = {index: old_count + number for number, index in enumerate(old_indexes) if index is not None}
    rerecorded_keys = {key(recorded[index].request) for index in new_index_of}
    items = [
        texts[new_index_of.get(index, index)]
        for index, interaction in enumerate(recorded)
        if index in new_index_of or key(interaction.request) not in rerecorded_keys
    ]
    if len(items) == len(new_index_of):
        head = writer.with_matching_comment(head, described)
    items += [texts[old_count + number] for number, index in enumerate(old_indexes) if index is None]
    new = editor.joined(head, items, tail)
    reader.load(new, path)  # before the file is changed
    return new
