"""Regular expressions of one's own: those that could run for ever are refused."""

from __future__ import annotations

import re

import pytest

from openai_replay.errors import UsageError
from openai_replay.text import safe_regex

FINE = [
    "order-[0-9]+",
    r"\bORD-\d{4,}\b",
    r"(?i)customer[-_ ]?[a-z]+",
    r"(?:[a-z]+-)+[0-9]+",
    r"(?:[a-z]++)+x",
    r"(?>a+)+x",
    r"(?:(?>a+)b?)+",
    r'"(?:[^"\\]|\\.)*"',
    r"(?:foo|bar|quux)+",
    r"(?:ab|cd)*e",
    r"(?P<a>x)(?P=a)",
    r"(?:a{2}b)+",
    r"[^,]*,[^,]*",
    r"(?=.*x)\w+",
    r"(?<!a)b",
    r"(x)?(?(1)y|z)+",
    r"^.*$",
    "a*b*",
    r"\d{1,3}(?:\.\d{1,3}){3}",
    r"(?:\d{1,3},)*\d{1,3}",
    "",
    "(?:a|)b",
    "é+ж+",
    r"[^\W\d]+\d+",
    r"(?:\s*;\s*x)*",
    "[a-f]{2}(?:-[a-f]{2})+",
    r"(?!a)(?:b$)*",
    "(?:(a)|b)+",
    r"(?:\w|\d)+x",  # `re` makes one class of them
    "(?:foo|far)+x",  # and takes out what they begin with
    "(?:ab|a)*c",
    r"-?\d+\.?\d*",
    r"\d+\.?\d+x?",
]
ENDLESS = [
    ("(a+)+x", "share out"),
    ("(a*)*", "share out"),
    (r"(\w+\s?)*x", "share out"),
    (r"(?:\d+,?)+$", "share out"),
    ("(?:a?)+", "share out"),
    ("(?:a{1,9})*x", "share out"),
    ("(a|a)+x", "same character"),
    ("(?:.|a)*x", "same character"),
    ("(?:a|[^b])*x", "same character"),
    ("(?:a+b*)+", "share out"),
    ("(?:x|(?:b|a+))+z", "share out"),
    ("(?:(?:a+))*z", "share out"),
    ("(?:|a|)+z", "same character"),
    (".*.*x", "side by side"),
    (r"\s*\s+$", "side by side"),
    (r"\d+(?:x)?\d+y", "side by side"),
    (r"[a-z]*\w*\b", "side by side"),
    (r"(?:\d+\d*|x)y", "side by side"),
    ("(?:a(?:b|)b?)*", "same character"),
    ("(?i)(?:ab|AC|a)*x", "same character"),
    ("(?i)(?:[ax]b|[A]c)*x", "same character"),
    ("(?=(a+)+x)", "share out"),
    ("(?:(?>(a+)+x))", "share out"),
    ("(?:(a+)+)++", "share out"),
    ("(x)?(?(1)(a+)+|b)", "share out"),
    (r"(x+)(?:\1|x)*", "same character"),
    (r"(?:a|b(?:c|d+)*)*", "share out"),
]


@pytest.mark.parametrize("text", FINE)
def test_what_ends_is_compiled(text: str) -> None:
    assert safe_regex.compiled(text) == re.compile(text)


@pytest.mark.parametrize(("text", "why"), ENDLESS)
def test_what_may_not_end_is_refused(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"{text!r} could take for ever on some texts")) as error:
        safe_regex.compiled(text)
    assert why in error.value.message
    assert "possessive" in error.value.hint


@pytest.mark.parametrize(
    ("text", "does"),
    [
        (r"\w+@", True),
        (r"\b\w+@", True),
        (r"(?:[a-z]+|x)@", True),
        (r"(?=x)(?:a?)[a-z]*", True),
        (r"(?i)(\d+)", True),
        (r"(?>\w+)@", True),
        ("a+", True),
        ("ab+", False),
        (r"\bab*", False),
        ("a?b", False),
        (r"\w{1,9}@", False),
        (r"\b", False),
        ("", False),
    ],
)
def test_what_begins_with_a_repeat_begins_anywhere(text: str, does: bool) -> None:
    assert safe_regex.begins_anywhere(re.compile(text)) is does


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a(b", "'a(b' is not a regular expression: missing ), unterminated subpattern at position 1"),
        ("[a", "unterminated character set at position 0"),
        ("a{99999999999}", "is not a regular expression"),
        ("(" * 2000 + ")" * 2000, "is not a regular expression"),
    ],
)
def test_what_is_no_expression(text: str, says: str) -> None:
    with pytest.raises(UsageError) as error:
        safe_regex.compiled(text)
    assert says in error.value.message
    assert error.value.hint
