"""The documentation is written in plain English: short sentences, few filler words, one word for each thing.

A ceiling below only goes down and a floor only goes up. `python -m tests.test_words` prints the figures of every page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: docs/cli.md is made from `--help`.
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "cassettes/README.md")),
    *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.name != "cli.md"),
]
GLOSSARY = ROOT / "docs" / "glossary.md"

#: Per 1,000 words of all pages.
AT_MOST = {
    r"what": 1.0,
    r"said|says|told": 0.1,
    r"nobody|somebody|everybody": 0.0,
}
AT_LEAST = {r"you|your|yours|yourself": 14.0}

#: Words in a sentence; colons and semicolons in a sentence.
LONGEST = 25
PAUSES = 1

#: Each of these has a plain form: "no X exists" or "without X" for the first, "after" for "behind".
STILTED = re.compile(
    r"\b(there (?:is|are) no|is none|are none|is no|are no|anew|whoever|of (?:one's|your|its) own accord"
    r"|in (?:the|its|their) place of|one's own|every one of)\b",
    re.IGNORECASE,
)
#: Words of the glossary's last column that are only wrong in one sense.
QUALIFIED = {
    "answer (as a noun)": r"\b(?:an?|the|its|each|every|this|that|of|recorded|first|final|whole|new|old) answers?\b",
    "limit (for times)": r"\b(?:idle|drain|time)[ -]limits?\b",
}
WH_START = re.compile(r"(?:what|who|whoever|where|that which)\b", re.IGNORECASE)

_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')*_]*\s+(?=[\"'(*_\[]*(?:[A-Z0-9`«]|openai-replay))")
_WORD = re.compile(r"[A-Za-z][\w'’-]*")


def prose(text: str) -> str:
    """Return a page without code blocks, quotations, comments and link targets; inline code is one word, `CODE`."""
    text = _FENCE.sub("", text)
    text = re.sub(r"(?m)^> .*$", "", text)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    text = re.sub(r"(?m)^\[[^\]]+\]: .*$", "", text)
    text = re.sub(r"(`+)(?:(?!\1).)+\1", "CODE", text, flags=re.DOTALL)
    return re.sub(r"https?://\S+", "CODE", text)


def paragraphs(text: str) -> Iterator[str]:
    """Yield every heading, paragraph, list entry and table cell of a page's prose."""
    current: list[str] = []
    for line in [*text.splitlines(), ""]:
        row = line.startswith("|")
        starts = row or not line.strip() or re.match(r"\s*(#+|[*-]|\d+\.) ", line)
        if starts and current:
            yield " ".join(current)
            current = []
        if row:
            yield from (cell.strip() for cell in line.strip().strip("|").split("|"))
        elif line.strip():
            current.append(re.sub(r"^\s*(#+|[*-]|\d+\.) ", "", line).strip())


def sentences(page: Path) -> list[str]:
    """Return the sentences of a page, without the marks of Markdown around them."""
    return [
        re.sub(r"^[\W_]+", "", sentence.replace("**", ""))
        for paragraph in paragraphs(prose(page.read_text("utf-8")))
        for sentence in _SENTENCE_END.split(paragraph)
        if _WORD.search(sentence)
    ]


def rates(pages: list[Path]) -> dict[str, float]:
    """Return how often each counted pattern occurs per 1,000 words."""
    text = "\n".join(prose(page.read_text("utf-8")) for page in pages)
    words = len(_WORD.findall(text))
    return {
        pattern: 1000 * len(re.findall(rf"\b(?:{pattern})\b", text, re.IGNORECASE)) / words
        for pattern in [*AT_MOST, *AT_LEAST]
    }


def faults(page: Path) -> list[str]:
    """Return a line for every sentence of a page that breaks a rule."""
    lines = []
    for sentence in sentences(page):
        if (length := len(_WORD.findall(sentence))) > LONGEST:
            lines.append(f"{length} words: {sentence}")
        if len(re.findall(r"[:;](?=\s|$)", sentence)) > PAUSES:
            lines.append(f"more than one colon or semicolon: {sentence}")
        if WH_START.match(sentence):
            lines.append(f"begins with a wh-word: {sentence}")
        if stilted := STILTED.search(sentence):
            lines.append(f'"{stilted[0]}": {sentence}')
    return lines


def glossary() -> dict[str, list[str]]:
    """Return the words that each word of the glossary replaces."""
    rows = re.findall(r"(?m)^\| (.+?) \| .+? \| ?(.*?) ?\|$", GLOSSARY.read_text("utf-8"))
    return {word: re.findall(r"[^,]+", replaced.strip()) for word, replaced in rows if word != "word"}


def replaced_words(text: str) -> list[str]:
    """Return the words in a text that the glossary replaces."""
    hits = []
    for word, replaced in glossary().items():
        for old in map(str.strip, replaced):
            pattern = QUALIFIED.get(old) or rf"\b{re.escape(old)}s?\b"
            hits += [f"{hit[0]} (write {word})" for hit in re.finditer(pattern, text, re.IGNORECASE)]
    return hits


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page != GLOSSARY], ids=lambda page: str(page.relative_to(ROOT))
)
def test_one_thing_has_one_word(page: Path) -> None:
    assert replaced_words(prose(page.read_text("utf-8"))) == []


def test_each_word_of_the_glossary_is_used() -> None:
    texts = [prose(page.read_text("utf-8")) for page in PAGES if page != GLOSSARY]
    texts += [path.read_text("utf-8") for path in sorted((ROOT / "openai_replay").rglob("*.py"))]
    text = "\n".join(texts).lower()
    words = glossary()
    assert len(words) >= 40
    assert [word for word in words if not re.search(rf"\b{re.escape(word.lower())}", text)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_sentences_are_short_and_name_their_actor(page: Path) -> None:
    assert faults(page) == []


def test_pages_speak_to_the_reader() -> None:
    counted = rates(PAGES)
    assert {pattern: rate for pattern, rate in counted.items() if rate > AT_MOST.get(pattern, rate)} == {}
    assert {pattern: rate for pattern, rate in counted.items() if rate < AT_LEAST.get(pattern, rate)} == {}


if __name__ == "__main__":
    import sys

    chosen = [page for page in PAGES if not sys.argv[1:] or str(page.relative_to(ROOT)) in sys.argv[1:]]
    for page in [[page] for page in chosen] + [chosen]:
        name = str(page[0].relative_to(ROOT)) if len(page) == 1 else "all"
        figures = "  ".join(f"{pattern.partition('|')[0]} {rate:.1f}" for pattern, rate in rates(page).items())
        print(f"{name:26} {sum(len(faults(entry)) for entry in page):4} faults  {figures}")
        if sys.argv[1:] and len(page) == 1:
            print("\n".join(f"    {line}" for line in faults(page[0])))
