"""What may stand in openai-replay.toml, or under `[tool.openai-replay]` in pyproject.toml."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, Field


class FileSettings(BaseModel):
    """The keys of a settings file: the options' own names."""

    model_config = ConfigDict(extra="forbid", strict=True)

    upstream: str | None = None
    mode: str | None = None
    host: str | None = None
    port: int | None = Field(None, ge=0, le=65535)
    keep_headers: str | None = Field(None, alias="keep-headers")
    pace: str | None = None
    on_exhausted: str | None = Field(None, alias="on-exhausted")
    strict: bool | None = None
    retry_after: str | None = Field(None, alias="retry-after")
    match_on: str | list[str] | None = Field(None, alias="match-on")
    match_header: list[str] | None = Field(None, alias="match-header")
    normalize: list[str] | None = None
    ignore: list[str] | None = None
    fallback: str | None = None
    redact_header: list[str] | None = Field(None, alias="redact-header")
    redact_pattern: list[str] | None = Field(None, alias="redact-pattern")
    redact_pointer: list[str] | None = Field(None, alias="redact-pointer")
    idle_timeout: str | None = Field(None, alias="idle-timeout")
    drain_timeout: str | None = Field(None, alias="drain-timeout")
    lint_allow: list[str] | None = Field(None, alias="lint-allow")
    max_age: str | None = Field(None, alias="max-age")
    journal: str | None = None
    cors: bool | None = None
    cors_origin: list[str] | None = Field(None, alias="cors-origin")
    allow_remote: bool | None = Field(None, alias="allow-remote")
    allow_host: list[str] | None = Field(None, alias="allow-host")
    client_key_env: str | None = Field(None, alias="client-key-env")
    upstream_key_env: str | None = Field(None, alias="upstream-key-env")
    max_head: str | None = Field(None, alias="max-head")
    max_body: str | None = Field(None, alias="max-body")
    max_response: str | None = Field(None, alias="max-response")
    log_level: str | None = Field(None, alias="log-level")
    quiet: bool | None = None
    workers: int | None = None
    state: str | None = None

    @classmethod
    def keys(cls) -> Iterator[str]:
        """What can be set."""
        return (field.alias or name for name, field in cls.model_fields.items())
