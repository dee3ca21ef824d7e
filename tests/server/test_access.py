"""Access to the server, and the targets of forwarded requests: pages in a browser, other machines, other hosts."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from openai_replay.config.rules import Rules
from openai_replay.errors import RequestRefusedError
from openai_replay.journal import log
from openai_replay.proxy import engine as engines
from openai_replay.server.access import Access
from openai_replay.server.http import hosts
from openai_replay.server.serve import ServerConfig, serving
from tests.support.proxy import (
    CHAT,
    KEY,
    Connection,
    Ended,
    Process,
    ask,
    cassette,
    command,
    interactions,
    invoke,
    item,
    playing,
    recording,
)
from tests.support.upstream import Upstream, plain

SAME = item('{"said": 0}')
REQUIRED = "replay-key-for-clients-0123456789"
REAL = "sk-real-0123456789abcdefghijklmnop"

# ------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("localhost", "localhost"),
        ("LocalHost:8765", "localhost"),
        ("localhost.", "localhost"),
        ("app.localhost:1", "app.localhost"),
        ("127.0.0.1:8765", "127.0.0.1"),
        ("[::1]:8765", "::1"),
        ("[::1]", "::1"),
        ("replay:8765", "replay"),
        ("localhost, evil.example", ""),
        ("localhost@evil.example", ""),
        ("evil.example#localhost", ""),
        ("localhost:80:80", ""),
        ("localhost:eighty", ""),
        ("localhost/..", ""),
        ("[::1", ""),
        ("", ""),
    ],
)
def test_the_name_in_a_host_header(value: str, name: str) -> None:
    assert hosts.host_name(value) == name


@pytest.mark.parametrize(
    ("name", "loopback", "address"),
    [
        ("localhost", True, False),
        ("app.localhost", True, False),
        ("127.0.0.1", True, True),
        ("127.1.2.3", True, True),
        ("::1", True, True),
        ("::ffff:127.0.0.1", True, True),
        ("::ffff:10.0.0.1", False, True),
        ("10.0.0.1", False, True),
        ("0.0.0.0", False, True),
        ("localhost.evil.example", False, False),
        ("evillocalhost", False, False),
        ("127.0.0.1.evil.example", False, False),
        ("2130706433", False, False),
        ("0x7f.1", False, False),
        ("", False, False),
    ],
)
def test_which_names_are_this_machine(name: str, loopback: bool, address: bool) -> None:
    assert (hosts.is_loopback(name), hosts.is_address(name)) == (loopback, address)


# ------------------------------------------------------------------------------------------------ Host


@asynccontextmanager
async def played(tmp_path: Path, **access: Any) -> AsyncIterator[str]:
    """The origin of a player of one recording, `SAME`, with this `Access`."""
    tape = cassette(tmp_path / "tape.yaml", SAME)
    async with serving(ServerConfig(Rules(), (tape,), port=0, quiet=True, access=Access(**access))) as (base_url, _):
        yield base_url.removesuffix("/v1")


@pytest.mark.parametrize("name", ["evil.example", "evil.example:8765", "localhost.evil.example", "a b", "1.2.3.4.5"])
@pytest.mark.parametrize("path", [CHAT, "/@/health", "/@/journal", "/@tape/v1/models"])
async def test_dns_rebinding_is_refused(tmp_path: Path, name: str, path: str) -> None:
    """A page at evil.example whose name leads to 127.0.0.1 reads no recording and has no control."""
    async with played(tmp_path) as origin:
        heard = await ask(origin, "POST" if path == CHAT else "GET", path, "hello", [("Host", name)])
        assert (heard.status, heard.header("x-should-retry")) == (403, "false")
        assert heard.json["error"]["code"] == "forbidden"
        assert b"said" not in heard.body
        assert "--allow-host" in heard.json["error"]["message"]
        assert (await ask(origin, "POST", CHAT, "hello")).json == {"said": 0}, "the server goes on"


@pytest.mark.parametrize(
    "name",
    ["localhost", "LOCALHOST:1", "app.localhost", "127.0.0.1", "127.9.9.9:80", "[::1]:80", "192.168.1.7:8765",
     "host.docker.internal:8765", "host.containers.internal"],
)  # fmt: skip
async def test_names_that_no_page_can_have_are_served(tmp_path: Path, name: str) -> None:
    async with played(tmp_path) as origin:
        assert (await ask(origin, "POST", CHAT, "hello", [("Host", name)])).json == {"said": 0}


@pytest.mark.parametrize(("allowed", "status"), [((), 403), (("replay",), 200), (("other",), 403), (("*",), 200)])
async def test_allow_host(tmp_path: Path, allowed: tuple[str, ...], status: int) -> None:
    async with played(tmp_path, hosts=allowed) as origin:
        assert (await ask(origin, "POST", CHAT, "hello", [("Host", "Replay:8765")])).status == status


@pytest.mark.parametrize("name", ["192.168.1.7", "host.docker.internal", "replay"])
async def test_the_control_api_wants_a_loopback_host(tmp_path: Path, name: str) -> None:
    async with played(tmp_path, hosts=("*",)) as origin:
        for method, path in (("GET", "/@/journal"), ("POST", "/@/rewind"), ("GET", "/@/health")):
            assert (await ask(origin, method, path, b"", [("Host", name)])).status == 403
            assert (await ask(origin, method, path, b"", [("Host", "localhost:1")])).status == 200


async def test_a_get_changes_nothing(tmp_path: Path) -> None:
    """A page can make a browser send a GET without asking."""
    async with played(tmp_path) as origin:
        before = (await ask(origin, "GET", "/@/journal")).json
        for path in ("/@/rewind", "/@/sessions"):
            assert (await ask(origin, "GET", path)).status == 405
        assert (await ask(origin, "GET", "/@/sessions/none")).status == 404
        assert (await ask(origin, "GET", "/@/journal")).json == before


# ------------------------------------------------------------------------------------------------ Origin


@pytest.mark.parametrize("page", ["https://evil.example", "http://localhost.evil.example", "null", "http://[::1"])
async def test_a_page_of_elsewhere_spends_nothing(tmp_path: Path, page: str) -> None:
    """Browsers send a simple POST to 127.0.0.1 without asking first; it reaches no upstream."""
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml") as proxy:
        heard = await proxy.ask("POST", CHAT, b"{}", [("Origin", page), ("Content-Type", "text/plain")])
        assert heard.status == 403
        assert up.requests == []
        assert not (tmp_path / "tape.yaml").exists()


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_what_a_page_loads_spends_nothing(tmp_path: Path, site: str) -> None:
    """Of an image or a link, which are a GET, browsers send no `Origin`."""
    async with Upstream() as up, recording(up.url, tmp_path / "tape.yaml") as proxy:
        heard = await proxy.ask("GET", "/v1/models", b"", [("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", "no-cors")])
        assert (heard.status, heard.json["error"]["code"]) == (403, "forbidden")
        assert up.requests == []
        assert not (tmp_path / "tape.yaml").exists()


@pytest.mark.parametrize(
    ("origins", "site", "status"),
    [
        (None, "none", 200),
        (None, "same-origin", 200),
        ((), "same-site", 200),
        ((), "cross-site", 403),
        (("https://app.example",), "cross-site", 403),
    ],
)
async def test_what_users_and_pages_of_this_machine_load_is_served(
    tmp_path: Path, origins: tuple[str, ...] | None, site: str, status: int
) -> None:
    async with played(tmp_path, origins=origins) as origin:
        assert (await ask(origin, "GET", "/@/health", b"", [("Sec-Fetch-Site", site)])).status == status


async def test_a_page_that_is_allowed_by_name_may_ask(tmp_path: Path) -> None:
    async with played(tmp_path, origins=("https://app.example",)) as origin:
        for page, status in (("https://app.example", 200), ("https://evil.example", 403)):
            assert (await ask(origin, "POST", CHAT, "hello", [("Origin", page)])).status == status


# ------------------------------------------------------------------------------------------------ other machines


@pytest.mark.parametrize("verb", ["play", "record"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_other_machines_are_let_in_only_on_request(tmp_path: Path, verb: str, host: str) -> None:
    tape = cassette(tmp_path / "tape.yaml", SAME)
    result = invoke(verb, tape, "--host", host, "--port", "0")
    assert result.code == 2
    assert "Add --allow-remote" in result.stderr
    assert result.stdout == ""


async def test_a_remote_server_says_that_it_is_one(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", SAME)
    async with command("play", tape, "--host", "0.0.0.0", "--allow-remote", "-q") as process:
        assert "Warning: Listening on 0.0.0.0: everyone who reaches this machine can read recordings." in (
            process.stderr
        )


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
def test_loopback_needs_no_flag(host: str) -> None:
    assert hosts.is_loopback(host)


# ------------------------------------------------------------------------------------------------ a key


@asynccontextmanager
async def keyed(*arguments: str | Path) -> AsyncIterator[Process]:
    """The command with `--client-key-env`; the API's own key is in its environment, too."""
    env = {"REPLAY_KEY": REQUIRED, "OPENAI_API_KEY": REAL}
    async with command(*arguments, "--client-key-env", "REPLAY_KEY", env=env) as process:
        yield process


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (("Authorization", f"Bearer {REQUIRED}"), 200),
        (("authorization", f"bearer {REQUIRED}"), 200),
        (("api-key", REQUIRED), 200),
        (("x-api-key", REQUIRED), 200),
        (("Authorization", f"Bearer {REQUIRED}x"), 401),
        (("Authorization", f"Bearer {REQUIRED[:-1]}"), 401),
        (("Authorization", f"Basic {REQUIRED}"), 401),
        (("Authorization", "Bearer "), 401),
        (("Authorization", "Bearer ключ".encode().decode("latin-1")), 401),
        (("X-Other", REQUIRED), 401),
    ],
)
async def test_a_required_key(tmp_path: Path, header: tuple[str, str], status: int) -> None:
    async with played(tmp_path, key=REQUIRED) as origin:
        heard = await ask(origin, "POST", CHAT, "hello", [header])
        assert heard.status == status
        if status == 401:
            assert heard.json["error"]["code"] == "invalid_api_key"
            assert (heard.header("x-should-retry"), heard.header("www-authenticate")) == ("false", "Bearer")
            assert REQUIRED[:-1] not in heard.body.decode()


