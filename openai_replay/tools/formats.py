"""Names of the formats of `import` and `export`. `--help` shows them without loading the modules of the formats."""

from __future__ import annotations

#: `raw` is a response alone, whose request the user supplies.
IMPORT_FORMATS = (
    "auto",
    "vcrpy",
    "ruby-vcr",
    "go-vcr",
    "nock",
    "har",
    "azure",
    "datadog",
    "aimock",
    "httprr",
    "mitmproxy",
    "raw",
)
EXPORT_FORMATS = ("vcrpy", "har", "curl", "sse")
