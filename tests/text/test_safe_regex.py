r"""Users' regular expressions: they match as `re` does, and stop after a timeout."""

from __future__ import annotations

import pickle
import re
import warnings

import pytest

from openai_replay.errors import PatternTimeoutError, UsageError
from openai_replay.text.safe_regex import compile_pattern

PATTERNS = [
    "order-[0-9]+",
    r"\bORD-\d{4,}\b",
    r"(?i)customer[-_ ]?[a-z]+",
    r"(?:[a-z]+-)+[0-9]+",
    r"(?:[a-z]++)+x",
    r"(?>a+)+x",
    r'"(?:[^"\\]|\\.)*"',
    r"(?P<a>x)(?P=a)",
    r"[^,]*,[^,]*",
    r"(?=.*x)\w+",
    r"(?<!a)b",
    r"(x)?(?(1)y|z)+",
    r"^.*$",
    "a*b*",
    r"\d{1,3}(?:\.\d{1,3}){3}",
    "",
    "(?:a|)b",
    "é+ж+",
    "(?:ab|a)*c",
    r"user_{id}",
    r"x{e}",
    r"x{e<=1}",
    r"\{{2}",
    r"\\{a",
    r"[{]a",
    r"x{,2}}",
    r"\N{DIGIT ONE}{i}",
    r"[a&&b]|a||b",
    r"(?x) a {1} # a {brace}",
]
TEXTS = [
    "",
    "a customer-ab, CUSTOMER x, order-17 and ORD-99999",
    "aab-cd-12 xx xy zz 10.0.0.255",
    '"a \\" b", éеж éж',
    "user_{id} x{e} x{e<=1} {{ \\{a {a xx} 1{i}",
    "line\nline\n",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_match_as_those_of_re(pattern: str) -> None:
    with warnings.catch_warnings(action="ignore"):  # of the future meaning of `[a--b]`
        expected = re.compile(pattern)
    compiled = compile_pattern(pattern)
    for text in TEXTS:
        spans = [match.span() for match in expected.finditer(text) if match[0]]
        assert compiled.spans(text) == spans
        assert compiled.spans(text, 2, 12) == [match.span() for match in expected.finditer(text, 2, 12) if match[0]]
        assert compiled.sub(lambda match: f"<{match[0]}>", text) == expected.sub(lambda match: f"<{match[0]}>", text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("(a{1,15}){1,15}b", "a" * 60),
        (r"(a+)\1b", "a" * 20_000),
        ("a.*b.*c.*d.*e.*f", "abcde" * 2_000),
    ],
)
def test_a_slow_pattern_is_stopped_and_named(pattern: str, text: str) -> None:
    compiled = compile_pattern(pattern, timeout_s=0.02)
    for work in (compiled.spans, lambda text: compiled.sub(lambda match: "", text)):
        with pytest.raises(PatternTimeoutError) as error:
            work(text)
        assert error.value.message.startswith(f"The pattern {pattern!r} took longer than 0.02")
        assert f"on a text of {len(text)} characters" in error.value.message
        assert "bound its repeats" in error.value.hint


def test_a_longer_text_gets_more_time() -> None:
    compiled = compile_pattern(r"(a+)\1b", timeout_s=0.01)
    with pytest.raises(PatternTimeoutError, match=r"took longer than 0\.03 s on a text of 2097152 characters"):
        compiled.spans("a" * (1 << 21))


def test_a_pattern_is_equal_to_one_of_the_same_text_also_in_another_process() -> None:
    pattern = compile_pattern(r"\d+", timeout_s=2)
    assert pattern == compile_pattern(r"\d+", timeout_s=2) != compile_pattern(r"\d", timeout_s=2)
    restored = pickle.loads(pickle.dumps(pattern))  # noqa: S301
    assert (restored, restored.spans("a 12")) == (pattern, [(2, 4)])


@pytest.mark.parametrize(
    ("pattern", "begins_anywhere"),
    [
        (r"\w+@", True),
        (r"\b\w+@", True),
        (r"(?:[a-z]+|x)@", True),
        (r"(?=[a-z])(?:a?)[a-z]*", True),
        (r"(?i)(\d+)", True),
        (r"(?>\w+)@", True),
        (r"[^ ]+ ", True),
        ("ab+", False),
        (r"\bab*", False),
        ("a?b", False),
        (r"\w{1,9}@", False),
        (r"\b", False),
        ("", False),
    ],
)
def test_a_pattern_that_begins_with_a_repeat_begins_anywhere(pattern: str, begins_anywhere: bool) -> None:
    assert compile_pattern(pattern).begins_anywhere() is begins_anywhere


def test_a_pattern_that_is_too_slow_to_tell_begins_anywhere() -> None:
    assert compile_pattern(r"(?:(\w+)+ |x)y", timeout_s=0).begins_anywhere()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a(b", "'a(b' is not a regular expression: missing ), unterminated subpattern at position 1"),
        ("[a", "unterminated character set at position 0"),
        ("a{99999999999}", "is not a regular expression"),
        ("(" * 2000 + ")" * 2000, "is not a regular expression"),
        ("(?L)a", "is not a regular expression"),
    ],
)
def test_a_text_that_does_not_parse_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        compile_pattern(text)
    assert message in error.value.message
    assert error.value.hint == "See Python's re syntax."


def test_a_pattern_that_only_re_understands_is_refused() -> None:
    with pytest.raises(UsageError, match="is not a regular expression"):
        compile_pattern("[[:nothing:]]")
