"""Collation of samples to a batch; where samples do not fit together, the error names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, default_collate

from accel.device.out_of_memory import is_out_of_memory
from accel.errors import BadSample, ConfigError, describe

__all__ = [
    "FIX", "Collate", "check_row", "check_sample", "collate_of", "collate_samples", "difference", "is_data_set",
    "table_of", "uncollatable",
]  # fmt: skip

Collate = Callable[[list[Any]], Any]
"""Function that makes a batch of a list of samples."""
FIX = "give collate=..., or let the data set define collate(samples)"


def check_sample(sample: Any, key: int, dataset: str) -> None:
    """Raise BadSample for a sample that is None: a data set's way to say that it could not read it."""
    if sample is None:
        raise BadSample(f"sample {key} of the {dataset} data is None; return a sample, {FIX}")


def collate_of(data: Any) -> Collate:
    """Return the function by which a data set makes batches itself, its `collate` or `collate_fn`; torch's if it has none."""
    collate: Collate = getattr(data, "collate", None) or getattr(data, "collate_fn", None) or default_collate
    return collate


def table_of(data: Any) -> Any:
    """Return the table of the package datasets, whose rows are dicts, that data is or is a Subset of; None if it is none."""
    while isinstance(data, Subset):
        data = data.dataset
    kind = type(data)  # a user's own module may be called datasets too
    is_table = kind.__module__.partition(".")[0] == "datasets" and hasattr(kind, "with_format") and hasattr(kind, "features")
    return data if is_table else None


def is_data_set(value: Any) -> bool:
    """Return whether a value is a data set or a loader of torch's, or a table of the package datasets."""
    return isinstance(value, Dataset | DataLoader) or table_of(value) is not None


def check_row(row: Any, key: int, dataset: str) -> None:
    """Raise ConfigError for a row of a table that holds a list: torch would collate each place of it by itself.

    Args:
        row: the row, a dict.
        key: its number.
        dataset: name of the data set in messages.
    """
    place = _list_in(row)
    if place:
        raise ConfigError(
            f"row {key} of the {dataset} data has a list at {place}, of which torch would make a batch place by place; say "
            f"data.set_format('torch'), which gives tensors, or {FIX}"
        )


def _list_in(value: Any, place: str = "") -> str:
    """Return where a row holds a list, as it is written in Python; empty if it holds none."""
    if isinstance(value, list):
        return place
    parts = value.items() if isinstance(value, Mapping) else ()
    return next((inner for name, part in parts if (inner := _list_in(part, f"{place}[{name!r}]"))), "")


def collate_samples(collate: Collate, samples: list[Any], keys: Sequence[int], dataset: str = "data") -> Any:
    """Return `collate(samples)`.

    Args:
        collate: makes a batch; errors of a function of the user's own are handed on as they are.
        samples: the samples.
        keys: the number of each.
        dataset: name of the data set in messages.

    Raises:
        ConfigError: if torch's `default_collate` cannot put them together, with the samples at fault.
    """
    try:
        return collate(samples)
    except Exception as error:
        if collate is not default_collate or is_out_of_memory(error):
            raise
        problem = _problem(samples, keys)
        if not problem:
            reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0].strip().rstrip('.')}"
            raise ConfigError(f"the {dataset} data gives samples that torch cannot collate ({reason}); {FIX}") from None
        raise ConfigError(f"the {dataset} data gives samples that make no batch: {problem}; {FIX}") from error


def _problem(samples: list[Any], keys: Sequence[int]) -> str:
    """Return why samples make no batch, in words; empty if no reason shows."""
    for sample, key in zip(samples, keys, strict=False):
        reason = difference(samples[0], sample)
        if reason:
            return f"{reason[0]} in sample {keys[0]}, and {reason[1]} in sample {key}"
    reasons = ((uncollatable(sample), key) for sample, key in zip(samples, keys, strict=False))
    return next((f"sample {key} has {reason}, which torch cannot collate" for reason, key in reasons if reason), "")


def uncollatable(sample: Any, place: str = "") -> str:
    """Return the first member of a sample that torch's `default_collate` does not take, in words; empty if there is none."""
    if isinstance(sample, Tensor | np.ndarray | np.generic | int | float | complex | str | bytes):
        return ""
    parts = dict(sample) if isinstance(sample, Mapping) else dict(enumerate(sample)) if isinstance(sample, list | tuple) else None
    if parts is None:
        return describe(sample) + place
    return next((reason for name, part in parts.items() if (reason := uncollatable(part, f" at [{name!r}]"))), "")


def difference(first: Any, other: Any, place: str = "") -> tuple[str, str] | None:
    """Return the first thing in which two samples differ that must be alike in a batch, in words for each; None if they fit."""
    if hasattr(first, "shape") and hasattr(other, "shape"):
        same = tuple(first.shape) == tuple(other.shape)
    elif isinstance(first, list | tuple) and isinstance(other, list | tuple):
        same = len(first) == len(other)
        if same:
            pairs = enumerate(zip(first, other, strict=True))
            return next((pair for i, (a, b) in pairs if (pair := difference(a, b, f" at [{i}]"))), None)
    elif isinstance(first, Mapping) and isinstance(other, Mapping):
        missing = [name for name in first if name not in other] or [name for name in other if name not in first]
        if missing:
            shown = f"the key {missing[0]!r}"
            return (shown, f"no {missing[0]!r}") if missing[0] in first else (f"no {missing[0]!r}", shown)
        return next((pair for name in first if (pair := difference(first[name], other[name], f" at [{name!r}]"))), None)
    else:
        numbers = isinstance(first, int | float) and isinstance(other, int | float)
        same = numbers or type(first) is type(other)
    if same:
        return None
    texts = [
        f"a {type(value).__name__} of {len(value)}" if isinstance(value, list | tuple) else describe(value)
        for value in (first, other)
    ]
    return texts[0] + place, texts[1] + place
