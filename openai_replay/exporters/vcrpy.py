"""A plain vcrpy cassette: the layout stays, times and cuts go."""

from __future__ import annotations

from openai_replay import layout
from openai_replay.exporters.written import Written, cut_short
from openai_replay.model import Interaction


def write(interactions: list[Interaction]) -> Written:
    """One cassette."""
    text = layout.HEADER + "".join(piece for one in interactions for piece in layout.plain(one))
    if not interactions:
        text = "version: 1\ninteractions: []\n"
    return Written({".yaml": text.encode()}, cut_short(interactions))
