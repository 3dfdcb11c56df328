"""Batch with the number of samples it counts for, on its way from the loader to the window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

__all__ = ["CountedBatch", "count_samples", "counted"]


class CountedBatch(NamedTuple):
    """A rank's batch, and the number of samples it counts for."""

    batch: Any
    samples: int
    """The number of samples that it weighs: 0 for a batch that only lets a rank take part."""
    global_samples: int
    """The number of samples that the batches of all ranks have together."""


def counted(batch: Any) -> CountedBatch:
    """Return a batch as a CountedBatch; one that is none counts for all of its samples."""
    if isinstance(batch, CountedBatch):
        return batch
    items = count_samples(batch)
    return CountedBatch(batch, items, items)


def count_samples(batch: Any) -> int:
    """Return the number of samples in a batch: the length of the first tensor in it, in order; 1 if there is none."""
    length = _first(batch)
    return 1 if length is None else length


def _first(batch: Any) -> int | None:
    """Return the length of the first tensor in `batch`, or of the first array; None if there is neither."""
    if isinstance(batch, Tensor):
        return batch.shape[0] if batch.dim() else None
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else ()
    for part in parts:
        length = _first(part)
        if length is not None:
            return length
    shape: Any = getattr(batch, "shape", None)
    return int(shape[0]) if shape else None
