"""Settings as JSON and TOML: pydantic models that are made from the registry."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from openai_replay.config.setting import Kind, Scope, Setting
from openai_replay.config.settings import in_scope

_TYPES: dict[Kind, Any] = {
    Kind.TEXT: str,
    Kind.TEXTS: list[str],
    Kind.TEXT_OR_TEXTS: str | list[str],
    Kind.CHOICE: str,
    Kind.FLAG: bool,
    Kind.INTEGER: int,
    Kind.PATH: str,
}


def _optional_field(setting: Setting, alias: str | None, literal_choices: bool) -> Any:
    kind = Literal[setting.choices] if literal_choices and setting.choices else _TYPES[setting.kind]
    low, high = setting.bounds or (None, None)
    return kind | None, Field(None, alias=alias, ge=low, le=high)


@cache
def file_settings() -> type[BaseModel]:
    """Return the model of a settings file. Its keys are the names of flags, without the dashes in front."""
    fields = {name: _optional_field(setting, setting.key, False) for name, setting in in_scope(Scope.FILE).items()}
    model: type[BaseModel] = create_model("FileSettings", __config__=ConfigDict(extra="forbid", strict=True), **fields)
    return model


@cache
def new_session() -> type[BaseModel]:
    """Return the model of the body of `POST /@/sessions`: a cassette, and settings for it."""
    fields = {name: _optional_field(setting, None, True) for name, setting in in_scope(Scope.SESSION).items()}
    model: type[BaseModel] = create_model(
        "NewSession", __config__=ConfigDict(extra="forbid"), cassette=(str, ...), **fields
    )
    return model
