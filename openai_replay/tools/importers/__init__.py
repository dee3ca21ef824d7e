"""Recordings of other tools, read: a module a format, each a pure function from what a file holds to interactions.

A file is known by what is in it, never by its name. Nothing is invented: what a format does not say (times, cuts) is
absent, and what had to be mended or left out is said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from openai_replay.errors import ImportFormatError
from openai_replay.tools.importers import (
    aimock,
    azure,
    datadog,
    go_vcr,
    har,
    httprr,
    mitmproxy,
    nock,
    raw,
    ruby_vcr,
    vcrpy,
)
from openai_replay.tools.importers.builder import Found
from openai_replay.tools.importers.source import Asked, Text, opened


@dataclass(frozen=True, slots=True)
class Format:
    """One format: how it is called, whether a value is of it, and how it is read."""

    name: str
    recognises: Callable[[Any], bool]
    read: Callable[[Any], Found]


#: In this order they are tried; none takes what belongs to another.
FORMATS = (
    Format("vcrpy", vcrpy.recognises, vcrpy.read),
    Format("ruby-vcr", ruby_vcr.recognises, ruby_vcr.read),
    Format("go-vcr", go_vcr.recognises, go_vcr.read),
    Format("nock", nock.recognises, nock.read),
    Format("har", har.recognises, har.read),
    Format("azure", azure.recognises, azure.read),
    Format("datadog", datadog.recognises, datadog.read),
    Format("aimock", aimock.recognises, aimock.read),
    Format("httprr", httprr.recognises, httprr.read),
    Format("mitmproxy", mitmproxy.recognises, mitmproxy.read),
)
#: What `--format` may say; `raw` is an answer alone, whose request is given by hand.
NAMES = (*(one.name for one in FORMATS), "raw")


def read(data: bytes, asked: Asked | None = None, name: str = "auto") -> tuple[str, Found]:
    """The format of `data` and what it holds; with `name`, as that format. `asked` is the request of a raw answer.

    Raises SourceError with place and reason.
    """
    value = opened(data)
    if name == "auto":
        found = next((one for one in FORMATS if one.recognises(value)), None)
        if found is None and not raw.recognises(value, asked):
            raise ImportFormatError(raw.unknown(value))
    else:
        found = next((one for one in FORMATS if one.name == name), None)
        if not (found.recognises(value) if found else raw.recognises(value, asked)):
            raise ImportFormatError(f"is not of the format {name}")
    if found is None:
        return "raw", raw.read(value, asked)
    return found.name, found.read(value)


__all__ = ["FORMATS", "NAMES", "Asked", "Format", "Found", "Text", "read"]