async def test_a_required_key_is_wanted_for_control_but_not_for_health(tmp_path: Path) -> None:
    async with played(tmp_path, key=REQUIRED) as origin:
        assert (await ask(origin, "GET", "/@/health")).status == 200
        for method, path in (("GET", "/@/journal"), ("POST", "/@/rewind"), ("POST", "/@/health")):
            assert (await ask(origin, method, path)).status == 401
        good = [("Authorization", f"Bearer {REQUIRED}")]
        assert (await ask(origin, "POST", "/@/rewind", b"", good)).status == 200


@pytest.mark.parametrize(
    ("header", "value"), [("Authorization", "Bearer {}"), ("api-key", "{}")], ids=["OpenAI", "Azure"]
)
async def test_the_required_key_stays_here_and_the_upstreams_key_goes_on(
    tmp_path: Path, header: str, value: str
) -> None:
    tape = tmp_path / "tape.yaml"
    async with (
        Upstream() as up,
        keyed("record", tape, "--upstream", up.url, "--upstream-key-env", "OPENAI_API_KEY") as process,
    ):
        up.script("POST", CHAT, plain(b'{"a": 1}'))
        assert (await process.ask("POST", CHAT, {}, [(header, value.format("wrong"))])).status == 401
        extra = [("Authorization", "Bearer none")] if header == "api-key" else []
        heard = await process.ask("POST", CHAT, {}, [*extra, (header, value.format(REQUIRED))])
        assert heard.json == {"a": 1}
        assert await process.stop() == 0
        output = process.stderr + process.stdout
    assert [request.header(header) for request in up.requests] == [value.format(REAL)]
    assert REQUIRED not in repr(up.requests)
    for secret in (REQUIRED, REAL):
        assert secret not in tape.read_text() + output


