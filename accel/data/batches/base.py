"""Batches of one data set, epoch after epoch: what all kinds of data have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from torch import Tensor

from accel.data.batches.bad_samples import Ledger
from accel.data.batches.rank_share import ALONE, Share
from accel.data.batches.read_rate import Meter

Order = Callable[[int, int, int], Tensor]
"""From the number of samples, the seed and the epoch to the order of an epoch, (samples,) int64."""


class Batches(ABC):
    """The batches of one data set, epoch after epoch."""

    count: int | None = None
    """Batches per epoch and rank; None where the data does not tell."""
    samples: int | None = None
    """Samples per epoch, of all ranks; None where the data does not tell."""
    batched_here: bool = True
    """Whether `batch_size` is ours to choose."""
    share: Share = ALONE
    """Which part of it this process reads."""
    meter: Meter | None = None
    """How fast samples are read; None where that is not measured."""
    ledger: Ledger | None = None
    """The samples that could not be read; None where they are not ours to read one by one."""
    ordered: bool = False
    """Whether the order is ours to choose."""

    @abstractmethod
    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The batches of `epoch`, from number `start` on."""

    def dealt(self, batches: Iterator[Any], start: int) -> Iterator[Any]:
        """The batches of an epoch, whoever read them, as `Dealt` where there are several ranks. The first is number `start`."""
        return batches

    def describe(self) -> str:
        """How much there is, in words."""
        if self.samples is None:
            return "unknown size" if self.count is None else f"{self.count:,} batches"
        return f"{self.samples:,} samples"

    def notes(self) -> dict[str, str]:
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
