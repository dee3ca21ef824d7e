"""`record` and `play`: the proxy itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openai_replay.cli import access_options
from openai_replay.cli.options import Command, explicit_values, label, parsed, setting_options
from openai_replay.config.setting import Scope
from openai_replay.errors import StartError, UsageError
from openai_replay.model import Mode

if TYPE_CHECKING:
    from openai_replay.config.rules import Rules
    from openai_replay.server.sessions import PositionStore


@click.command(cls=Command)
@click.argument("cassette", type=click.Path())
@setting_options(Scope.RECORD, hidden=("workers",))
@click.pass_context
def record(ctx: click.Context, /, cassette: str, **options: Any) -> None:
    """Forward requests to the API, stream its responses to the client, and record
    them in CASSETTE.

    If CASSETTE is a folder (or ends in a slash), the base URL
    http://HOST:PORT/@NAME/v1 records to NAME.yaml in it.

    With `-- COMMAND`, the command runs with OPENAI_BASE_URL set. Its exit code
    becomes that of `record`.
    """
    if explicit_values(ctx).get("workers", 1) > 1:
        raise UsageError(
            f"{label(ctx, 'workers')} is only for `play`: recordings have one order, which processes would have to "
            "agree on for every response.",
            "Record with one process. It waits for the API, not for a processor.",
        )
    if "://" in cassette:
        raise UsageError(
            f"{cassette.partition('://')[0]}:// can only be played, because recordings are added to a local file.",
            "Record to a file, and copy it there.",
        )
    path = Path(cassette)
    if cassette.endswith("/"):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(
                f"Could not create the folder {path}: {error.strerror}.", "Choose another folder."
            ) from None
    _serve(ctx, (path,), options)


@click.command(cls=Command)
@click.argument("cassettes", type=click.Path(), nargs=-1, required=True, metavar="CASSETTE...")
@setting_options(Scope.PLAY)
@click.pass_context
def play(ctx: click.Context, /, cassettes: tuple[str, ...], **options: Any) -> None:
    """Play cassettes, files or folders of them, without a network. Exit with 1
    after a miss.

    A URL of an object store, s3://BUCKET/PREFIX, is downloaded first.

    In a folder, the base URL http://HOST:PORT/@NAME/v1 plays NAME.yaml alone, as a
    session with its own position.

    With `-- COMMAND`, the command runs with OPENAI_BASE_URL set. Its exit code
    becomes that of `play`.
    """
    paths = tuple(_local_path(name, options["quiet"]) if "://" in name else Path(name) for name in cassettes)
    _serve(ctx, paths, {**options, "mode": Mode.NONE})


def _serve(ctx: click.Context, cassettes: tuple[Path, ...], options: dict[str, Any]) -> None:
    from openai_replay.cassette.recordings import ReadOptions
    from openai_replay.cassette.scanner import processes
    from openai_replay.journal import console
    from openai_replay.server import process, serve

    command = ctx.obj or ()
    port = options["port"]
    folder = cassettes[0] if len(cassettes) == 1 and cassettes[0].is_dir() else None
    if folder is not None and options["mode"] != Mode.NONE:
        cassettes = ()  # each session of the folder records to a cassette of its own
    config = serve.ServerConfig(
        rules=_rules(ctx, options),
        rules_for=_rules_for(ctx, options["mode"]),
        cassettes=cassettes,
        folder=folder,
        access=access_options.access(ctx, options),
        limits=access_options.limits(ctx, options),
        allow_remote=options["allow_remote"],
        log_level=options["log_level"],
        upstream=options.get("upstream"),
        host=options["host"],
        port=port if port is not None else 0 if command else 8765,
        ready_file=options["ready_file"],
        strict=options.get("strict", False),
        quiet=options["quiet"],
        journal_path=options["journal"],
        position_store=_position_store(options.get("state")),
        idle_timeout_s=parsed(ctx, "idle_timeout", options.get("idle_timeout", "10m")),
        read_options=ReadOptions(processes=processes(), progress=_no_output if options["quiet"] else console.reading),
    )
    if options["mode"] == Mode.NONE and options["workers"] > 1:
        from openai_replay.server.cluster import workers

        ctx.exit(workers.run(config, command, options["workers"]))
    ctx.exit(process.run(config, command))


def _local_path(url: str, quiet: bool) -> Path:
    """Download the cassettes at `url`, and return their folder."""
    from openai_replay.cassette import remote
    from openai_replay.journal import console

    return remote.fetched(url, _no_output if quiet else console.print_line)


def _position_store(url: str | None) -> PositionStore | None:
    if url is None:
        return None
    from openai_replay.server.cluster.redis import RedisPositionStore

    return RedisPositionStore(url)


def _no_output(*arguments: object) -> None:
    """Write nothing."""


def _rules(ctx: click.Context, options: dict[str, Any]) -> Rules:
    from openai_replay.config import build, files

    return build.build_rules(files.rule_values(options), label=lambda name: label(ctx, name))


def _rules_for(ctx: click.Context, mode: str) -> Callable[[Path], Rules]:
    """Return a function from a cassette that is opened by name to its rules, after the settings file of its folder."""
    from openai_replay.config import build, files

    explicit = {**files.rule_values(explicit_values(ctx)), "mode": mode}
    working = Path.cwd()

    def rules_for(path: Path) -> Rules:
        values = {name: value for name, (value, _) in files.load(path, working).items() if name in ctx.params}
        return build.build_rules({**files.rule_values(values), **explicit})

    return rules_for