async def test_a_command_is_given_the_required_key(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", SAME)
    show = [sys.executable, "-c", "import os, sys; sys.exit(os.environ['OPENAI_API_KEY'] != os.environ['REPLAY_KEY'])"]
    async with command(
        "play", tape, "--client-key-env", "REPLAY_KEY", "--", *show, env={"REPLAY_KEY": REQUIRED}, ready=False
    ) as process:
        assert await process.ended() == 0, process.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["play", "TAPE", "--client-key-env", "sk-0123456789-the-key-itself"],
            "this is not the name of an environment variable",
        ),
        (["play", "TAPE", "--client-key-env", "NOT_THERE"], "this environment variable does not hold a key"),
        (["record", "TAPE", "--client-key-env", "SOME_KEY"], "Add --upstream-key-env OPENAI_API_KEY"),
        (["record", "TAPE", "--upstream-key-env", "SOME_KEY"], "Add --client-key-env"),
    ],
)
def test_what_is_no_way_to_name_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setenv("SOME_KEY", REQUIRED)
    tape = cassette(tmp_path / "tape.yaml", SAME)
    result = invoke(*(str(tape) if argument == "TAPE" else argument for argument in arguments))
    assert result.code == 2
    assert message in result.stderr
    assert "key-itself" not in result.stderr
    assert REQUIRED not in result.stderr


