"""Which samples of each batch are this process's, where several processes train together.

Micro-batch `number` of an epoch is, over all ranks, the next `size * ranks` samples of its order; each rank takes one run of them,
and the last micro-batch is cut as evenly as it can be. So an epoch takes each sample once, and what has been consumed is always
the beginning of the order, whatever the number of ranks. A rank for which the last micro-batch has no sample takes part in it with
one that another has, at a weight of 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from accel.data.batches.counted import CountedBatch, count_samples

__all__ = ["SINGLE_RANK", "Item", "RankShare"]

Item = TypeVar("Item")


@dataclass(frozen=True)
class RankShare:
    """The part of one rank.

    Args:
        rank: this process's number, from 0.
        ranks: how many there are.
    """

    rank: int = 0
    ranks: int = 1

    def bounds(self, count: int) -> slice:
        """Which of `count` samples are this rank's; the first ranks have one more where they cannot all have the same."""
        return slice(-(-self.rank * count // self.ranks), -(-(self.rank + 1) * count // self.ranks))

    def batches(self, samples: int, size: int) -> int:
        """How many micro-batches of `size` samples for each rank an epoch has: the same for all."""
        return -(-samples // (size * self.ranks))

    def indices(self, order: Tensor, size: int) -> Tensor:
        """This rank's samples of an epoch, int64: split at every `size` they are its batches."""
        if self.ranks == 1:
            return order
        whole = len(order) // (size * self.ranks) * size * self.ranks
        mine, last = order[:whole].view(-1, self.ranks, size)[:, self.rank].reshape(-1), order[whole:]
        return torch.cat([mine, self.local(last)]) if len(last) else mine

    def local(self, samples: Any) -> Any:
        """This rank's part of a list or tensor of samples; the first of them where it has none, so that it can take part."""
        cut = self.bounds(len(samples))
        return samples[cut] if cut.start < cut.stop else samples[:1]

    def count(self, batch: Any, count: int) -> Any:
        """A batch with what it counts: this rank's batch of a micro-batch that has `count` samples over all ranks."""
        if self.ranks == 1:
            return batch
        cut = self.bounds(count)
        return CountedBatch(batch, min(cut.stop - cut.start, count_samples(batch)), count)  # fewer, where some could not be read

    def counted(self, batches: Iterator[Any], start: int, samples: int, size: int) -> Iterator[Any]:
        """The batches of an epoch of `samples` samples from number `start` on, with what they count."""
        if self.ranks == 1:
            return batches
        step = size * self.ranks
        return (self.count(batch, min(step, samples - number * step)) for number, batch in enumerate(batches, start))

    def pick(self, batches: Sequence[Item]) -> tuple[Item, bool]:
        """Of at most `ranks` batches, one for each rank: this one's; or the first, and True, where there is none for it."""
        return (batches[self.rank], False) if self.rank < len(batches) else (batches[0], True)


SINGLE_RANK = RankShare()
