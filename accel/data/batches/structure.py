"""Structure of a batch: its tensors, its pictures and labels, its classes, and how it is cut into pieces."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sized
from typing import Any

import torch
from torch import Tensor

from accel.errors import ConfigError, describe

__all__ = [
    "NAMES",
    "NUMBERS",
    "PLAIN",
    "channels_at_the_end",
    "count_classes",
    "cut",
    "pair",
    "paired",
    "pieces",
    "put_together",
    "take_apart",
]


def count_classes(owner: Any) -> int | None:
    """What a task or a data set says: its `num_classes`, or how many `classes` it lists, as torchvision's sets do.

    A loader or a subset is asked for the `dataset` that it reads. None where nothing tells.
    """
    for _ in range(8):  # no further down than anyone nests, and not round and round
        told = getattr(owner, "num_classes", None)
        if type(told) is int and told > 0:
            return told
        listed = getattr(owner, "classes", None)
        if isinstance(listed, Sized) and not isinstance(listed, str) and len(listed):
            return len(listed)
        owner = getattr(owner, "dataset", None)
    return None


def pair(batch: Any) -> tuple[Tensor, Tensor]:
    """The samples and the labels of a tuple, list or named tuple that begins with them.

    Raises:
        ConfigError: for any other batch.
    """
    if isinstance(batch, list | tuple) and len(batch) > 1 and isinstance(batch[0], Tensor) and isinstance(batch[1], Tensor):
        return batch[0], batch[1]
    raise ConfigError(
        f"augment needs batches of (pictures or points, labels), and this one is {describe(batch)}; "
        "leave it out with '~plugins.augment'"
    )


def paired(samples: Tensor, labels: Tensor, batch: Any) -> Any:
    """`batch` with other samples and labels: of the same type, and with whatever else it holds."""
    members = [samples, labels, *batch[2:]]
    return type(batch)(*members) if hasattr(batch, "_fields") else type(batch)(members)


def channels_at_the_end(pictures: Tensor) -> bool:
    """Whether a tensor of four dimensions is (batch, height, width, channels): 1, 3 or 4 of them, and fewer than either side."""
    _, first, second, third = pictures.shape
    return third in (1, 3, 4) and third < min(first, second)


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