def test_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No comparison of ours tells by its time how much of a key was right."""
    compared: list[tuple[bytes, bytes]] = []

    def differs(entry: bytes, second: bytes) -> bool:
        compared.append((entry, second))
        return False

    monkeypatch.setattr("hmac.compare_digest", differs)
    with pytest.raises(RequestRefusedError):
        Access(key=REQUIRED).check_key((("Authorization", f"Bearer {REQUIRED}"),))
    assert compared == [(REQUIRED.encode(), REQUIRED.encode())]


# ------------------------------------------------------------------------------------------------ one upstream

TARGETS = [
    "http://{other}/v1/models",
    "//{other}/v1/models",
    "///{other}/v1/models",
    "/\\\\{other}/v1/models",
    "/\\{other}",
    "/@{other}/v1/models",
    "/v1@{other}/models",
    "/:80@{other}/",
    "/v1/..//{other}/",
    "/%2f%2f{other}/",
    "/%2e%2e/{other}",
    "/%40{other}/",
    "/?url=http://{other}/",
    "/#@{other}/",
    "/;@{other}",
    "/%0d%0aHost:%20{other}/",
    "/%00@{other}/",
    "/v1/models?x=@{other}",
    "@{other}/v1/models",
    ":80@{other}/",
    "{other}",
    "*",
]


@pytest.mark.parametrize("target", TARGETS)
async def test_record_reaches_no_other_host(tmp_path: Path, target: str) -> None:
    """Whatever the target, the `Host` and the like say: the upstream gets the request, or nobody."""
    async with Upstream() as up, Upstream() as stranger, recording(up.url, tmp_path / "tape.yaml") as proxy:
        name = stranger.origin.removeprefix("http://")
        headers: list[list[tuple[str, str]]] = [
            [],
            [("Host", name)],
            [("X-Forwarded-Host", name), ("Forwarded", f"host={name}"), ("X-Original-URL", f"http://{name}/")],
        ]
        for extra in headers:
            async with Connection(proxy.origin) as client:
                client.send("GET", target.format(other=name), b"", extra)
                heard = await client.rest()
                assert heard.status >= 400 or up.requests
        async with Connection(proxy.origin) as client:
            client.write(f"CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode(), "GET")
            assert (await client.rest()).status == 400
        assert stranger.connections == 0
        assert all(request.header("host") == up.origin.removeprefix("http://") for request in up.requests)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_passed_on_and_not_followed(tmp_path: Path, status: int) -> None:
    async with Upstream() as up, Upstream() as stranger, recording(up.url, tmp_path / "tape.yaml") as proxy:
        location = [("location", f"{stranger.url}/models")]
        up.script("GET", "/v1/models", plain(b"{}", status=status, reason="Elsewhere", headers=location))
        heard = await proxy.ask("GET", "/v1/models")
        assert (heard.status, heard.header("location")) == (status, f"{stranger.url}/models")
        assert (len(up.requests), stranger.connections) == (1, 0)
    assert interactions(tmp_path / "tape.yaml")[0].response.head.status == status


# ------------------------------------------------------------------------------------------------ logs

PLANTED = "planted-secret-0123456789"


async def test_a_handler_that_fails_tells_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """A key in the header, the URL or the body is in no traceback, even where the error's message holds it."""

    async def fails(self: engines.Engine, request: Any, client: Any, start: float) -> None:
        try:
            raise KeyError(request.headers, request.uri)
        except KeyError as error:
            raise ValueError(f"cannot read {request.body!r} of {request.uri} with {request.headers}") from error

    monkeypatch.setattr(engines.Engine, "answer", fails)
    with caplog.at_level(logging.INFO):
        async with playing(cassette(tmp_path / "tape.yaml", SAME)) as player:
            secrets = [("Authorization", f"Bearer {PLANTED}"), ("X-Mine", PLANTED)]
            heard = await player.ask("POST", f"{CHAT}?api-key={PLANTED}", {"key": PLANTED}, secrets)
            assert heard.status == 500
            assert PLANTED not in heard.body.decode()
    output = caplog.text + "".join(capfd.readouterr())
    assert "openai-replay failed on POST" in output
    assert "in fails" in output, "it tells where"
    assert "builtins.KeyError" in output
    assert "builtins.ValueError" in output
    assert PLANTED not in output


