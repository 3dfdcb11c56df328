"""Number of samples in a batch of any structure: what can be known of it, and where it is a guess.

A batch that has a `batch_size` (or torch_geometric's `num_graphs`) tells it. Else the leading dimensions of its tensors and arrays
do, where they agree; 0-dim ones, a leading 1, numbers and texts by themselves are of all samples. A list of samples has as many
as it is long: one of dicts, of objects, of pairs that differ within and not among each other. So do lists of pictures and of
targets beside each other. Where a batch can be read in two ways, or its tensors disagree (time before samples), it is a guess.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from accel.data.batches.structure import MAX_DEPTH, NAME_TYPES, NUMBER_TYPES, kind_of
from accel.errors import describe

__all__ = ["MAX_FIELDS", "SampleCount", "Sizes", "leading_length", "sample_count"]

MAX_FIELDS = 3
"""Tensors of one kind, side by side, that are rather columns of a batch than samples."""


class SampleCount(NamedTuple):
    """Number of samples, and what it rests on."""

    samples: int
    doubt: str = ""
    """Why it is a guess, in words; empty if it is none."""
    outline: Hashable = None
    """Lengths that the guess rests on: two batches of one outline have as many samples each. None if nothing is known."""


class Sizes(NamedTuple):
    """Numbers of samples that a part of a batch may have."""

    options: tuple[int, ...] | None
    """The likeliest first; empty if its tensors disagree; None if it says nothing."""
    soft: bool = False
    """Whether it counts only where no tensor says anything: a list of names or numbers may be of the whole batch."""


NOTHING = Sizes(None)


def sample_count(batch: Any) -> SampleCount:
    """Return the number of samples in a batch."""
    count = _columns(batch)
    if count is not None:
        return SampleCount(count)
    options = _sizes(batch, 0).options
    if options is None:
        length = len(batch) if isinstance(batch, list | tuple) else 1
        return SampleCount(length, f"a batch, {describe(batch)}, has no tensors to count by") if length else SampleCount(0)
    if len(options) == 1:
        return SampleCount(options[0])
    lengths = tuple(_lengths(batch, 0))
    if options:
        return SampleCount(
            options[0], f"a batch, {describe(batch)}, can be read as {' or '.join(map(str, options))} samples", lengths
        )
    first = next(iter(_leading(batch, 0)), 1)
    shown = ", ".join(map(str, dict.fromkeys(_leading(batch, 0))))
    return SampleCount(first, f"the tensors of a batch, {describe(batch)}, have leading dimensions of {shown}", lengths)


def leading_length(value: Any) -> int | None:
    """Return the leading dimension of a tensor or array; None if it has none, or is neither."""
    if isinstance(value, Tensor):
        return int(value.size(0)) if value.dim() else None
    shape: Any = getattr(value, "shape", None)
    return int(shape[0]) if isinstance(shape, tuple) and shape else None


def _columns(batch: Any) -> int | None:
    """Return the number of samples of a few dense tensors that agree, as most batches are, at once; else None."""
    if type(batch) is Tensor and not batch.is_nested and batch.dim():
        return batch.shape[0]
    if type(batch) not in (tuple, list) or not 0 < len(batch) <= MAX_FIELDS:
        return None
    count = None
    for part in batch:
        if type(part) is not Tensor or part.is_nested or not part.dim() or count not in (None, part.shape[0]):
            return None
        count = part.shape[0]
    return count


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor) or isinstance(getattr(value, "shape", None), tuple)


def _explicit(value: Any) -> int | None:
    """Return the number of samples that an object has as an attribute; None if it has none."""
    if isinstance(value, PackedSequence):
        return int(value.batch_sizes[0])
    if type(value) in (dict, list, tuple) or isinstance(value, NAME_TYPES + NUMBER_TYPES + (Tensor,)):
        return None
    for name in ("batch_size", "num_graphs"):
        number = getattr(value, name, None)
        number = number[0] if isinstance(number, tuple) and number else number
        if isinstance(number, Tensor) and number.is_cpu and not number.dim() and not number.is_floating_point():
            number = number.item()
        if isinstance(number, int | np.integer) and not isinstance(number, bool) and number >= 0:
            return int(number)
    return None


def _members(value: Any) -> Iterable[Any] | None:
    """Return the members of a dict, dataclass, named tuple or plain object; None for anything else."""
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, list | tuple):
        return value if hasattr(value, "_fields") else None
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name) for field in fields(value)]
    if callable(value) or isinstance(value, NAME_TYPES + NUMBER_TYPES):
        return None
    slots = chain.from_iterable(getattr(kind, "__slots__", ()) for kind in type(value).__mro__)
    members = [*getattr(value, "__dict__", {}).values(), *(getattr(value, name, None) for name in slots if name[:2] != "__")]
    return members or None


def _sizes(value: Any, depth: int) -> Sizes:
    """Return the numbers of samples that a batch (`depth` 0) or a part of it may have."""
    explicit = _explicit(value)
    if explicit is not None:
        return Sizes((explicit,))
    if _is_array(value):
        length = leading_length(value)
        return NOTHING if length is None else Sizes((length,))
    members = None if depth > MAX_DEPTH else _members(value)
    if members is not None:
        sizes = _combined(_sizes(part, depth + 1) for part in members)
        plain = not isinstance(value, Mapping | tuple) and not is_dataclass(value)
        return NOTHING if plain and sizes.soft else sizes
    if isinstance(value, list | tuple) and value and depth <= MAX_DEPTH:
        return _sequence(value, depth)
    return NOTHING


def _combined(parts: Iterable[Sizes]) -> Sizes:
    """Return the numbers that all parts may have."""
    known = [part for part in parts if part.options is not None]
    hard = [part for part in known if not part.soft] or known
    if not hard:
        return NOTHING
    for candidates in (hard, [part for part in hard if part.options != (1,)]):  # a leading 1 is of all samples
        sets = [part.options or () for part in candidates]
        if sets and (common := tuple(option for option in sets[0] if all(option in others for others in sets[1:]))):
            named = [option for option in common if all(option in (part.options or ()) for part in known if part.soft)]
            return Sizes((named[0],) if len(named) == 1 else common, hard[0].soft)
    return NOTHING if hard[0].soft else Sizes(())


def _sequence(value: list[Any] | tuple[Any, ...], depth: int) -> Sizes:
    """Return the numbers of a list or tuple, which may hold columns of a batch or samples."""
    columns = _combined(_sizes(part, depth + 1) for part in value)
    if len({kind_of(part, depth) for part in value}) > 1:
        return columns
    first, length = value[0], len(value)
    agreed = () if columns.soft else columns.options or ()
    if _is_array(first) and leading_length(first) is not None:
        if depth == 0 and length <= MAX_FIELDS:
            return columns
        return Sizes(_unique(*agreed, length))
    if isinstance(first, NAME_TYPES + NUMBER_TYPES) or _is_array(first):
        return Sizes((length,), soft=True)
    if isinstance(first, list | tuple) and not hasattr(first, "_fields") and len({kind_of(part, depth) for part in first}) == 1:
        return Sizes(_unique(*agreed, length))  # columns of pictures and of targets, or samples of two tensors of one kind
    two_ways = depth == 0 and (isinstance(value, tuple) or isinstance(first, list | tuple)) and _agrees(first)
    if two_ways and not agreed and length <= MAX_FIELDS:
        return Sizes(())
    return Sizes(_unique(*agreed, length) if two_ways else (length,))


def _agrees(value: Any) -> bool:
    """Return whether two tensors or more in `value` have one leading dimension, as those of a batch do."""
    members = value if isinstance(value, list | tuple) else _members(value) or ()
    lengths = [length for part in members if (length := leading_length(part)) is not None]
    return len(lengths) > 1 and len(set(lengths)) == 1


def _unique(*options: int) -> tuple[int, ...]:
    return tuple(dict.fromkeys(options))


def _parts(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list | tuple) else _members(value) or ()


def _leading(value: Any, depth: int) -> Iterable[int]:
    """Yield the leading dimensions in a batch, in order."""
    if _is_array(value):
        length = leading_length(value)
        if length is not None:
            yield length
    elif depth <= MAX_DEPTH:
        for part in _parts(value):
            yield from _leading(part, depth + 1)


def _lengths(value: Any, depth: int) -> Iterable[Hashable]:
    """Yield the shapes and lengths in a batch, in order."""
    if _is_array(value):
        yield tuple(value.shape) if not getattr(value, "is_nested", False) else value.size(0)
    elif depth <= MAX_DEPTH:
        parts = list(_parts(value))
        yield len(parts)
        for part in parts:
            yield from _lengths(part, depth + 1)
