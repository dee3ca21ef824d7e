"""A real Redis for tests: started on a free port, in a folder of its own, and ended by its process."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")


class Server:
    """A store that keeps what it has on the disk of `folder`, so that it can be started again."""

    def __init__(self, folder: Path, *options: str) -> None:
        assert PROGRAM
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._command = [PROGRAM, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
        self._command += ["--appendonly", "yes", "--appendfsync", "always", *options]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it listens."""
        self._popen = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while True:
            assert self._popen.poll() is None, "redis-server ended"
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as asks:
                    asks.sendall(b"PING\r\n")
                    if asks.recv(100)[:5] in (b"+PONG", b"-NOAU"):
                        return
            except OSError:
                pass
            assert time.monotonic() < until, "redis-server does not listen"
            time.sleep(0.01)

    def stop(self) -> None:
        """End it."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()
        self._popen = None
