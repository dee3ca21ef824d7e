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
from openai_replay.tools.importers.builder import ImportResult
from openai_replay.tools.importers.source import SuppliedRequest, TextFile, open_source


@dataclass(frozen=True, slots=True)
class Format:
    """One format: how it is called, whether a value is of it, and how it is read."""

    name: str
    recognizes: Callable[[Any], bool]
    read: Callable[[Any], ImportResult]


#: In this order they are tried; none takes what belongs to another.
FORMATS = (
    Format("vcrpy", vcrpy.recognizes, vcrpy.read),
    Format("ruby-vcr", ruby_vcr.recognizes, ruby_vcr.read),
    Format("go-vcr", go_vcr.recognizes, go_vcr.read),
    Format("nock", nock.recognizes, nock.read),
    Format("har", har.recognizes, har.read),
    Format("azure", azure.recognizes, azure.read),
    Format("datadog", datadog.recognizes, datadog.read),
    Format("aimock", aimock.recognizes, aimock.read),
    Format("httprr", httprr.recognizes, httprr.read),
    Format("mitmproxy", mitmproxy.recognizes, mitmproxy.read),
)
#: What `--format` may say; `raw` is an answer alone, whose request is given by hand.
FORMAT_NAMES = (*(one.name for one in FORMATS), "raw")


def read(data: bytes, supplied: SuppliedRequest | None = None, name: str = "auto") -> tuple[str, ImportResult]:
    """The format of `data` and what it holds; with `name`, as that format. `asked` is the request of a raw answer.

    Raises SourceError with place and reason.
    """
    value = open_source(data)
    if name == "auto":
        found = next((one for one in FORMATS if one.recognizes(value)), None)
        if found is None and not raw.recognizes(value, supplied):
            raise ImportFormatError(raw.describe_unknown(value))
    else:
        found = next((one for one in FORMATS if one.name == name), None)
        if not (found.recognizes(value) if found else raw.recognizes(value, supplied)):
            raise ImportFormatError(f"is not of the format {name}")
    if found is None:
        return "raw", raw.read(value, supplied)
    return found.name, found.read(value)


__all__ = ["FORMATS", "FORMAT_NAMES", "Format", "ImportResult", "SuppliedRequest", "TextFile", "read"]
