"""JSON text: positions of strings, pretty-printing, exact values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_replay.text import json_codec

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)
#: Ways to write the same value.
DUMPS = st.sampled_from(
    [
        lambda value: json.dumps(value).encode(),
        lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(),
        lambda value: json.dumps(value, indent=3).replace("\n", "\r\n").encode(),
        lambda value: b" \t" + json.dumps(value, indent="\t").encode() + b"\n",
    ]
)


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        return [(path, value)]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [leaf for name, inner in items for leaf in leaves(inner, (*path, name))]


@given(VALUES, DUMPS)
def test_strings_are_all_string_values_with_their_paths(value: Any, dumps: Any) -> None:
    text = dumps(value)
    strings = [(path, json.loads(text[start - 1 : end + 1])) for path, start, end in json_codec.strings(text)]
    assert strings == leaves(value)


@given(VALUES, DUMPS)
def test_pretty_text_keeps_every_token_and_stays_the_same_if_repeated(value: Any, dumps: Any) -> None:
    text = dumps(value)
    pretty = json_codec.pretty(text)
    assert json.loads(pretty) == value
    assert [match[0] for match in json_codec._TOKEN.finditer(pretty)] == [
        m[0] for m in json_codec._TOKEN.finditer(text)
    ]
    assert json_codec.pretty(pretty) == pretty


@pytest.mark.parametrize(
    ("text", "pretty"),
    [
        (b'{"b":1.0,"a":[1e5,{}],"b":-0}', b'{\n  "b": 1.0,\n  "a": [\n    1e5,\n    {}\n  ],\n  "b": -0\n}'),
        (b"[ [ ] , { } ]", b"[\n  [],\n  {}\n]"),
        (b'["\\u00e9\\/", "a\\"b"]', b'[\n  "\\u00e9\\/",\n  "a\\"b"\n]'),
        (b"123456789012345678901234567890", b"123456789012345678901234567890"),
        (b' "x" ', b'"x"'),
    ],
)
def test_json_is_indented(text: bytes, pretty: bytes) -> None:
    assert json_codec.pretty(text) == pretty


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a": [1, 2.5, null, true]}', {"a": [1, 2.5, None, True]}),
        (b'"\\ud83d"', "\ud83d"),  # half a character, as models stream them
        (b'{"\\udc00": 1}', {"\udc00": 1}),
        (b"18446744073709551616", 18446744073709551616),
        (b"1" * 400, int("1" * 400)),
    ],
)
def test_exact_values_keep_long_integers_and_lone_surrogates(text: bytes, value: Any) -> None:
    assert json_codec.exact(text) == value
    assert type(json_codec.exact(text)) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"nul",
        b"[NaN]",
        b"[Infinity]",
        b"1e999",
        b"[1e999, 12345678901234567890]",
        b"\xff",
        b'"\n"',
        b"[1,]",
        b"1" * 5000,
        b"[" * 100_000 + b"]" * 100_000,
        "\ufeff1".encode(),
        '"a"'.encode("utf-16"),
    ],
    ids=lambda text: repr(text[:20]),
)
@pytest.mark.parametrize("read", [json_codec.loads, json_codec.exact])
def test_other_texts_are_not_json(text: bytes, read: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(text)


@given(VALUES, DUMPS, DUMPS)
def test_equal_values_have_equal_canonical_texts(value: Any, first_dumps: Any, second_dumps: Any) -> None:
    assert json_codec.canonical(json_codec.exact(first_dumps(value))) == json_codec.canonical(
        json_codec.exact(second_dumps(value))
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b"1", b"1.0"),
        (b"1", b"true"),
        (b"0", b"-0.0"),
        (b"0", b"false"),
        (b"0", b"null"),
        (b'""', b"null"),
        (b"[]", b"{}"),
        (b"[1,2]", b"[2,1]"),
        (b'{"a":null}', b"{}"),
        (b"18446744073709551616", b"18446744073709551617"),
        (b"1" * 30, b"1" * 29 + b"2"),
        (b'"\\ud800"', b'"\\ud801"'),
        (b'"\\ud800"', b'"?"'),
    ],
)
def test_different_values_have_different_canonical_texts(first: bytes, second: bytes) -> None:
    assert json_codec.canonical(json_codec.exact(first)) != json_codec.canonical(json_codec.exact(second))


@pytest.mark.parametrize(("depth", "deep"), [(200, False), (300, True), (900, True)])
@pytest.mark.parametrize("leaf", [b"1", b"18446744073709551616"], ids=["64 bits", "more"])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")], ids=["lists", "objects"])
def test_canonical_text_has_a_maximum_depth(
    depth: int, deep: bool, leaf: bytes, opening: bytes, closing: bytes
) -> None:
    value = json_codec.exact(opening * depth + leaf + closing * depth)
    if deep:
        with pytest.raises(ValueError, match="nested too deeply"):
            json_codec.canonical(value)
    else:
        assert json_codec.canonical(value) == opening * depth + leaf + closing * depth


@pytest.mark.parametrize(("depth", "deep"), [(200, False), (252, True), (900, True)])
def test_shallow_values_have_a_maximum_depth(depth: int, deep: bool) -> None:
    text = b'[{"a":' * (depth // 2) + b"1" + b"}]" * (depth // 2) if depth % 2 == 0 else b"[" * depth + b"]" * depth
    if deep:
        with pytest.raises(ValueError, match="nested too deeply"):
            json_codec.shallow(text)
    else:
        assert json_codec.shallow(text) == json_codec.loads(text)


def test_a_wide_value_is_not_deep() -> None:
    assert len(json_codec.shallow(b"[" + b"[],{}," * 500 + b"1]")) == 1001


@pytest.mark.parametrize("offset", range(13))
def test_long_numbers_are_found_wherever_they_stand(offset: int) -> None:
    number = 9_007_199_254_740_993_000_001
    assert json_codec.exact(b" " * offset + b'{"a":%d}' % number) == {"a": number}
    assert json_codec.exact(b" " * offset + b"%d" % (1 << 64)) == 1 << 64
    assert json_codec.exact(b" " * offset + b'["%d", 1.5]' % number) == [str(number), 1.5]
