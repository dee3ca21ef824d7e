"""Imports files of other recorders: decides which file goes where, writes the cassettes, and reports the outcomes.

Each file becomes one cassette, in the same folders. A file that cannot be imported does not stop the others.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from openai_replay.cassette import file_store, writer
from openai_replay.errors import ImportFormatError
from openai_replay.model import Interaction, media_type
from openai_replay.playback.synthetic import Assumed, paced
from openai_replay.redaction.redactor import Redactor
from openai_replay.text.http_headers import filter_headers
from openai_replay.tools import importers
from openai_replay.tools.importers.source import MAX_BYTES

#: Suffixes that `.yaml` replaces, after a `.gz` has been removed.
SUFFIXES = (".yaml", ".yml", ".json", ".jsonl", ".har", ".httprr", ".flow", ".flows", ".mitm", ".sse", ".txt", ".bin")


@dataclass(frozen=True, slots=True)
class ImportSettings:
    """Settings for reading and writing. `format_name` is a format or `auto`; without `write`, nothing is written."""

    format_name: str = "auto"
    supplied_request: importers.SuppliedRequest | None = None
    assumed: Assumed | None = None
    redactor: Redactor = field(default_factory=Redactor)
    all_headers: bool = False
    write: bool = True
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """A file and the path of its cassette. `refusal` is the reason if it must not be imported."""

    source: Path
    target: Path
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a job. `error` is the reason, with the position in the file, if nothing was imported."""

    job: Job
    format_name: str = ""
    interactions: int = 0
    streams: int = 0
    repaired: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    error: str = ""


def plan_jobs(sources: Sequence[Path], destination: Path) -> list[Job]:
    """Return a job for each file at `sources`, in order, with its target under `destination`.

    If `destination` ends in .yaml, the one file goes there. Names that would leave `destination` or meet another are
    refused, and so are links that lead out of their source.
    """
    planned: list[Job] = []
    sources_by_target: dict[Path, Path] = {}
    for source, top in chain.from_iterable(_find_files(path, destination) for path in sources):
        inside = source.relative_to(top) if top else Path(source.name)
        to_file = destination.suffix in (".yaml", ".yml") and not destination.is_dir()
        target = destination if to_file else destination / _cassette_name(inside)
        refusal = _refuse_link(source, top) or _refuse_target(target, destination.parent if to_file else destination)
        if not refusal and target in sources_by_target:
            refusal = f"It would be written to {target}, like {sources_by_target[target]}."
        if not refusal:
            sources_by_target[target] = source
        planned.append(Job(source, target, refusal))
    return planned


def _find_files(source: Path, destination: Path) -> Iterator[tuple[Path, Path | None]]:
    """Yield each file at `source` with the folder it was found in; None for a file that was named itself.

    Cassettes that were written before are not read again.
    """
    if not source.is_dir():
        yield source, None
        return
    written = destination.resolve()
    excluded = written if written != source.resolve() else None
    errors: list[OSError] = []
    for folder, folders, names in os.walk(source, onerror=errors.append):
        folders[:] = sorted(name for name in folders if excluded is None or Path(folder, name).resolve() != excluded)
        for name in sorted([*names, *(name for name in folders if Path(folder, name).is_symlink())]):
            yield Path(folder, name), source
    for error in errors:
        yield Path(error.filename), source


def _cassette_name(inside: Path) -> Path:
    name = inside.name
    for suffixes in ((".gz",), SUFFIXES):
        stem, dot, last = name.rpartition(".")
        if stem and dot + last.lower() in suffixes:
            name = stem
    return inside.with_name(f"{name}.yaml")


def _refuse_link(source: Path, top: Path | None) -> str:
    if top is None or not source.is_symlink():
        return ""
    if source.is_dir():
        return "It is a link to a folder. Links are not followed."
    return "" if source.resolve().is_relative_to(top.resolve()) else "It is a link that leads out of its folder."


def _refuse_target(target: Path, destination: Path) -> str:
    if target.is_symlink() or not target.parent.resolve().is_relative_to(destination.resolve()):
        return f"It would be written outside of {destination}: {target} is a link, or behind one."
    return ""


def run_job(job: Job, settings: ImportSettings) -> Outcome:
    """Import one file. The outcome reports any problem."""
    try:
        if job.refusal:
            raise ImportFormatError(job.refusal)
        if settings.write and not settings.overwrite and job.target.exists():
            raise ImportFormatError(f"{job.target} exists already. Use --force to replace it.")
        name, result = importers.read(_read_file(job.source), settings.supplied_request, settings.format_name)
        if not result.interactions:
            raise ImportFormatError(" ".join(["The file has no interactions.", *result.skipped[:3]]))
        interactions = [_redact(interaction, settings) for interaction in result.interactions]
        if settings.write:
            _write_cassette(job.target, interactions, settings.overwrite)
    except ImportFormatError as error:
        return Outcome(job, error=settings.redactor.redact_for_log(error.message))
    except OSError as error:
        return Outcome(
            job, error=f"Could not open {error.filename2 or error.filename or job.source}: {error.strerror}."
        )
    except (RecursionError, MemoryError):
        return Outcome(job, error="The file is too large, or nested too deeply, to be read.")
    streams = sum(media_type(interaction.response.head.headers) == "text/event-stream" for interaction in interactions)
    return Outcome(job, name, len(interactions), streams, tuple(result.repaired), tuple(result.skipped))


def _read_file(path: Path) -> bytes:
    if not stat.S_ISREG(mode := path.stat().st_mode):
        raise ImportFormatError("The folder cannot be read." if stat.S_ISDIR(mode) else "This is not a regular file.")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_BYTES:
            raise ImportFormatError(f"The file has {size} bytes. At most {MAX_BYTES >> 20} MiB are read.")
        return file.read(size)  # no larger number: `read` allocates as much as it is told


def _redact(interaction: Interaction, settings: ImportSettings) -> Interaction:
    """Return the interaction as the recorder would have stored it: without secrets and noise headers."""
    request, response = settings.redactor.redact_request(interaction.request), interaction.response
    if settings.assumed:
        response = paced(response, settings.assumed)
    response = settings.redactor.redact_response(response)
    return Interaction(
        request._replace(headers=filter_headers(request.headers, settings.all_headers)),
        replace(
            response, head=replace(response.head, headers=filter_headers(response.head.headers, settings.all_headers))
        ),
    )


def _write_cassette(path: Path, interactions: list[Interaction], overwrite: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    items = (writer.write_interaction(interaction, number) for number, interaction in enumerate(interactions, 1))
    file_store.create(path, chain([writer.HEADER], chain.from_iterable(items)), overwrite=overwrite)
