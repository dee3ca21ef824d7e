"""Texts from cassettes, which anybody may have written, as a terminal may show them: what would steer it is escaped.

Escape sequences can rewrite what is on the screen, and marks that turn the direction of reading can hide what a line
says (CVE-2021-42574); both are shown as what they are.
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
    """`text` as a part of one line: `\\n`, `\\x1b`, `\\u202e` where it has what is not to be printed."""
    return _IN_A_LINE.sub(_escape, text)


def text(text: str) -> str:
    """`text` as lines: line feeds and tabs stay."""
    return _IN_A_TEXT.sub(_escape, text.replace("\r\n", "\n"))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if match[0] in _NAMED:
        return _NAMED[match[0]]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
