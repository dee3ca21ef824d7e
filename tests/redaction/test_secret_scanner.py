"""Secrets are found by their look, and other texts are not reported. Every key here is random, with a fixed seed."""

from __future__ import annotations

import json
import random
import string

import pytest

from openai_replay.redaction import secret_scanner

LETTERS = string.ascii_letters + string.digits


def dice(length: int, alphabet: str = LETTERS) -> str:
    """Return random characters, the same in every run."""
    chance = random.Random(length)
    return "".join(chance.choice(alphabet) for _ in range(length))


HEX = "0123456789abcdef"
JWT = f"eyJ{dice(20)}.eyJ{dice(40)}.{dice(43)}"

SECRETS = [
    ("OpenAI key", f"sk-{dice(48)}"),
    ("OpenAI key", f"sk-proj-{dice(80)}_-{dice(30)}"),
    ("OpenAI key", f"sk-svcacct-{dice(80)}"),
    ("OpenAI admin key", f"sk-admin-{dice(80)}"),
    ("OpenAI session key", f"sess-{dice(40)}"),
    ("OpenAI client secret", f"ek_{dice(32, HEX)}"),
    ("Anthropic key", f"sk-ant-api03-{dice(93)}AA"),
    ("OpenRouter key", f"sk-or-v1-{dice(64, HEX)}"),
    ("Langfuse key", f"sk-lf-{dice(8, HEX)}-{dice(4, HEX)}-{dice(4, HEX)}-{dice(4, HEX)}-{dice(12, HEX)}"),
    ("Google key", f"AIza{dice(35)}"),
    ("Google OAuth token", f"ya29.{dice(60)}"),
    ("AWS access key", f"AKIA{dice(16, string.ascii_uppercase + '234567')}"),
    ("AWS access key", f"ASIA{dice(16, string.ascii_uppercase + '234567')}"),
    ("GitHub token", f"ghp_{dice(36)}"),
    ("GitHub token", f"github_pat_{dice(22)}_{dice(59)}"),
    ("GitLab token", f"glpat-{dice(20)}"),
    ("Slack token", f"xoxb-{dice(12, string.digits)}-{dice(24)}"),
    ("Slack token", f"xapp-1-{dice(40)}"),
    ("Hugging Face token", f"hf_{dice(34)}"),
    ("Groq key", f"gsk_{dice(52)}"),
    ("Replicate token", f"r8_{dice(37)}"),
    ("Stripe key", f"sk_live_{dice(24)}"),
    ("xAI key", f"xai-{dice(80)}"),
    ("Perplexity key", f"pplx-{dice(48)}"),
    ("NVIDIA key", f"nvapi-{dice(64)}"),
    ("Tavily key", f"tvly-dev-{dice(32)}"),
    ("LangSmith key", f"lsv2_pt_{dice(32, HEX)}_{dice(10, HEX)}"),
    ("Databricks token", f"dapi{dice(32, HEX)}"),
    ("npm token", f"npm_{dice(36)}"),
    ("PyPI token", f"pypi-AgE{dice(80)}"),
    ("SendGrid key", f"SG.{dice(22)}.{dice(43)}"),
    ("JSON web token", JWT),
]


@pytest.mark.parametrize(
    "around",
    ["{}", '"{}"', "key {}.", "\\n{}\\n", "https://api.example.com/?k={}&x", '"{{\\"k\\":\\"{}\\"}}"', "%20{}", "({})"],
)
@pytest.mark.parametrize(("kind", "secret"), SECRETS)
def test_keys_are_found_by_their_prefix(kind: str, secret: str, around: str) -> None:
    text = around.format(secret)
    [leak] = secret_scanner.find_leaks(text)
    assert leak.kind == kind
    assert text[leak.start : leak.end] == secret
    assert secret[12:] not in leak.preview
    assert str(len(secret)) in leak.preview


@pytest.mark.parametrize(
    ("kind", "before", "secret"),
    [
        ("bearer token", "Authorization: Bearer ", dice(40)),
        ("bearer token", "authorization=bearer%20", dice(40)),
        ("password in a URL", "postgres://me:", dice(12)),
        ("value of 'api_key'", '{"api_key": "', dice(32, HEX)),
        ("value of 'api_key'", '{\\"api_key\\": \\"', dice(32, HEX)),
        ("value of 'api-key'", "?api-key=", dice(32, HEX)),
        ("value of 'OPENAI_API_KEY'", "export OPENAI_API_KEY=", dice(32)),
        ("value of 'aws_secret_access_key'", "aws_secret_access_key = ", dice(40)),
        ("value of 'clientSecret'", "'clientSecret': '", dice(24)),
        ("value of 'authToken'", '"authToken":"', dice(30)),
        ("value of 'password'", "password: ", dice(20)),
    ],
)
def test_secrets_are_found_by_the_name_they_are_assigned_to(kind: str, before: str, secret: str) -> None:
    text = before + secret + ("@db/x" if "URL" in kind else '"')
    [leak] = secret_scanner.find_leaks(text)
    assert (leak.kind, text[leak.start : leak.end]) == (kind, secret)
    assert secret[2:] not in leak.preview


