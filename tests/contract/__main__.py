"""`python -m tests.contract [--write] [CLIENT...]`: run the contract, one client after the other.

Exit code 1 if anything differs or fails. A client that cannot be had here is skipped, and says why; then nothing is
written.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from tests.contract.clients import CLIENTS
from tests.contract.page import PAGE, page, renewed, version
from tests.contract.running import WAYS, Result, through_all_ways


def main() -> int:
    """Run the clients that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.contract", description="The contract with real clients.")
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help="part of a client's name (default: all clients)")
    parser.add_argument(
        "--write", action="store_true", help="write docs/clients.md: of all clients anew, of some their rows"
    )
    arguments = parser.parse_args()
    chosen = [
        client for client in CLIENTS if not arguments.clients or any(name in client.name for name in arguments.clients)
    ]
    if not chosen:
        parser.error(f"no client is called so; there are {', '.join(client.name for client in CLIENTS)}")
    results = []
    for client in chosen:
        result = asyncio.run(through_all_ways(client))
        results.append(result)
        print(_line(result), flush=True)
        for mode, difference in result.differences.items():
            if difference:
                print(f"  {mode}:\n    " + difference.replace("\n", "\n    "), flush=True)
    return _verdict(results, arguments.write)


def _line(result: Result) -> str:
    if result.skipped:
        return f"{result.client.name:22} skipped: {result.skipped}"
    marks = "  ".join(f"{mode} {'=' if result.differences.get(mode) == '' else 'DIFFERS'}" for mode in WAYS)
    reached = f"  reached for {', '.join(result.reached)}" if result.reached else ""
    return f"{result.client.name:22} {marks}  {result.seconds:5.1f} s  {version(result)}{reached}"


def _verdict(results: Sequence[Result], write: bool) -> int:
    failed = [result.client.name for result in results if any(result.differences.values())]
    skipped = [result.client.name for result in results if result.skipped]
    print(f"{len(results)} clients: {len(failed)} differ or fail, {len(skipped)} skipped", flush=True)
    if write and not failed and not skipped:
        is_complete = len(results) == len(CLIENTS)
        PAGE.write_text(page(results) if is_complete else renewed(PAGE.read_text("utf-8"), results), "utf-8")
    elif write:
        print(
            f"{PAGE.name} is left as it is: it tells of a run where all were there and all was the same",
            file=sys.stderr,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
