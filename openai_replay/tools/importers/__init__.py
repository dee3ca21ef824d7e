"""Reads recordings of other tools: one module per format, each a pure function from a file's value to interactions.

A file is recognized by its content, never by its name. Nothing is invented: what a format does not keep (times, frames)
stays absent, and every repair and every skipped entry is reported.

To add a format: write a module with `recognizes` and `read`, and enter it in `FORMATS`.
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
    """One format: its name, a function that recognizes its values, and one that reads them."""

    name: str
    recognizes: Callable[[Any], bool]
    read: Callable[[Any], ImportResult]


#: The formats in the order they are tried. None recognizes a file of another.
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
#: The values of `--format`. `raw` is a response alone, whose request the user supplies.
FORMAT_NAMES = (*(file_format.name for file_format in FORMATS), "raw")


def read(data: bytes, supplied: SuppliedRequest | None = None, name: str = "auto") -> tuple[str, ImportResult]:
    """Return the name of the format of `data`, and its contents. With `name`, read it as that format.

    `supplied` is the request of a raw response. Raises ImportFormatError with position and reason.
    """
    value = open_source(data)
    if name == "auto":
        file_format = next((candidate for candidate in FORMATS if candidate.recognizes(value)), None)
        if file_format is None and not raw.recognizes(value, supplied):
            raise ImportFormatError(raw.describe_unknown(value))
    else:
        file_format = next((candidate for candidate in FORMATS if candidate.name == name), None)
        if not (file_format.recognizes(value) if file_format else raw.recognizes(value, supplied)):
            raise ImportFormatError(f"The file is not in the format {name}.")
    if file_format is None:
        return "raw", raw.read(value, supplied)
    return file_format.name, file_format.read(value)


__all__ = ["FORMATS", "FORMAT_NAMES", "Format", "ImportResult", "SuppliedRequest", "TextFile", "read"]
