"""Structure of a batch: its tensors, its pictures and labels, its classes, and how it is split and flattened."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sized
from typing import Any

import torch
from torch import Tensor

from accel.data.batches.containers import members, rebuilt
from accel.errors import ConfigError, describe

__all__ = [
    "LEAF_TYPES",
    "MAX_DEPTH",
    "NAME_TYPES",
    "NUMBER_TYPES",
    "count_classes",
    "flatten",
    "is_channels_last",
    "kind_of",
    "repack_pair",
    "slice_batch",
    "split_batch",
    "unflatten",
    "unpack_pair",
]


def count_classes(owner: Any) -> int | None:
    """Return the `num_classes` of a task or a data set, or the number of its `classes`, as torchvision's sets have them.

    So does the one column of classes among the `features` of a table of the package datasets. A loader or a subset is asked for
    the `dataset` that it reads. None if nothing tells.
    """
    for _ in range(8):  # no further down than anyone nests, and not round and round
        count = getattr(owner, "num_classes", None)
        if type(count) is int and count > 0:
            return count
        classes = getattr(owner, "classes", None)
        if isinstance(classes, Sized) and not isinstance(classes, str) and len(classes):
            return len(classes)
        features = getattr(owner, "features", None)
        columns = list(features.values()) if isinstance(features, Mapping) else []
        counts = [column.num_classes for column in columns if hasattr(column, "names") and hasattr(column, "num_classes")]
        if len(counts) == 1 and type(counts[0]) is int and counts[0] > 0:
            return counts[0]
        owner = getattr(owner, "dataset", None)
    return None


def unpack_pair(batch: Any) -> tuple[Tensor, Tensor]:
    """Return the samples and the labels of a tuple, list or named tuple that begins with them.

    Raises:
        ConfigError: for any other batch.
    """
    if isinstance(batch, list | tuple) and len(batch) > 1 and isinstance(batch[0], Tensor) and isinstance(batch[1], Tensor):
        return batch[0], batch[1]
    raise ConfigError(
        f"augment needs batches of (pictures or points, labels), and this one is {describe(batch)}; "
        "leave it out with '~plugins.augment'"
    )


def repack_pair(samples: Tensor, labels: Tensor, batch: Any) -> Any:
    """Return `batch` with other samples and labels: of the same type, and with all its other members."""
    members = [samples, labels, *batch[2:]]
    return type(batch)(*members) if hasattr(batch, "_fields") else type(batch)(members)


def is_channels_last(pictures: Tensor) -> bool:
    """Return whether a 4-dim tensor is (batch, height, width, channels): 1, 3 or 4 channels, fewer than either side."""
    _, first, second, third = pictures.shape
    return third in (1, 3, 4) and third < min(first, second)


MAX_DEPTH = 6
"""Levels of a batch that are looked into."""
NAME_TYPES = (str, bytes, type(None))
"""Types of a value that is of all samples, or in a list of one sample."""
NUMBER_TYPES = (bool, int, float, complex)


def split_batch(batch: Any, items: int, size: int) -> list[Any]:
    """Return a batch of `items` samples as batches of `size`, the last perhaps smaller. Tensors are views: nothing is copied.

    Tensors and arrays are cut along their first dimension, which must be as long as the batch; a 0-dim one is of all samples.
    Tuples, named tuples, lists, mappings and data classes keep their structure. Inside one, a list that is as long as the batch and
    holds dicts, names or numbers has one for each sample; a name or a number by itself is of all samples. So has a list that is as
    long as the batch and holds values of one kind which cannot be cut themselves, such as pictures of several sizes, and a list of
    tensors beside a list of dicts.

    Raises:
        TypeError: for a value that cannot be cut, in words.
    """
    if size >= items:
        return [batch]
    return [slice_batch(batch, items, start, start + size) for start in range(0, items, size)]


def slice_batch(value: Any, items: int, start: int, stop: int, inside: bool = False, by_sample: bool = False) -> Any:
    """Return the samples from `start` to `stop` - 1 of a batch, or of a part of it where `inside` is true.

    Args:
        value: the batch, or the part.
        items: the number of samples in it.
        start: from 0.
        stop: may be above `items`.
        inside: whether `value` is a part of a batch, and no batch itself.
        by_sample: whether a list that is as long as the batch has one member for each sample, for others beside it have.

    Raises:
        TypeError: for a value that cannot be cut, in words.
    """
    if isinstance(value, NAME_TYPES + NUMBER_TYPES):
        return value
    if (parts := members(value)) is not None:
        rows = any(_is_list_of_dicts(part, items) for part in parts.values())
        return rebuilt(value, {key: slice_batch(part, items, start, stop, True, rows) for key, part in parts.items()})
    if isinstance(value, list | tuple):
        return _slice_list(value, items, start, stop, inside, by_sample)
    shape = getattr(value, "shape", None)
    if shape is not None and len(shape) == 0:
        return value
    dense = not isinstance(value, Tensor) or (value.layout == torch.strided and not value.is_nested)
    if shape is None or not dense or shape[0] != items:
        raise TypeError(f"{describe(value)} in a batch of {items} samples")
    return value[start:stop]


def _slice_list(value: Any, items: int, start: int, stop: int, inside: bool, by_sample: bool) -> Any:
    """Return the samples from `start` to `stop` - 1 of a list or tuple, which holds columns of the batch or its samples."""
    rows = any(_is_list_of_dicts(part, items) for part in value)
    named, is_long = hasattr(value, "_fields"), bool(value) and len(value) == items
    if inside and is_long and not named and all(isinstance(part, NAME_TYPES + NUMBER_TYPES + (Mapping,)) for part in value):
        if isinstance(value, tuple) and any(isinstance(part, NUMBER_TYPES) for part in value):
            raise TypeError(f"a tuple of {items} numbers, which may be of the samples or of the batch")
        return type(value)(value[start:stop])
    may_be_samples = is_long and not named and len({kind_of(part) for part in value}) == 1
    if may_be_samples and by_sample:
        return type(value)(value[start:stop])
    try:
        parts = [slice_batch(part, items, start, stop, True, rows) for part in value]
    except TypeError:
        if not may_be_samples:
            raise
        return type(value)(value[start:stop])
    return type(value)(*parts) if named else type(value)(parts)


def _is_list_of_dicts(value: Any, items: int) -> bool:
    """Return whether a value is a list or tuple of dicts, one for each sample."""
    return isinstance(value, list | tuple) and len(value) == items and all(isinstance(part, Mapping) for part in value)


def kind_of(value: Any, depth: int = 0) -> Hashable:
    """Return what two samples of one data set have in common: types, dtypes and numbers of dimensions, and no lengths."""
    if isinstance(value, Tensor) or isinstance(getattr(value, "shape", None), tuple):
        return "array", str(getattr(value, "dtype", "")), value.dim() if isinstance(value, Tensor) else len(value.shape)
    if isinstance(value, Mapping):
        return "dict", frozenset(map(str, value))
    if isinstance(value, list | tuple) and not hasattr(value, "_fields") and depth <= MAX_DEPTH:
        kinds = tuple(kind_of(part, depth + 1) for part in value)
        return type(value).__name__, kinds[:1] if len(set(kinds)) == 1 else kinds
    return type(value).__name__, id(type(value))


LEAF_TYPES = (int, float, complex, str, bytes, bool, type(None))
"""Types of plain values in a batch."""


def flatten(value: Any, tensors: list[Tensor]) -> Hashable:
    """Return the structure of a batch of tensors, plain values and containers of them; add its tensors to `tensors`.

    Two batches have equal structures if they differ in nothing but the numbers in their tensors.

    Raises:
        TypeError: for any other value in it.
    """
    kind = type(value)
    if isinstance(value, Tensor):
        tensors.append(value)
        return kind, value.dtype, value.device, value.shape, value.stride()
    if isinstance(value, list | tuple):
        return kind, *(flatten(part, tensors) for part in value)
    if (parts := members(value)) is not None:
        return kind, *((key, flatten(part, tensors)) for key, part in parts.items())
    if isinstance(value, LEAF_TYPES):
        return kind, value
    raise TypeError(describe(value))


def unflatten(value: Any, tensors: Iterator[Tensor]) -> Any:
    """Return the batch with other tensors, in the order in which `flatten` adds them."""
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, list | tuple):
        parts = [unflatten(part, tensors) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if (members_before := members(value)) is not None:
        return rebuilt(value, {key: unflatten(part, tensors) for key, part in members_before.items()})
    return value
