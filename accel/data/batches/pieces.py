"""A batch cut into smaller ones, by its structure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from accel.errors import describe

NAMES = (str, bytes, type(None))
NUMBERS = (bool, int, float, complex)


def pieces(batch: Any, items: int, size: int) -> list[Any]:
    """A batch of `items` samples as batches of `size`, the last of them perhaps smaller. Tensors are views: nothing is copied.

    Tensors and arrays are cut along their first dimension, which must be as long as the batch; a 0-dim one is of all samples.
    Tuples, named tuples, lists and dicts keep their structure. Inside one, a list that is as long as the batch and holds dicts,
    names or numbers has one for each sample; a name or a number by itself is of all samples.

    Raises:
        TypeError: for what cannot be cut, in words.
    """
    if size >= items:
        return [batch]
    return [cut(batch, items, start, start + size) for start in range(0, items, size)]


def cut(value: Any, items: int, start: int, stop: int, inside: bool = False) -> Any:
    """The samples from `start` on up to `stop`; `inside` is whether `value` is a part of a batch, and no batch itself."""
    if isinstance(value, NAMES + NUMBERS):
        return value
    if isinstance(value, Mapping):
        parts = {key: cut(part, items, start, stop, True) for key, part in value.items()}
        return parts if type(value) is dict else type(value)(parts)  # type: ignore[call-arg]
    if isinstance(value, list | tuple):
        if hasattr(value, "_fields"):
            return type(value)(*(cut(part, items, start, stop, True) for part in value))
        if inside and len(value) == items and value and all(isinstance(part, NAMES + NUMBERS + (Mapping,)) for part in value):
            if isinstance(value, tuple) and any(isinstance(part, NUMBERS) for part in value):
                raise TypeError(f"a tuple of {items} numbers, which may be of the samples or of the batch")
            return type(value)(value[start:stop])
        return type(value)(cut(part, items, start, stop, True) for part in value)
    shape = getattr(value, "shape", None)
    if shape is not None and len(shape) == 0:
        return value
    dense = not isinstance(value, Tensor) or (value.layout == torch.strided and not value.is_nested)
    if shape is None or not dense or shape[0] != items:
        raise TypeError(f"{describe(value)} in a batch of {items} samples")
    return value[start:stop]
