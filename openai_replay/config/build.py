"""Values of settings become rules, wherever they come from: flags, environment, files, a marker, a program, a session.

All of them are a mapping of the registry's names to plain values and pass through `build_rules`. So a setting means the
same everywhere, and a mistake is reported in the same words, with the name that the setting has where it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from openai_replay.config.rules import Rules
from openai_replay.config.setting import unknown_setting, with_label
from openai_replay.config.settings import of_rules
from openai_replay.redaction import redactor


def build_rules(values: Mapping[str, Any], base: Rules | None = None, label: Callable[[str], str] = str) -> Rules:
    """Return `base` (or the default rules) changed by `values`, whose keys are names of settings.

    None leaves a setting as it is, except `retry_after`, where it means to keep the recorded header. `label` returns
    the user's name of a setting; the message of a UsageError begins with it.
    """
    settings = of_rules()
    parts: dict[str, dict[str, Any]] = {"": {}, "matcher": {}, "redactor": {}}
    for name, value in values.items():
        if name not in settings:
            raise unknown_setting(label(name), name, settings)
        setting = settings[name]
        if value is not None or setting.nullable:
            part, _, field = setting.rule.rpartition(".")
            parts[part][field] = with_label(label(name), setting.parse, value)
    base = base or Rules()
    changes = parts[""]
    if parts["matcher"]:
        changes["matcher"] = replace(base.matcher, **parts["matcher"])
    if parts["redactor"]:
        changes["redactor"] = redactor.build_redactor(**parts["redactor"])
    return replace(base, **changes)
