"""The ways a client program is run: against the simulated upstream itself, through `record`, and through `play`.

Whatever it prints has to be the same on all of them. A program that fails, a proxy that fails, or a recording that is
not played is an AssertionError that says what happened.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.support.proxy import OPENAI_REPLAY, command, environment
from tests.support.upstream import Received, running_upstream

#: Seconds for one run of one program.
LIMIT_S = 180
#: All that was recorded is played, in order, and nothing is played twice.
EXACTLY = ("--on-exhausted", "error", "--strict")


class Program(NamedTuple):
    """A client program, and what its environment has beside the base URL and the key."""

    command: Sequence[str | Path]
    variables: Mapping[str, str] = {}


async def see(program: Program, base_url: str) -> str:
    """Return the output of `program` with `base_url`."""
    variables = {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "sk-test", **program.variables}
    return await _output(program.command, environment(variables))


async def _output(arguments: Sequence[str | Path], env: Mapping[str, str]) -> str:
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        *arguments, env=env, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            stdout, stderr = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
    assert child.returncode == 0, f"exit code {child.returncode}\n{stderr.decode()}"
    return stdout.decode()


async def see_direct(program: Program) -> tuple[str, list[Received]]:
    """Run `program` against the simulated upstream itself. Return its output and its requests."""
    with running_upstream() as upstream:
        return await see(program, upstream.url), upstream.requests


async def see_recorded(
    program: Program, tape: Path, proxy: Sequence[str] = OPENAI_REPLAY
) -> tuple[str, list[Received]]:
    """Record `program` to `tape`. Return its output and the requests that the upstream got."""
    with running_upstream() as upstream:
        async with command("record", tape, "--upstream", upstream.url, program=proxy) as process:
            output = await see(program, process.base_url)
            assert await process.stop() == 0, process.stderr
        assert upstream.abandoned == [], "also where the client left, the answer was read to its end"
    return output, upstream.requests


async def see_played(
    program: Program, tape: Path, pace: str, proxy: Sequence[str] = OPENAI_REPLAY, host: str = "127.0.0.1"
) -> str:
    """Play `tape` to `program`, all of it and nothing else, with the proxy on `host`. Return its output."""
    async with command("play", tape, "--host", host, "--pace", pace, *EXACTLY, program=proxy) as process:
        base_url = process.base_url.replace("127.0.0.1", "localhost") if host == "localhost" else process.base_url
        output = await see(program, base_url)
        assert await process.stop() == 0, process.stderr
    return output


def ipv6() -> str:
    """The IPv6 address of this machine for itself, or that of IPv4 where it has none."""
    with suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return "::1"
    return "127.0.0.1"


async def see_wrapped(program: Program, tape: Path) -> tuple[str, list[str]]:
    """Run `play TAPE -- PROGRAM`. Return its output, and other hosts that it tried to reach through a proxy.

    It has the environment that `play` gives it and no other help, but for `program.variables`. A proxy is set, as on
    machines behind one; it leads nowhere, so whoever does not leave it out for loopback fails.
    """
    async with nowhere() as (url, hosts):
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), url)
        proxies |= {name.lower(): url for name in proxies}
        wrapper = (*OPENAI_REPLAY, "play", tape, *EXACTLY, "--")
        output = await _output([*wrapper, *program.command], environment({**proxies, **program.variables}))
    return output, hosts


@asynccontextmanager
async def nowhere() -> AsyncIterator[tuple[str, list[str]]]:
    """An HTTP proxy that leads nowhere: its URL, and the hosts it was asked for so far."""
    hosts: list[str] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            line = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split()
            hosts.append(line[1].removeprefix("http://").partition("/")[0])
            writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", hosts
