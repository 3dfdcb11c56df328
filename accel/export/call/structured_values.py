"""Values with tensors in them, such as the arguments of a call: the tensors, and the structure around them as JSON holds it."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

from torch import Tensor

from accel.errors import ConfigError, describe
from accel.export.call.output_record import OutputRecord

__all__ = ["PlacedTensor", "ValueStructure", "join_tensors", "split_tensors"]

ValueStructure = list[Any]
"""`["tensor"]`; `["value", None | bool | int | str]`, `["float", text]`; `["list" | "tuple", structures]`, `["dict", pairs]`, and
`["namedtuple" | "record", name, pairs]`, each pair a key and a structure."""


class PlacedTensor(NamedTuple):
    """A tensor and where it was: the keys and places that lead to it."""

    path: tuple[Any, ...]
    tensor: Tensor


def split_tensors(value: Any, owner: str) -> tuple[list[PlacedTensor], ValueStructure]:
    """Return the tensors of a value, in order, and the structure around them.

    Args:
        value: tensors, None, numbers and texts, in lists, tuples, dicts, named tuples and data classes, one in another.
        owner: the beginning of a sentence on what is none of these: `the model returns`.

    Raises:
        ConfigError: for anything else.
    """
    tensors: list[PlacedTensor] = []

    def split(inner: Any, path: tuple[Any, ...]) -> ValueStructure:
        if isinstance(inner, Tensor):
            tensors.append(PlacedTensor(path, inner))
            return ["tensor"]
        if inner is None or isinstance(inner, bool | int | str):
            return ["value", inner]
        if isinstance(inner, float):
            return ["float", repr(inner)]
        kind, pairs = _parts(inner)
        if not kind:
            where = f" in {path[-1]}" if path and isinstance(path[-1], str) else ""
            raise ConfigError(
                f"{owner} {describe(inner)}{where}, and an exported file has tensors, and fixed numbers and texts beside them; "
                "leave it out, or keep it as an attribute of the model"
            )
        return [*kind, [[key, split(one, (*path, key))] for key, one in pairs]]

    return tensors, split(value, ())


def _parts(value: Any) -> tuple[list[str], Sequence[tuple[Any, Any]]]:
    """Return what kind of container a value is and its parts by key; no kind for what is none."""
    name = type(value).__name__
    if is_dataclass(value) and not isinstance(value, type):  # those of transformers are dicts too, of what is not None
        return ["record", name], [(field.name, getattr(value, field.name)) for field in fields(value)]
    if isinstance(value, OutputRecord):
        return ["record", name], list(vars(value).items())
    if isinstance(value, Mapping):
        return (["dict"], list(value.items())) if all(isinstance(key, str | int) for key in value) else ([], [])
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return ["namedtuple", name], list(zip(value._fields, value, strict=True))
    if isinstance(value, list | tuple):
        return ["list" if isinstance(value, list) else "tuple"], list(enumerate(value))
    return [], []


def join_tensors(structure: ValueStructure, tensors: Sequence[Any]) -> Any:
    """Return a value of a structure with other tensors in it: named tuples and data classes are look-alikes, which nobody imports.

    Raises:
        ValueError: for another number of tensors, or what is no structure.
    """
    left = iter(tensors)
    try:
        value = _joined(structure, left)
    except (TypeError, IndexError, AttributeError, RecursionError):
        raise ValueError("no structure") from None
    if next(left, left) is not left:
        raise ValueError("more tensors than the structure has")
    return value


def _joined(structure: ValueStructure, tensors: Iterator[Any]) -> Any:
    kind, *rest = structure
    if kind == "tensor":
        for one in tensors:
            return one
        raise ValueError("fewer tensors than the structure has")
    if kind == "value" and (rest[0] is None or isinstance(rest[0], bool | int | str)):
        return rest[0]
    if kind == "float":
        return float(rest[0])
    pairs = {key: _joined(inner, tensors) for key, inner in rest[-1]}
    if kind in ("list", "tuple"):
        return list(pairs.values()) if kind == "list" else tuple(pairs.values())
    if kind == "dict":
        return pairs
    if kind == "namedtuple":
        return namedtuple(rest[0], pairs)(**pairs)
    if kind == "record":
        return OutputRecord(pairs)
    raise ValueError(f"{kind} is no kind of structure")
