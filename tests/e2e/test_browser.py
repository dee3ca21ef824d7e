"""A browser is a client, too: pages that stream through the proxy in real Chromium."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from openai import AsyncOpenAI, OpenAI

import openai_replay
from openai_replay.config.rules import Rules
from openai_replay.server.access import Access
from openai_replay.server.serve import ServerConfig, serving
from tests.support.browser import CHROMIUM, Browser, chromium
from tests.support.proxy import CHAT, ask, command, free_port
from tests.support.upstream import Upstream, running_upstream

needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="there is no chromium here (Debian: apt install chromium)")

QUESTION = {"model": "slow", "messages": [{"role": "user", "content": "Hello from a page"}], "stream": True}
ANSWER = " ".join(f"word{number}" for number in range(20))

#: Every token is an element of its own that knows when it came; the title says how it went.
PAGE = """<!doctype html><title>…</title><style>span:nth-child(odd) {background: #def}</style><p></p><script>
const began = performance.now();
function show(token) {
  const span = document.createElement("span");
  span.textContent = token;
  span.dataset.ms = performance.now() - began;
  document.querySelector("p").append(span);
}
SCRIPT
</script>"""
FETCH = PAGE.replace(
    "SCRIPT",
    """
async function main() {
  const answer = await fetch("BASE_URL/chat/completions", {
    method: "POST",
    headers: {"Authorization": "Bearer sk-test", "Content-Type": "application/json"},
    body: JSON.stringify(QUESTION),
  });
  window.requestId = answer.headers.get("x-request-id");
  let text = "";
  for await (const part of answer.body.pipeThrough(new TextDecoderStream())) {
    text += part;
    const events = text.split("\\n\\n");
    text = events.pop();
    for (const event of events) {
      const data = event.slice("data: ".length);
      if (data !== "[DONE]") show(JSON.parse(data).choices[0]?.delta.content ?? "");
    }
  }
}
main().then(() => document.title = "done", (error) => document.title = String(error));
""",
)
EVENTS = PAGE.replace(
    "SCRIPT",
    """
const source = new EventSource("/stream");
source.onmessage = (event) => show(JSON.parse(event.data));
source.addEventListener("end", () => { source.close(); document.title = "done"; });
""",
)


@asynccontextmanager
async def site(base_url: str, port: int = 0) -> AsyncIterator[int]:
    """A web app on a port of its own: a page that asks the API, and one that asks the app, which asks the API."""

    async def fetch(request: web.Request) -> web.Response:
        text = FETCH.replace("BASE_URL", base_url).replace("QUESTION", json.dumps(QUESTION))
        return web.Response(text=text, content_type="text/html")

    async def events(request: web.Request) -> web.Response:
        return web.Response(text=EVENTS, content_type="text/html")

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        question: Any = QUESTION
        async with AsyncOpenAI(base_url=base_url, api_key="sk-test") as client:
            async for chunk in await client.chat.completions.create(**question):
                token = chunk.choices[0].delta.content or ""
                await response.write(f"data: {json.dumps(token)}\n\n".encode())
        await response.write(b"event: end\ndata:\n\n")
        return response

    app = web.Application()
    app.add_routes([web.get("/fetch", fetch), web.get("/events", events), web.get("/stream", stream)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # A name that is not this machine's, and leads to it all the same.
    with chromium("--host-resolver-rules=MAP foreign.test 127.0.0.1") as running:
        yield running


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture(scope="module")
def tape(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tape") / "page.yaml"
    question: Any = QUESTION
    with (
        openai_replay.record(path, upstream.url) as recording,
        OpenAI(base_url=recording.base_url, api_key="sk-test") as client,
    ):
        list(client.chat.completions.create(**question))
    return path


TIMES = "[...document.querySelectorAll('span')].map((one) => Number(one.dataset.ms))"


async def shown(browser: Browser, url: str) -> tuple[str, str, list[float]]:
    """The page's title when it is through, its text, and when each token came (ms)."""
    async with browser.page(url) as page:
        await page.until("document.title != '…' && document.title != ''")
        text = await page.evaluate("document.body.innerText.trim()")
        return await page.evaluate("document.title"), text, await page.evaluate(TIMES)


@needs_chromium
@pytest.mark.parametrize("path", ["fetch", "events"])
async def test_a_page_shows_the_tokens_as_they_come(browser: Browser, tape: Path, path: str) -> None:
    async with command("play", tape, "--cors", "--pace", "original") as proxy, site(proxy.base_url) as port:
        title, text, times = await shown(browser, f"http://localhost:{port}/{path}")
        assert (title, text) == ("done", ANSWER)
        # 20 tokens, 20 ms apart when they were recorded: they did not come all at once.
        assert times[-1] - times[0] > 200
        assert await proxy.stop() == 0


@needs_chromium
async def test_a_page_is_recorded(browser: Browser, upstream: Upstream, tmp_path: Path) -> None:
    path = tmp_path / "page.yaml"
    async with (
        command("record", path, "--cors", "--upstream", upstream.url) as proxy,
        site(proxy.base_url) as port,
        browser.page(f"http://127.0.0.1:{port}/fetch") as page,
    ):
        await page.until("document.title == 'done'")
        assert (await page.evaluate("requestId")).startswith("req_")  # a page may read all headers
        assert await page.evaluate("document.body.innerText.trim()") == ANSWER
    with openai_replay.play(path) as tape:
        assert tape.unplayed == ["#1 POST /v1/chat/completions"]  # and no preflight


@needs_chromium
@pytest.mark.parametrize(
    ("options", "host"),
    [([], "localhost"), (["--cors"], "foreign.test"), (["--cors-origin", "http://foreign.test"], "foreign.test")],
)
async def test_a_page_that_may_not_ask_fails(browser: Browser, tape: Path, options: list[str], host: str) -> None:
    async with command("play", tape, *options) as proxy, site(proxy.base_url) as port:
        title, text, _ = await shown(browser, f"http://{host}:{port}/fetch")
        assert (title, text) == ("TypeError: Failed to fetch", "")


@needs_chromium
async def test_a_page_of_a_named_origin_may_ask(browser: Browser, tape: Path) -> None:
    page = f"http://foreign.test:{free_port()}"
    async with command("play", tape, "--cors-origin", page) as proxy, site(proxy.base_url, urlsplit(page).port or 0):
        assert (await shown(browser, f"{page}/fetch"))[:2] == ("done", ANSWER)


# ------------------------------------------------------------------------------------------------ over the wire


async def test_preflight_and_answer(tape: Path) -> None:
    requests = [
        ("Origin", "http://localhost:5173"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization,content-type,x-stainless-lang"),
        ("Access-Control-Request-Private-Network", "true"),
    ]
    async with command("play", tape, "--cors") as proxy:
        preflight = await proxy.ask("OPTIONS", CHAT, b"", requests)
        assert (preflight.status, preflight.body) == (204, b"")
        assert {name.lower(): value for name, value in preflight.headers if name.lower() != "connection"} == {
            "access-control-allow-origin": "http://localhost:5173",
            "access-control-allow-methods": "POST",
            "access-control-allow-headers": "authorization,content-type,x-stainless-lang",
            "access-control-allow-private-network": "true",
            "access-control-expose-headers": "*",
            "access-control-max-age": "600",
            "vary": "Origin",
        }
        answer = await proxy.ask("POST", CHAT, QUESTION, requests[:1])
        assert answer.status == 200
        assert answer.all("access-control-allow-origin") == ["http://localhost:5173"]
        miss = await proxy.ask("POST", CHAT, {}, requests[:1])  # a page has to be able to read why
        assert (miss.status, miss.header("access-control-allow-origin")) == (424, "http://localhost:5173")


async def test_what_is_kept_for_pages_does_not_grow_with_their_origins(tape: Path) -> None:
    config = ServerConfig(Rules(), (tape,), port=0, quiet=True, access=Access(origins=()))
    async with serving(config) as (base_url, sessions):
        for port in range(3000, 3050):
            page = f"http://localhost:{port}"
            answer = await ask(base_url.removesuffix("/v1"), "POST", CHAT, QUESTION, [("Origin", page)])
            assert answer.all("access-control-allow-origin") == [page]
        assert sessions.default is not None
        [recording] = sessions.default.engine.cassette.recordings
        assert 1 < len(recording.prepared.encoded) < 20


@pytest.mark.parametrize("origin", ["https://example.org", "http://localhost.example.org", "null", "http://[::1", ""])
async def test_a_foreign_origin_is_not_allowed(tape: Path, origin: str) -> None:
    preflight = [("Origin", origin), ("Access-Control-Request-Method", "POST")]
    async with command("play", tape, "--cors") as proxy:
        for heard in (
            await proxy.ask("OPTIONS", CHAT, b"", preflight),
            await proxy.ask("POST", CHAT, QUESTION, preflight),
        ):
            assert not [name for name, _ in heard.headers if name.lower().startswith("access-control-allow")]


@pytest.mark.parametrize("origin", ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:8080"])
async def test_pages_of_this_machine_have_control_with_cors(tape: Path, origin: str) -> None:
    async with command("play", tape, "--cors") as proxy:
        heard = await ask(proxy.origin, "POST", "/@/rewind", b"", [("Origin", origin)])
        assert (heard.status, heard.header("access-control-allow-origin")) == (200, origin)
