"""Values that change on each run do not make another request."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_replay.errors import UsageError
from openai_replay.matching import normalizers
from openai_replay.matching.matcher import Matcher
from openai_replay.matching.normalizers import BUILT_IN, parse
from openai_replay.model import Request
from tests.matching.test_matcher import CHAT, FORM, post, upload
from tests.text.test_json_codec import VALUES

U1, U2 = "123e4567-e89b-12d3-a456-426614174000", "0A0B0C0D-0000-4000-8000-ABCDEF012345"
IMAGE = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
DIGEST = hashlib.blake2b(IMAGE, digest_size=16).hexdigest()
PIXEL = base64.b64encode(IMAGE).decode()


def text(value: str, *names: str) -> str:
    """`value` as a string of a JSON body, normalised."""
    _, body = normalizers.normalized(parse(names), "/v1/x", "json", [value])
    (actual,) = body
    assert isinstance(actual, str)
    return actual


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("uuid", f"a {U1}, {U2} and {U1.upper()}", "a «uuid 1», «uuid 2» and «uuid 1»"),
        ("uuid", rf'{{"id": "\b{U1}"}}', r'{"id": "\b«uuid 1»"}'),
        ("uuid", f"f{U1}", f"f{U1}"),
        ("uuid", f"run_{U1}.json", "run_«uuid 1».json"),
        ("datetime", "2026-11-21T14:37:36Z", "«datetime»"),
        ("datetime", "2026-11-21T14:37:36.123456+01:00!", "«datetime»!"),
        ("datetime", "at 2026-11-21 14:37, he", "at «datetime», he"),
        ("datetime", "Sat, 21 Nov 2026 14:37:36 GMT", "«datetime»"),
        ("datetime", "Sat, 21 Nov 2026 14:37:36 +0000", "«datetime»"),
        ("datetime", "Sat Nov 21 14:37:36 2026", "«datetime»"),
        ("datetime", "Sat Nov  1 14:37:36 UTC 2026", "«datetime»"),
        ("datetime", "November 21, 2026 at 2:37 PM", "November 21, 2026 at 2:37 PM"),
        ("datetime", "November 21, 2026 at 02:37 PM UTC", "«datetime»"),
        ("datetime", "20261121T143736Z", "«datetime»"),
        ("datetime", "2026-11-21", "2026-11-21"),
        ("datetime", "14:37", "14:37"),
        ("date", "Today is 2026-11-21.", "Today is «date»."),
        ("date", r'"\n2026/11/21"', r'"\n«date»"'),
        ("date", "Saturday, November 21, 2026", "«date»"),
        ("date", "Nov 21st 2026 or 1. 21 November 2026", "«date» or 1. «date»"),
        ("date", "the 3rd of March 2026", "the «date»"),
        ("date", "11/21/2026, 21.11.2026", "«date», «date»"),
        ("date", "2026-13-21 2026-11-32 12026-11-21 2026-11-211", "2026-13-21 2026-11-32 12026-11-21 2026-11-211"),
        ("date", "in May 2026", "in May 2026"),
        ("date", "2026-11-21T14:37", "«date»T14:37"),
        ("epoch", "at 1763735856.25, 1763735856123", "at «epoch», «epoch»"),
        ("epoch", "3763735856 163735856 17637358561 0.1763735856", "3763735856 163735856 17637358561 0.1763735856"),
        ("tmp-path", "see /tmp/tmpab12/x.txt", "see «tmp-path 1»/x.txt"),
        ("tmp-path", "/tmp/a/x /tmp/b/x /tmp/a/y", "«tmp-path 1»/x «tmp-path 2»/x «tmp-path 1»/y"),
        ("tmp-path", "/tmp/pytest-of-ada/pytest-12/test_x0/f", "«tmp-path 1»/test_x0/f"),
        ("tmp-path", "file:///private/var/folders/x1/abc_d/T/tmpq/f", "file://«tmp-path 1»/f"),
        ("tmp-path", r"C:\Users\ada\AppData\Local\Temp\tmpq\f", r"«tmp-path 1»\f"),
        ("tmp-path", r'{"path": "C:\\Users\\ada\\Temp\\tmpq\\f"}', r'{"path": "«tmp-path 1»\\f"}'),
        ("tmp-path", "/home/ada/tmp/x /tmp /tmp/", "/home/ada/tmp/x /tmp /tmp/"),
        ("call-id", "call_9f3Kb2aaQ1x8 said call_the_weather_service", "«call-id 1» said call_the_weather_service"),
        (
            "data-url",
            f"data:image/png;base64,{PIXEL}",
            f"«data-url image/png 264 bytes {DIGEST}»",
        ),
        ("data-url", "data:a;base64,AAAA", "data:a;base64,AAAA"),
        ("data-url", "data:a/b;base64,A", "data:a/b;base64,A"),
        ("defaults", "n", "n"),
        ("order=ORD-[0-9]+", "ORD-1 and ORD-22", "«order» and «order»"),
        ("order=x*", "axxa", "a«order»a"),
        ("n=[0-9]{1,3}", "1,22", "«n»,«n»"),
    ],
)
def test_texts(name: str, before: str, after: str) -> None:
    assert text(before, name) == after
    assert text(after, name) == after


def test_an_image_is_the_same_in_either_alphabet() -> None:
    url_safe = PIXEL.replace("+", "-").replace("/", "_").rstrip("=")
    assert text(f"data:image/png;base64,{url_safe}", "data-url") == text(f"data:image/png;base64,{PIXEL}", "data-url")
    second = base64.b64encode(b"other").decode()
    assert text(f"data:image/png;base64,{second}", "data-url") != text(f"data:image/png;base64,{PIXEL}", "data-url")


def test_the_order_is_as_given_but_for_a_date_in_a_date_and_time() -> None:
    assert text("ORD-1 2026-11-21T14:37:36Z", "date,datetime") == "ORD-1 «datetime»"
    assert text("ORD-1", "a=ORD", "b=ORD-1") == "«a»-1"
    assert text("ORD-1", "b=ORD-1", "a=ORD") == "«b»"
    assert [str(entry) for entry in parse(["uuid, date", "a=[0-9]{1,2}"])] == ["uuid", "date", "a=[0-9]{1,2}"]


def test_a_mark_is_never_matched() -> None:
    assert text(f"{U1} 7", "uuid", "digit=[0-9a-z]") == "«uuid 1» «digit»"


def test_a_pattern_that_finds_more_in_every_round_is_stopped() -> None:
    assert text("a" * 99, "p=(?:^|(?<=»))a") == "«p»" * 16 + "a" * 83


def test_very_long_strings_are_searched_by_the_built_in_ones_only() -> None:
    long = f"{U1} ORD-1 " + "x" * (1 << 20)
    assert text(long, "uuid", "order=ORD-[0-9]+").startswith("«uuid 1» ORD-1 x")


def test_long_runs_of_data_are_passed_over_by_what_begins_anywhere() -> None:
    run = "a" * 400_000  # the square of which nobody waits for
    assert text(f"me@x.org {run} you@x.org", r"mail=\w+@[a-z.]+") == f"«mail» {run} «mail»"
    assert text(f"gAAA{run} 1", "blob=gAAA[a-z]+") == "«blob» 1"


NOW: Any = {
    "model": "gpt-4o-2024-08-06",
    "stream": True,
    "metadata": {"run": U1, "at": 1763735856, "exact": 1763735856.5, "seed": 42, "long": 10**30},
    "messages": [
        {"role": "system", "content": "Today is November 21, 2026. It is 2026-11-21T10:00:00Z. Work in /tmp/tmpa1/w."},
        {"role": "assistant", "tool_calls": [{"id": "a7", "type": "function"}, {"id": "b7", "type": "function"}]},
        {"role": "tool", "tool_call_id": "a7", "content": f'{{"request": "{U2}", "call": "a7"}}'},
        {"role": "tool", "tool_call_id": "b7", "content": "none"},
    ],
}
#: The same on another day.
THEN: Any = json.loads(
    json.dumps(NOW)
    .replace(U1, "99999999-e89b-12d3-a456-426614174000")
    .replace(U2, "88888888-e89b-12d3-a456-426614174000")
    .replace("November 21, 2026", "January 3, 2027")
    .replace("2026-11-21T10:00:00Z", "2027-01-03T00:00:01Z")
    .replace("1763735856", "1799000000")
    .replace("tmpa1", "tmpz9")
    .replace("a7", "q1")
    .replace("b7", "q0")
)
ALL = parse(["uuid,datetime,date,epoch,tmp-path,call-id"])


def key(value: Any, *names: str) -> bytes:
    return Matcher(normalize=parse(names) if names else ALL).key(post(json.dumps(value).encode()))


def test_another_day_is_the_same_request() -> None:
    assert key(NOW) == key(THEN)
    for left_out in ("uuid", "datetime", "date", "epoch", "tmp-path", "call-id"):
        remaining = ",".join(entry.name for entry in ALL if entry.name != left_out)
        assert key(NOW, remaining) != key(THEN, remaining), left_out


@pytest.mark.parametrize(
    ("before", "is_now"),
    [
        ("Today is", "Tomorrow is"),
        ("gpt-4o-2024-08-06", "gpt-4o-2024-05-13"),
        ("/w.", "/v."),
        ("November 21, 2026", "a7"),
        ('"seed": 42', '"seed": 43'),
        ('"at": 1763735856', '"at": "1763735856"'),
        ('"at": 1763735856', '"at": 1763735856.0'),
        ('"tool_call_id": "a7"', '"tool_call_id": "b7"'),
        (U1, U2),
    ],
)
def test_everything_else_is_another_request(before: str, is_now: str) -> None:
    second = json.dumps(NOW).replace(before, is_now)
    assert second != json.dumps(NOW)
    assert key(json.loads(second)) != key(NOW)


@pytest.mark.parametrize(
    ("entry", "second"),
    [
        (post(uri=f"{CHAT}/{U1}/x?at=2026-11-21"), post(uri=f"{CHAT}/{U2}/x?at=2026-11-22")),
        (post(f"user={U1}&x=1".encode(), FORM), post(f"user={U2}&x=1".encode(), FORM)),
        (
            upload(("file", f'; filename="{U1}.jsonl"', f'{{"custom_id": "{U1}"}}\n'.encode() * 500)),
            upload(("file", f'; filename="{U2}.jsonl"', f'{{"custom_id": "{U2}"}}\n'.encode() * 500), boundary="c"),
        ),
        (upload(("tag", "", U1.encode()), ("tag", "", b"x")), upload(("tag", "", U2.encode()), ("tag", "", b"x"))),
        (post(f"run {U1}".encode(), ()), post(f"run {U2}".encode(), ())),
    ],
)
def test_everywhere_in_a_request(entry: Request, second: Request) -> None:
    matcher = Matcher(normalize=parse(["uuid,date"]))
    assert matcher.key(entry) == matcher.key(second)
    assert matcher.target(entry) == matcher.target(second)
    assert Matcher().key(entry) != Matcher().key(second)


def test_what_cannot_be_normalised_is_compared_as_it_is() -> None:
    matcher = Matcher(normalize=ALL)
    for body in (b"\xff", b"[" * 1020 + b"]" * 1020):
        assert matcher.key(post(body)) == matcher.key(post(body))
        assert matcher.key(post(body)) != matcher.key(post(body + b" 1"))
    binary = upload(("file", "", b"\xff" * 9))
    assert matcher.comparable(binary) == Matcher().comparable(binary)


def test_a_header_that_is_matched_is_normalised() -> None:
    matcher = Matcher(headers=("x-run",), normalize=parse(["uuid"]))
    entry, second = (post(headers=(("X-Run", word),)) for word in (U1, U2))
    assert matcher.key(entry) == matcher.key(second)


# ------------------------------------------------------------------------------------------------ defaults


@pytest.mark.parametrize(
    ("path", "entry", "second", "common"),
    [
        ("chat/completions", {"n": 1, "stream": False, "temperature": 1.0, "stop": None}, {}, True),
        ("chat/completions", {"top_p": 1}, {"top_p": 1.0}, True),
        ("chat/completions", {"n": True}, {}, False),
        ("chat/completions", {"stream": 0}, {}, False),
        ("chat/completions", {"n": 2}, {}, False),
        ("chat/completions", {"seed": 1}, {}, False),
        ("chat/completions", {"messages": [{"name": None}]}, {"messages": [{}]}, False),
        ("completions", {"max_tokens": 16, "echo": False}, {"best_of": 1}, True),
        ("completions", {"store": False}, {}, False),
        ("responses", {"instructions": None, "store": True, "text": {"format": {"type": "text"}}}, {}, True),
        ("responses", {"store": False}, {}, False),
        ("threads/thread_1/runs", {"stream": False, "temperature": 1}, {}, True),
        ("embeddings", {"encoding_format": "base64"}, {}, False),
        ("else", {"n": 1}, {}, False),
    ],
)
def test_defaults(path: str, entry: Any, second: Any, common: bool) -> None:
    matcher = Matcher(normalize=parse(["defaults"]))
    requests, current = (post(json.dumps(value).encode(), uri=f"https://h/v1/{path}") for value in (entry, second))
    assert (matcher.key(requests) == matcher.key(current)) is common
    assert Matcher().key(requests) != Matcher().key(current)


def test_defaults_of_uploads() -> None:
    matcher = Matcher(normalize=parse(["defaults"]))
    file = ("file", '; filename="a.wav"', b"x")
    uri = "https://h/v1/audio/transcriptions"
    bare = upload(file)._replace(uri=uri)
    for name, value, common in (("temperature", b"0", True), ("stream", b"false", True), ("language", b"en", False)):
        text = upload(file, (name, "", value))._replace(uri=uri)
        assert (matcher.key(text) == matcher.key(bare)) is common
    assert matcher.key(post(b"[1]", uri=uri)) != matcher.key(post(b"[]", uri=uri))


# ------------------------------------------------------------------------------------------------ what it always is

#: Texts with what is looked for in them.
SAID = st.lists(
    st.sampled_from([U1, U2, "2026-11-21", "T10:00:00Z", "1763735856", "/tmp/x/", "call_9f3Kb2aaQ1x8", "«uuid 1»", "«"])
    | st.text("aT:-/é\\n «»0", max_size=4),
    max_size=6,
).map("".join)


@given(
    st.recursive(SAID | VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SAID, inner, max_size=3))
)
def test_to_normalise_what_is_normalised_changes_nothing(value: Any) -> None:
    steps = parse([",".join(BUILT_IN), "own=[a0-9]+"])
    path, once = normalizers.normalized(steps, CHAT, "json", value)
    assert normalizers.normalized(steps, path, "json", once) == (path, once)


@given(st.dictionaries(st.text("abc", max_size=2), SAID, max_size=4), st.randoms(use_true_random=False))
def test_the_order_of_keys_says_nothing(value: dict[str, str], random: Any) -> None:
    second = dict(random.sample(list(value.items()), len(value)))
    assert key(value, ",".join(BUILT_IN)) == key(second, ",".join(BUILT_IN))


@given(VALUES, VALUES)
def test_what_is_not_normalised_stays_different(first: Any, second: Any) -> None:
    common = json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    assert (key(first, "uuid,date,tmp-path") == key(second, "uuid,date,tmp-path")) is common


# ------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("given_text", "says", "hint"),
    [
        ("uid", "'uid' is not a normalizer", "uuid, datetime, date"),
        ("uuid,", "'' is not a normalizer", "NAME=REGEX"),
        ("Order=x", "Invalid normalizer name 'Order'", "lower-case letters"),
        ("=x", "Invalid normalizer name ''", "lower-case letters"),
        ("uuid=x", "'uuid' is a built-in", "another name"),
        ("order=", "'order=' has no expression", "order=ORD"),
        ("order=[", "'[' is not a regular expression: unterminated character set at position 0", "re syntax"),
    ],
)
def test_what_is_no_normaliser(given_text: str, says: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        parse([given_text])
    assert says in error.value.message
    assert hint in error.value.hint


def test_a_text_of_nothing_but_marks_takes_as_long_as_it_is() -> None:
    """Ten times as many take some ten times as long, not a hundred times."""

    def seconds(dates: int) -> float:
        text = "2026-11-21 " * dates
        start = time.process_time()
        assert normalizers.normalized(parse(["date,call-id"]), "", "json", text)[1] == "«date» " * dates
        return time.process_time() - start

    short = min(seconds(2_000) for _ in range(3))
    assert min(seconds(20_000) for _ in range(2)) < 40 * short