def test_a_private_key_is_found_by_its_first_line() -> None:
    [leak] = secret_scanner.find_leaks("-----BEGIN RSA PRIVATE KEY-----\nMII")
    assert leak.kind == "private key"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Bearer REDACTED", id="our mark"),
        pytest.param(f"sk-REDACTED{'*' * 40}", id="our mask"),
        pytest.param("sk-test-0123456789abcdefghijkl", id="a key of a test"),
        pytest.param("sk-your-api-key-goes-right-here", id="a key of the docs"),
        pytest.param("sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", id="crosses"),
        pytest.param("Bearer <OPENAI_ACCESS_TOKEN>", id="a name for one"),
        pytest.param("AKIAIOSFODNN7EXAMPLE", id="AWS's example"),
        pytest.param("api_key: test-api-key-0123456789", id="an assigned test key"),
        pytest.param('"api_key": "os.environ/AZURE_OPENAI_API_KEY"', id="where one is kept"),
        pytest.param("the sk-learn-based-approach-we-used-here", id="prose with dashes"),
        pytest.param("The bearer of this letter has 2 horses and a very-long-surname", id="prose of bearers"),
        pytest.param("task-0a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d", id="a prefix inside a word"),
        pytest.param(f"a{dice(30)}sk-{dice(40)}", id="base64url media"),
        pytest.param(f"AAAA/AIza{dice(35)}", id="base64 media"),
        pytest.param(f'"encrypted_content":"gAAAAA{dice(400, LETTERS + "-_")}"', id="encrypted reasoning"),
        pytest.param(f'"id":"chatcmpl-{dice(29)}"', id="a chat id"),
        pytest.param(f'"id":"resp_{dice(48, HEX)}"', id="a response id"),
        pytest.param(f'"tool_call_id":"call_{dice(24)}"', id="a call id"),
        pytest.param(f"x-request-id: req_{dice(32, HEX)}", id="a request id"),
        pytest.param(f'"system_fingerprint":"fp_{dice(10, HEX)}"', id="a fingerprint"),
        pytest.param(f'"obfuscation":"{dice(16)}"', id="obfuscation"),
        pytest.param('"max_completion_tokens": 1234567890123456789', id="a number of tokens"),
        pytest.param(f'"next_page_token": "{dice(40)}"', id="the next page"),
        pytest.param(f'"pageToken": "{dice(40)}"', id="the next page in camel case"),
        pytest.param(f'"prompt_cache_key": "{dice(40)}"', id="a key of a cache"),
        pytest.param(f'"api_key": "phc_{dice(40)}"', id="a public key"),
        pytest.param('"token": " hello"', id="a token of a log probability"),
        pytest.param('"password": "correct-horse-battery-staple-2024"', id="words"),
        pytest.param(f'"token": "{dice(2000)}"', id="media"),
        pytest.param("postgres://user:password@localhost/db", id="a password of the docs"),
        pytest.param("-----BEGIN PUBLIC KEY-----", id="a public key block"),
        pytest.param(json.dumps({"b64_json": dice(5000, LETTERS + "+/")}), id="an image"),
    ],
)
def test_harmless_texts_are_not_reported(text: str) -> None:
    assert list(secret_scanner.find_leaks(text)) == []


def test_overlapping_secrets_are_reported_once() -> None:
    assert len(list(secret_scanner.find_leaks(f"Authorization: Bearer sk-proj-{dice(60)} api_key='{dice(32)}'"))) == 2


@pytest.mark.parametrize(
    "piece", ["token_", "token:", "sk-", "eyJ", "://a:", "key='a1", "bearer a", "-----BEGIN ", "AIza", "api_key="]
)
def test_a_text_made_to_be_slow_is_searched_in_linear_time(piece: str) -> None:
    """Quadratic time would be hours for a million characters."""
    assert list(secret_scanner.find_leaks(piece * (1_000_000 // len(piece)))) == []
