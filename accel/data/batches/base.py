"""Batches of one data set, epoch after epoch: what all kinds of data have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from torch import Tensor

from accel.data.batches.bad_samples import BadSampleLog
from accel.data.batches.rank_share import SINGLE_RANK, RankShare
from accel.data.batches.read_rate import Meter

__all__ = ["Batches", "Order", "length_of", "skip_to"]

Order = Callable[[int, int, int], Tensor]
"""From the number of samples, the seed and the epoch to the order of an epoch, (samples,) int64."""


class Batches(ABC):
    """The batches of one data set, epoch after epoch."""

    count: int | None = None
    """Batches per epoch and rank; None where the data does not tell."""
    samples: int | None = None
    """Samples per epoch, of all ranks; None where the data does not tell."""
    uses_batch_size: bool = True
    """Whether `batch_size` is ours to choose."""
    share: RankShare = SINGLE_RANK
    """Which part of it this process reads."""
    meter: Meter | None = None
    """How fast samples are read; None where that is not measured."""
    bad_sample_log: BadSampleLog | None = None
    """The samples that could not be read; None where they are not ours to read one by one."""
    orderable: bool = False
    """Whether the order is ours to choose."""

    @abstractmethod
    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The batches of `epoch`, from number `start` on."""

    def counted(self, batches: Iterator[Any], start: int) -> Iterator[Any]:
        """Yield the batches of an epoch, as `CountedBatch` if there are several ranks. The first is number `start`."""
        return batches

    def describe(self) -> str:
        """How much there is, in words."""
        if self.samples is None:
            return "unknown size" if self.count is None else f"{self.count:,} batches"
        return f"{self.samples:,} samples"

    def plan_notes(self) -> dict[str, str]:
        """What the plan shall say of the data, by the name of the fact."""
        return {}


def skip_to(iterator: Iterator[Any], start: int) -> Iterator[Any]:
    """The rest of it from number `start` on; what comes before is read here and now, while the random generators are set for it."""
    for _ in islice(iterator, start):
        pass
    return iterator


def length_of(data: Any) -> int | None:
    """`len(data)`, or None where it has none (an IterableDataset raises TypeError, some loaders NotImplementedError)."""
    try:
        return len(data)
    except (TypeError, NotImplementedError):
        return None
