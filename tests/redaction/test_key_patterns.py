"""Keys are found and masked by their patterns, and other texts stay."""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_replay.model import Headers
from openai_replay.redaction import key_patterns
from openai_replay.redaction.key_shapes import KEY_SHAPES, KeyShape
from tests.matching.test_matcher import JSON
from tests.support.redaction import (
    KEYS,
    PLAIN,
    SSE,
    redact_request_body,
    redact_response_body,
)

AROUND = [
    "%s",
    '{"key":"%s"}',
    '{"text":"my key:\\n%s\\n"}',
    '{"text":"\\u000a%s\\u0022"}',
    '{"text":"\\t%s\\\\"}',
    '{"arguments":"{\\"key\\":\\"%s\\",\\"n\\":\\"\\\\n%s\\"}"}',
    '{"%s":1}',
    'data: {"delta":"\'%s\'"}\n\n',
    "curl -H 'Authorization: Bearer %s.' https://api.openai.com",
    "OPENAI_API_KEY=%s\n",
    "key=%s&x=1",
    "text=my%%20key%%3A%s&x=1",
    "[%s,%s]",
    "(%s)",
    "wss://x, openai-insecure-api-key.%s, realtime",
]


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("headers", [JSON, SSE, ()], ids=["json", "stream", "none"])
def test_a_key_is_masked_in_any_text(key: str, around: str, headers: Headers) -> None:
    count = around.count("%s")
    text = around % ((key,) * count)
    assert redact_request_body(text, headers).decode() == around % (("REDACTED",) * count)
    assert redact_response_body(text, headers).decode() == around % (("REDACTED".ljust(len(key), "*"),) * count)
    assert PLAIN.redact_text(text) == around % (("REDACTED",) * count)


BEARERS = [
    ("Bearer abcdef0123456789abcdef", "Bearer REDACTED"),
    ("\\nbearer eyJhbGciOiJIUzI1NiJ9.e30.Zm9v-_+/w==", "\\nbearer REDACTED"),
    ("\\u000aBEARER  abcdef0123456789/=.", "\\u000aBEARER  REDACTED."),
    ("Authorization=Bearer+abcdef0123456789", "Authorization=Bearer+REDACTED"),
    ("Authorization=Bearer%20abcdef0123456789", "Authorization=Bearer%20REDACTED"),
    ("Bearer abc\\/def0123456789", "Bearer REDACTED"),
    ("openai-insecure-api-key.short", "openai-insecure-api-key.REDACTED"),
    ("openai-insecure-api-key.without-any-digit, realtime", "openai-insecure-api-key.REDACTED, realtime"),
]


@pytest.mark.parametrize(("text", "clean"), BEARERS)
def test_a_bearer_token_is_masked(text: str, clean: str) -> None:
    assert redact_request_body(text, ()).decode() == clean
    assert redact_request_body(f'{{"a":"{text}"}}').decode() == f'{{"a":"{clean}"}}'
    assert len(redact_response_body(text)) == len(text)


UNTOUCHED = [
    "task-abcdefghijklmnopqrstuvwxyz0123456789",
    "desk-abcdefghijklmnopqrstuvwxyz0123456789",
    "week_abcdefghijklmnopqrstuvwxyz",
    "sk-short",
    "the key starts with sk-proj- and then come many letters",
    "sk-" + "a" * 201,
    "resp_68af4030baa48193b0b43b4c2a176a1a0e6967589f080e78",
    "call_zZ9sk-8aB3dE6gHaB3dE6gHaB3dE6gH",
    "Zm9v_sk-aB3dE6gHaB3dE6gHaB3dE6gH",
    "Zm9v-sk-aB3dE6gHaB3dE6gHaB3dE6gH",
    "chatcmpl-BfXq2ksk-aB3dE6gHaB3dE6gHaB3dE6gH",
    "msg_0a1b2c3d-4e5f-6789-abcd-ef0123456789",
    "0a1b2c3d-4e5f-6789-abcd-ef0123456789",
    "bearer responsibilities are many",
    "Bearer REDACTED",
    "The forbearer abcdef0123456789abcdef",
    "fp_44709d6fcb",
    "REDACTED",
    "**bold** and *italic*",
]


@pytest.mark.parametrize("text", UNTOUCHED)
def test_other_texts_stay(text: str) -> None:
    for body in (text, json.dumps({"a": text}), f"data: {json.dumps([text])}\n\n"):
        assert redact_request_body(body).decode() == body
        assert redact_response_body(body, SSE).decode() == body


@given(st.binary(max_size=3000), st.integers(0, 40))
def test_base64_has_no_keys(data: bytes, shift: int) -> None:
    planted = b"sk-" * shift + data
    for encoded in (base64.b64encode(planted), base64.urlsafe_b64encode(b"\0" + planted), base64.encodebytes(planted)):
        text = json.dumps({"b64_json": "+" + encoded.decode()})
        assert redact_response_body(text).decode() == text


CORPUS = Path(os.environ.get("OPENAI_REPLAY_CORPUS") or Path(__file__).parents[3] / "shared" / "corpus")


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus of recorded traffic: set OPENAI_REPLAY_CORPUS to its folder")
def test_the_base64_of_a_corpus_has_no_keys() -> None:
    media = re.compile(rb"[A-Za-z0-9+/_-]{300,}={0,2}")
    for path in sorted(CORPUS.rglob("*")):
        data = path.read_bytes() if path.is_file() else b""
        for match in media.finditer(data):
            hits = list(key_patterns.find_keys(data[max(0, match.start() - 9) : match.end() + 9]))
            assert not hits, f"{path}, byte {match.start()}"


@pytest.mark.parametrize("before", [(1 << 20) - 30, (1 << 20) - 2, (1 << 20) - 1, 1 << 20, (2 << 20) - 3])
@pytest.mark.parametrize("secret", [KEYS["sk"].encode(), b"Bearer abcdef0123456789abcdef"])
def test_a_key_at_a_window_end_of_a_large_body_is_masked(before: int, secret: bytes) -> None:
    hidden = secret if secret.startswith(b"sk-") else secret.removeprefix(b"Bearer ")
    assert hidden not in redact_response_body(b"\n" * before + secret + b"\n" * 100, (("content-type", "text/plain"),))


@pytest.mark.parametrize("shape", [shape for shape in KEY_SHAPES if shape.strict], ids=lambda shape: shape.prefix)
@given(st.data())
@settings(max_examples=20)
def test_every_key_that_is_redacted_is_one_that_lint_reports(shape: KeyShape, data: st.DataObject) -> None:
    assert shape.strict is not None
    assert shape.loose is not None
    text = data.draw(st.from_regex(shape.strict, fullmatch=True, alphabet=st.characters(codec="ascii")))
    assert re.fullmatch(shape.loose, text)
