"""The clients of the contract, and the versions they are pinned to: the ones to bump.

Those of Python are pinned here, those of Node.js in the package.json and package-lock.json beside their program (after
`npm install NAME@VERSION` there, take the `resolved` lines out of the lock: they name a registry).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
PROGRAMS = Path(__file__).parent / "programs"
NODE = Path(__file__).parent / "node"
SIMPLE = ROOT / "tests" / "clients"  # those that `make test` runs, too


class Registry(StrEnum):
    """The source of a client."""

    PYPI = "PyPI"
    NPM = "npm"
    MACHINE = "the machine"


class Client(NamedTuple):
    """A library, and the program that uses it as its users do.

    `packages`: what is installed, pinned; the first one is the client. `silent`: variables that keep it from asking
    anybody but the API. `note`: what its users should know, in Markdown.
    """

    name: str
    registry: Registry
    program: Path
    packages: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    silent: Mapping[str, str] = {}
    note: str = ""

    @property
    def package(self) -> str:
        """The client's own package, without its extras."""
        return self.pinned[0].rpartition("==")[0].partition("[")[0] if self.pinned else self.name

    @property
    def version(self) -> str:
        """The pinned version; empty for what the machine has."""
        return self.pinned[0].rpartition("==")[2] if self.pinned else ""

    @property
    def pinned(self) -> tuple[str, ...]:
        """All pins, as `NAME==VERSION`."""
        if self.registry is not Registry.NPM:
            return self.packages
        dependencies = json.loads((self.program.parent / "package.json").read_text("utf-8"))["dependencies"]
        return tuple(f"{name}=={dependencies[name]}" for name in self.packages)

    @property
    def folder(self) -> str:
        """The name of its environment; programs of one library share theirs."""
        return f"{self.registry}-{self.package}-{self.version}".lower().replace("/", "-")


_OPENAI_PY = SIMPLE / "python_client.py"

CLIENTS = (
    Client("openai 3, async", Registry.PYPI, _OPENAI_PY, ("openai==3.54.0",), ("async",)),
    Client("openai 3, sync", Registry.PYPI, _OPENAI_PY, ("openai==3.54.0",), ("sync",)),
    Client("openai 2, async", Registry.PYPI, _OPENAI_PY, ("openai==2.54.0",), ("async",)),
    Client("openai 2, sync", Registry.PYPI, _OPENAI_PY, ("openai==2.54.0",), ("sync",)),
    Client(
        "openai-agents",
        Registry.PYPI,
        PROGRAMS / "agents_client.py",
        ("openai-agents==0.24.0", "openai==3.54.0"),
        silent={"OPENAI_AGENTS_DISABLE_TRACING": "1"},
        note="It sends traces to api.openai.com, whatever the base URL is. "
        "Its optional WebSocket transport gets a `501`, because only HTTP is recorded.",
    ),
    Client(
        "langchain-openai",
        Registry.PYPI,
        PROGRAMS / "langchain_client.py",
        ("langchain-openai==1.7.3", "openai==3.54.0"),
        note="`OpenAIEmbeddings` counts tokens, and tiktoken loads a file from the network for that. "
        "`check_embedding_ctx_length=False` prevents it.",
    ),
    Client(
        "pydantic-ai",
        Registry.PYPI,
        PROGRAMS / "pydantic_ai_client.py",
        ("pydantic-ai-slim[openai]==2.68.0", "openai==3.54.0"),
    ),
    Client(
        "litellm",
        Registry.PYPI,
        PROGRAMS / "litellm_client.py",
        ("litellm==1.106.0", "openai==2.54.0", "mcp==2.3.0"),  # it imports mcp, without asking for it, to read tools
        silent={"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        note="Name your models `openai/...`. It loads a list of prices from GitHub when you import it.",
    ),
    Client(
        "llm",
        Registry.PYPI,
        PROGRAMS / "llm_client.py",
        ("llm==0.36", "openai==3.54.0"),
        note="Both library and command were tested. Models in `extra-openai-models.yaml` need no `api_base`.",
    ),
    Client("instructor", Registry.PYPI, PROGRAMS / "instructor_client.py", ("instructor==1.17.0", "openai==3.3.0")),
    Client("openai of Node.js", Registry.NPM, SIMPLE / "node" / "client.mjs", ("openai",)),
    Client("AI SDK", Registry.NPM, NODE / "ai-sdk" / "client.mjs", ("@ai-sdk/openai", "ai")),
    Client(
        "LangChain of Node.js",
        Registry.NPM,
        NODE / "langchain" / "client.mjs",
        ("@langchain/openai", "@langchain/core"),
    ),
    Client("curl", Registry.MACHINE, SIMPLE / "curl_client.sh"),
)
