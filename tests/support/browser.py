"""A real browser for the tests: headless Chromium, driven over its DevTools protocol.

with chromium() as browser:
    async with browser.page(url) as page:
        await page.until("document.title == 'done'")
        assert await page.evaluate("document.body.innerText") == "Hello"
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.proxy import PATIENCE_S

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)


class Page:
    """A tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)

    async def call(self, method: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol, and its result."""
        number = next(self._ids)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while (answer := await self._socket.receive_json(timeout=PATIENCE_S)).get("id") != number:
            pass  # an event
        return answer["result"]

    async def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        result = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        return result["result"].get("value")

    async def until(self, script: str) -> None:
        """Wait until the expression is true."""
        async with asyncio.timeout(PATIENCE_S):
            while not await self.evaluate(script):
                await asyncio.sleep(0.02)


class Browser:
    """A browser that runs."""

    def __init__(self, origin: str) -> None:
        self._origin = origin

    @asynccontextmanager
    async def page(self, url: str) -> AsyncIterator[Page]:
        """A new tab with `url`, which is closed in the end."""
        async with aiohttp.ClientSession() as session:
            async with session.put(f"{self._origin}/json/new?{url}") as answer:
                target = await answer.json()
            async with session.ws_connect(target["webSocketDebuggerUrl"]) as socket:
                yield Page(socket)
            async with session.get(f"{self._origin}/json/close/{target['id']}") as answer:
                assert answer.status == 200


@contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    """Run the browser with a profile of its own until the block is left."""
    with tempfile.TemporaryDirectory(prefix="openai-replay-test-", ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", *arguments]
        command += ["--remote-debugging-port=0", f"--user-data-dir={profile}", "--no-first-run", "about:blank"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                port_file = Path(profile, "DevToolsActivePort")
                deadline = time.monotonic() + PATIENCE_S
                while not (port_file.exists() and port_file.read_text().count("\n")):
                    assert process.poll() is None, "the browser did not start"
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
                yield Browser(f"http://127.0.0.1:{port_file.read_text().splitlines()[0]}")
            finally:
                process.terminate()
                process.wait(PATIENCE_S)
