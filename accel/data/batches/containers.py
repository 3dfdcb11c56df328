"""Containers of tensors in a batch: mappings of any kind and data classes, and the same ones with other members.

Tokenisers of transformers give a UserDict with methods (BatchEncoding), its models an OrderedDict with attributes (ModelOutput).
Code that is given a batch may use these, so the type is kept.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

__all__ = ["members", "rebuilt", "tensors_in"]


def members(value: Any) -> dict[Any, Any] | None:
    """Return the members of a mapping or data class by key or name; None for anything else.

    What moves itself, by a method `to` of its own, is none: TensorDict, say. The mappings of transformers are looked into all the
    same.
    """
    if type(value) is dict:
        return value
    if isinstance(value, dict | UserDict) or (isinstance(value, Mapping) and not hasattr(value, "to")):
        return dict(value.items())
    if is_dataclass(value) and not isinstance(value, type) and not hasattr(value, "to"):
        return {field.name: getattr(value, field.name) for field in fields(value) if hasattr(value, field.name)}
    return None


def rebuilt(value: Any, parts: dict[Any, Any]) -> Any:
    """Return a mapping or data class with other members, of the same type; a plain dict for a mapping that cannot be copied.

    Args:
        value: that `members` looked into; it stays as it is.
        parts: the other members, by the same keys or names.
    """
    if type(value) is dict:
        return parts
    try:
        same = copy(value)
        for key, part in parts.items():
            if isinstance(value, Mapping):
                same[key] = part
            else:
                object.__setattr__(same, key, part)  # a frozen one too
    except Exception:  # one that cannot be written to
        return type(value)(**parts) if not isinstance(value, Mapping) else parts
    return same


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in a batch, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors_in(part)
    else:
        for part in (members(value) or {}).values():
            yield from tensors_in(part)
