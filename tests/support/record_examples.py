"""Records the cassettes of `examples/` anew: `python -m tests.support.record_examples`.

The upstream is the tests' simulated API, no live one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.upstream import running_upstream

ROOT = Path(__file__).parents[2]
PYTEST, NODE, AGENT = ROOT / "examples/pytest", ROOT / "examples/node", ROOT / "examples/agent"
NODE_MODULES = ROOT / "tests/clients/node/node_modules"
#: What the agent is asked.
QUESTION = "Write a report about rivers"
#: Fixed, so that recording anew changes no URL.
PORT = 8799


def environment(**extra: str) -> dict[str, str]:
    """With our programs first, and what is in `more`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "PYTEST_"))}
    return {**variables, "PATH": path, **extra}


def main() -> None:
    """Record what the examples ask."""
    for folder in (PYTEST / "tests/cassettes", NODE / "cassettes", AGENT / "cassettes"):
        shutil.rmtree(folder, ignore_errors=True)
    (NODE / "cassettes").mkdir()
    (NODE / "node_modules").symlink_to(NODE_MODULES)
    try:
        for folder, command in (
            (PYTEST, ["pytest", "--openai-replay=new_episodes", "-p", "no:cacheprovider"]),
            (NODE, ["npm", "run", "record"]),
            (AGENT, ["openai-replay", "record", "cassettes/agent.yaml", "--", "python", "agent.py", QUESTION]),
        ):
            with running_upstream(port=PORT) as upstream:
                keys = {"OPENAI_API_KEY": "sk-test", "OPENAI_REPLAY_UPSTREAM": upstream.url}
                subprocess.run(command, cwd=folder, env=environment(**keys), check=True)
    finally:
        (NODE / "node_modules").unlink()


if __name__ == "__main__":
    main()
