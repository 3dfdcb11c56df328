"""Share of each batch that belongs to this process, where several processes train together.

Micro-batch `number` of an epoch is, over all ranks, the next `size * ranks` samples of its order. Each rank takes one run of them,
and the last micro-batch is cut as evenly as possible. So an epoch takes each sample once, and the samples consumed are always
the beginning of the order, for any number of ranks. A rank for which the last micro-batch has no sample takes part in it with
a sample of another rank, at a weight of 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from accel.data.batches.counted import CountedBatch, count_samples
from accel.data.batches.tripwire import ReadInTurn

__all__ = ["SINGLE_RANK", "Item", "RankShare"]

Item = TypeVar("Item")


@dataclass(frozen=True)
class RankShare:
    """Share of one rank.

    Args:
        rank: this process's number, from 0.
        ranks: how many there are.
    """

    rank: int = 0
    ranks: int = 1

    def bounds(self, count: int) -> slice:
        """Return the slice of `count` samples that is this rank's. The first ranks have one more where all cannot have as many."""
        return slice(-(-self.rank * count // self.ranks), -(-(self.rank + 1) * count // self.ranks))

    def batches(self, samples: int, size: int) -> int:
        """Return the number of micro-batches of an epoch, with `size` samples for each rank: the same for all ranks."""
        return -(-samples // (size * self.ranks))

    def indices(self, order: Tensor, size: int) -> Tensor:
        """Return this rank's samples of an epoch, int64: split at every `size`, they are its batches."""
        if self.ranks == 1:
            return order
        full = len(order) // (size * self.ranks) * size * self.ranks
        indices, last = order[:full].view(-1, self.ranks, size)[:, self.rank].reshape(-1), order[full:]
        return torch.cat([indices, self.local(last)]) if len(last) else indices

    def local(self, samples: Any) -> Any:
        """Return this rank's part of a list or tensor of samples; the first sample if it has none, so that it can take part."""
        bounds = self.bounds(len(samples))
        return samples[bounds] if bounds.start < bounds.stop else samples[:1]

    def count(self, batch: Any, count: int) -> Any:
        """Return this rank's batch of a micro-batch with `count` samples over all ranks, as CountedBatch if there are several."""
        if self.ranks == 1:
            return batch
        bounds = self.bounds(count)
        return CountedBatch(
            batch, min(bounds.stop - bounds.start, count_samples(batch)), count
        )  # fewer, where some could not be read

    def counted(self, batches: Iterator[Any], start: int, samples: int, size: int) -> Iterator[Any]:
        """Yield the batches of an epoch of `samples` samples, from number `start` on, each as `count` returns it."""
        if self.ranks == 1:
            return batches
        return self._counted(batches, start, samples, size)

    def _counted(self, batches: Iterator[Any], start: int, samples: int, size: int) -> Iterator[Any]:
        """Yield what `counted` does, for several ranks."""
        step, number = size * self.ranks, start
        try:
            for batch in batches:
                yield self.count(batch, min(step, samples - number * step))
                number += 1
        except ReadInTurn as signal:
            raise signal.through(lambda rest: self._counted(rest, number, samples, size)) from None

    def pick(self, batches: Sequence[Item]) -> tuple[Item, bool]:
        """Return this rank's one of at most `ranks` batches, and False; or the first batch, and True, if there is none for it."""
        return (batches[self.rank], False) if self.rank < len(batches) else (batches[0], True)


SINGLE_RANK = RankShare()
"""The share of a process that trains alone: all."""
