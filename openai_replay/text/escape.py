"""Escaping of texts for a terminal, because anyone may have written a cassette.

Control sequences can rewrite the screen, and direction marks can hide the content of a line (CVE-2021-42574). Both are
shown as escapes.
"""

from __future__ import annotations

import re

# C0 and C1 controls, DEL, zero-width and direction marks, line separators, lone halves of characters, BOM, tags.
_UNSAFE = (
    "\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f"
)
_IN_A_LINE = re.compile(f"[{_UNSAFE}]")
_IN_A_TEXT = re.compile(f"(?![\n\t])[{_UNSAFE}]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def line(text: str) -> str:
    """Return `text` as part of one line, with unsafe characters as `\\n`, `\\x1b` or `\\u202e`."""
    return _IN_A_LINE.sub(_escape, text)


def text(text: str) -> str:
    """Return `text` with unsafe characters escaped. Line feeds and tabs stay."""
    return _IN_A_TEXT.sub(_escape, text.replace("\r\n", "\n"))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if match[0] in _NAMED:
        return _NAMED[match[0]]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