async def test_what_fails_behind_the_answer_is_lost_loudly_and_tells_no_secret(tmp_path: Path) -> None:
    """The client gets its answer all the same."""
    program = (
        "import sys; sys.modules['uvloop'] = None\n"
        "from openai_replay.proxy import recorder\n"
        "def fails(self, request, response, *of): raise RuntimeError(request.body + response.body)\n"
        "recorder.Recorder._append = fails\n"
        "from openai_replay.cli.root import main; main()"
    )
    async with Upstream() as up:
        up.script("POST", CHAT, plain(f'{{"a": "{PLANTED}"}}'.encode()))
        async with command(
            "record", tmp_path / "tape.yaml", "--upstream", up.url, program=(sys.executable, "-c", program)
        ) as process:
            heard = await process.ask("POST", CHAT, {"key": PLANTED})
            assert (heard.json, heard.ended) == ({"a": PLANTED}, Ended.COMPLETE)
            assert await process.stop() == 1
            assert "NOT RECORDED: openai-replay failed: RuntimeError" in process.stderr
            assert "in fails" in process.stderr, "it tells where"
            assert PLANTED not in process.stderr


async def test_log_level_debug_shows_redacted_heads(tmp_path: Path) -> None:
    async with Upstream() as up:
        up.script("POST", CHAT, plain(b"{}", headers=[("set-cookie", PLANTED), ("x-shown", "yes")]))
        async with command(
            "record", tmp_path / "tape.yaml", "--upstream", up.url, "--log-level", "debug", "--redact-pattern", PLANTED
        ) as process:
            await process.ask("POST", f"{CHAT}?api-key={PLANTED}&deep={PLANTED}", {}, [("X-Mine", PLANTED)])
            await process.says("< 200 OK")
            output = process.stderr
    assert f"> POST {up.origin}{CHAT}?api-key=REDACTED&deep=REDACTED  (2 bytes)" in output
    assert "Authorization: Bearer REDACTED" in output
    assert "X-Mine: REDACTED" in output
    assert "set-cookie: REDACTED" in output
    assert "x-shown: yes" in output
    assert PLANTED not in output
    assert KEY not in output


async def test_refusals_are_logged_without_secrets(tmp_path: Path) -> None:
    tape = cassette(tmp_path / "tape.yaml", SAME)
    async with command("play", tape) as process:
        await process.ask("POST", f"/v1/sk-test-{'a' * 30}", {}, [("Host", "evil.example")])
        await process.says("WARNING: refused with 403: POST /v1/")
        assert "evil.example" in process.stderr
        assert "sk-test" not in process.stderr


async def test_what_nobody_waits_for_tells_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """A task that fails is told by the event loop, with its error: not by ours."""

    async def fails() -> None:
        raise ValueError(PLANTED)

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log.loop_failed)
    task = asyncio.create_task(fails())
    while not task.done():
        await asyncio.sleep(0)
    del task
    gc.collect()
    assert "Task exception was never retrieved" in caplog.text
    assert "builtins.ValueError" in caplog.text
    assert PLANTED not in caplog.text


def test_other_programs_logging_is_left_alone() -> None:
    """In a test run or a program the logger is theirs to show."""
    logger = logging.getLogger("openai_replay")
    assert logger.handlers == []
    assert logger.propagate
    assert logger.level == logging.NOTSET
