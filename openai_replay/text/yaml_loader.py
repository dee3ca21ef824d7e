"""Loading of any YAML text as plain values. Files of other recorders are data, whatever their tags claim.

The result has only mappings, lists, texts, bytes and None, never an object of a class: an unknown tag is ignored.
Scalars stay the texts that were written, since a header may look like a date. `resolve_types` gives them their types by
YAML 1.1.
"""

from __future__ import annotations

import binascii
import re
from pathlib import Path
from typing import Any

import yaml

from openai_replay.errors import CassetteError
from openai_replay.text import yaml_limits

_NULL = frozenset(("", "~", "null", "Null", "NULL"))
#: Callers know the path of a text, and add it to the message.
_NOWHERE = Path()
_BINARY = ("tag:yaml.org,2002:binary", "!binary")  # the second is Ruby's
#: `!!python/object/apply:multidict.istr [name]`, `!!python/object/new:...`: the string is the first argument.
_CALLED = re.compile(r"tag:yaml\.org,2002:python/object/(?:apply|new):")
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class InvalidYamlError(ValueError):
    """A text that is not YAML, or breaks a limit. `line` counts from 1, or is None if it is not known."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.line = line


class PlainScalar(str):
    """A scalar that was written without quotes, so it may mean a number or a boolean."""

    __slots__ = ()


def load(text: str) -> Any:
    """Return the value of the only document in `text`. Raises InvalidYamlError."""
    if yaml_limits.is_too_deep(text):
        raise InvalidYamlError("nested too deeply")
    loader = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        yaml_limits.check(text, root, _NOWHERE)
        return _value(root)
    except yaml.MarkedYAMLError as error:
        if yaml_limits.is_nesting_error(error):
            raise InvalidYamlError("nested too deeply") from None
        mark = error.problem_mark or error.context_mark
        raise InvalidYamlError(str(error.problem or error.context), mark.line + 1 if mark else None) from None
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise InvalidYamlError(str(error).splitlines()[0]) from None
    except CassetteError as error:
        reason = error.message.removeprefix(f"{_NOWHERE}:").removeprefix(f"{error.line}:").strip().removesuffix(".")
        raise InvalidYamlError(reason, error.line) from None
    except RecursionError:
        raise InvalidYamlError("nested too deeply") from None
    finally:
        if loader is not None:
            loader.dispose()


def _value(node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    if isinstance(node, yaml.SequenceNode):
        values = [_value(child) for child in node.value]
        return values[0] if values and _CALLED.match(node.tag) else values
    mapping: dict[Any, Any] = {}
    for key, value in node.value:
        name, content = _value(key), _value(value)
        if isinstance(name, PlainScalar) and name == "<<":
            for base in reversed(content if isinstance(content, list) else [content]):
                mapping = {**base, **mapping} if isinstance(base, dict) else mapping
        elif isinstance(name, (dict, list)):
            raise InvalidYamlError("a key is not a text", key.start_mark.line + 1)
        else:
            mapping[name] = content
    return mapping


def _scalar(node: yaml.ScalarNode) -> Any:
    if node.tag in _BINARY:
        try:
            return binascii.a2b_base64(node.value.encode("ascii"))
        except ValueError:
            raise InvalidYamlError("holds !!binary that is not base64", node.start_mark.line + 1) from None
    if node.style is None or node.style == "":
        return None if node.value in _NULL else PlainScalar(node.value)
    return node.value


def resolve_types(value: Any) -> Any:
    """Return `value` with the unquoted texts that YAML 1.1 takes for numbers and booleans replaced by these."""
    if isinstance(value, dict):
        return {str(key): resolve_types(child) for key, child in value.items()}
    if isinstance(value, list):
        return [resolve_types(child) for child in value]
    if not isinstance(value, PlainScalar):
        return value
    tag = _RESOLVER.resolve(yaml.ScalarNode, value, (True, False))  # type: ignore[no-untyped-call]  # not in its stubs
    node = yaml.ScalarNode(tag, str(value))
    return yaml.SafeLoader("").construct_object(node) if node.tag in _TYPES else str(value)


_RESOLVER = yaml.resolver.Resolver()
_TYPES = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float"))
