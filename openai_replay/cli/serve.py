"""`record` and `play`: the proxy itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openai_replay.cli import access_options
from openai_replay.cli.options import (
    Command,
    given,
    journal_option,
    label,
    matching_options,
    option,
    redacting_options,
    together,
)
from openai_replay.errors import StartError, UsageError
from openai_replay.model import Fallback, Mode, OnExhausted

if TYPE_CHECKING:
    from openai_replay.config.rules import Rules
    from openai_replay.server.sessions import PositionStore

#: More is a slip: a worker wants a core.
MOST_WORKERS = 128

serving_options = together(
    option("--host", default="127.0.0.1", metavar="ADDRESS", show_default=True, help="Address to listen on."),
    option(
        "--port",
        type=click.IntRange(0, 65535),
        metavar="PORT",
        help="Port to listen on; 0 is any free one.  [default: 8765, with COMMAND 0]",
    ),
    option(
        "--ready-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write the base URL to this file once requests are answered.",
    ),
    matching_options,
    redacting_options,
    journal_option,
    option("--cors", is_flag=True, help="Let pages in a browser ask: those of this machine."),
    option("--cors-origin", multiple=True, metavar="ORIGIN", help="Let pages of this origin ask, too; implies --cors."),
    option("--allow-remote", is_flag=True, help="Let --host be an address that other machines reach."),
    option(
        "--allow-host",
        multiple=True,
        metavar="NAME",
        help="A name clients call this server by, beside localhost and addresses; * is any.",
    ),
    option(
        "--client-key-env",
        metavar="VARIABLE",
        help="Answer only who sends the key in this environment variable as its API key.",
    ),
    option("--max-head", default="64k", show_default=True, metavar="SIZE", help="The largest head of a request."),
    option("--max-body", default="512m", show_default=True, metavar="SIZE", help="The largest body of a request."),
    option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning"]),
        default="warning",
        show_default=True,
        help="debug: show the heads of requests and answers, redacted, on stderr.",
    ),
    option("--quiet", "-q", is_flag=True, help="Only say what went wrong."),
)


@click.command(cls=Command)
@click.argument("cassette", type=click.Path())
@option(
    "--upstream",
    default="https://api.openai.com/v1",
    show_default=True,
    metavar="URL",
    help="The API: its origin is where requests go, its path is what clients are told.",
)
@option(
    "--mode",
    "--record-mode",
    "mode",
    type=click.Choice(["new_episodes", "once", "all", "off"]),
    default="new_episodes",
    show_default=True,
    help="new_episodes: play what is there, record the rest. once: record only if the cassette is new. "
    "all: record everything anew, in the place of what was there. off: only forward.",
)
@option(
    "--keep-headers",
    type=click.Choice(["default", "all"]),
    default="default",
    show_default=True,
    help="all: keep the noise as well (user-agent, x-stainless-*, cf-*, ...).",
)
@option(
    "--idle-timeout",
    default="10m",
    show_default=True,
    metavar="DURATION",
    help="An upstream that is silent for so long counts as gone.",
)
@option(
    "--drain-timeout",
    default="5m",
    show_default=True,
    metavar="DURATION",
    help="How long an answer is read on for the tape when its client has left.",
)
@option(
    "--max-response",
    default="256m",
    show_default=True,
    metavar="SIZE",
    help="The largest answer that is kept: of a larger one the client gets all, and the tape nothing.",
)
@option(
    "--upstream-key-env",
    metavar="VARIABLE",
    help="With --client-key-env: send the key in this environment variable to the API in the place of the client's.",
)
@option("--workers", type=int, hidden=True)
@serving_options
@click.pass_context
def record(ctx: click.Context, /, cassette: str, **options: Any) -> None:
    """Forward requests to the API, stream its answers through, and keep them in CASSETTE.

    Where CASSETTE is a folder (or ends in a slash), every base URL http://HOST:PORT/@NAME/v1 records to NAME.yaml in
    it.

    With `-- COMMAND` the command runs with OPENAI_BASE_URL set, and its exit code is ours.
    """
    if given(ctx).get("workers", 1) > 1:
        raise UsageError(
            f"{label(ctx, 'workers')} is for play: what is recorded has one order, and several processes would have to "
            "ask each other for it before every answer",
            "Record with one process: it waits for the API, not for a processor.",
        )
    if "://" in cassette:
        raise UsageError(
            f"{cassette.partition('://')[0]}:// can only be played: a recording is added to a file on this machine",
            "Record to a file, and copy it there.",
        )
    path = Path(cassette)
    if cassette.endswith("/"):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(f"{path}: cannot be made: {error.strerror}", "Give the folder another place.") from None
    _serve(ctx, (path,), options)


@click.command(cls=Command)
@click.argument("cassettes", type=click.Path(), nargs=-1, required=True, metavar="CASSETTE...")
@option(
    "--pace",
    metavar="PACE",
    default="instant",
    show_default=True,
    help="instant, original, a speed (2x, 0.5x), each with ,max-gap=200ms if wanted.",
)
@option(
    "--on-exhausted",
    type=click.Choice([str(one) for one in OnExhausted]),
    default="repeat",
    show_default=True,
    help="What an identical request gets when all its recordings are played.",
)
@option(
    "--fallback",
    type=click.Choice([str(one) for one in Fallback]),
    default="none",
    show_default=True,
    help="What a request gets that nothing matches: the nearest recording with the same last-user-message, or the next "
    "in sequence. It is said every time.",
)
@option("--strict", is_flag=True, help="Exit 1 if a recording was not played, too.")
@option(
    "--retry-after",
    default="keep",
    show_default=True,
    metavar="keep|SECONDS",
    help="What a recorded retry-after says: SDKs sleep for real on it.",
)
@option(
    "--workers",
    type=click.IntRange(1, MOST_WORKERS),
    default=1,
    show_default=True,
    help="So many processes serve the port; they share the positions on the tape.",
)
@option(
    "--state",
    metavar="URL",
    help="Keep the positions on the tape in this Redis, for servers on several machines: "
    "redis://HOST:PORT/DB?run=NAME.",
)
@serving_options
@click.pass_context
def play(ctx: click.Context, /, cassettes: tuple[str, ...], **options: Any) -> None:
    """Answer requests from cassettes, files or folders of them, without a network. Exit 1 if one was missed.

    A URL of an object store, s3://BUCKET/PREFIX, is fetched before anything is served.

    Of a folder, http://HOST:PORT/@NAME/v1 plays NAME.yaml alone, as a session with a place of its own on the tape.

    With `-- COMMAND` the command runs with OPENAI_BASE_URL set, and its exit code is ours.
    """
    here = tuple(_here(one, options["quiet"]) if "://" in one else Path(one) for one in cassettes)
    _serve(ctx, here, {**options, "mode": Mode.NONE})


def _serve(ctx: click.Context, cassettes: tuple[Path, ...], options: dict[str, Any]) -> None:
    from openai_replay.cassette.recordings import Reading
    from openai_replay.cassette.scanner import processes
    from openai_replay.config.settings import labelled
    from openai_replay.journal import console
    from openai_replay.playback.pace import parse_duration
    from openai_replay.server import process, serve

    command = ctx.obj or ()
    port = options["port"]
    folder = cassettes[0] if len(cassettes) == 1 and cassettes[0].is_dir() else None
    if folder is not None and options["mode"] != Mode.NONE:
        cassettes = ()  # there is no one tape to record to: every session has its own
    serving = serve.ServerConfig(
        rules=_rules(ctx, options),
        rules_for=_rules_at(ctx, options["mode"]),
        cassettes=cassettes,
        folder=folder,
        access=access_options.access(options),
        limits=access_options.limits(options, lambda name: label(ctx, name)),
        allow_remote=options["allow_remote"],
        log_level=options["log_level"],
        upstream=options.get("upstream"),
        host=options["host"],
        port=port if port is not None else 0 if command else 8765,
        ready_file=options["ready_file"],
        strict=options.get("strict", False),
        quiet=options["quiet"],
        journal_path=options["journal"],
        position_store=_store(options.get("state")),
        idle_timeout_s=labelled(label(ctx, "idle_timeout"), parse_duration, options.get("idle_timeout", "10m")) / 1000,
        read_options=Reading(processes=processes(), progress=_nothing if options["quiet"] else console.reading),
    )
    if options.get("mode") == Mode.NONE and options["workers"] > 1:
        from openai_replay.server.cluster import workers

        ctx.exit(workers.run(serving, command, options["workers"]))
    ctx.exit(process.run(serving, command))


def _here(url: str, quiet: bool) -> Path:
    from openai_replay.cassette import remote
    from openai_replay.journal import console

    return remote.fetched(url, _nothing if quiet else console.say)


def _store(url: str | None) -> PositionStore | None:
    if url is None:
        return None
    from openai_replay.server.cluster.redis import RedisPositionStore

    return RedisPositionStore(url)


def _nothing(*of: object) -> None:
    """Say nothing."""


def _rules(ctx: click.Context, options: dict[str, Any]) -> Rules:
    from openai_replay.config import files
    from openai_replay.config import settings as building

    said = {name: value for name, value in files.as_settings(options).items() if name != "fallback" or value}
    return building.rules(said, label=lambda name: label(ctx, name))


def _rules_at(ctx: click.Context, mode: str) -> Callable[[Path], Rules]:
    """The rules of a cassette that is opened by its name: the settings file of its own folder counts."""
    from openai_replay.config import files
    from openai_replay.config import settings as building

    chosen = {**files.as_settings(given(ctx)), "mode": mode}
    working = Path.cwd()

    def at(path: Path) -> Rules:
        found = {name: one.value for name, one in files.of(path, working).items() if name in ctx.params}
        return building.rules({**files.as_settings(found), **chosen})

    return at
