"""A batch taken apart into its tensors and its shape, which is all the rest."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

from torch import Tensor

from accel.errors import describe

PLAIN = (int, float, complex, str, bytes, bool, type(None))


def take_apart(value: Any, tensors: list[Tensor]) -> Hashable:
    """The shape of a batch of tensors, plain values and tuples, lists and dicts of them; its tensors are added to `tensors`.

    Two batches have the same shape where they differ in nothing but the numbers in their tensors.

    Raises:
        TypeError: for anything else in it.
    """
    kind = type(value)
    if isinstance(value, Tensor):
        tensors.append(value)
        return kind, value.dtype, value.device, value.shape, value.stride()
    if isinstance(value, list | tuple):
        return kind, *(take_apart(part, tensors) for part in value)
    if isinstance(value, dict):
        return kind, *((key, take_apart(part, tensors)) for key, part in value.items())
    if isinstance(value, PLAIN):
        return kind, value
    raise TypeError(describe(value))


def put_together(value: Any, tensors: Iterator[Tensor]) -> Any:
    """The same batch with other tensors, in the order in which `take_apart` found its own."""
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, list | tuple):
        parts = [put_together(part, tensors) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, dict):
        return {key: put_together(part, tensors) for key, part in value.items()}
    return value
