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

from accel.data.batches.counted import BY_STRUCTURE, CountedBatch, SampleCounter, Trust
from accel.data.randomness.tripwire import ReadInTurn

__all__ = ["SINGLE_RANK", "Item", "RankShare"]

Item = TypeVar("Item")


@dataclass(frozen=True)
class RankShare:
    """Share of one rank.

    Args:
        rank: this process's number, from 0.
        ranks: how many there are.
        drop_last: leave out the last micro-batch of an epoch, if it is short over all ranks.
    """

    rank: int = 0
    ranks: int = 1
    drop_last: bool = False

    def bounds(self, count: int) -> slice:
        """Return the slice of `count` samples that is this rank's. The first ranks have one more where all cannot have as many."""
        return slice(-(-self.rank * count // self.ranks), -(-(self.rank + 1) * count // self.ranks))

    def batches(self, samples: int, size: int) -> int:
        """Return the number of micro-batches of an epoch, with `size` samples for each rank: the same for all ranks."""
        return samples // (size * self.ranks) if self.drop_last else -(-samples // (size * self.ranks))

    def left_out(self, samples: int, size: int) -> int:
        """Return the number of samples that an epoch leaves out, with `size` samples for each rank."""
        return samples % (size * self.ranks) if self.drop_last else 0

    def indices(self, order: Tensor, size: int) -> Tensor:
        """Return this rank's samples of an epoch, int64: split at every `size`, they are its batches."""
        full = len(order) // (size * self.ranks) * size * self.ranks
        if self.drop_last:
            order = order[:full]
        if self.ranks == 1:
            return order
        indices, last = order[:full].view(-1, self.ranks, size)[:, self.rank].reshape(-1), order[full:]
        return torch.cat([indices, self.local(last)]) if len(last) else indices

    def local(self, samples: Any) -> Any:
        """Return this rank's part of a list or tensor of samples; the first sample if it has none, so that it can take part."""
        bounds = self.bounds(len(samples))
        return samples[bounds] if bounds.start < bounds.stop else samples[:1]

    def count(self, batch: Any, samples: int, counter: SampleCounter, trust: Trust) -> CountedBatch:
        """Return this rank's batch of a micro-batch as CountedBatch.

        Args:
            batch: this rank's batch.
            samples: number of samples of the micro-batch over all ranks.
            counter: counts those of the batch.
            trust: whether all of this rank's samples are in its batch, as for `count_batch`.
        """
        if self.ranks == 1:
            return counter.counted_batch(batch, samples, trust)
        bounds = self.bounds(samples)
        size = bounds.stop - bounds.start
        count = counter.count_batch(batch, max(size, 1), trust)
        return CountedBatch(batch, count.samples if size else 0, samples, count.doubt, count.outline, bool(count.doubt))

    def counted(
        self,
        batches: Iterator[Any],
        start: int,
        samples: int,
        size: int,
        counter: SampleCounter = BY_STRUCTURE,
        trust: Trust = "neither",
    ) -> Iterator[CountedBatch]:
        """Yield the batches of an epoch of `samples` samples, from number `start` on, each as `count` returns it."""
        step, number = size * self.ranks, start
        try:
            for batch in batches:
                item = [self.count(batch, min(step, samples - number * step), counter, trust)]
                del batch  # nothing here holds it meanwhile
                yield item.pop()
                number += 1
        except ReadInTurn as signal:
            raise signal.through(lambda rest: self.counted(rest, number, samples, size, counter, trust)) from None

    def pick(self, batches: Sequence[Item]) -> tuple[Item, bool]:
        """Return this rank's one of at most `ranks` batches, and False; or the first batch, and True, if there is none for it."""
        return (batches[self.rank], False) if self.rank < len(batches) else (batches[0], True)


SINGLE_RANK = RankShare()
"""The share of a process that trains alone: all."""
