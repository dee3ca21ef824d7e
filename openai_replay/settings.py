"""What an option is when the command line does not say: `[tool.openai-replay]` of the nearest pyproject.toml.

Flag > environment (`OPENAI_REPLAY_...`) > pyproject.toml > default. click puts them in this order; here the file is
read and checked.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from openai_replay.errors import UsageError


class FileSettings(BaseModel):
    """The keys of `[tool.openai-replay]`: the options' own names.

    Values are checked like those of the command line, by the option.
    """

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)  # most projects say nothing

    upstream: str | None = None
    mode: str | None = None
    host: str | None = None
    port: int | None = None
    headers: str | None = None
    pace: str | None = None
    on_exhausted: str | None = Field(None, alias="on-exhausted")
    strict: bool | None = None
    retry_after: str | None = Field(None, alias="retry-after")
    ignore: list[str] | None = None
    redact_header: list[str] | None = Field(None, alias="redact-header")
    redact_pattern: list[str] | None = Field(None, alias="redact-pattern")
    redact_pointer: list[str] | None = Field(None, alias="redact-pointer")
    idle_limit: str | None = Field(None, alias="idle-limit")
    drain_limit: str | None = Field(None, alias="drain-limit")
    cors: bool | None = None
    cors_origin: list[str] | None = Field(None, alias="cors-origin")
    allow_remote: bool | None = Field(None, alias="allow-remote")
    allow_host: list[str] | None = Field(None, alias="allow-host")
    require_key: str | None = Field(None, alias="require-key")
    upstream_key: str | None = Field(None, alias="upstream-key")
    max_head: str | None = Field(None, alias="max-head")
    max_body: str | None = Field(None, alias="max-body")
    max_recorded: str | None = Field(None, alias="max-recorded")
    log_level: str | None = Field(None, alias="log-level")
    quiet: bool | None = None


def from_pyproject(folder: Path) -> dict[str, Any]:
    """The settings of the nearest pyproject.toml in `folder` or above, by option name.

    Raises UsageError with file and key.
    """
    path = next(
        (one / "pyproject.toml" for one in (folder, *folder.parents) if (one / "pyproject.toml").is_file()), None
    )
    if path is None:
        return {}
    try:
        table = tomllib.loads(path.read_text("utf-8")).get("tool", {}).get("openai-replay", {})
        return FileSettings.model_validate(table).model_dump(exclude_none=True) if table else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        names = [field.alias or name for name, field in FileSettings.model_fields.items()]
        near = difflib.get_close_matches(key, names, 1)
        what = "is not an option" if first["type"] == "extra_forbidden" else first["msg"]
        hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(names)}."
        raise UsageError(f"{path}: [tool.openai-replay] {key}: {what}", hint) from None
