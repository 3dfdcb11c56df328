from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

__all__ = ["CountedBatch", "count_samples", "counted"]


class CountedBatch(NamedTuple):
    """A rank's batch with what it counts, from the loader to the window."""

    batch: Any
    samples: int
    """How many samples it weighs: 0 for a batch that only lets a rank take part."""
    global_samples: int
    """How many samples the batches of all ranks have together."""


def counted(batch: Any) -> CountedBatch:
    """A batch with what it counts; all of it, where one process trains alone."""
    if isinstance(batch, CountedBatch):
        return batch
    items = count_samples(batch)
    return CountedBatch(batch, items, items)


def count_samples(batch: Any) -> int:
    """How many samples a batch holds: the length of the first tensor in it, in order; 1 where there is none."""
    found = _first(batch)
    return 1 if found is None else found


def _first(batch: Any) -> int | None:
    if isinstance(batch, Tensor):
        return batch.shape[0] if batch.dim() else None
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else ()
    for part in parts:
        found = _first(part)
        if found is not None:
            return found
    shape: Any = getattr(batch, "shape", None)
    return int(shape[0]) if shape else None
